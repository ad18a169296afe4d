"""Schemas, what is behind them, and queries, all by chance, for comparing two ways to run a query.

Most values are as they must be. The others are what an executor may meet: null, errors, values of
another type, what has to be called or waited for, lists that are none, attributes that are missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator
from random import Random
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    GraphQLUnionType,
    get_named_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from graphql.pyutils import Undefined

DEPTH = 4
VARIABLES = "$b0: Boolean!, $b1: Boolean = true, $b2: Boolean, $i: Int, $s: [ID!]"


class Thing:
    """What an object type is read from."""

    genuine: bool

    def __repr__(self) -> str:
        return "a thing"


class Later(Thing):
    """A value that has to be waited for."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, None, Any]:
        yield from asyncio.sleep(0).__await__()
        if isinstance(self._value, Exception):
            raise self._value
        return self._value


class Loud(Thing):
    """One that is called before anything is read from it."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        return Thing()


def _serialize_odd(value: Any) -> Any:
    if value == "seven":
        raise ValueError("this one is refused")
    if isinstance(value, str):
        return {"Half \ud83d": 1.5, "none": None}.get(value, [value])
    return {"of a": type(value).__name__}


class World:
    """A schema, and resolvers that answer from chance: the same each time it is asked."""

    def __init__(self, seed: int) -> None:
        chance = Random(seed)
        self._seed = seed
        self._numbers = iter(range(10_000))
        self._leaves: list[Any] = [
            GraphQLString, GraphQLID, GraphQLInt, GraphQLFloat, GraphQLBoolean,
            GraphQLEnumType("Colour", {"RED": "r", "GREEN": 2, "BLUE": None}),
            GraphQLScalarType("Odd", coerce_output_value=_serialize_odd),
            GraphQLScalarType("Doubled", coerce_output_value=lambda value: value * 2),
        ]  # fmt: skip
        self._named = GraphQLInterfaceType("Named", {"name": GraphQLField(GraphQLString)})
        self._objects: list[GraphQLObjectType] = [
            self._object(f"T{number}", chance) for number in range(4)
        ]
        self._union = GraphQLUnionType("Either", self._objects[:2], resolve_type=lambda *_: "T0")
        self._named.resolve_type = lambda *_: "T1"
        root = GraphQLObjectType("Query", {f"q{n}": self._root(n, chance) for n in range(4)})
        self.schema = GraphQLSchema(root, types=self._objects)

    def _object(self, name: str, chance: Random) -> GraphQLObjectType:
        def fields() -> dict[str, GraphQLField]:
            made = {f"f{next(self._numbers)}": self._field(chance) for _ in range(5)}
            return {"name": GraphQLField(GraphQLString), **made}

        guarded = chance.random() < 0.2
        check = (lambda value, _info: getattr(value, "genuine", True)) if guarded else None
        return GraphQLObjectType(name, fields, interfaces=[self._named], is_type_of=check)

    def _field(self, chance: Random) -> GraphQLField:
        odd = chance.random()
        number = GraphQLArgument(GraphQLNonNull(GraphQLInt), default_value=1)
        args = {"i": number} if odd < 0.08 else None
        resolve = (lambda source, _info, **_: getattr(source, "name", 1)) if odd > 0.95 else None
        return GraphQLField(self._type(chance), args=args, resolve=resolve)

    def _type(self, chance: Random, *, inner: bool = False) -> Any:
        kind = chance.random()
        type_: Any
        if kind < 0.25 and not inner:
            type_ = GraphQLList(self._type(chance, inner=kind > 0.05))
        elif kind < 0.6:
            type_ = chance.choice(self._objects)
        elif kind < 0.62:
            type_ = chance.choice([self._union, self._named])
        else:
            type_ = chance.choice(self._leaves)
        return GraphQLNonNull(type_) if chance.random() < 0.4 else type_

    def _root(self, number: int, chance: Random) -> GraphQLField:
        type_: Any = chance.choice(self._objects)
        type_ = chance.choice([type_, GraphQLList(type_), GraphQLNonNull(GraphQLList(type_))])
        return GraphQLField(
            type_,
            args={
                "i": GraphQLArgument(GraphQLInt, default_value=3),
                "s": GraphQLArgument(GraphQLList(GraphQLNonNull(GraphQLID))),
            },
            resolve=self._resolver(type_, number, chance.choice(["now", "later", "fails"])),
        )

    def _resolver(self, type_: Any, number: int, when: str) -> Callable[..., Any]:
        def resolve(_source: Any, _info: Any, **arguments: Any) -> Any:
            chance = Random(f"{self._seed} {number} {arguments}")
            if when == "fails" and chance.random() < 0.3:
                raise LookupError(f"nothing for {arguments}")
            mishaps = chance.choice([0, 0.03, 0.15])
            found = self._value(type_, chance, DEPTH, mishaps)
            return found if when == "now" else Later(found)

        return resolve

    def _value(self, type_: Any, chance: Random, depth: int, mishaps: float) -> Any:
        if chance.random() < mishaps:
            return _mishap(type_, chance)
        if is_non_null_type(type_):
            return self._value(type_.of_type, chance, depth, mishaps)
        if chance.random() < 0.05:
            return None if chance.random() < max(mishaps * 10, 0.1) else _filler(type_, chance)
        if is_list_type(type_):
            count = chance.randrange(4)
            return [self._value(type_.of_type, chance, depth - 1, mishaps) for _ in range(count)]
        if is_leaf_type(type_):
            return _filler(type_, chance)
        return self._thing(type_, chance, depth, mishaps)

    def _thing(self, type_: Any, chance: Random, depth: int, mishaps: float) -> Any:
        if not isinstance(type_, GraphQLObjectType):
            type_ = self._objects[0 if type_ is self._union else 1]
        thing = Loud() if chance.random() < mishaps else Thing()
        thing.genuine = chance.random() > mishaps
        for name, field in type_.fields.items():
            if depth > 0 or is_leaf_type(get_named_type(field.type)):
                setattr(thing, name, self._value(field.type, chance, depth - 1, mishaps))
        return vars(thing) if chance.random() < mishaps else thing

    # Queries

    def query(self, chance: Random) -> str:
        """A document; nearly always a valid one."""
        fragments = "\n".join(
            f"fragment F{number} on {type_.name} {self._selections(type_, chance, 2, named=False)}"
            for number, type_ in enumerate(self._objects)
        )
        root = self.schema.query_type
        return f"query Q({VARIABLES}) {self._selections(root, chance, DEPTH)}\n{fragments}"

    def _selections(self, type_: Any, chance: Random, depth: int, *, named: bool = True) -> str:
        chosen = list(self._selected(type_, chance, depth, named=named))
        return f"{{ {' '.join(chosen) or '__typename'} }}"

    def _selected(self, type_: Any, chance: Random, depth: int, *, named: bool) -> Iterator[str]:
        fields = getattr(type_, "fields", {})
        for _ in range(chance.randint(1, 4)):
            what = chance.random()
            if what < 0.1:
                yield f"{chance.choice(['', 'kind: '])}__typename{_directive(chance)}"
            elif what < 0.25 and depth:
                inner = chance.choice(self._overlapping(type_))
                on = "" if inner is type_ and chance.random() < 0.5 else f" on {inner.name}"
                body = self._selections(inner, chance, depth - 1, named=named)
                yield f"...{on}{_directive(chance)} {body}"
            elif what < 0.35 and named and type_ in self._objects:
                yield f"...F{self._objects.index(type_)}{_directive(chance)}"
            elif fields:
                yield self._selected_field(
                    chance.choice(list(fields.items())), chance, depth, named
                )

    def _overlapping(self, type_: Any) -> list[Any]:
        """Types of which an object may be that is of this one."""
        if type_ is self._union:
            return [type_, self._named, *self._objects[:2]]
        if type_ is self._named:
            return [type_, self._union, *self._objects]
        return [type_, self._named] if type_ in self._objects else [type_]

    def _selected_field(
        self, named_field: tuple[str, GraphQLField], chance: Random, depth: int, named: bool
    ) -> str:
        name, field = named_field
        alias = chance.choice(["", "", f"other_{name}: "])
        arguments = ""
        if field.args:
            with_s = "s" in field.args
            arguments = chance.choice(["", "(i: $i)", "(s: $s)" if with_s else "(i: 1)"])
            alias = f"a{len(arguments)}{arguments[1:2]}_{name}: "  # as it must be for those merged
        inner = get_named_type(field.type)
        if is_leaf_type(inner):
            return f"{alias}{name}{arguments}{_directive(chance)}"
        if depth <= 0:
            return "__typename"
        body = self._selections(inner, chance, depth - 1, named=named)
        return f"{alias}{name}{arguments}{_directive(chance)} {body}"


def variables(chance: Random) -> dict[str, Any]:
    """Nearly always right ones."""
    made: dict[str, Any] = {"b0": chance.random() < 0.5}
    if chance.random() < 0.5:
        made["b1"] = chance.choice([True, True, True, False, None])
    made["b2"] = chance.choice([True, False, False, None])
    if chance.random() < 0.5:
        made["i"] = chance.choice([1, None, "no number"] if chance.random() < 0.2 else [1, 2])
    if chance.random() < 0.5:
        made["s"] = chance.choice(["one", ["two", 3], None])
    return made


def _directive(chance: Random) -> str:
    if chance.random() < 0.85:
        return ""
    what, variable = chance.choice(["skip", "include"]), chance.choice(["$b0", "$b1", "true"])
    return f" @{what}(if: {variable})"


def _filler(type_: Any, chance: Random) -> Any:
    """A value of a leaf type; of any other, null."""
    match getattr(type_, "name", ""):
        case "String" | "ID":
            return chance.choice(
                ["", 'a "b"\n\\ ü 好 \u2028 \x00', "x" * 30, "\U0001f600", 7, True]
            )
        case "Int":
            return chance.choice([0, -1, 2**31 - 1, -(2**31), True, "8", 4.0])
        case "Float":
            return chance.choice([0.1, -1.5e300, 3, 1e-7, "2.5"])
        case "Boolean":
            return chance.choice([True, False, 1])
        case "Colour":
            return chance.choice(["r", 2])
        case "Odd" | "Doubled":
            return chance.choice([1, "text", 2.5])
        case _:
            return None


def _mishap(type_: Any, chance: Random) -> Any:
    """What is wrong with a value is mostly nearly right."""
    nearly: dict[str, list[Any]] = {
        "Int": [2**31, -(2**31) - 1],
        "Odd": ["seven", "none", "Half \ud83d"],
        "String": ["Half \ud83d", Later("soon")],
    }
    if chance.random() < 0.7:
        return chance.choice(nearly.get(getattr(type_, "name", ""), [Loud()]))
    return chance.choice(
        [
            None, Undefined, ValueError("this value"), Later("soon"), Later(KeyError("late")),
            Later(Thing()), (), range(0), [], {}, [None], lambda *_, **__: "called",
            {"name": "in a dict"}, Thing(), 10**40, Thing, float("nan"), "seven",
        ]
    )  # fmt: skip
