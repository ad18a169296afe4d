"""The row about following one author, in groups."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from benchmarks import bare, crowd, load
from benchmarks.bench import NOTHING_SENT, Bench, about_driver
from benchmarks.farm import running
from benchmarks.figures import Figure, Row, at_least, ratio

GROUP = 100
IN_FLIGHT = 4
FOLLOWS_PER_S = 15_000  # of a round's seconds
STAR = "star"


def one_author(bench: Bench) -> Iterator[Row]:
    """People of the crowd begin to follow one author, 100 with each call."""
    people = crowd.people(int(FOLLOWS_PER_S * bench.round_s) // GROUP * GROUP * (bench.rounds + 1))
    a_round = len(people) // (bench.rounds + 1)
    loads = []
    with bench.data_dir() as data_dir:
        with running(data_dir, *NOTHING_SENT) as farm:
            before = after = farm.usage()
            for first in range(0, len(people), a_round):
                some = people[first : first + a_round]
                before = farm.usage()
                loads.append(
                    bench.driver.run(load.follows, farm.grpc, STAR, some, GROUP, IN_FLIGHT)
                )
                after = farm.usage()
                bench.tell(f"follows: {loads[-1].rate:,.0f}/s")
            spent = before.until(after, a_round)
            memory = farm.memory_mib()
        bares = []
        for _ in range(bench.rounds):
            scratch = bench.scratch()
            job = (str(data_dir), str(scratch), STAR, GROUP, a_round)
            bares.append(a_round / bench.driver.run(bare.follows, *job))
            shutil.rmtree(scratch)
    figure = Figure.of("follows/s", [one.rate for one in loads[1:]])
    limit = Figure.of("follows/s", bares)
    yield Row(
        name="follows",
        what=f"follows to one author, durable, {GROUP} with a call of ImportFollows",
        figure=figure,
        limit=limit,
        limit_is=f"bare transactions of {GROUP} relations, a set, the author and the counter",
        marks=[
            at_least("ratio", ratio(figure, limit), 0.5),
            at_least("follows/s", figure.median, 15_000),
        ],
        notes=[f"{IN_FLIGHT} calls in flight", *about_driver(loads[-1])],
        memory_mib=memory,
        spent=spent,
    )
