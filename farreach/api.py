"""The suite from Python: `load` reads results as tables, `run` trains the cases of a suite.

They need what the commands need: the extra ``report`` to load, ``suite`` to run. What is wrong with what is asked for
is a ValueError of one line, the one that the command would print.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from farreach.results.analysis.rows import Rows
    from farreach.results.report import contents
    from farreach.results.storage.interface import ResultSet

Only = Mapping[str, Any] | Sequence[str]
"""What to keep: ``{"cell": ["lstm", "gru"], "T": 50}``, or as on the command line, ``["cell=lstm", "T=50"]``."""


@dataclasses.dataclass(frozen=True)
class Results:
    """What a folder holds, each part as a DataFrame that is read when it is first asked for.

    Attributes:
        folder: the result folder.
        rows: one line per case: every column of docs/schema/row.schema.json, sorted by key.

    """

    folder: Path
    rows: pd.DataFrame
    _store: ResultSet = dataclasses.field(repr=False)

    @functools.cached_property
    def curves(self) -> pd.DataFrame:
        """Per case and training step: key, step, loss, norm_before, norm_after, clipped."""
        return self._read_part("curves")

    @functools.cached_property
    def evaluations(self) -> pd.DataFrame:
        """Per case and evaluation: key, step, loss and the task's metrics."""
        return self._read_part("evaluations")

    @functools.cached_property
    def flow(self) -> pd.DataFrame:
        """Per case, training step probed, layer and time step: key, step, layer, time, norms of dL/dh_t and dL/dc_t."""
        return self._read_part("flow")

    @functools.cached_property
    def spectra(self) -> pd.DataFrame:
        """Per case, training step probed, layer and gate: key, spectral radius, largest singular value."""
        return self._read_part("spectra")

    @functools.cached_property
    def layers(self) -> pd.DataFrame:
        """Of runs recorded with ``per_layer``: key, step, parameter, norm_before, norm_after."""
        import pandas as pd  # noqa: PLC0415 - the recorders need nothing of what the suite needs
        from pyarrow import csv  # noqa: PLC0415 - the same

        columns = ["key", "step", "parameter", "norm_before", "norm_after"]
        parts = []
        for key in self.rows["key"]:
            path = self.folder / "layers" / f"{key}.csv"
            if path.is_file():
                wide = csv.read_csv(path).to_pandas()
                for name in [name.removesuffix(" before") for name in wide if name.endswith(" before")]:
                    norms = {f"norm_{when}": wide[f"{name} {when}"] for when in ("before", "after")}
                    parts.append(wide[["step"]].assign(key=key, parameter=name, **norms)[columns].dropna())
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)

    @functools.cached_property
    def diagnoses(self) -> pd.DataFrame:
        """Per case: key, diagnosis, and its reason in words."""
        from farreach.results.report import diagnosis  # noqa: PLC0415 - see `layers`

        labelled = self._labelled
        found = labelled.diagnoses
        words = [diagnosis.write_reason(reason) for reason in found["reason"]]
        return found.assign(key=labelled.frame["key"], diagnosis=found["label"], reason=words)[
            ["key", "diagnosis", "reason"]
        ].sort_values("key", ignore_index=True)

    @functools.cached_property
    def runs(self) -> pd.DataFrame:
        """Per run that wrote into the folder: when it started, its command, what it planned, finished and failed."""
        import pandas as pd  # noqa: PLC0415 - see `layers`

        return pd.json_normalize(self._store.runs())

    def table(self, name: str) -> pd.DataFrame:
        """Return a table as `farreach show --table` prints it, of these rows; raise ValueError for an unknown name."""
        from farreach.benchmarks.matrix import registry  # noqa: PLC0415 - see `layers`
        from farreach.results.report import slices  # noqa: PLC0415 - see `layers`

        with _as_value_errors():
            whole = self._whole
            registry.require_name("table", name, slices.list_tables(whole))
            if name in slices.TIMES:
                return slices.tabulate_timed(name, whole)
            return slices.ROWS[name](self._labelled, whole.timed.step_times)

    @functools.cached_property
    def _whole(self) -> contents.Results:
        from farreach.results.report import contents  # noqa: PLC0415 - see `layers`

        return contents.read_results(self.folder)

    @functools.cached_property
    def _labelled(self) -> Rows:
        from farreach.results.analysis.rows import label_rows  # noqa: PLC0415 - see `layers`

        return label_rows(self.rows)

    def _read_part(self, part: str) -> pd.DataFrame:
        """Return a part of every case, its key first; a file that is damaged is left out and named."""
        import pandas as pd  # noqa: PLC0415 - see `layers`

        from farreach.results.storage.files import StoreError  # noqa: PLC0415 - see `layers`

        frames = []
        for key in self.rows["key"]:
            try:
                frame = getattr(self._store, part)(key)
            except StoreError as error:
                if self.rows.loc[self.rows["key"] == key, "mode"].iloc[0] != "own":  # which has no evaluations
                    warnings.warn(str(error), stacklevel=3)
                continue
            frames.append(frame.assign(key=key)[["key", *frame]])
        there = [frame for frame in frames if len(frame)]
        whole: pd.DataFrame = pd.concat(there or frames[:1] or [pd.DataFrame(columns=["key"])], ignore_index=True)
        return whole


