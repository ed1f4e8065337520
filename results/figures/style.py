"""How every figure looks: a framework's colour and marker, facets, the axis of thresholds, the legend."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import style as mplstyle
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from PIL import Image

from farreach.results.analysis.selection import CELL, CLIP, sort_clip, sort_words
from farreach.results.figures import palette
from farreach.results.storage.files import write_file
from farreach.results.vocabulary import CLIPS, NONE, THRESHOLDS

WIDTH = 9.0
"""Inches; at `DPI` twice what GitHub shows of a README, so that text stays legible when halved."""

HEIGHT = 3.0
DPI = 150
TICKS = {6: (1, 2, 3, 5, 7), 30: (1, 2, 5), 1_000: (1, 3)}
"""What is marked of each power of ten on a logarithmic axis that spans less than a factor; beyond, the powers alone."""

COLOURS = 256
"""Of a PNG."""

MATH = re.compile(
    r"\$_t\$|\$_\{10\}\$|\$(?:\d+ \\times )?10\^\{-?\d+\}\$|\$\\mathdefault\{(?:\d+\\times)?-?\d+(?:\^\{-?\d+\})?\}\$"
)
"""What in a figure is set as mathematics: ours, and the ticks of a logarithmic axis."""

DASHES = [
    "-",
    *((0, (6, 2)), (0, (1.5, 2)), (0, (7, 2, 1.5, 2)), (0, (12, 3)), (0, (4, 1.5, 1.5, 1.5, 1.5, 1.5))),
    *((0, (3, 1.5)), (0, (1.5, 4)), (0, (12, 3, 3, 3)), (0, (6, 6))),
]
"""Line styles of the clips, in the order of the clips; the first is that of ``none``."""


PLACES = 9
"""Decimal places of where axes stand, in shares of the figure."""


def save_figure(figure: Figure, path: Path, *, vector: bool = False) -> list[Path]:
    """Write a figure as PNG, and with `vector` as SVG for a paper too; return the paths.

    An SVG made again of the same data is the same file: no date, and names that do not change.
    """
    with use_style():
        # A palette makes the file a third as large, and no eye sees the difference.
        image = _render_pixels(figure).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        write_file(path, lambda part: image.save(part, format="png", optimize=True), flush=False)
        if not vector:
            return [path]
        with mpl.rc_context({"svg.hashsalt": path.stem}):
            write_file(
                path.with_suffix(".svg"),
                lambda part: figure.savefig(part, format="svg", metadata={"Date": None}),
                flush=False,
            )
    return [path, path.with_suffix(".svg")]


def _render_pixels(figure: Figure) -> Image.Image:
    """Return a figure as `savefig` would draw it, laid out for good.

    `savefig` would draw it twice, once to lay it out, and would lay it out anew for each format.
    """
    for text in figure.findobj(Text):
        if isinstance(text, Text) and "$" in MATH.sub("", text.get_text()):
            text.set_parse_math(False)  # a name or a value of somebody's: it is shown as it is
    given = figure.dpi
    figure.set_dpi(DPI)
    canvas: Any = FigureCanvasAgg(figure)
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine("none")
        for axes in figure.axes:
            # The solver's last digits differ from process to process, and an SVG names its clips by all of them.
            left, bottom, width, height = axes.get_position(original=True).bounds
            axes.set_position((round(left, PLACES), round(bottom, PLACES), round(width, PLACES), round(height, PLACES)))
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba()))
    figure.set_dpi(given)
    return image


def choose_dashes(table: pd.DataFrame) -> dict[str, Any]:
    """Return a line style for each clip, by its label; no clip is always solid."""
    facts = table[[CLIP, "clip", "threshold"]].drop_duplicates().astype(object).to_dict("records")
    clips = sorted(facts, key=lambda line: sort_clip({str(name): value for name, value in line.items()}))
    rank = iter(range(len(clips)))
    return {
        str(line[CLIP]): DASHES[0] if line["clip"] == NONE else DASHES[1 + next(rank) % (len(DASHES) - 1)]
        for line in clips
    }


def make_pattern(dash: Any) -> Any:
    """Return a line style of `DASHES` as seaborn writes it."""
    return "" if dash == "-" else dash[1]


@contextmanager
def use_style() -> Iterator[None]:
    """Draw in the style of all figures, and no setting of the user's; those of the caller's own stay as they are."""
    settings: Any = {**sns.axes_style("whitegrid"), **sns.plotting_context("paper", font_scale=1.1)}
    settings |= {"axes.titlesize": 10, "legend.frameon": False, "grid.color": "0.9", "lines.scale_dashes": False}
    settings["font.sans-serif"] = ["DejaVu Sans"]  # which matplotlib brings along
    with mplstyle.context(settings, after_reset=True):
        yield


def make_facets(weights: list[float], *, most: float, height: float = HEIGHT) -> tuple[Figure, list[Axes]]:
    """Return a figure with one set of axes a weight, in rows; wide axes for large weights.

    Args:
        weights: width that each facet wants, in any unit.
        most: width of a full row in that unit.
        height: inches a row.

    """
    rows: list[list[float]] = [[]]
    for weight in weights:
        if rows[-1] and sum(rows[-1]) + weight > most:
            rows.append([])
        rows[-1].append(weight)
    full = max(sum(row) for row in rows)
    scale = min(1.0, max(0.6, full / most))
    figure = Figure(figsize=(WIDTH * scale, height * len(rows) + 0.4), layout="constrained")
    outer = figure.add_gridspec(len(rows), 1)
    axes = []
    for at, row in enumerate(rows):
        spare = [full - sum(row)] if full - sum(row) > 0.1 * full else []
        inner = outer[at].subgridspec(1, len(row) + len(spare), width_ratios=row + spare)
        axes += [figure.add_subplot(inner[number]) for number in range(len(row))]
    return figure, axes


def make_grid(count: int, *, height: float = HEIGHT) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` facets of one size, at most three a row, two where that fills the rows."""
    columns = count if count <= 3 else 2 if count == 4 else 3  # noqa: PLR2004
    return make_facets([1.0] * count, most=max(columns, 2), height=height)


