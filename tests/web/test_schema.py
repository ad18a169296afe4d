"""The schema is what its text says."""

from __future__ import annotations

from graphql import GraphQLSchema, build_schema, print_type

from gateway.schema import make_schema
from tests.farm_process import ROOT


def _types(schema: GraphQLSchema) -> dict[str, str]:
    return {name: print_type(kind) for name, kind in schema.type_map.items() if name[:2] != "__"}


def test_schema_is_as_written() -> None:
    written = _types(build_schema((ROOT / "gateway/schema.graphql").read_text()))
    made = _types(build_schema(make_schema(introspection=True).as_str()))
    assert made == written
