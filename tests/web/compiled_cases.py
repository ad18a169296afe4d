"""Values, one by one, for which an executor does something of its own.

Each is what a root field `item` resolves to, with the selection that comes upon it. All are made by
functions, because much of it can be used only once.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

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
)
from graphql.pyutils import Undefined


class Thing:
    """What an object type is read from."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    def __repr__(self) -> str:
        return "a thing"


class Called(Thing):
    """One that is called before anything is read from it."""

    def __call__(self, *_: Any) -> Any:
        return Thing(name="what it gave")


class Awaited(Thing):
    """One that is waited for before anything is read from it."""

    def __await__(self) -> Generator[Any, None, Any]:
        yield from asyncio.sleep(0).__await__()
        return Thing(name="what came")


class Looked(dict[str, Any]):
    """A dictionary: what it holds is read, not what it is."""

    name = "an attribute"


class Trouble(Exception):
    name = "an attribute"


class Spoken(str):
    """A text that is called."""

    __slots__ = ()

    def __call__(self, *_: Any) -> str:
        return "what it said"


def iterated() -> Iterator[Any]:
    """A generator; seen by itself it is an object as any other."""
    yield


@types.coroutine
def waited_for() -> Iterator[Any]:
    """One that is waited for."""
    yield from asyncio.sleep(0).__await__()
    return Thing(gi_running=True)  # type: ignore[return-value]


async def later(made: Callable[[], Any]) -> Any:
    await asyncio.sleep(0)
    return made()


def blue(*_: Any) -> str:
    """A value of an enum that can be called, and then is another one."""
    return "r"


def _serialized(value: Any) -> Any:
    match value:
        case "none":
            return None
        case str():
            return f'"{value}"'
        case _:
            return [type(value).__name__]


def _colours() -> dict[str, Any]:
    return {"RED": "r", "GREEN": 2, "BLUE": blue, "NONE": None}


ODD = GraphQLScalarType("Odd", coerce_output_value=_serialized)
COLOUR = GraphQLEnumType("Colour", _colours())
NAMED = GraphQLInterfaceType(
    "Named", {"name": GraphQLField(GraphQLString)}, resolve_type=lambda *_: "Other"
)
_I = {"i": GraphQLArgument(GraphQLNonNull(GraphQLInt), default_value=1)}


def _name() -> dict[str, GraphQLField]:
    return {"name": GraphQLField(GraphQLString)}


OTHER = GraphQLObjectType("Other", _name, interfaces=[NAMED])
GUARDED = GraphQLObjectType(
    "Guarded", _name, is_type_of=lambda value, _info: bool(getattr(value, "genuine", False))
)
RUNNING = GraphQLObjectType("Running", {"gi_running": GraphQLField(GraphQLBoolean)})


def _fields() -> dict[str, GraphQLField]:
    return {
        "name": GraphQLField(GraphQLString),
        "sure": GraphQLField(GraphQLNonNull(GraphQLString)),
        "id": GraphQLField(GraphQLID),
        "number": GraphQLField(GraphQLInt),
        "share": GraphQLField(GraphQLFloat),
        "yes": GraphQLField(GraphQLBoolean),
        "colour": GraphQLField(COLOUR),
        "odd": GraphQLField(ODD),
        "told": GraphQLField(GraphQLString, args=_I),
        "made": GraphQLField(GraphQLString, resolve=lambda source, _info: f"made {source.name}"),
        "names": GraphQLField(GraphQLList(GraphQLNonNull(GraphQLString))),
        "item": GraphQLField(ITEM),
        "items": GraphQLField(GraphQLList(GraphQLNonNull(ITEM))),
        "must": GraphQLField(GraphQLNonNull(ITEM)),
        "guarded": GraphQLField(GUARDED),
        "running": GraphQLField(GraphQLList(RUNNING)),
        "named": GraphQLField(NAMED),
        "either": GraphQLField(GraphQLUnionType("Either", [OTHER], lambda *_: "Other")),
    }


ITEM = GraphQLObjectType("Item", _fields)


# What is asked with is called with the arguments, and answers.
_ROOT = GraphQLField(
    ITEM,
    args={"s": GraphQLArgument(GraphQLList(GraphQLNonNull(GraphQLInt)))},
    resolve=lambda _source, info, **arguments: info.context(**arguments),
)
SCHEMA = GraphQLSchema(GraphQLObjectType("Query", {"item": _ROOT}), types=[OTHER])


class Case(NamedTuple):
    selection: str
    value: Callable[[], Any]
    variables: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it
    declared: str = ""


def _items(*some: Any) -> Callable[[], Thing]:
    return lambda: Thing(items=list(some))


TEXT = 'a "b" c\\d\n\t\x00\x1f\x7f ü 好 \u2028 \U0001f600 </script>'
ONE = {"name": "one", "number": 1}