@dataclasses.dataclass(frozen=True)
class ThresholdAxis:
    """Positions of cell and clip on one axis: the cells in groups, in each the clips in order.

    Attributes:
        positions: by the labels of cell and clip.
        ticks: what is written there: the threshold.
        groups: cell, and kind of clip where there are several: what is written below, by the labels.
        kinds: the kinds of clip on the axis.

    """

    positions: dict[tuple[str, str], float]
    ticks: dict[tuple[str, str], str]
    groups: dict[tuple[str, str], str]
    kinds: list[str]

    @property
    def width(self) -> float:
        """The axis' extent, in positions."""
        return max(self.positions.values()) + 1

    @property
    def weight(self) -> float:
        """The facet's width: never too narrow for its own labels."""
        return max(self.width + 1, 4.0)

    def at(self, cell: str, clip: str) -> float:
        """Return the position of one cell and clip."""
        return self.positions[cell, clip]

    def label(self, axes: Axes) -> None:
        """Write thresholds and, below them, cells onto the x axis."""
        axes.set_xticks([*self.positions.values()], [self.ticks[place] for place in self.positions])
        groups: dict[str, list[float]] = {}
        for place, at in self.positions.items():
            groups.setdefault(self.groups[place], []).append(at)
        axes.xaxis.remove_overlapping_locs = False  # a lone threshold has its cell at the same place
        middles = [sum(at) / len(at) for at in groups.values()]
        axes.set_xticks(middles, list(groups), minor=True, fontweight="bold")
        axes.tick_params(axis="x", which="minor", length=0, pad=20)
        starts = [min(at) for at in groups.values()][1:]
        for start in starts:
            axes.axvline(start - 0.75, color="0.8", linewidth=0.8)
        axes.set_xlim(-0.6, self.width - 0.4)
        axes.grid(visible=False, axis="x")
        units = ", ".join(describe_kind(kind) for kind in self.kinds)
        axes.set_xlabel(textwrap.fill(f"clip threshold ({units})", 80) if units else "no clipping")


def describe_kind(kind: str) -> str:
    """Return a kind of clip with what its threshold is, where its name does not say it."""
    return f"{kind}: {THRESHOLDS[kind]}" if kind in THRESHOLDS else kind


