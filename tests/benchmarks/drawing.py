"""Pictures of measurements as SVG: the same numbers give the same bytes; readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log10
from xml.sax.saxutils import escape

WIDTH = 760
LEFT, RIGHT, TOP = 70, 190, 46
INNER = WIDTH - LEFT - RIGHT
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bb7733", "#777777", "#99bb55")
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 14px; font-weight: 600 } .faint { fill: #59636e }
.page { fill: #ffffff } .axis { stroke: #59636e } .grid { stroke: #d1d9e0; stroke-dasharray: 2 3 }
.mark { stroke: #1f2328; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .faint { fill: #9198a1 } .page { fill: #0d1117 } .axis { stroke: #9198a1 }
  .grid { stroke: #3d444d } .mark { stroke: #f0f6fc }
}
"""

Scale = Callable[[float], float]
"""A value → its place, in pixels."""


class Picture:
    """Gathers shapes; places are in pixels from the upper left corner."""

    def __init__(self, title: str, height: int) -> None:
        self.height = height
        self._parts: list[str] = []
        self._title = title
        self.text(LEFT, 24, title, "title", "start")

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "middle", turn: int = 0) -> None:
        """Write *words*; *turn* is in degrees."""
        about = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}"{about}>{escape(words)}</text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """Draw a straight line."""
        self._parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')

    def box(self, x: float, y: float, width: float, height: float, colour: int) -> None:
        """Fill a rectangle."""
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'fill="{_COLOURS[colour % len(_COLOURS)]}"/>'
        )

    def grid(self, scale: Scale, ticks: Sequence[float], label: str, bottom: float) -> None:
        """Horizontal lines at *ticks*, and what they say."""
        for tick in ticks:
            y = scale(tick)
            self.line(LEFT, y, LEFT + INNER, y, "grid" if y < bottom else "axis")
            self.text(LEFT - 8, y + 4, f"{tick:g}", "faint", "end")
        self.text(18, (TOP + bottom) / 2, label, "faint", turn=-90)

    def legend(self, names: Sequence[str], top: float) -> None:
        """What the colours mean, one below the other."""
        for colour, name in enumerate(names):
            y = top + 20 * colour
            self.box(LEFT + INNER + 16, y - 10, 12, 12, colour)
            self.text(LEFT + INNER + 34, y, name, anchor="start")

    def svg(self) -> str:
        """The whole picture."""
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" role="img">',
                f"<title>{escape(self._title)}</title><style>{_STYLE}</style>",
                f'<rect class="page" width="{WIDTH}" height="{self.height}"/>',
                *self._parts,
                "</svg>\n",
            ]
        )


def stacks(title: str, across: str, up: str, names: Sequence[str], columns: Mapping[str, Sequence[float]]) -> str:
    """Columns side by side, each made of a part for each of *names*, with its sum above."""
    bottom = 340
    most = max(map(sum, columns.values()))
    step = _step(most)
    scale = _linear(0, step * (int(most / step) + 1), bottom, TOP)
    picture = Picture(title, bottom + 52)
    picture.grid(scale, [step * number for number in range(int(most / step) + 2)], up, bottom)
    room = INNER / len(columns)
    for place, (label, parts) in enumerate(columns.items()):
        x, below = LEFT + room * (place + 0.5), 0.0
        for colour, part in enumerate(parts):
            picture.box(x - room * 0.3, scale(below + part), room * 0.6, scale(below) - scale(below + part), colour)
            below += part
        picture.text(x, scale(below) - 6, f"{below:.1f}", "title")
        picture.text(x, bottom + 18, label)
    picture.text(LEFT + INNER / 2, bottom + 40, across, "faint")
    for colour, name in enumerate(reversed(names)):
        y = TOP + 20 * colour
        picture.box(LEFT + INNER + 16, y, 12, 12, len(names) - 1 - colour)
        picture.text(LEFT + INNER + 34, y + 10, name, anchor="start")
    return picture.svg()


def histograms(title: str, across: str, rows: Mapping[str, tuple[Sequence[float], dict[str, float]]]) -> str:
    """How values are spread, a panel for each of *rows*: values > 0 on one logarithmic axis, and marks on it."""
    low = min(min(values) for values, _ in rows.values())
    high = max(max(values) for values, _ in rows.values())
    first, last = _decade_step(low, up=False), _decade_step(high, up=True)
    across_scale = _linear(log10(first), log10(last), LEFT, LEFT + INNER)
    tall, gap = 110, 26
    bottom = TOP + len(rows) * (tall + gap) - gap
    picture = Picture(title, bottom + 52)
    for place, (label, (values, marks)) in enumerate(rows.items()):
        _panel(picture, across_scale, (TOP + place * (tall + gap), tall), (label, values, marks))
    for tick in _log_ticks(first, last):
        x = across_scale(log10(tick))
        picture.line(x, bottom, x, bottom + 5, "axis")
        picture.text(x, bottom + 20, f"{tick:g}")
    picture.text(LEFT + INNER / 2, bottom + 42, across, "faint")
    picture.text(18, (TOP + bottom) / 2, "share of commands", "faint", turn=-90)
    return picture.svg()


def _panel(
    picture: Picture,
    across: Scale,
    where: tuple[float, float],
    what: tuple[str, Sequence[float], dict[str, float]],
) -> None:
    (top, tall), (label, values, marks) = where, what
    bins = 90
    held = [0] * bins
    for value in values:
        held[min(bins - 1, int((across(log10(value)) - LEFT) / INNER * bins))] += 1
    most = max(held) / len(values)
    for place, count in enumerate(held):
        if count:
            height = count / len(values) / most * (tall - 24)
            picture.box(LEFT + INNER * place / bins, top + tall - height, INNER / bins - 1, height, 0)
    picture.line(LEFT, top + tall, LEFT + INNER, top + tall, "axis")
    picture.text(LEFT - 8, top + 28, f"{most:.0%}", "faint", "end")
    picture.text(LEFT - 8, top + tall + 4, "0", "faint", "end")
    picture.text(LEFT + INNER + 16, top + 30, label, "title", "start")
    picture.text(LEFT + INNER + 16, top + 50, f"{len(values):,} commands", "faint", "start")
    for row, (name, value) in enumerate(marks.items()):
        x = across(log10(value))
        picture.line(x, top + 14, x, top + tall, "mark")
        picture.text(x, top + 10, name, "faint")
        picture.text(LEFT + INNER + 16, top + 70 + 18 * row, f"{name} {value:.3g} ms", "", "start")


def _linear(low: float, high: float, start: float, end: float) -> Scale:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _step(most: float) -> float:
    """A round step of which about five make *most*."""
    size = 10.0 ** int(log10(most / 5) // 1)
    return next(size * number for number in (1, 2, 5, 10) if size * number * 6 >= most)


_ROUND = (1, 2, 5)


def _log_ticks(first: float, last: float) -> list[float]:
    ticks = [number * 10.0**power for power in range(-3, 7) for number in _ROUND]
    return [tick for tick in ticks if first <= tick * 1.001 and tick <= last * 1.001]


def _decade_step(value: float, *, up: bool) -> float:
    """The nearest of 1, 2, 5, 10, ... above or below *value*."""
    ticks = [number * 10.0**power for power in range(-3, 7) for number in _ROUND]
    return min(tick for tick in ticks if tick >= value) if up else max(tick for tick in ticks if tick <= value)
