"""Compiled queries of objects that have much in common: that is written once for all of them."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from graphql import GraphQLField, build_schema, parse

from gateway.compiled import Query, called_by_default, query_of, read_by_default
from tests.web.test_compiled import by_graphql_core, told

COMMON = ("tag", "size", "colours")
OWN = ("name", "number", "parts")
SCHEMA = build_schema("""type Query { parts: [Part!] }
  type Part { name: String number: Int! tag: String size: Int! colours: [String!] parts: [Part!] }
""")
QUERIES = 200
TIMES = 4  # each: twice before it is compiled, and twice after


class Common:
    """What several parts have in common."""

    def __init__(self, **values: Any) -> None:
        self.written: dict[object, Any] = {}
        self.reads: Counter[str] = Counter()
        self._values = values

    def __getattr__(self, name: str) -> Any:
        if name not in COMMON:
            raise AttributeError(name)
        self.reads[name] += 1
        return self._values[name]


class Part:
    """Has the rest of its attributes from what it has in common with others."""

    def __init__(self, of: Common, **own: Any) -> None:
        self.of = of
        vars(self).update(own)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of, name)


def compiled(text: str) -> Query:
    made = query_of(SCHEMA, parse(text), "Q", _read, called_by_default, hide_suggestions=False)
    assert made is not None
    return made


def _read(name: str, field: GraphQLField) -> str | None:
    return f"of.{name}" if name in COMMON else read_by_default(name, field)


def _resolved(_source: Any, info: Any) -> Any:
    """Those that a question comes with."""
    return info.context


assert SCHEMA.query_type is not None
SCHEMA.query_type.fields["parts"].resolve = _resolved


def selection(chance: Random, depth: int = 2) -> str:
    """Fields in any order, some under other names."""
    names = chance.sample([*COMMON, *OWN, "__typename"], chance.randint(1, 7))
    names = [name for name in names if depth or name != "parts"] or ["name"]
    fields = [
        f"{chance.choice(('', f'a{number}: '))}{name}"
        f"{selection(chance, depth - 1) if name == 'parts' else ''}"
        for number, name in enumerate(names)
    ]
    return f"{{ {' '.join(fields)} }}"


def some_parts(chance: Random, depth: int = 2) -> list[Part]:
    """Each has one of two objects in common with others; now and then something is wrong."""
    few = [
        Common(
            tag=chance.choice(("x", "it's {odd}", '\\ " %s {t0}', None)),
            size=chance.choice((*range(20), None)),
            colours=chance.choice((["red"], [], None, ["red", "{}"])),
        )
        for _ in range(2)
    ]
    return [
        Part(
            chance.choice(few),
            name=chance.choice(("{a}", "b'", None)),
            number=chance.choice((*range(20), None)),
            parts=some_parts(chance, depth - 1) if depth else [],
        )
        for _ in range(3)
    ]


async def test_it_is_written_as_graphql_core_writes_it() -> None:
    chance = Random(5)
    fine = 0
    for _ in range(QUERIES):
        text = f"query Q {{ parts {selection(chance)} }}"
        query = compiled(text)
        for _ in range(TIMES):
            parts = some_parts(chance)
            expected = await by_graphql_core(SCHEMA, text, {}, parts)
            assert told(await query.run({}, parts)) == told(expected), text
            fine += not expected.errors
        assert all(variant.only for variant in query._variants.values()), "it has a writer"
    assert QUERIES < fine < QUERIES * TIMES, "some answers are whole, and some have errors"


async def test_it_is_read_once_for_all_and_once_more_by_another_query() -> None:
    """Also from one answer to the next: whoever keeps the object keeps what was written of it."""
    one = Common(tag="x", size=1, colours=["red"])
    parts = [Part(one, name=f"{number}") for number in range(5)]
    for count, fields in enumerate(("tag name size", "name size colours"), start=1):
        query = compiled(f"query Q {{ parts {{ {fields} }} }}")
        for _ in range(2):
            await query.run({}, parts)  # the executor reads it for each
        one.reads.clear()
        if count == 1:
            one.written.clear()
        for _ in range(3):
            done = await query.run({}, parts)
            assert not done.errors
        assert len(one.written) == count
        assert set(one.reads.values()) <= {1}


async def test_what_cannot_be_written_is_not_kept() -> None:
    one = Common(tag="x", size=None, colours=[])
    query = compiled("query Q { parts { name size } }")
    for _ in range(TIMES):
        done = await query.run({}, [Part(one, name="a")])
        assert [error.path for error in done.errors] == [["parts", 0, "size"]]
    assert not one.written
