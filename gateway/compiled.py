"""Queries compiled: a document becomes, once, Python that writes its answer as JSON.

GraphQL's executor finds out anew for every field of every object what to do with it, though all of
that is known when the document and the schema are. Here each root field of a query gets a *writer*:
a function made of generated source, which takes what the field's resolver returned and writes its
JSON. It is a twentieth of the work.

All else stays with the executor of graphql-core: null where something failed, and every error. A
field that no writer can be made for (another resolver below it, an interface) goes through it
whole. So does a value that is not what a writer expects: the writer gives up, and the executor goes
over the same value and says what is wrong and where. A writer must therefore be right only where it
does not give up. A query of one root field, as nearly all are, needs the executor only then.

Nothing in here knows Hark; `tests/web/test_compiled.py` compares it with graphql-core.
"""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from json.encoder import encode_basestring
from typing import Any, NamedTuple, cast

from graphql import (
    DirectiveNode,
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLError,
    GraphQLField,
    GraphQLFieldResolver,
    GraphQLID,
    GraphQLInt,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    OperationDefinitionNode,
    OperationType,
    VariableNode,
    Visitor,
    default_field_resolver,
    default_type_resolver,
    get_operation_ast,
    is_list_type,
    is_non_null_type,
    visit,
)
from graphql.execution import ExecutionResult, Executor, MiddlewareManager
from graphql.execution.collect_fields import (
    FieldDetails,
    FieldDetailsList,
    FragmentDetails,
    collect_fields,
)
from graphql.execution.values import VariableValues, get_argument_values, get_variable_values
from graphql.pyutils import Path, Undefined, is_awaitable
from graphql.type import GraphQLResolveInfo

COMPILED_FROM_TIME = 2  # what is asked once is not worth it
FIELDS_MAX = 200  # of one writer, for thousands are kept
VARIANTS_MAX = 4  # of one query, by the variables of its @skip and @include
CLASSES_REMEMBERED_MAX = 100
ERRORS_OF_VARIABLES_MAX = 50  # as graphql-core has it by itself

_INT_MAX = 2**31
_ATOMS = (str, int, float, bool)

Writer = Callable[[Any], str]
# The attribute from which a field is read; None where it takes more to resolve it. `of.name` where
# it is the attribute of an object that several objects have in common as `of`. Nothing of that one
# changes, and what is written of it is kept in its dictionary `written`.
Reads = Callable[[str, GraphQLField], str | None]
# What resolves a field as its resolver does, but perhaps sooner.
Calls = Callable[[GraphQLField], GraphQLFieldResolver]

to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Done(NamedTuple):
    """What came of a query: its data in JSON, None where there are none; and what went wrong."""

    data: str | None
    errors: list[GraphQLError]


class Query:
    """One query of a validated document, run as often as it is asked."""

    def __init__(
        self,
        schema: GraphQLSchema,
        document: DocumentNode,
        operation: OperationDefinitionNode,
        reads: Reads,
        calls: Calls,
        *,
        hide_suggestions: bool,
    ) -> None:
        self._schema = schema
        self._operation = operation
        self._reads = reads
        self._calls = calls
        self._hide_suggestions = hide_suggestions
        self._fragments = {
            one.name.value: one
            for one in document.definitions
            if isinstance(one, FragmentDefinitionNode)
        }
        self._details = {name: FragmentDetails(one) for name, one in self._fragments.items()}
        self._conditions = _conditions(document)
        self._asked: dict[tuple[Any, ...], int] = {}
        self._variants: dict[tuple[Any, ...], _Variant] = {}

    async def run(self, variables: Mapping[str, Any] | None, context: Any) -> Done:
        values = get_variable_values(
            self._schema,
            self._operation.variable_definitions or (),
            dict(variables or {}),
            max_errors=ERRORS_OF_VARIABLES_MAX,
            hide_suggestions=self._hide_suggestions,
        )
        if isinstance(values, list):
            return Done(None, values)
        variant = self._variant(values)
        if variant is None or variant.only is None:
            writers = {} if variant is None else variant.writers
            return await _executed(self._executor(values, context, writers))
        return await self._written(variant.only, variant.writers, values, context)

    async def _written(
        self, root: _Root, writers: dict[str, Writer], values: VariableValues, context: Any
    ) -> Done:
        """What a single root field came to."""
        resolved = _Resolved()
        try:
            info = root.info._replace(variable_values=values, context=context)
            await resolved.call(root, info)
            return Done(f'{{"{root.name}":{writers[root.name](resolved.value)}}}', [])
        except Exception:  # noqa: BLE001 - whatever it is, the executor says it better
            again = MiddlewareManager(resolved)
        return await _executed(self._executor(values, context, {}, again))

    def _variant(self, values: VariableValues) -> _Variant | None:
        """For what these variables include; None while it is not worth it."""
        included = tuple(values.coerced.get(name) for name in self._conditions)
        variant = self._variants.get(included)
        if variant is not None:
            return variant
        if included not in self._asked and len(self._asked) >= VARIANTS_MAX:
            return None
        self._asked[included] = self._asked.get(included, 0) + 1
        if self._asked[included] < COMPILED_FROM_TIME:
            return None
        try:
            variant = _compiled(self._executor(values, None, {}), self._reads, self._calls)
        except GraphQLError:  # null for @skip or @include; the executor says at which field
            variant = _Variant({}, None)
        self._variants[included] = variant
        return variant

    def _executor(
        self,
        values: VariableValues,
        context: Any,
        writers: dict[str, Writer],
        middleware: MiddlewareManager | None = None,
    ) -> WritingExecutor:
        executor = WritingExecutor(
            self._schema,
            self._fragments,
            self._details,
            None,
            context,
            self._operation,
            values,
            default_field_resolver,
            default_type_resolver,
            default_field_resolver,
            middleware_manager=middleware,
            hide_suggestions=self._hide_suggestions,
        )
        executor.writers = writers
        return executor


