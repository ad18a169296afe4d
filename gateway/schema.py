"""The GraphQL interface: what can be asked, and the schema made of it.

`gateway/schema.graphql` is the same interface as text; a test compares the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import strawberry
from graphql import (
    DocumentNode,
    GraphQLBoolean,
    GraphQLError,
    GraphQLField,
    GraphQLFieldResolver,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLResolveInfo,
    GraphQLString,
    OperationDefinitionNode,
    OperationType,
    OverlappingFieldsCanBeMergedRule,
    get_nullable_type,
    get_operation_ast,
    parse,
    specified_rules,
)
from graphql.execution import Executor
from graphql.validation import NoSchemaIntrospectionCustomRule
from strawberry import UNSET
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema import validate_document
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types import ExecutionContext, Info
from strawberry.types.field import StrawberryField

from farm.limits import (
    DEAD_LETTERS_PAGE_DEFAULT,
    DEAD_LETTERS_PAGE_MAX,
    INBOX_PAGE_DEFAULT,
    INBOX_PAGE_MAX,
)
from gateway.compiled import Query as CompiledQuery
from gateway.compiled import called_by_default, query_of
from gateway.context import Asked, Context
from gateway.live import EVENTS, Subscription
from gateway.mutations import Mutation
from gateway.nodes import (
    OF_LOOK,
    SCALARS,
    Capacity,
    DeadLetterConnection,
    Explanation,
    Long,
    Metrics,
    Notification,
    NotificationConnection,
    Post,
    Process,
    UserConnection,
    checked_id,
    page_size,
)
from gateway.query_limits import TOKENS_MAX, FieldsAreAlike, Size, check_size
from gateway.recent import Recent
from gateway.subscribed import Subscribed, variables_that_matter

DOCUMENTS_MAX = 256
DOCUMENTS_BYTES_MAX = 64 * 1024 * 1024
BYTES_A_CHARACTER = 100  # about, of a document once it is parsed
BYTES_A_FIELD = 5_000  # and of the writers of a field, in all variants
DELIVERED_MAX = 100
PEOPLE_PAGE_DEFAULT = 100
PEOPLE_PAGE_MAX = 100


@strawberry.type
class User:
    id: strawberry.ID
    unread: strawberry.Private[int]

    @strawberry.field
    async def followers(
        self, info: Asked, first: int | None = PEOPLE_PAGE_DEFAULT, after: str | None = UNSET
    ) -> UserConnection:
        size = page_size(first, default=PEOPLE_PAGE_DEFAULT, most=PEOPLE_PAGE_MAX)
        return UserConnection.of(
            await info.context.store.followers(str(self.id), size, after or "")
        )

    @strawberry.field
    async def following(
        self, info: Asked, first: int | None = PEOPLE_PAGE_DEFAULT, after: str | None = UNSET
    ) -> UserConnection:
        size = page_size(first, default=PEOPLE_PAGE_DEFAULT, most=PEOPLE_PAGE_MAX)
        return UserConnection.of(
            await info.context.store.following(str(self.id), size, after or "")
        )

    @strawberry.field
    def unread_count(self) -> Long:
        return Long(self.unread)


@strawberry.type
class Query:
    @strawberry.field(description="The newest 20, newest first.")  # type: ignore[untyped-decorator]
    async def get_notifications(self, info: Asked, user_id: strawberry.ID) -> list[Notification]:
        user = checked_id("userId", user_id)
        return Notification.all_of(await info.context.store.newest(user, INBOX_PAGE_DEFAULT))

    @strawberry.field
    async def get_metrics(self, info: Asked) -> Metrics:
        return Metrics.of(
            *await asyncio.gather(info.context.store.stats(), info.context.farm.state())
        )

    @strawberry.field(  # type: ignore[untyped-decorator]
        description="What was delivered, as text: the newest 100, oldest first."
    )
    async def notifications(self, info: Asked, user_id: str) -> list[str]:
        user = checked_id("userId", user_id)
        newest_first = await info.context.store.delivered(user, DELIVERED_MAX)
        return [row.text for row in reversed(newest_first)]

    @strawberry.field
    async def inbox(
        self,
        info: Asked,
        user_id: strawberry.ID,
        first: int | None = INBOX_PAGE_DEFAULT,
        after: str | None = UNSET,
        unread_only: bool | None = False,  # noqa: FBT001, FBT002 - GraphQL calls by name
    ) -> NotificationConnection:
        user = checked_id("userId", user_id)
        size = page_size(first, default=INBOX_PAGE_DEFAULT, most=INBOX_PAGE_MAX)
        page = await info.context.store.inbox(
            user, size, after or "", unread_only=bool(unread_only)
        )
        return NotificationConnection.of(page)

    @strawberry.field
    async def post(self, info: Asked, id: strawberry.ID) -> Post | None:  # noqa: A002
        row = await info.context.store.post(checked_id("id", id))
        return None if row is None else Post.of(row)

    @strawberry.field
    async def user(self, info: Asked, id: strawberry.ID) -> User | None:  # noqa: A002
        row = await info.context.store.user(checked_id("id", id))
        if row is None:
            return None
        return User(id=strawberry.ID(row.id), unread=row.unread)

    @strawberry.field(  # type: ignore[untyped-decorator]
        description="Why a person did, or did not, get a notification of a post."
    )
    async def explain(
        self, info: Asked, post_id: strawberry.ID, user_id: strawberry.ID
    ) -> Explanation | None:
        return Explanation.of(await info.context.store.explain(post_id, user_id))

    @strawberry.field
    async def dead_letters(
        self, info: Asked, first: int | None = DEAD_LETTERS_PAGE_DEFAULT, after: str | None = UNSET
    ) -> DeadLetterConnection | None:
        size = page_size(first, default=DEAD_LETTERS_PAGE_DEFAULT, most=DEAD_LETTERS_PAGE_MAX)
        return DeadLetterConnection.of(await info.context.store.dead_letters(size, after or ""))

    @strawberry.field
    async def capacity(self, info: Asked) -> Capacity | None:
        return Capacity.of(
            *await asyncio.gather(info.context.store.stats(), info.context.farm.state())
        )

    @strawberry.field
    async def processes(self, info: Asked) -> list[Process] | None:
        state = await info.context.farm.state()
        return [Process.of(row) for row in state.processes]


class Understood(NamedTuple):
    """A document and which of its operations is asked for, understood once for all who send it."""

    errors: list[GraphQLError]  # what is wrong with it
    size: Size = Size()
    document: DocumentNode | None = None  # None where it cannot be read, or is too large
    operation: OperationDefinitionNode | None = None  # None where it is not clear which
    query: CompiledQuery | None = None
    subscribed: Subscribed | None = None


class AsUnderstood(SchemaExtension):
    """Saves Strawberry from parsing a document again, and from checking it."""

    def on_operation(self) -> Iterator[None]:
        asked = self.execution_context
        assert asked.query is not None
        named = asked._provided_operation_name  # noqa: SLF001 - else it tells the one it chose
        asked.graphql_document = cast(Schema, asked.schema).understood(asked.query, named).document
        asked.pre_execution_errors = []
        yield


class Schema(strawberry.Schema):
    """A schema that leaves its errors to whoever answers with them; the original logs each with a
    stack trace, a mistyped query too.

    Subscriptions go past it: it would run each event anew for each subscriber. So do queries, which
    are compiled. What it does to a question before that is done here: the limits, the rules, the
    cache.
    """

    def __init__(self, *, introspection: bool, **more: Any) -> None:
        super().__init__(**more)
        self._introspection = introspection
        self._documents: Recent[tuple[str, str | None], Understood] = Recent(
            most=DOCUMENTS_MAX, size_max=DOCUMENTS_BYTES_MAX
        )

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        if not self._introspection:
            for error in errors:
                # Strawberry takes them from fields, not from arguments, types and directives.
                error.message = error.message.partition(" Did you mean ")[0]

    def known(self, query: str, operation_name: str | None) -> Understood | None:
        """What was understood before and is kept."""
        return self._documents.get((query, operation_name))

    def understood(self, query: str, operation_name: str | None) -> Understood:
        known = self.known(query, operation_name)
        if known is None:
            known = self._understand(query, operation_name)
            size_bytes = len(query) * BYTES_A_CHARACTER + known.size.fields * BYTES_A_FIELD
            self._documents.put((query, operation_name), known, size_bytes)
        return known

    def _understand(self, query: str, operation_name: str | None) -> Understood:
        try:
            document = parse(query, max_tokens=TOKENS_MAX)
            size = check_size(document)
        except GraphQLError as error:
            return Understood([error.with_traceback(None)])
        operation = get_operation_ast(document, operation_name)
        if operation is None:
            return Understood(_not_named(document, operation_name), size, document)
        errors = self._wrong(document)
        understood = Understood(errors, size, document, operation)
        if operation.operation is OperationType.SUBSCRIPTION:
            matters = () if errors else variables_that_matter(document)
            subscribed = Subscribed(document, operation, operation_name, errors, matters)
            return understood._replace(subscribed=subscribed)
        if errors:
            return understood
        compiled = query_of(
            self._schema,
            document,
            operation_name,
            read_from,
            resolver_of,
            hide_suggestions=not self._introspection,
        )
        return understood._replace(query=compiled)

    def _wrong(self, document: DocumentNode) -> list[GraphQLError]:
        more = () if self._introspection else (NoSchemaIntrospectionCustomRule,)
        errors = validate_document(self._schema, document, (*_RULES, *more))
        self.process_errors(errors)
        return errors

    def executor(
        self, subscribed: Subscribed, variables: Mapping[str, Any] | None, context: Context
    ) -> Executor[Any] | list[GraphQLError]:
        """What begins the subscription and runs its events; or what is wrong with the variables."""
        made = Executor.build(
            self._schema,
            subscribed.document,
            context_value=context,
            raw_variable_values=dict(variables or {}),
            operation_name=subscribed.operation_name,
            hide_suggestions=not self._introspection,
        )
        if isinstance(made, list):
            self.process_errors(made)
        return made


_RULES = tuple(
    FieldsAreAlike if rule is OverlappingFieldsCanBeMergedRule else rule for rule in specified_rules
)


def _not_named(document: DocumentNode, operation_name: str | None) -> list[GraphQLError]:
    """What is wrong where several operations could be meant."""
    operations = sum(isinstance(one, OperationDefinitionNode) for one in document.definitions)
    if operation_name is not None or operations < 2:
        return []
    return [GraphQLError("operationName: must name one of the query's operations")]


def read_from(_name: str, field: GraphQLField) -> str | None:
    """From which attribute Strawberry reads a field that has no resolver of ours."""
    if not getattr(field.resolve, "_is_default", False):
        return None
    definition = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if not isinstance(definition, StrawberryField):
        return None
    name = definition.python_name
    return f"look.{name}" if definition.origin is Notification and name in OF_LOOK else name


def resolver_of(field: GraphQLField) -> GraphQLFieldResolver:
    """What resolves a field of the root: our method itself, where Strawberry does nothing between
    but call arguments by the names they have in Python."""
    definition = field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if not isinstance(definition, StrawberryField) or definition.base_resolver is None:
        return called_by_default(field)
    base, names = definition.base_resolver, _names_in_python(field)
    # Whoever may ask for a field is looked at by an extension, too.
    if definition.extensions or base.self_parameter is None or base.info_parameter is None:
        return called_by_default(field)
    if not all(get_nullable_type(one.type) in _PLAIN for one in field.args.values()):
        return called_by_default(field)
    method: Any = base.wrapped_func

    def resolve(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
        asked: Any = Info(_raw_info=info, _field=definition)
        given = {names[name]: value for name, value in arguments.items()}
        return method(source, info=asked, **given)

    return resolve


def _names_in_python(field: GraphQLField) -> dict[str, str]:
    key = GraphQLCoreConverter.DEFINITION_BACKREF
    return {name: one.extensions[key].python_name for name, one in field.args.items()}


_PLAIN = (GraphQLString, GraphQLID, GraphQLInt, GraphQLFloat, GraphQLBoolean)


def make_schema(*, introspection: bool) -> Schema:
    """The schema; without introspection it tells nobody what it has, nor suggests it."""
    return Schema(
        introspection=introspection,
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=EVENTS,
        extensions=[AsUnderstood],
        config=StrawberryConfig(scalar_map=SCALARS, disable_field_suggestions=not introspection),
    )
