"""The schema is what its text says, and keeps little of what it is asked."""

from __future__ import annotations

import asyncio
import gc
import itertools
import tracemalloc

from graphql import GraphQLSchema, build_schema, print_type

from gateway.compiled import COMPILED_FROM_TIME
from gateway.schema import DOCUMENTS_BYTES_MAX, make_schema
from tests.farm_process import ROOT

# A short text that unfolds to hundreds of fields.
INBOXES = " ".join(f'a{n}: inbox(userId: "") {{ ...F }}' for n in range(30))
MANY_FIELDS = f"""query($a: Boolean!, $b: Boolean!) {{ {INBOXES} }}
fragment F on NotificationConnection {{ liveCursor @include(if: $a) unreadCount @skip(if: $b)
  pageInfo {{ endCursor hasNextPage }} edges {{ cursor node {{ id userId postId authorId content
  createdAt read status attempts deliveries {{ channel status attempts lastError }} }} }} }}"""


def _types(schema: GraphQLSchema) -> dict[str, str]:
    return {name: print_type(kind) for name, kind in schema.type_map.items() if name[:2] != "__"}


def test_schema_is_as_written() -> None:
    written = _types(build_schema((ROOT / "gateway/schema.graphql").read_text()))
    made = _types(build_schema(make_schema(introspection=True).as_str()))
    assert made == written


def test_documents_take_no_more_memory_than_is_reckoned() -> None:
    """One that takes much, compiled for all variables, as often as there would be room for it."""
    schema = make_schema(introspection=True)
    tracemalloc.start()
    try:
        first = schema.understood(MANY_FIELDS, None)
        assert first.query is not None
        for a, b in itertools.product((True, False), repeat=2):
            for _ in range(COMPILED_FROM_TIME):
                asyncio.run(first.query.run({"a": a, "b": b}, None))
        gc.collect()
        took_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    for number in range(DOCUMENTS_BYTES_MAX // took_bytes):
        schema.understood(f"{MANY_FIELDS} # {number}", None)
    assert schema.understood(MANY_FIELDS, None) is not first
