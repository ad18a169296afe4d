"""Who follows whom in the farms that are measured.

The crowd: a million people who follow one author, and of whom so many follow each of some smaller
ones. Their numbers are drawn from ten million, because a set of consecutive numbers takes next to
no room and nobody's followers are like that: the numbers are given to them while the farm is
stopped, and everything else goes in by `--import-follows`.

The graph: edges of the shape of a real social network, made larger, from a seed; or one by path.
"""

from __future__ import annotations

import math
import random
from pathlib import Path
from statistics import NormalDist

from benchmarks import bare, farm

PEOPLE = 1_000_000
AMONG = 10_000_000
MILLION = "author-of-a-million"
SMALLER = {
    100_000: 1,
    10_000: 5,
    1_000: 100,
    200: 200,
    100: 100,
    10: 100,
}  # followers, and how many authors have so many

GRAPH_PEOPLE = 82_168
GRAPH_EDGES = 870_161
GRAPH_FOLLOWERS_MAX = 2_552
GRAPH_FOLLOWERS_MEDIAN = 2
GRAPH_SAMPLE = 50_000


def authors_of(followers: int) -> list[str]:
    """The authors with so many followers."""
    if followers == PEOPLE:
        return [MILLION]
    return [f"author-of-{followers}-{number}" for number in range(SMALLER[followers])]


def people(count: int) -> list[str]:
    """The ids of so many of the million, in no order."""
    return [f"person-{number}" for number in random.Random(8).sample(_numbers(), count)]


def _numbers() -> list[int]:
    return sorted(random.Random(7).sample(range(1, AMONG), PEOPLE))


def make(data_dir: Path) -> float:
    """Makes the data directory of a farm with the crowd; seconds of the import."""
    chance = random.Random(9)
    data_dir.mkdir(parents=True)
    farm.start(data_dir, "--no-sample-data", "--workers", "1").stop()
    numbers = _numbers()
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


def write_graph(path: Path, edges: int) -> None:
    """An edge list of a real network's shape: followers by author log-normal, with a long tail, and
    drawn without order. Authors come in no order either."""
    chance = random.Random(11)
    people = round(GRAPH_PEOPLE * edges / GRAPH_EDGES)
    counts = _follower_counts(people, edges)
    chance.shuffle(counts)
    with path.open("w") as file:
        for author, count in enumerate(counts):
            file.write(_edges(author, count, people, chance))


def _follower_counts(people: int, edges: int) -> list[int]:
    """By person: log-normal, as wide as it must be for the edges."""
    low, high = 0.5, 4.0
    for _ in range(20):
        middle = (low + high) / 2
        share = sum(_counts(middle, GRAPH_SAMPLE)) / GRAPH_SAMPLE
        low, high = (middle, high) if share < edges / people else (low, middle)
    counts = _counts(low, people)
    for rank in range(abs(missing := edges - sum(counts))):
        counts[people // 4 + rank % (people // 4)] += 1 if missing > 0 else -1
    return counts


def _counts(sigma: float, people: int) -> list[int]:
    quantile = NormalDist(math.log(GRAPH_FOLLOWERS_MEDIAN + 0.5), sigma).inv_cdf
    shares = (1 - (rank + 0.5) / people for rank in range(people))
    return [min(int(math.exp(quantile(share))), GRAPH_FOLLOWERS_MAX) for share in shares]


def _edges(author: int, count: int, people: int, chance: random.Random) -> str:
    """Lines for so many followers: nobody follows themselves, nobody follows twice."""
    others = chance.sample(range(people - 1), count)
    return "".join([f"{who + (who >= author)}\t{author}\n" for who in others])