def make_threshold_axis(table: pd.DataFrame) -> ThresholdAxis:
    """Return the axis of the cells and clips of a table: columns `CELL` and `CLIP`, clip and threshold."""
    places = table[[CELL, CLIP, "clip", "threshold"]].drop_duplicates([CELL, CLIP]).sort_values([CELL, CLIP])
    facts = [(str(cell), str(label), str(kind), at) for cell, label, kind, at in places.itertuples(index=False)]
    kinds = sort_words({kind for _, _, kind, _ in facts} - {NONE}, CLIPS)
    by_cell = {cell: [kind for kind in kinds if (cell, kind) in {fact[::2] for fact in facts}] for cell, *_ in facts}
    positions: dict[tuple[str, str], float] = {}
    ticks, groups = {}, {}
    at, before = -1.0, ("", "")
    for cell, label, kind, threshold in facts:
        group = (cell, "" if kind in {NONE, *by_cell[cell][:1]} else kind)  # their thresholds share no scale
        at += 1.0 if before in {group, ("", "")} else 1.5
        before = group
        positions[cell, label] = at
        ticks[cell, label] = NONE if kind == NONE else f"{threshold:g}"
        beside = kind if kind in by_cell[cell] else "".join(by_cell[cell][:1])  # none: beside the first kind
        between = "\n" if {*kinds} & THRESHOLDS.keys() else " "  # several kinds, few thresholds each: little room
        groups[cell, label] = f"{cell}{between}({beside})" if len(kinds) > 1 and beside else cell
    return ThresholdAxis(positions, ticks, groups, kinds)


def spread_learners(learners: Iterable[str]) -> dict[str, float]:
    """Return how far left or right of its position each learner is drawn."""
    names = list(learners)
    spread = min(0.8, 0.25 * len(names))
    return {name: spread * ((at + 0.5) / len(names) - 0.5) for at, name in enumerate(names)}


def write_title(axes: Axes, text: str, *, width: int, place: Literal["left", "center"] = "center") -> None:
    """Put a facet's title, on several lines where it is longer than `width` characters."""
    whole = re.sub(r"(?<=[^,]) (?=[^(]*\))", "\N{NO-BREAK SPACE}", text)  # keeps (adam 0.003) on one line
    axes.set_title("\n".join(textwrap.wrap(whole, width)), loc=place)


def make_log_axis(axes: Axes) -> None:
    """Make y logarithmic, with ticks that are plain numbers and not too few of them."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    subs = next((one for most, one in TICKS.items() if high / low < most), (1,))
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(_format_tick))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def make_step_axis(axes: Axes) -> None:
    """Label x as training steps, with whole numbers."""
    axes.set_xlabel("training step")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def draw_legend(figure: Figure, entries: dict[str, Line2D], *, heading: str | None = None) -> None:
    """Put the figure's one legend above the facets, under a heading if there is one."""
    if entries:
        room = int(figure.get_figwidth() * 12)  # characters beside each other
        longest = max(len(name) for name in entries) + 7
        beside = sum(len(name) + 7 for name in entries) <= room
        columns = len(entries) if beside else max(1, min(len(entries), room // longest))
        columns = -(-len(entries) // -(-len(entries) // columns))  # rows of even length
        figure.set_figheight(figure.get_figheight() + 0.2 * (-(-len(entries) // columns) + bool(heading)))
        figure.legend(entries.values(), entries.keys(), loc="outside upper center", ncols=columns, title=heading)


def mark_points(seen: dict[str, palette.Look]) -> dict[str, Line2D]:
    """Return the legend's entries of frameworks drawn as points."""
    return {
        name: Line2D([], [], color=look.colour, marker=look.marker, linestyle="", markersize=7)
        for name, look in seen.items()
    }


def mark_lines(seen: dict[str, palette.Look], clips: dict[str, Any], free: set[str]) -> dict[str, Line2D]:
    """Return the legend's entries of frameworks as colours and clips as line styles; `free` are those without one."""
    colours = {name: Line2D([], [], color=look.colour, linewidth=3) for name, look in seen.items()}
    styles = {
        "no clipping" if clip in free else f"clip {clip}": Line2D([], [], color="0.25", linestyle=dash)
        for clip, dash in clips.items()
    }
    return colours | styles


def _format_tick(value: float, _position: int | None = None) -> str:
    """Return a tick's number: plain from 0.001 to 9999, else as a power of ten."""
    if 1e-3 <= value < 1e4:  # noqa: PLR2004
        return f"{value:g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    factor = "" if mantissa == "1" else mantissa + r" \times "
    return f"${factor}10^{{{int(exponent)}}}$"
