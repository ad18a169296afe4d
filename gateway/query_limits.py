"""How large a question may be. It is measured once it is parsed, before it is checked and run.

What is checked and run grows faster than its text: fragments that spread others double it with each
line. Each is therefore measured once, so measuring takes no longer than reading does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)
from strawberry.extensions import SchemaExtension

TOKENS_MAX = 2_000  # of a document; parsing 100,000 aliases would take seconds
DEPTH_MAX = 12  # fields below one another
ALIASES_MAX = 30
FIELDS_MAX = 1_000  # once the fragments are unfolded; each is compared with those of its name


class Size(NamedTuple):
    """Of some selections, with what their fragments unfold to."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0


class QueryLimits(SchemaExtension):
    """Refuses what is too large, and says which limit it is over."""

    def on_operation(self) -> Iterator[None]:
        self.execution_context.parse_options["max_tokens"] = TOKENS_MAX
        yield

    def on_parse(self) -> Iterator[None]:
        yield
        document = self.execution_context.graphql_document
        if document is not None:
            check_size(document)


def check_size(document: DocumentNode) -> None:
    """Raises `GraphQLError` where an operation is over a limit."""
    measure = _Measure(document)
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            size = measure.of(definition.selection_set)
            if size.depth > DEPTH_MAX:
                raise GraphQLError(f"the query is {size.depth} fields deep; at most {DEPTH_MAX}")
            if size.aliases > ALIASES_MAX:
                raise GraphQLError(f"the query has {size.aliases} aliases; at most {ALIASES_MAX}")
            if size.fields > FIELDS_MAX:
                raise GraphQLError(f"the query unfolds to too many fields; at most {FIELDS_MAX:,}")


class _Measure:
    """Sizes in one document. Fragments that hold themselves are found by GraphQL's own rules."""

    def __init__(self, document: DocumentNode) -> None:
        self._fragments = {
            definition.name.value: definition.selection_set
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        self._known: dict[str, Size] = {}

    def of(self, selections: SelectionSetNode | None) -> Size:
        depth = aliases = fields = 0
        for selection in selections.selections if selections else ():
            match selection:
                case FieldNode():
                    inner = self.of(selection.selection_set)
                    aliases += selection.alias is not None
                    fields += 1
                    # What describes the schema is nested deeply and yet cheap.
                    described = selection.name.value.startswith("__")
                    depth = max(depth, 0 if described else inner.depth + 1)
                case InlineFragmentNode():
                    inner = self.of(selection.selection_set)
                    depth = max(depth, inner.depth)
                case FragmentSpreadNode(name=name):
                    if name.value not in self._known:
                        self._known[name.value] = Size()  # while it is measured
                        self._known[name.value] = self.of(self._fragments.get(name.value))
                    inner = self._known[name.value]
                    depth = max(depth, inner.depth)
                case _:
                    continue
            aliases += inner.aliases
            fields += inner.fields
        return Size(depth, aliases, fields)
