"""Root fields whose method is called without Strawberry in between."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
import strawberry
from graphql import GraphQLField, GraphQLSchema
from strawberry import UNSET
from strawberry.permission import BasePermission
from strawberry.types import Info

from gateway.compiled import called_by_default
from gateway.schema import make_schema, resolver_of


@strawberry.input
class Range:
    low: int


class Nobody(BasePermission):
    message: str | None = "nobody may"

    def has_permission(self, *_: Any, **__: Any) -> bool:
        return False


@strawberry.type
class Query:
    @strawberry.field
    async def echo(
        self,
        info: Info[str, None],
        user_id: strawberry.ID,
        first: int | None = 20,
        after: str | None = UNSET,
        share: float = 0.5,
        unread_only: bool | None = False,
    ) -> str:
        asked = (user_id, first, after, share, unread_only)
        return f"{asked} {info.context} {info.field_name} {info.python_name} {info.path.key}"

    @strawberry.field
    def at_once(self, info: Info[str, None]) -> str:
        return f"{self} {info.context}"

    @strawberry.field
    async def within(self, info: Info[str, None], range: Range) -> str:  # noqa: A002
        return f"{info.context} {range.low}"

    @strawberry.field
    async def among(self, info: Info[str, None], ids: list[strawberry.ID]) -> str:
        return f"{info.context} {ids}"

    @strawberry.field
    async def alone(self) -> str:
        return "alone"

    @strawberry.field(permission_classes=[Nobody])  # type: ignore[untyped-decorator]
    async def secret(self, info: Info[str, None]) -> str:
        return f"{info.context}"


SCHEMA = strawberry.Schema(Query)
PLAIN: list[tuple[str, str]] = [
    ("echo", 'userId: "u"'),
    ("echo", 'userId: "u", first: 3, after: "x", share: 1, unreadOnly: true'),
    ("echo", "userId: 7, first: null, after: null, unreadOnly: null"),
    ("atOnce", ""),
]


def field_of(schema: strawberry.Schema, name: str) -> GraphQLField:
    inner: GraphQLSchema = schema._schema
    assert inner.query_type is not None
    field: GraphQLField = inner.query_type.fields[name]
    return field


@pytest.mark.parametrize(("name", "arguments"), PLAIN)
def test_a_method_called_by_itself_gets_what_strawberry_would_give_it(
    name: str, arguments: str
) -> None:
    query = f"{{ asked: {name}{f'({arguments})' if arguments else ''} }}"
    field = field_of(SCHEMA, name)
    given = field.resolve
    assert resolver_of(field) is not given
    expected = asyncio.run(SCHEMA.execute(query, context_value="it"))
    try:
        field.resolve = resolver_of(field)
        found = asyncio.run(SCHEMA.execute(query, context_value="it"))
    finally:
        field.resolve = given
    assert expected.errors is None
    assert found == expected


@pytest.mark.parametrize("name", ["within", "among", "alone", "secret"])
def test_a_method_for_which_strawberry_does_more_is_left_to_it(name: str) -> None:
    field = field_of(SCHEMA, name)
    assert resolver_of(field) is called_by_default(field) is field.resolve


def test_what_people_ask_most_is_called_by_itself() -> None:
    schema = make_schema(introspection=True)
    for name in ("getNotifications", "inbox", "user"):
        field = field_of(schema, name)
        assert resolver_of(field) is not field.resolve
        assert inspect.isfunction(resolver_of(field))
