"""What a row says: a figure with its spread, its limit, and whether it reached its marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.farm import Spent


@dataclass(frozen=True, slots=True)
class Figure:
    """The values of several rounds, in one unit."""

    unit: str
    values: tuple[float, ...]

    @classmethod
    def of(cls, unit: str, values: Sequence[float]) -> Figure:
        return cls(unit, tuple(values))

    @property
    def median(self) -> float:
        return median(self.values)

    def __str__(self) -> str:
        middle = f"{shown(self.median)} {self.unit}"
        if len(self.values) == 1:
            return middle
        return f"{middle} ({shown(min(self.values))} to {shown(max(self.values))})"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a row must reach, in words, and whether it did."""

    text: str
    reached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    `memory_mib` is by process (PSS), `spent` the processor time of the last round.
    """

    name: str
    what: str
    figure: Figure
    limit: Figure | None = None
    limit_is: str = ""
    marks: Sequence[Mark] = ()
    notes: Sequence[str] = ()
    memory_mib: dict[str, float] = field(default_factory=dict)
    spent: Spent | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.limit is None else ratio(self.figure, self.limit)


def ratio(figure: Figure, limit: Figure) -> float:
    return figure.median / limit.median if limit.median else float("inf")


def at_least(what: str, value: float, bound: float) -> Mark:
    return Mark(f"{what} at least {shown(bound)}", value >= bound)


def at_most(what: str, value: float, bound: float) -> Mark:
    return Mark(f"{what} at most {shown(bound)}", value <= bound)


def shown(value: float) -> str:
    """Three digits that matter, and never fewer before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 or not value else f"{value:.3g}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all (0 to 1) do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