# What a writer writes.
WRITTEN = {
    "texts": Case("name sure id", lambda: Thing(name=TEXT, sure=TEXT, id=TEXT)),
    "an object that came late": Case("name", lambda: later(lambda: Thing(name="late"))),
    "null": Case("name id number yes colour item { name }", lambda: Thing(
        name=None, id=None, number=None, yes=None, colour=None, item=None,
    )),
    "ids that are numbers": Case("id", lambda: Thing(id=7)),
    "the greatest of Int": Case("number", lambda: Thing(number=2**31 - 1)),
    "the least of Int": Case("number", lambda: Thing(number=-(2**31))),
    "Int that is a bool": Case("number", lambda: Thing(number=True)),
    "Int that is a text": Case("number", lambda: Thing(number="8")),
    "Float": Case("share", lambda: Thing(share=-1.5e300)),
    "Float that is a whole number": Case("share", lambda: Thing(share=3)),
    "Float that is a text": Case("share", lambda: Thing(share="2.50")),
    "bools": Case("yes item { yes }", lambda: Thing(yes=True, item=Thing(yes=False))),
    "Boolean that is a number": Case("yes", lambda: Thing(yes=2)),
    "enums": Case("colour item { colour }", lambda: Thing(colour="r", item=Thing(colour=2))),
    "a scalar's own text": Case("odd", lambda: Thing(odd="text")),
    "a scalar that is more than a text": Case("odd", lambda: Thing(odd=1)),
    "aliases": Case("n: name id: name name: id", lambda: Thing(name="a name", id="an id")),
    "typename": Case("__typename kind: __typename item { __typename }", lambda: Thing(item=1)),
    "merged": Case(
        "item { name } ... on Item { item { number } } ...More",
        lambda: Thing(item=Thing(**ONE, sure="yes"), sure="no"),
    ),
    "lists": Case("items { name } names", lambda: Thing(items=[Thing(**ONE)] * 2, names=["a", ""])),
    "null in a list": Case(
        "running { gi_running }", lambda: Thing(running=[None, Thing(gi_running=True)])
    ),
    "empty lists": Case("items { name } names", lambda: Thing(items=[], names=[])),
    "another class in a list": Case("items { __typename }", _items(Thing(), object())),
}  # fmt: skip

# What a writer leaves to the executor.
LEFT = {
    "more than Int": Case("number", lambda: Thing(number=2**31)),
    "less than Int": Case("number", lambda: Thing(number=-(2**31) - 1)),
    "Int with a fraction": Case("number", lambda: Thing(number=1.5)),
    "Float that is none": Case("share", lambda: Thing(share=float("nan"))),
    "Boolean that is a text": Case("yes", lambda: Thing(yes="text")),
    "a text that is called": Case("name", lambda: Thing(name=Spoken("what it is"))),
    "a scalar that is called": Case("odd", lambda: Thing(odd=lambda *_: "text")),
    "a scalar that is waited for": Case("odd", lambda: Thing(odd=Awaited())),
    "an enum that is called": Case("colour", lambda: Thing(colour=blue)),
    "an enum's unknown value": Case("colour", lambda: Thing(colour="g")),
    "an enum's value that is a list": Case("colour", lambda: Thing(colour=[])),
    "null after serializing": Case("odd", lambda: Thing(odd="none")),
    "an object that is called": Case("item { name }", lambda: Thing(item=Called(name="itself"))),
    "an object that is waited for": Case(
        "item { name }", lambda: Thing(item=Awaited(name="itself"))
    ),
    "an object after one of its class": Case(
        "running { gi_running }", lambda: Thing(running=[iterated(), waited_for()])
    ),
    "a dictionary": Case("item { name }", lambda: Thing(item=Looked(name="an item"))),
    "an error": Case("item { name }", lambda: Thing(item=Trouble("it is one"))),
    "nothing at all": Case("item { __typename }", lambda: Thing(item=Undefined)),
    "an attribute that is missing": Case("name number", lambda: Thing(number=1)),
    "an attribute that fails": Case("name", type("Fails", (), {"name": property(lambda _: 1 / 0)})),
    "no text where one must be": Case("name sure", lambda: Thing(name="a", sure=None)),
    "no object where one must be": Case("must { __typename }", lambda: Thing(must=None)),
    "nothing where it must be, below": Case(
        "name item { must { sure } }", lambda: Thing(name="a", item=Thing(must=Thing(sure=None)))
    ),
    "null in a list that has none": Case("items { __typename }", _items(Thing(), None)),
    "null in a list of texts": Case("name names", lambda: Thing(name="a", names=["a", None])),
    "a text for a list": Case("names", lambda: Thing(names="ab")),
    "a dictionary for a list": Case("names", lambda: Thing(names={"a": 1})),
    "a tuple for a list": Case("names", lambda: Thing(names=("a", "b"))),
    "an object that came late and can be waited for": Case(
        "name", lambda: later(lambda: Awaited(name="itself"))
    ),
    # Should the writer of the root be taken for what is below it, it would write this.
    "another of the same name below": Case(
        "number item { name }", lambda: Thing(number=2**31, item=Thing(**ONE, item=None))
    ),
}

# What comes to no value.
FAILING = {
    "at once": Case("name", lambda: 1 / 0),
    "later": Case("name", lambda: later(lambda: 1 / 0)),
}

# What no writer is made for.
UNCOVERED = {
    "a resolver": Case("made", lambda: Thing(name="a", made="b")),
    "arguments": Case("told(i: 2)", lambda: Thing(told="a")),
    "an argument that is wrong": Case(
        "told(i: $i)", lambda: Thing(told="a"), {"i": None}, "$i: Int = 2"
    ),
    "a type that looks at its objects": Case(
        "guarded { name }", lambda: Thing(guarded=Thing(name="a", genuine=False))
    ),
    "an interface": Case("named { __typename name }", lambda: Thing(named=Thing(name="a"))),
    "a union": Case("either { __typename }", lambda: Thing(either=Thing())),
}
