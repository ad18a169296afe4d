"""Plots as SVG, small enough to read: lines with whiskers in panels side by side.

Colours come from the style sheet within, so that a plot is readable on a dark page too, and series
differ by the shape of their points as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 460, 340  # of a panel
LEFT, RIGHT, TOP, BOTTOM = 62, 26, 64, 52
LOGARITHMIC_FROM = 20  # times the least
TICKS = 5
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 13px }
.back { fill: #ffffff } .grid { stroke: #d1d9e0 } .axis { stroke: #59636e }
.line { fill: none; stroke-width: 2 } .c0 { stroke: #0969da } .c1 { stroke: #bc4c00 }
.c2 { stroke: #1a7f37 } .p0 { fill: #0969da } .p1 { fill: #bc4c00 } .p2 { fill: #1a7f37 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .back { fill: #0d1117 } .grid { stroke: #30363d } .axis { stroke: #9198a1 }
.c0 { stroke: #58a6ff } .c1 { stroke: #f0883e } .c2 { stroke: #3fb950 }
.p0 { fill: #58a6ff } .p1 { fill: #f0883e } .p2 { fill: #3fb950 } }
"""


@dataclass(frozen=True, slots=True)
class Point:
    """A figure at x: the middle one of several rounds, the least and the most."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Panel:
    """What has one unit, in one square."""

    title: str
    x_label: str
    series: Sequence[Series]


def svg(panels: Sequence[Panel]) -> str:
    width = WIDTH * len(panels)
    drawn = "\n".join(_panel(panel, at * WIDTH) for at, panel in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}"'
        f' height="{HEIGHT}" role="img">\n<style>{STYLE}</style>\n'
        f'<rect class="back" width="{width}" height="{HEIGHT}"/>\n{drawn}\n</svg>\n'
    )


@dataclass(frozen=True, slots=True)
class _Axis:
    """Values to pixels, evenly or by powers of ten."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool

    def at(self, value: float) -> float:
        low, high, value = (
            (math.log10(v) for v in (self.low, self.high, value))
            if self.logarithmic
            else (self.low, self.high, value)
        )
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.logarithmic:
            powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            return [10.0**power for power in powers]
        step = _round_step((self.high - self.low) / TICKS)
        first = math.ceil(self.low / step)
        return [step * n for n in range(first, math.floor(self.high / step) + 1)]


def _axis(values: Sequence[float], start: float, end: float, *, from_zero: bool) -> _Axis:
    low, high = min(values), max(values)
    if low > 0 and high >= LOGARITHMIC_FROM * low:
        low, high = (
            10.0**rounded for rounded in (math.floor(math.log10(low)), math.ceil(math.log10(high)))
        )
        return _Axis(low, high, start, end, logarithmic=True)
    if from_zero:
        return _Axis(0.0, high * 1.1 or 1.0, start, end, logarithmic=False)
    return _Axis(low, high, start, end, logarithmic=False)


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(n * power for n in (1, 2, 5, 10) if n * power >= step)


def _panel(panel: Panel, left: float) -> str:
    points = [point for series in panel.series for point in series.points]
    x = _axis([p.x for p in points], left + LEFT, left + WIDTH - RIGHT, from_zero=False)
    ends = [end for p in points for end in (p.low, p.high)]
    y = _axis(ends, HEIGHT - BOTTOM, TOP, from_zero=True)
    parts = [_text(left + LEFT, 20, panel.title, 'class="title"')]
    parts += [_tick_y(y, tick, left) for tick in y.ticks()]
    parts += [_tick_x(x, tick) for tick in x.ticks()]
    middle = left + (LEFT + WIDTH - RIGHT) / 2
    parts.append(_text(middle, HEIGHT - 12, panel.x_label, 'text-anchor="middle"'))
    for number, series in enumerate(panel.series):
        parts.append(_series(series, number, x, y))
        across = left + LEFT + number * (WIDTH - LEFT) / len(panel.series)
        parts.append(_shape(number, across + 5, 40))
        parts.append(_text(across + 14, 44, series.name))
    return "\n".join(parts)


def _tick_y(axis: _Axis, tick: float, left: float) -> str:
    at = axis.at(tick)
    line = f'<path class="grid" d="M{left + LEFT:.1f} {at:.1f}H{left + WIDTH - RIGHT:.1f}"/>'
    return line + _text(left + LEFT - 6, at + 4, _short(tick), 'text-anchor="end"')


def _tick_x(axis: _Axis, tick: float) -> str:
    at, foot = axis.at(tick), HEIGHT - BOTTOM
    line = f'<path class="axis" d="M{at:.1f} {foot}v5"/>'
    return line + _text(at, foot + 19, _short(tick), 'text-anchor="middle"')


def _series(series: Series, number: int, x: _Axis, y: _Axis) -> str:
    places = [(x.at(p.x), y.at(p.y), y.at(p.low), y.at(p.high)) for p in series.points]
    line = "L".join(f"{across:.1f} {down:.1f}" for across, down, _, _ in places)
    parts = [f'<path class="line c{number}" d="M{line}"/>']
    for across, down, low, high in places:
        parts.append(f'<path class="c{number}" d="M{across:.1f} {low:.1f}V{high:.1f}"/>')
        parts.append(_shape(number, across, down))
    return "\n".join(parts)


def _shape(number: int, x: float, y: float) -> str:
    outline = (
        "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
        "m-4-4h8v8h-8z",
        "m0-5l5 9h-10z",
    )[number]
    return f'<path class="p{number}" d="M{x:.1f} {y:.1f}{outline}"/>'


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(text)}</text>'


def _short(value: float) -> str:
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
