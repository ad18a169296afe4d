"""Compiled queries answer, to the letter, what graphql-core answers."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from graphql import (
    NoUnusedFragmentsRule,
    NoUnusedVariablesRule,
    execute,
    parse,
    specified_rules,
    validate,
)
from graphql.execution import ExecutionResult
from graphql.execution.values import VariableValues

from farm.lifecycle import State
from farm.wire import Notification as Row
from gateway.compiled import VARIANTS_MAX, Done, Query, query_of, read_by_default, to_json
from gateway.nodes import Notification
from gateway.schema import make_schema
from tests.web.generated_queries import World, variables

WORLDS = int(os.environ.get("HARK_WORLDS", "8"))
QUERIES = 12  # of each world
RULES = [
    rule for rule in specified_rules if rule not in (NoUnusedFragmentsRule, NoUnusedVariablesRule)
]
INBOX = """query ($user: ID!, $short: Boolean = false) { getNotifications(userId: $user) {
  id userId postId authorId content @skip(if: $short) createdAt read status attempts
  deliveries { channel status } } }"""
TIMES = 3  # each: before it is compiled, while it is, and after


def compiled(world: World, text: str) -> Query:
    made = query_of(world.schema, parse(text), "Q", read_by_default, hide_suggestions=False)
    assert made is not None
    return made


async def by_graphql_core(world: World, text: str, given: dict[str, Any]) -> Done:
    result: Any = execute(world.schema, parse(text), None, None, given, "Q")
    if not isinstance(result, ExecutionResult):
        result = await result
    data = None if result.data is None else to_json(result.data)
    return Done(data, result.errors or [])


def told(done: Done) -> tuple[str | None, list[Any]]:
    return done.data, [error.formatted for error in done.errors]


def counting(query: Query, seen: Counter[str]) -> None:
    """Lets the query's writers be counted."""

    def counted(writer: Callable[[Any], str]) -> Callable[[Any], str]:
        def write(value: Any) -> str:
            seen["asked"] += 1
            text = writer(value)
            seen["wrote"] += len(text) > len("null")
            return text

        return write

    for writers in query._variants.values():
        for name, writer in writers.items():
            writers[name] = counted(writer)


async def settled() -> None:
    """Lets end what the executor has begun and needs no more once a field has failed."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.gather(*others, return_exceptions=True)


async def compare(world: World, chance: Random, seen: Counter[str]) -> None:
    text = world.query(chance)
    if validate(world.schema, parse(text), RULES):
        seen["invalid"] += 1
        return
    given = variables(chance)
    query = compiled(world, text)
    expected = await by_graphql_core(world, text, given)
    for _ in range(TIMES):
        found = await query.run(given, None)
        assert told(found) == told(expected), (text, given)
    seen["valid"] += 1
    seen["with errors"] += bool(expected.errors)
    counting(query, seen)
    await query.run(given, None)
    await settled()


def test_generated_queries_are_answered_as_by_graphql_core() -> None:
    """Data as the same text, errors the same in the same order; with what is wrong in schemas,
    values, variables now and then."""
    first = Random().randrange(10**9)
    seen = Counter[str]()
    for seed in range(first, first + WORLDS):
        print(f"seed {seed}")
        world, chance = World(seed), Random(seed)
        for _ in range(QUERIES):
            asyncio.run(compare(world, chance, seen))
    print(dict(seen))
    assert seen["valid"] > WORLDS * QUERIES / 2, "most queries are to be valid ones"
    assert seen["wrote"] > seen["valid"] / 10, "writers are to be seen at work"
    assert seen["asked"] > seen["wrote"], "and to give up"
    assert seen["with errors"] > seen["valid"] / 20


def test_what_is_asked_most_has_a_writer() -> None:
    query = make_schema(introspection=True).query_of(INBOX, None)
    assert query is not None
    for short in (False, True):
        executor = query._executor(VariableValues({}, {"short": short}), None)
        assert query._writers(executor) == {}, "what is asked once is not compiled"
        executor.writers = query._writers(executor)
        row = Row(
            "3b.4", "user-1", "p", "user-2", 'it is "new"', 1_700_000_000_000_500, read=True,
            state=State.DEAD, attempts=2, cursor="", deliveries=[],
        )  # fmt: skip
        shown = {
            "id": "3b.4",
            "userId": "user-1",
            "postId": "p",
            "authorId": "user-2",
            "content": 'New post from user-2: it is "new"',
            "createdAt": "2023-11-14T22:13:20.000500Z",
            "read": True,
            "status": "FAILED",
            "attempts": 2,
            "deliveries": [],
        }
        if short:
            del shown["content"]
        assert executor.writers["getNotifications"](Notification.all_of([row])) == to_json([shown])


def test_the_variants_of_a_query_are_bounded() -> None:
    """By the variables of its directives; those beyond are answered all the same."""
    names = [f"b{number}" for number in range(VARIANTS_MAX)]
    fields = " ".join(f"{name}: __typename @include(if: ${name})" for name in names)
    text = f"query ({', '.join(f'${name}: Boolean!' for name in names)}) {{ {fields} }}"
    query = make_schema(introspection=True).query_of(text, None)
    assert query is not None
    for number in range(2**VARIANTS_MAX):
        given = {name: bool(number >> at & 1) for at, name in enumerate(names)}
        expected = {name: "Query" for name, shown in given.items() if shown}
        for _ in range(TIMES):
            assert asyncio.run(query.run(given, None)).data == to_json(expected)
    assert len(query._variants) == len(query._asked) == VARIANTS_MAX
