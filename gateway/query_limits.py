"""How large a question may be. It is measured once it is parsed, before it is checked and run.

What is checked and run grows faster than its text: fragments that spread others double it with each
line. Each is therefore measured once, so measuring takes no longer than reading does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    OverlappingFieldsCanBeMergedRule,
    SelectionSetNode,
    ValidationContext,
)
from graphql.validation.validate import ValidationAbortedError

TOKENS_MAX = 2_000  # of a document; parsing 100,000 aliases would take seconds
DEPTH_MAX = 12  # fields below one another
ALIASES_MAX = 30
FIELDS_MAX = 1_000  # once the fragments are unfolded
COMPARISONS_MAX = 5_000  # of fields that have one name in the answer, each with each
DESCRIBED_MAX = 50_000  # values that describe the schema; what tools ask first comes to 20,000
LIGHT_ALIASES_MAX = 4  # what has no more, of these and of fields, is answered at once
LIGHT_FIELDS_MAX = 100

# About how many there are of what describes a schema in lists: in a schema, or in each type.
_MANY = {"types": 50, "directives": 5, "fields": 4}


class Size(NamedTuple):
    """Of some selections, with what their fragments unfold to."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    described: int = 0  # fields, each as often as what describes the schema has it

    @property
    def heavy(self) -> bool:
        """Whether to answer it may take long enough for others to notice."""
        return self.aliases > LIGHT_ALIASES_MAX or self.fields > LIGHT_FIELDS_MAX


def check_size(document: DocumentNode) -> Size:
    """The largest of its operations. Raises `GraphQLError` where one is over a limit."""
    measure = _Measure(document)
    largest = Size()
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            size = measure.of(definition.selection_set)
            if size.depth > DEPTH_MAX:
                raise GraphQLError(f"the query is {size.depth} fields deep; at most {DEPTH_MAX}")
            if size.aliases > ALIASES_MAX:
                raise GraphQLError(f"the query has {size.aliases} aliases; at most {ALIASES_MAX}")
            if size.fields > FIELDS_MAX:
                raise GraphQLError(f"the query unfolds to too many fields; at most {FIELDS_MAX:,}")
            if size.described > DESCRIBED_MAX:
                raise GraphQLError(
                    f"the query asks too much about the schema; at most {DESCRIBED_MAX:,} values"
                )
            largest = Size(*map(max, largest, size))
    return largest


class FieldsAreAlike(OverlappingFieldsCanBeMergedRule):
    """GraphQL's rule that fields of one name must be the same, with an end to the comparing.

    It compares each with each: 500 fields of one name take a second.
    """

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self.rule_context.remaining_complexity_budget = 2 * COMPARISONS_MAX  # each costs two

    def enter_selection_set(
        self, selection_set: SelectionSetNode, key: Any, parent: Any, *more: Any
    ) -> None:
        try:
            super().enter_selection_set(selection_set, key, parent, *more)
        except ValidationAbortedError:
            raise ValidationAbortedError(
                "the query has too many fields of one name to compare each with each; "
                f"at most {COMPARISONS_MAX:,} comparisons"
            ) from None


class _Measure:
    """Sizes in one document. A fragment within itself has none; GraphQL's own rules would say so
    only after all that they look at besides.
    """

    def __init__(self, document: DocumentNode) -> None:
        self._fragments = {
            definition.name.value: definition.selection_set
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        self._known: dict[str, Size | None] = {}  # None while it is measured

    def of(self, selections: SelectionSetNode | None) -> Size:
        depth = aliases = fields = described = 0
        for selection in selections.selections if selections else ():
            match selection:
                case FieldNode():
                    inner = self.of(selection.selection_set)
                    aliases += selection.alias is not None
                    fields += 1
                    described += 1 + _MANY.get(selection.name.value, 1) * inner.described
                    # What describes the schema is nested deeply and yet cheap.
                    if not selection.name.value.startswith("__"):
                        depth = max(depth, inner.depth + 1)
                case InlineFragmentNode():
                    inner = self.of(selection.selection_set)
                    depth = max(depth, inner.depth)
                    described += inner.described
                case FragmentSpreadNode(name=name):
                    inner = self._fragment(name.value)
                    depth = max(depth, inner.depth)
                    described += inner.described
                case _:
                    continue
            aliases += inner.aliases
            fields += inner.fields
        return Size(depth, aliases, fields, described)

    def _fragment(self, name: str) -> Size:
        if name not in self._known:
            self._known[name] = None
            self._known[name] = self.of(self._fragments.get(name))
        size = self._known[name]
        if size is None:
            raise GraphQLError(f"fragment {name} is spread within itself")
        return size
