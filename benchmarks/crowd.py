"""Who follows whom in the farms that are measured.

The crowd: a million people who follow one author, and of whom so many follow each of some smaller
ones. Their numbers are drawn from ten million, because a set of consecutive numbers takes next to
no room and nobody's followers are like that: the numbers are given to them while the farm is
stopped, and everything else goes in by `--import-follows`.

The graph: edges of the shape of a real social network, from a seed, or a real one by path.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist

from benchmarks import bare, farm

PEOPLE = 1_000_000
AMONG = 10_000_000
MILLION = "author-of-a-million"
SMALLER = {1_000: 100, 200: 200, 10: 100}  # followers, and how many authors have so many

GRAPH_PEOPLE = 82_168
GRAPH_EDGES = 870_161
GRAPH_FOLLOWERS_MAX = 2_552
GRAPH_FOLLOWERS_MEDIAN = 2


def authors_of(followers: int) -> list[str]:
    """The authors with so many followers."""
    if followers == PEOPLE:
        return [MILLION]
    return [f"author-of-{followers}-{number}" for number in range(SMALLER[followers])]


def make(data_dir: Path) -> float:
    """Makes the data directory of a farm with the crowd; seconds of the import."""
    chance = random.Random(7)
    data_dir.mkdir(parents=True)
    farm.start(data_dir, "--no-sample-data", "--workers", "1").stop()
    numbers = sorted(chance.sample(range(1, AMONG), PEOPLE))
    ids = [f"person-{number}" for number in numbers]
    bare.give_numbers(data_dir, [*zip(numbers, ids, strict=True), (AMONG, f"person-{AMONG}")])
    edges = data_dir.parent / "crowd.tsv"
    with edges.open("w") as file:
        file.writelines(f"{person}\t{MILLION}\n" for person in ids)
        for followers in SMALLER:
            for author in authors_of(followers):
                sample = chance.sample(ids, followers)
                file.writelines(f"{person}\t{author}\n" for person in sample)
    flags = ("--no-sample-data", "--workers", "1", "--import-follows", str(edges))
    started = farm.start(data_dir, *flags)
    started.stop()
    edges.unlink()
    return started.ready_s


def write_graph(path: Path) -> None:
    """An edge list of the real graph's shape: as many people and edges, the same longest tail."""
    chance = random.Random(11)
    counts = _follower_counts()
    with path.open("w") as file:
        edges = _edges(counts, chance)
        while piece := list(itertools.islice(edges, 10_000)):
            file.writelines(f"{follower}\t{author}\n" for follower, author in piece)


def _follower_counts() -> list[int]:
    """By person, the most followed first: log-normal, as wide as it must be for the edges."""
    low, high = 0.5, 4.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(_counts(middle)) < GRAPH_EDGES else (low, middle)
    counts = _counts(low)
    for rank in range(GRAPH_EDGES - sum(counts)):
        counts[GRAPH_PEOPLE // 4 + rank] += 1
    return counts


def _counts(sigma: float) -> list[int]:
    quantile = NormalDist(math.log(GRAPH_FOLLOWERS_MEDIAN + 0.5), sigma).inv_cdf
    shares = (1 - (rank + 0.5) / GRAPH_PEOPLE for rank in range(GRAPH_PEOPLE))
    return [min(int(math.exp(quantile(share))), GRAPH_FOLLOWERS_MAX) for share in shares]


def _edges(counts: list[int], chance: random.Random) -> Iterator[tuple[int, int]]:
    """Followers are drawn evenly; nobody follows themselves, nobody follows twice."""
    for author, count in enumerate(counts):
        chosen = chance.sample(range(GRAPH_PEOPLE - 1), count)
        yield from ((who + (who >= author), author) for who in chosen)
