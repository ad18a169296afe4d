"""A document that subscribes, understood once for all who send it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphql import (
    SKIP,
    DocumentNode,
    FieldNode,
    GraphQLError,
    OperationDefinitionNode,
    VariableNode,
    Visitor,
    visit,
)

FIELD = "inboxEvents"  # the only one of its kind


@dataclass(frozen=True, eq=False)
class Subscribed:
    """A document whose operation is a subscription, and what is wrong with it."""

    document: DocumentNode
    operation: OperationDefinitionNode
    operation_name: str | None
    errors: list[GraphQLError]
    matters: tuple[str, ...]  # the variables on which it depends how an event is shown


def variables_that_matter(document: DocumentNode) -> tuple[str, ...]:
    """Those that are used in directives, or anywhere but in the arguments of the subscription."""
    seen = _Seen()
    visit(document, seen)
    return tuple(sorted(seen.names))


class _Seen(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_variable(self, node: VariableNode, *_: Any) -> None:
        self.names.add(node.name.value)

    def enter_variable_definition(self, *_: Any) -> Any:
        return SKIP

    def enter_field(self, node: FieldNode, *_: Any) -> Any:
        if node.name.value != FIELD:
            return None
        for part in (*(node.directives or ()), node.selection_set):
            if part is not None:
                visit(part, self)
        return SKIP
