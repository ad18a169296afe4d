"""A soak in short, and the rule by which a long one says that something grows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.growth import Sample, told
from tests.chaos.soak import soak


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_farm_lives_through_chapter_after_chapter(tmp_path: Path) -> None:
    """Fault row 111, in two chapters; `make soak HOURS=24` is all of it."""
    assert await soak(tmp_path, seed=111, duration_s=40.0, chapter_s=20.0) == []


def _life(hours: float, memory_mb_per_h: float, descriptors_per_h: float) -> list[Sample]:
    """A sample every 36 s; memory goes up and down by 5 MB all the time."""
    moments = [number / 100 for number in range(int(hours * 100))]
    return [
        Sample(
            at_s=at_h * 3_600,
            memory_mb=100 + memory_mb_per_h * at_h + 5 * (number % 2),
            descriptors=int(20 + descriptors_per_h * at_h),
        )
        for number, at_h in enumerate(moments)
    ]


@pytest.mark.parametrize(
    ("life", "grew"),
    [
        (_life(4, 0.0, 0), False),
        (_life(4, 0.5, 0), False),
        (_life(4, 2.0, 0), True),
        (_life(0.5, 20.0, 0), False),  # too short to say so
        (_life(4, 0.0, 10), True),
        (_life(4, -3.0, -2), False),
    ],
)
def test_a_life_that_takes_more_and_more_is_found(life: list[Sample], grew: bool) -> None:
    """Fault row 111: memory by at most a megabyte an hour, descriptors not at all."""
    assert told(life)[1] is grew
