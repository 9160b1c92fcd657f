"""Plots as inline SVG: no script, no font, no file from elsewhere. Colours are the page's, so dark pages stay readable."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from markupsafe import Markup

from offer_engine.judging.intervals import Interval
from offer_engine.judging.uplift import Qini

WIDTH: Final = 760
_LABEL: Final = 190
_LABEL_LETTERS: Final = 24  # as many as fit there
_ROW: Final = 30
_MARGIN: Final = 24


@dataclass(frozen=True, slots=True)
class Bar:
    """A value with its interval; ``inner`` is the bootstrap's part. Marked bars are those that the page is about."""

    label: str
    value: float
    lower: float
    upper: float
    inner: tuple[float, float]
    marked: bool = False


def bar(label: str, interval: Interval, *, marked: bool = False) -> Bar:
    """The bar of an interval."""
    inner = (interval.bootstrap_lower, interval.bootstrap_upper)
    return Bar(label, interval.value, interval.lower, interval.upper, inner, marked)


def qini_curve(qini: Qini) -> str:
    """The curve of an order, beside the line that any order would come to by chance."""
    straight = [(0.0, 0.0), (100.0, qini.gains[-1])]
    ordered = [(100 * share, gain) for share, gain in zip(qini.shares, qini.gains, strict=True)]
    return curves([("by the model", ordered), ("at random", straight)], "Qini curve", "% of decisions with an offer")


def drawn(svg: str) -> Markup:
    """The plot for a template: what it was given is escaped."""
    return Markup(svg)  # nosec B704


def forest(bars: Sequence[Bar], title: str) -> str:
    """Intervals under each other on one scale. Without bars, an empty text."""
    if not bars:
        return ""
    low, high = min(bar.lower for bar in bars), max(bar.upper for bar in bars)
    span = (high - low) or 1.0
    height = _ROW * len(bars) + 2 * _MARGIN

    def x(value: float) -> float:
        return _LABEL + (value - low) / span * (WIDTH - _LABEL - _MARGIN)

    parts = [_open(height, title)]
    parts += [
        f'<line class="{"grid" if at else "zero"}" '
        f'x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{_MARGIN - 8}" y2="{height - _MARGIN}"/>'
        f'<text class="tick" x="{x(at):.1f}" y="{height - 6}" text-anchor="middle">{at:.4g}</text>'
        for at in _ticks(low, high)
    ]
    for place, bar in enumerate(bars):
        y = _MARGIN + _ROW * place + _ROW / 2 - 4
        kind = ' class="marked"' if bar.marked else ""
        parts.append(
            f'<g{kind}><text class="label" x="0" y="{y + 4:.1f}">{escape(_short(bar.label))}</text>'
            f'<line class="outer" x1="{x(bar.lower):.1f}" x2="{x(bar.upper):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<line class="inner" x1="{x(bar.inner[0]):.1f}" x2="{x(bar.inner[1]):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<circle cx="{x(bar.value):.1f}" cy="{y:.1f}" r="4.5"/></g>'
        )
    return "".join([*parts, "</svg>"])


def curves(lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], title: str, across: str) -> str:
    """Lines over a common axis, each named at its end. Without points, an empty text."""
    points = [point for _, line in lines for point in line]
    if not points:
        return ""
    height = 300
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(0.0, *(y for _, y in points)), max(0.0, *(y for _, y in points))

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across_share = (point[0] - left) / ((right - left) or 1.0)
        up_share = (point[1] - low) / ((high - low) or 1.0)
        return 64 + across_share * (WIDTH - 220), height - 44 - up_share * (height - 64)

    parts = [_open(height, title)]
    for at in _ticks(low, high):
        y = place((left, at))[1]
        parts.append(
            f'<line class="grid" x1="64" x2="{WIDTH - 156}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="56" y="{y + 4:.1f}" text-anchor="end">{at:.4g}</text>'
        )
    taken: list[float] = []
    for number, (name, line) in sorted(enumerate(lines), key=lambda each: -each[1][1][-1][1]):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, line))
        y = max(place(line[-1])[1] + 4, *(other + 16 for other in taken)) if taken else place(line[-1])[1] + 4
        taken.append(y)
        parts.append(
            f'<polyline class="line line-{number % 6}" points="{path}"/>'
            f'<text class="label name-{number % 6}" x="{WIDTH - 150}" y="{y:.1f}">{escape(name)}</text>'
        )
    parts.append(f'<text class="tick" x="64" y="{height - 8}">{escape(across)}</text>')
    return "".join([*parts, "</svg>"])


def _short(label: str) -> str:
    return label if len(label) <= _LABEL_LETTERS else f"{label[: _LABEL_LETTERS - 1].rstrip()}…"


def _open(height: int, title: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'


def _ticks(low: float, high: float) -> list[float]:
    """Four or so round values in the range."""
    span = (high - low) or 1.0
    step = 10.0 ** len(str(int(span))) if span >= 1 else 1.0
    while step > span / 3:
        step /= 2 if f"{step:e}"[0] != "5" else 2.5
    first = int(low / step) - 1
    return [step * number for number in range(first, first + 12) if low <= step * number <= high]