def query_of(
    schema: GraphQLSchema,
    document: DocumentNode,
    operation_name: str | None,
    reads: Reads,
    calls: Calls,
    *,
    hide_suggestions: bool,
) -> Query | None:
    """The query that is asked for. None where it is no query, or uses what is experimental."""
    operation = get_operation_ast(document, operation_name)
    if operation is None or operation.operation is not OperationType.QUERY:
        return None
    if operation.directives or any(map(schema.get_directive, ("defer", "stream"))):
        return None
    for one in document.definitions:
        if isinstance(one, FragmentDefinitionNode) and one.variable_definitions:
            return None
    return Query(schema, document, operation, reads, calls, hide_suggestions=hide_suggestions)


def read_by_default(name: str, field: GraphQLField) -> str | None:
    """As graphql-core reads a field that has no resolver: from the attribute of its name."""
    return name if field.resolve is None else None


def called_by_default(field: GraphQLField) -> GraphQLFieldResolver:
    return field.resolve or default_field_resolver


class Written(str):
    """A value that is JSON already."""

    __slots__ = ()


class WritingExecutor(Executor[Any]):
    """The executor, which lets a writer complete the value of a root field that has one."""

    writers: dict[str, Writer]

    def complete_value(
        self,
        return_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        # The last condition: where a writer has given up, it is not asked again for what is inside
        # a type that is never null.
        if path.prev is None and path.key in self.writers and return_type is info.return_type:
            try:
                return Written(self.writers[path.key](result))
            except Exception:  # noqa: BLE001, S110 - whatever it is, the executor says it better
                pass
        return super().complete_value(
            return_type, field_details_list, info, path, result, position_context
        )


async def _executed(executor: WritingExecutor) -> Done:
    result = executor.execute_operation()
    if not isinstance(result, ExecutionResult):
        result = cast(ExecutionResult, await cast(Any, result))
    return Done(None if result.data is None else _object(result.data), result.errors or [])


def _object(data: dict[str, Any]) -> str:
    values = (
        f'"{name}":{value if type(value) is Written else to_json(value)}'
        for name, value in data.items()
    )
    return f"{{{','.join(values)}}}"


class _Unusual(Exception):
    """A value is not what its writer was made for."""


class _Uncovered(Exception):
    """There is no writer for this."""


class _Root(NamedTuple):
    """A root field, as it is asked for."""

    name: str  # in the answer
    field: GraphQLField
    resolver: GraphQLFieldResolver
    details: FieldDetails
    info: GraphQLResolveInfo[Any]  # but for what is another for each question


class _Variant(NamedTuple):
    """What was made of a query for some variables."""

    writers: dict[str, Writer]  # of the root fields that can have one, by their names in the answer
    only: _Root | None  # where there is one root field, and it has a writer


class _Resolved:
    """What a resolver did, so that the executor can go on from there: it is not called twice."""

    def __init__(self) -> None:
        self.value: Any = None
        self._error: Exception | None = None

    async def call(self, root: _Root, info: GraphQLResolveInfo[Any]) -> None:
        """As the executor does it. Raises whatever that raises."""
        asked = root.details
        arguments = get_argument_values(
            root.field, asked.node, info.variable_values, asked.fragment_variable_values
        )
        try:
            value = root.resolver(None, info, **arguments)
            self.value = await value if is_awaitable(value) else value
        except Exception as error:
            self._error = error
            raise

    def resolve(
        self, resolver: Any, source: Any, info: GraphQLResolveInfo[Any], **more: Any
    ) -> Any:
        """Middleware, as graphql-core calls this: takes the place of the root field's resolver."""
        return self._again() if info.path.prev is None else resolver(source, info, **more)

    async def _again(self) -> Any:
        if self._error is not None:
            raise self._error
        return self.value


def _compiled(executor: Executor[Any], reads: Reads, calls: Calls) -> _Variant:
    query = executor.schema.query_type
    assert query is not None
    collected = collect_fields(
        executor.schema, executor.fragments, executor.variable_values, query, executor.operation
    )
    writers: dict[str, Writer] = {}
    roots = []
    for name, details in collected.grouped_field_set.items():
        field = executor.schema.get_field(query, details[0].node.name.value)
        if field is None:
            continue
        path = Path(None, name, query.name)
        info = executor.build_resolve_info(field, [one.node for one in details], query, path)
        roots.append(_Root(name, field, calls(field), details[0], info))
        with contextlib.suppress(_Uncovered, RecursionError):
            writers[name] = _Source(executor, reads).writer(field.type, details)
    return _Variant(writers, roots[0] if len(roots) == 1 and writers else None)


class _Source:
    """The source of a writer: a function for each selection and each list, innermost first.

    Nothing that somebody sent gets into it but names of GraphQL's, and of the schema's own words
    none but attributes; values are handed to it as globals.
    """

    def __init__(self, executor: Executor[Any], reads: Reads) -> None:
        self._executor = executor
        self._reads = reads
        self._lines: list[str] = []
        self._globals: dict[str, Any] = {
            "text": encode_basestring, "Unusual": _Unusual, "learn": _learn,
        }  # fmt: skip
        self._fields = 0

    def writer(self, type_: GraphQLOutputType, details: FieldDetailsList) -> Writer:
        """Raises `_Uncovered`."""
        expression = self._value(type_, details, "value")
        self._lines += ["def write(value):", f"    return {expression}"]
        source = compile("\n".join(self._lines), "<a compiled query>", "exec")
        exec(source, self._globals)  # noqa: S102 - as dataclasses are made
        return cast(Writer, self._globals["write"])

    def _value(self, type_: GraphQLOutputType, details: FieldDetailsList, at: str) -> str:
        """An expression for the JSON of what is in the variable `at`."""
        if is_non_null_type(type_):
            return self._present(type_.of_type, details, at)
        return f'("null" if {at} is None else {self._present(type_, details, at)})'

    def _present(self, type_: GraphQLOutputType, details: FieldDetailsList, at: str) -> str:
        if is_list_type(type_):
            return f"{self._list(type_.of_type, details)}({at})"
        if isinstance(type_, GraphQLScalarType):
            return self._scalar(type_, at)
        if isinstance(type_, GraphQLEnumType):
            return f"{self._named('names', _Names(type_))}[{at}]"
        if isinstance(type_, GraphQLObjectType) and type_.is_type_of is None:
            return f"{self._selection(type_, details)}({at})"
        raise _Uncovered

    def _scalar(self, type_: GraphQLScalarType, at: str) -> str:
        """What nearly all values are goes without a call; `_atom` knows the others."""
        other = f"{self._named('atom', _atom(type_))}({at})"
        if type_ in (GraphQLString, GraphQLID):
            return f"(text({at}) if type({at}) is str else {other})"
        if type_ is GraphQLInt:
            small = f"type({at}) is int and {-_INT_MAX} <= {at} < {_INT_MAX}"
            return f"(str({at}) if {small} else {other})"
        if type_ is GraphQLBoolean:
            return f'("true" if {at} is True else "false" if {at} is False else {other})'
        return other

    def _list(self, type_: GraphQLOutputType, details: FieldDetailsList) -> str:
        item = self._value(type_, details, "item")
        return self._function(
            "list",
            "if type(value) is not list:",
            "    raise Unusual",
            f'return "[" + ",".join([{item} for item in value]) + "]"',
        )

    def _selection(self, type_: GraphQLObjectType, details: FieldDetailsList) -> str:
        """What is read of an object itself stands between texts of what it has in common."""
        known = self._named("known", set())
        body = [f"if type(value) not in {known}:", f"    learn({known}, value)"]
        common = _Common()
        selected = self._executor.collect_subfields(type_, details).grouped_field_set
        for number, (response_name, inner) in enumerate(selected.items()):
            self._fields += 1
            comma = "," if number else ""
            name = inner[0].node.name.value
            if name == "__typename":
                common.text(f'{comma}"{response_name}":"{type_.name}"')
                continue
            field = type_.fields.get(name)
            if field is None or field.args or self._fields > FIELDS_MAX:
                raise _Uncovered
            of, _, attribute = self._attribute(name, field).rpartition(".")
            common.text(f'{comma}"{response_name}":')
            value = self._value(field.type, inner, f"v{number}")
            lines = (f"v{number} = value.{attribute}", f"t{number} = {value}")
            if of:
                common.read(of, lines, f"{{t{number}}}")
            else:
                body += lines
                common.leave_out(f"{{t{number}}}")
        if common.of is None:
            return self._function("object", *body, f"return f'{{{{{common.whole}}}}}'")
        return self._function("object", *body, *self._kept(common))

    def _kept(self, common: _Common) -> list[str]:
        """Lines that return the whole, for which the texts of what is common are made once."""
        texts = "".join(f"f'{text}', " for text in common.texts)
        make = self._function("common", *common.lines, f"return ({texts})")
        key = self._named("key", object())
        names = [f"c{number}" for number in range(len(common.texts))]
        return [
            f"common = value.{common.of}",
            f"texts = common.written.get({key})",
            "if texts is None:",
            f"    texts = common.written[{key}] = {make}(common)",
            f"{', '.join(names)}, = texts",
            f"return f'{{{{{common.filled(f'{{{name}}}' for name in names)}}}}}'",
        ]

    def _attribute(self, name: str, field: GraphQLField) -> str:
        attribute = self._reads(name, field)
        if attribute is None or not all(map(str.isidentifier, attribute.split("."))):
            raise _Uncovered
        return attribute

    def _function(self, what: str, *body: str) -> str:
        """Adds it; its name."""
        name = f"{what}_{len(self._globals)}"
        self._globals[name] = None
        self._lines += [f"def {name}(value):", *(f"    {line}" for line in body)]
        return name

    def _named(self, what: str, value: Any) -> str:
        """The name of a global that has this value."""
        name = f"{what}_{len(self._globals)}"
        self._globals[name] = value
        return name


class _Common:
    """What the objects of a selection have in common: the names of fields, and perhaps values read
    of one object. In it lies what is left out: what is of each object itself.

    All texts are those of f-strings.
    """

    def __init__(self) -> None:
        self.of: str | None = None  # the attribute that holds the one object
        self.lines: list[str] = []  # that make the values
        self.texts = [""]  # between those left out
        self._left_out: list[str] = []

    @property
    def whole(self) -> str:
        return self.filled(self.texts)

    def filled(self, texts: Iterable[str]) -> str:
        """With these texts between those left out."""
        pairs = zip(texts, [*self._left_out, ""], strict=True)
        return "".join(f"{text}{left}" for text, left in pairs)

    def text(self, text: str) -> None:
        self.texts[-1] += text

    def leave_out(self, left: str) -> None:
        self._left_out.append(left)
        self.texts.append("")

    def read(self, of: str, lines: Iterable[str], text: str) -> None:
        """Raises `_Uncovered` where it is read of another object than the rest."""
        if self.of not in (None, of):
            raise _Uncovered
        self.of = of
        self.lines += lines
        self.text(text)


def _atom(type_: GraphQLScalarType) -> Writer:
    """Writes a scalar as its type says. What is no plain value may be something to call, or to
    wait for, before that: this is left to the executor."""

    def write(value: Any) -> str:
        if type(value) not in _ATOMS:
            raise _Unusual
        coerced = type_.coerce_output_value(value)
        if type(coerced) is str:
            return encode_basestring(coerced)
        if coerced is None or coerced is Undefined:
            raise _Unusual
        return to_json(coerced)

    return write


class _Names(dict[Any, str]):
    """The names of an enum's values, as JSON."""

    def __init__(self, type_: GraphQLEnumType) -> None:
        super().__init__()
        self._type = type_

    def __missing__(self, value: Any) -> str:
        _check_plain(value)
        name = self[value] = encode_basestring(self._type.coerce_output_value(value))
        return name


def _learn(known: set[type], value: Any) -> None:
    """Remembers that objects of this class are read by their attributes."""
    _check_plain(value)
    if len(known) < CLASSES_REMEMBERED_MAX:
        known.add(type(value))


def _check_plain(value: Any) -> None:
    """Raises `_Unusual` where the executor does more with it than reading its attributes."""
    if value is None or value is Undefined or isinstance(value, Mapping | Exception):
        raise _Unusual
    if callable(value) or inspect.isgenerator(value) or inspect.isawaitable(value):
        raise _Unusual


def _conditions(document: DocumentNode) -> tuple[str, ...]:
    """The variables on which it depends what is included."""
    seen = _Seen()
    visit(document, seen)
    return tuple(sorted(seen.names))


class _Seen(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
        if node.name.value in ("skip", "include"):
            for argument in node.arguments or ():
                if isinstance(argument.value, VariableNode):
                    self.names.add(argument.value.name.value)
