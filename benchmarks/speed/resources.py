"""What a region of a process takes: the peak of its memory, and the energy where that was asked for.

Both are used inside a worker, around steps that are ready to run. Host memory is measured here; that of an
accelerator is measured by its framework.
"""

from __future__ import annotations

import importlib
import logging
import os
import resource
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from farreach.benchmarks.speed.messages import Joules

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""Written to `RESET`, it sets the peak of the resident memory back to what is resident now (Linux, proc(5))."""

MEASURED = ("Rapl", "Power Gadget", "Emi", "AppleSiliconChip", "Raspberry", "GPU")
"""How codecarbon's descriptions of what it reads from a meter begin or go on; the rest is a model's guess."""

JOULES = 3.6e6
"""In a kilowatt-hour, codecarbon's unit."""


class EnergyMeter:
    """The energy of a ``with`` block, which should take ten seconds or more; `result` is a `Joules` after it.

    codecarbon runs wholly offline here, writes no file and needs no lock. It looks once a second from a thread of its
    own, so that nothing is to be timed meanwhile. It is imported on entry and not before: it is no requirement of ours.
    Where the processor has no meter, its load is that of this process and not of the others; a meter counts all.
    """

    def __init__(self) -> None:
        self.result = Joules(energy_reason="nothing was measured yet")
        self._tracker: Any = None

    def __enter__(self) -> Self:
        """Start codecarbon, where it is installed."""
        # Releases after 3.3 report home unless this says no.
        os.environ["CODECARBON_TELEMETRY_LEVEL"] = "disabled"
        try:
            codecarbon = importlib.import_module("codecarbon")
        except ImportError:
            self.result = Joules(energy_reason="codecarbon is not installed")
            return self
        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)  # it speaks before it looks at log_level
        # Every place that a figure could go to is named, so that no configuration file of the user's opens one. The
        # country decides the grams of CO2, of which we make no use, and nothing about the energy.
        self._tracker = codecarbon.OfflineEmissionsTracker(
            country_iso_code="USA",
            output_methods=[],
            emissions_endpoint=False,
            allow_multiple_runs=True,
            tracking_mode="process",
            measure_power_secs=1,
            log_level="critical",
        )
        self._tracker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop codecarbon and keep its figures."""
        if self._tracker is None:
            return
        self._tracker.stop()
        figures = getattr(self._tracker, "final_emissions_data", None)  # its methods swallow their own faults
        if figures is None:
            self.result = Joules(energy_reason="codecarbon gave no figures on this machine")
            return
        sources = [part.description() for part in self._tracker._hardware]  # noqa: SLF001 - it says so nowhere else
        meters = [source for source in sources if not source.startswith("RAM")]
        measured = bool(meters) and all(any(word in source for word in MEASURED) for source in meters)
        method = "measured" if measured else "estimated"
        self.result = Joules(figures.energy_consumed * JOULES, figures.cpu_energy * JOULES, method)


class PeakMemory:
    """The peak of this process's resident memory within a ``with`` block.

    What was resident before the block is in it: the interpreter, the framework's libraries, the weights, and pages that
    an allocator keeps after what was in them was freed. ``bytes - before`` is what the block added to that. Memory that
    is mapped and never touched does not count; the kernel counts in batches and may be off by some 100 KiB a thread.

    Attributes:
        before: resident bytes on entry.
        bytes: the peak, in bytes.
        kind: ``region`` where the peak was set back on entry; ``lifetime`` where the system does not allow that: then
            it is the peak since the process began, and an upper bound of the block's.

    """

    def __init__(self) -> None:
        self.before = self.bytes = 0
        self.kind: Literal["region", "lifetime"] = "lifetime"

    def __enter__(self) -> Self:
        """Set the peak back, where the system allows it."""
        self.kind = "region" if _reset_peak() else "lifetime"
        self.before = _read_status("VmRSS") or _read_lifetime_peak()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Read the peak."""
        peak = (_read_status("VmHWM") if self.kind == "region" else None) or _read_lifetime_peak()
        self.bytes = max(peak, self.before)  # the kernel brings its peak up to date late


def _reset_peak() -> bool:
    try:
        RESET.write_text(RESET_PEAK, encoding="ascii")
    except OSError:
        return False
    return _read_status("VmHWM") is not None


def _read_status(name: str) -> int | None:
    """Return a line of the process's status in bytes, or None where there is none."""
    try:
        lines = STATUS.read_text("utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024  # the unit is kB, and means KiB
    return None


def _read_lifetime_peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
