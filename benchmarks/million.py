"""A farm in which everybody has posted: a million posts that made 200 million notifications.

5,000 authors have 200 followers each and post in turn. Some readers follow more of them than
people usually do.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from benchmarks import farm, load
from benchmarks.drivers import Drivers

AUTHORS = 5_000
FANS, FAN_OF = 50_000, 20
QUICK_FANS = 10_000
FOLLOWING = (10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)  # authors that readers follow
READERS_EACH = 8
POSTS, QUICK_POSTS = 1_000_000, 200_000
POSTS_PER_CALL = 500
POSTS_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Million:
    """What was made; `memory_mib` is by process, as soon as the last post was there."""

    data_dir: Path
    posts: int
    notifications: int
    posts_per_s: float
    memory_mib: dict[str, float]


def authors() -> list[str]:
    """In the order in which they post."""
    found = [f"author-{number}" for number in range(AUTHORS)]
    random.Random(5).shuffle(found)
    return found


def readers(following: int) -> list[str]:
    return [f"reader-of-{following}-{number}" for number in range(READERS_EACH)]


def fans(count: int) -> list[str]:
    return [f"fan-{number}" for number in range(count)]


def make(data_dir: Path, driver: Drivers, posts: int, people: int) -> Million:
    """A data directory with so many posts, and so many people who follow 20 authors each."""
    data_dir.mkdir()
    edges = data_dir.with_suffix(".tsv")
    with edges.open("w") as file:
        _write_edges(file, people)
    flags = ("--import-follows", str(edges), "--channel", "inbox", "--workers", "1")
    with farm.running(data_dir, *flags) as running:
        job = (running.grpc, authors(), POSTS_PER_CALL, 2, POSTS_WITHIN_S, posts)
        done = driver.run(load.batches, *job)
        memory = running.memory_mib()
    edges.unlink()
    return Million(data_dir, done.count, done.notifications, done.rate, memory)


def _write_edges(file: TextIO, people: int) -> None:
    chance, followed = random.Random(3), authors()
    for following in FOLLOWING:
        for reader in readers(following):
            some = chance.sample(followed, following)
            file.writelines(f"{reader}\t{author}\n" for author in some)
    for fan in fans(people):
        file.writelines(f"{fan}\t{author}\n" for author in chance.sample(followed, FAN_OF))
