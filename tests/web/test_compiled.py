"""Compiled queries answer, to the letter, what graphql-core answers."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from graphql import (
    GraphQLSchema,
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
from farm.wire import Look
from farm.wire import Notification as Row
from gateway.compiled import (
    ERRORS_OF_VARIABLES_MAX,
    FIELDS_MAX,
    VARIANTS_MAX,
    Done,
    Query,
    called_by_default,
    query_of,
    read_by_default,
    to_json,
)
from gateway.nodes import Notification
from gateway.schema import make_schema
from tests.web.compiled_cases import FAILING, LEFT, SCHEMA, UNCOVERED, WRITTEN, Case, Thing
from tests.web.generated_queries import World, variables

WORLDS = 8  # always the same ones
MORE_WORLDS = int(os.environ.get("HARK_WORLDS", "0"))  # that differ each time
QUERIES = 12  # of each world
RULES = [
    rule for rule in specified_rules if rule not in (NoUnusedFragmentsRule, NoUnusedVariablesRule)
]
INBOX = """query ($user: ID!, $short: Boolean = false) { getNotifications(userId: $user) {
  id userId postId authorId content @skip(if: $short) createdAt read status attempts
  deliveries { channel status } } }"""
TIMES = 3  # each: before it is compiled, while it is, and after


def compiled(schema: GraphQLSchema, text: str) -> Query:
    made = query_of(
        schema, parse(text), "Q", read_by_default, called_by_default, hide_suggestions=False
    )
    assert made is not None
    return made


async def by_graphql_core(
    schema: GraphQLSchema, text: str, given: dict[str, Any], context: Any = None
) -> Done:
    result: Any = execute(schema, parse(text), None, context, given, "Q")
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

    for variant in query._variants.values():
        for name, writer in variant.writers.items():
            variant.writers[name] = counted(writer)


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
    query = compiled(world.schema, text)
    expected = await by_graphql_core(world.schema, text, given)
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
    first = Random().randrange(WORLDS, 10**9)
    seen = Counter[str]()
    for seed in (*range(WORLDS), *range(first, first + MORE_WORLDS)):
        print(f"seed {seed}")
        world, chance = World(seed), Random(seed)
        for _ in range(QUERIES):
            asyncio.run(compare(world, chance, seen))
    print(dict(seen))
    assert seen["valid"] > (WORLDS + MORE_WORLDS) * QUERIES / 2, "most queries are to be valid ones"
    assert seen["wrote"] > seen["valid"] / 10, "writers are to be seen at work"
    assert seen["asked"] > seen["wrote"], "and to give up"
    assert seen["with errors"] > seen["valid"] / 20


async def compare_case(case: Case) -> list[str | None]:
    """What the writer wrote each time: None where it gave up. Empty where there is no writer."""
    text = f"query Q({case.declared}) {{ item {{ {case.selection} }} }}".replace("()", "")
    text += " fragment More on Item { item { sure } }" if "More" in text else ""
    query = compiled(SCHEMA, text)
    assert not validate(SCHEMA, parse(text))
    calls = itertools.count()

    def item() -> Any:
        next(calls)
        return case.value()

    expected = await by_graphql_core(SCHEMA, text, case.variables, item)
    once = next(calls)
    for _ in range(TIMES):
        assert told(await query.run(case.variables, item)) == told(expected)
    wrote = noting(query)
    assert told(await query.run(case.variables, item)) == told(expected)
    assert next(calls) == 1 + once * (1 + TIMES + 1), "a resolver is called once for each question"
    return wrote


def noting(query: Query) -> list[str | None]:
    """What its writers write from now on, None where one gives up."""
    wrote: list[str | None] = []

    def noted(writer: Callable[[Any], str]) -> Callable[[Any], str]:
        def write(value: Any) -> str:
            wrote.append(None)
            wrote[-1] = text = writer(value)
            return text

        return write

    for variant in query._variants.values():
        for name, writer in variant.writers.items():
            variant.writers[name] = noted(writer)
    return wrote


@pytest.mark.parametrize("name", WRITTEN)
async def test_a_usual_value_is_written_as_by_graphql_core(name: str) -> None:
    wrote = await compare_case(WRITTEN[name])
    assert wrote
    assert None not in wrote


@pytest.mark.parametrize("name", LEFT)
async def test_an_unusual_value_is_left_to_graphql_core(name: str) -> None:
    wrote = await compare_case(LEFT[name])
    assert set(wrote) == {None}


@pytest.mark.parametrize("name", FAILING)
async def test_a_resolver_that_fails_is_not_called_again(name: str) -> None:
    assert await compare_case(FAILING[name]) == []


@pytest.mark.parametrize("name", UNCOVERED)
async def test_what_takes_more_than_reading_has_no_writer(name: str) -> None:
    assert await compare_case(UNCOVERED[name]) == []


async def test_each_answer_follows_the_variables_it_was_asked_with() -> None:
    """The first time, the second, when it is compiled, and those after; arguments and all that
    decides on what is included."""
    text = """query Q($a: Boolean!, $b: Boolean! = true, $c: Boolean = false, $s: [Int!]) {
      item(s: $s) { name id @include(if: $a) ... @skip(if: $b) { number } ...F @include(if: $c) } }
      fragment F on Item { yes sure @skip(if: $a) }"""
    query = compiled(SCHEMA, text)
    shown: dict[str, Any] = {"id": "x", "number": 1, "yes": True, "sure": "s"}
    given: list[dict[str, Any]] = [
        {"a": True, "s": [1]}, {"a": False, "s": 2}, {"a": True, "b": False}, {"a": False},
        {"a": True, "b": False, "s": []}, {"a": False, "c": True}, {"a": True, "c": True},
        {"a": False, "c": None}, {}, {"a": 1}, {"a": True, "s": ["x"] * 60}, {"a": True, "b": None},
    ]  # fmt: skip
    for asked in [*given[:3], *given, *reversed(given), *given]:

        def item(**arguments: Any) -> Thing:
            return Thing(name=f"{arguments}", **shown)

        expected = await by_graphql_core(SCHEMA, text, asked, item)
        assert told(await query.run(asked, item)) == told(expected), asked
    assert len(query._variants) == VARIANTS_MAX


@pytest.mark.parametrize(
    "selection", ["item { name @include(if: $x) }", "item @skip(if: $x) { id }"]
)
async def test_null_for_a_directive_is_an_error_each_time(selection: str) -> None:
    """A variable that has a default may be null, and what @skip and @include want may not."""
    text = f"query Q($x: Boolean = true) {{ {selection} }}"
    query = compiled(SCHEMA, text)
    assert not validate(SCHEMA, parse(text))
    for given in ({"x": None}, {}):
        expected = await by_graphql_core(SCHEMA, text, given, Thing)
        for _ in range(TIMES):
            assert told(await query.run(given, Thing)) == told(expected)
        assert bool(expected.errors) is ("x" in given)


async def test_a_query_of_very_many_fields_has_no_writer() -> None:
    def asked(count: int) -> Case:
        names = " ".join(f"n{number}: name" for number in range(count))
        return Case(names, lambda: Thing(name="a"))

    assert await compare_case(asked(FIELDS_MAX))
    assert not await compare_case(asked(FIELDS_MAX + 1))


def test_as_many_errors_of_variables_are_told_as_by_graphql_core() -> None:
    text = "query Q($s: [Int!]) { item(s: $s) { name } }"
    done = asyncio.run(compiled(SCHEMA, text).run({"s": ["x"] * 100}, None))
    assert done.data is None
    assert len(done.errors) == ERRORS_OF_VARIABLES_MAX + 1


def test_what_is_asked_most_has_a_writer() -> None:
    query = make_schema(introspection=True).understood(INBOX, None).query
    assert query is not None
    for short in (False, True):
        values = VariableValues({}, {"short": short})
        assert query._variant(values) is None, "what is asked once is not compiled"
        variant = query._variant(values)
        assert variant is not None
        row = Row(
            "3b.4", "user-1", "",
            Look(
                0x3B, "p", "user-2", 'it is "new"', 1_700_000_000_000_500, read=True,
                state=State.DEAD, attempts=2, deliveries=[],
            ),
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
        assert variant.writers["getNotifications"](Notification.all_of([row])) == to_json([shown])


def test_the_variants_of_a_query_are_bounded() -> None:
    """By the variables of its directives; those beyond are answered all the same."""
    names = [f"b{number}" for number in range(VARIANTS_MAX)]
    fields = " ".join(f"{name}: __typename @include(if: ${name})" for name in names)
    text = f"query ({', '.join(f'${name}: Boolean!' for name in names)}) {{ {fields} }}"
    query = make_schema(introspection=True).understood(text, None).query
    assert query is not None
    for number in range(2**VARIANTS_MAX):
        given = {name: bool(number >> at & 1) for at, name in enumerate(names)}
        expected = {name: "Query" for name, shown in given.items() if shown}
        for _ in range(TIMES):
            assert asyncio.run(query.run(given, None)).data == to_json(expected)
    assert len(query._variants) == len(query._asked) == VARIANTS_MAX