def load(folder: str | os.PathLike[str], *, only: Only = ()) -> Results:
    """Read a result folder: one of a run, or a packed set such as ``results/published/quick``.

    Args:
        folder: the folder.
        only: which rows to keep.

    Raises:
        ValueError: there is no such folder, it holds no rows, or none that `only` leaves.

    """
    place = Path(folder)
    with _as_value_errors():
        from farreach.benchmarks.matrix import narrowing  # noqa: PLC0415 - see `Results.layers`
        from farreach.results.report import slices  # noqa: PLC0415 - see `Results.layers`
        from farreach.results.storage.sets import open_set  # noqa: PLC0415 - see `Results.layers`

        store = open_set(place)
        rows = store.rows()
        wanted = _list_only(only)
        if wanted:
            described = [narrowing.to_words(values) for values in slices.describe_lines(rows)]
            rows = rows.iloc[narrowing.find_matches(described, wanted, str(place))].reset_index(drop=True)
        return Results(place, rows, store)


def run(
    suite: str | os.PathLike[str],
    *,
    only: Only = (),
    out: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    plugins: Sequence[str | os.PathLike[str]] = (),
) -> Results:
    """Train what is missing of a suite, write the report and return what the folder holds.

    It is the command ``run``: the same call carries on after a stop, and workers are processes of their own.

    Args:
        suite: the name of a suite, or the path of a TOML file.
        only: which cases to train.
        out: the result folder; by default results/runs/SUITE.
        jobs: training processes at a time; by default one per core.
        threads: of each training process.
        device: cpu or cuda.
        plugins: folders of plug-ins, from now on in this process.

    Raises:
        ValueError: there is no such suite, case or folder.

    Warns:
        RuntimeWarning: some cases failed; `Results.runs` says which, and why.

    """
    with _as_value_errors():
        from farreach.benchmarks import __main__ as cli  # noqa: PLC0415 - see `Results.layers`
        from farreach.benchmarks.matrix import registry  # noqa: PLC0415 - see `Results.layers`
        from farreach.results.storage import files  # noqa: PLC0415 - see `Results.layers`

        words = ["run", str(suite), *(word for text in _list_only(only) for word in ("--only", text))]
        words += [] if out is None else ["--out", str(out)]
        words += [] if jobs is None else ["--jobs", str(jobs)]
        words += [] if threads == 1 else ["--threads", str(threads)]
        words += [] if device == "cpu" else ["--device", device]
        words += [word for folder in plugins for word in ("--plugins", str(folder))]
        status = cli.call(words)
        place = Path(out) if out is not None else registry.RUNS / files.make_name(Path(suite).stem)
        results = load(place)
    if status:
        warnings.warn(
            f"not everything that was asked for was done: see the runs of {place}", RuntimeWarning, stacklevel=2
        )
    return results


def _list_only(only: Only) -> list[str]:
    """Return what to keep as the command line takes it."""
    if isinstance(only, str):
        return [only]
    if not isinstance(only, Mapping):
        return [*only]
    pairs = [(key, value if isinstance(value, list | tuple | set) else [value]) for key, value in only.items()]
    return [f"{key}={str(one).lower() if isinstance(one, bool) else one}" for key, values in pairs for one in values]


@contextmanager
def _as_value_errors() -> Iterator[None]:
    """Raise what the user got wrong as ValueError, with the line that the command would print."""
    from farreach.benchmarks.commands.shared.refusals import is_user_error  # noqa: PLC0415 - see `Results.layers`

    try:
        yield
    except Exception as error:
        if not is_user_error(error):
            raise
        text: str = getattr(error, "format_message", error.__str__)()
        raise ValueError(text) from error
