"""Showing an event by a template is the same as executing the query on it."""

from __future__ import annotations

import itertools
from typing import Any

from graphql.execution import ExecutionResult, execute_subscription_event
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from farm.lifecycle import State
from farm.wire import Delivery, Event, EventKind, Look, Notification
from gateway.context import Context
from gateway.live import shown
from gateway.refusals import Incidents, encoded
from gateway.rendering import Renderings
from gateway.schema import make_schema

SCHEMA = make_schema(introspection=True)
CONTEXT: Any = Context(None, None, None, None)  # type: ignore[arg-type] # events need none of it
SHAPES = itertools.count(1)

# What can be selected, by type; of what has a type, the fields below it.
FIELDS: dict[str, dict[str, str]] = {
    "InboxEvent": {"cursor": ""},
    "InboxLive": {"cursor": ""},
    "NotificationAdded": {"cursor": "", "notification": "Notification"},
    "NotificationUpdated": {"cursor": "", "notification": "Notification"},
    "NotificationRemoved": {"cursor": "", "id": "", "reason": ""},
    "Notification": {
        "id": "", "userId": "", "postId": "", "authorId": "", "content": "", "createdAt": "",
        "read": "", "status": "", "attempts": "", "deliveries": "Delivery",
    },
    "Delivery": {"channel": "", "status": "", "attempts": "", "lastError": "", "nextAttemptAt": ""},
}  # fmt: skip
KINDS = ("InboxLive", "NotificationAdded", "NotificationUpdated", "NotificationRemoved")
CONDITIONS = ("", "@skip(if: $x)", "@include(if: $x)", "@skip(if: $y)", "@include(if: true)")

# The store takes no half surrogate pairs; all else may be in an id, or look like a template.
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(["", "%(id)s", "%s", "%%", "{id}", '"', "\\u0041", "cursor", "user", "id"]),
)


class Query:
    """Draws a document."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self.fragments: list[str] = []

    def selection(self, kind: str, depth: int = 0, least: int = 0) -> str:
        """A field that is always there, and a few more."""
        parts = ["__typename"]
        parts += [self._part(kind, depth) for _ in range(self._draw(st.integers(least, least + 3)))]
        return "{ " + " ".join(parts) + " }"

    def _part(self, kind: str, depth: int) -> str:
        condition = self._draw(st.sampled_from(CONDITIONS))
        how = self._draw(st.sampled_from(["field", "field", "inline", "fragment"]))
        if how == "field" or depth > 3:
            return self._field(kind, depth, condition)
        narrower = self._draw(st.sampled_from(KINDS if kind == "InboxEvent" else (kind,)))
        body = self.selection(narrower, depth + 1)
        if how == "inline":
            return f"... on {narrower} {condition} {body}"
        name = f"f{len(self.fragments)}"
        self.fragments.append(f"fragment {name} on {narrower} {body}")
        return f"...{name} {condition}"

    def _field(self, kind: str, depth: int, condition: str) -> str:
        name = self._draw(st.sampled_from([*FIELDS[kind], "__typename"]))
        # An alias names one field wherever it stands, so that all of them can be merged.
        alias = self._draw(st.sampled_from(["", "", f"{name}A: ", f"_{name}: "]))
        below = FIELDS[kind].get(name)
        body = self.selection(below, depth + 1) if below else ""
        return f"{alias}{name} {condition} {body}"


@st.composite
def documents(draw: st.DrawFn) -> str:
    query = Query(draw)
    alias = draw(st.sampled_from(["", "events: "]))
    body = query.selection("InboxEvent")
    # What has a shape is most of what comes, and what templates are for.
    for kind in ("NotificationAdded", "NotificationUpdated"):
        inner = query.selection("Notification", least=3)
        body = f"{body[:-1]} ... on {kind} {{ notification {inner} }} }}"
    head = "subscription($u: ID!, $s: String, $x: Boolean!, $y: Boolean = true)"
    used = "... on InboxEvent @skip(if: $x) { ... on InboxEvent @skip(if: $y) { cursor } }"
    operation = f"{head} {{ {alias}inboxEvents(userId: $u, since: $s) {body[:-1]} {used} }} }}"
    document = " ".join([operation, *query.fragments])
    subscribed = SCHEMA.understood(document, None).subscribed
    assume(subscribed is not None and not subscribed.errors)  # else it is over some limit
    return document


@st.composite
def notifications(draw: st.DrawFn) -> Notification:
    deliveries = st.builds(
        Delivery,
        channel=TEXT,
        state=st.sampled_from(State),
        attempts=st.integers(0, 9),
        last_error=st.one_of(st.none(), TEXT),
        next_attempt_us=st.one_of(st.none(), st.integers(0, 2**50)),
    )
    look = Look(
        0, draw(TEXT), draw(TEXT), draw(TEXT), draw(st.integers(0, 2**50)), draw(st.booleans()),
        draw(st.sampled_from(State)), draw(st.integers(0, 9)),
        draw(st.lists(deliveries, max_size=2)),
    )  # fmt: skip
    return Notification(draw(TEXT), draw(TEXT), draw(TEXT), look)


@given(
    query=documents(),
    one=notifications(),
    kind=st.sampled_from([EventKind.ADDED, EventKind.UPDATED]),
    others=st.lists(st.tuples(TEXT, TEXT, TEXT, st.booleans(), st.booleans()), min_size=2),
)
@settings(max_examples=80, deadline=None, derandomize=True, database=None)
def test_a_template_shows_what_execution_shows(
    query: str, one: Notification, kind: EventKind, others: list[tuple[str, str, str, bool, bool]]
) -> None:
    renderings = Renderings(Incidents("test"))
    shape = next(SHAPES)
    for cursor, notification_id, user_id, x, y in others:
        notification = one._replace(id=notification_id, user_id=user_id, cursor=cursor)
        event = Event(kind, cursor, notification, shape=shape)
        variables = {"u": user_id, "s": cursor, "x": x, "y": y}
        assert _shown(renderings, query, variables, event) == _executed(query, variables, event)


@given(query=documents(), cursor=TEXT, text=TEXT, x=st.booleans())
@settings(max_examples=50, deadline=None, derandomize=True, database=None)
def test_events_without_a_shape(query: str, cursor: str, text: str, x: bool) -> None:
    renderings = Renderings(Incidents("test"))
    variables = {"u": "somebody", "x": x}
    for event in (
        Event(EventKind.LIVE, cursor),
        Event(EventKind.REMOVED, cursor, id=text, reason=text),
    ):
        assert _shown(renderings, query, variables, event) == _executed(query, variables, event)


def test_one_rendering_serves_all_whose_variables_make_no_difference() -> None:
    query = """subscription($u: ID!, $s: String, $x: Boolean = false) {
      inboxEvents(userId: $u, since: $s) { cursor @skip(if: $x) __typename } }"""
    renderings = Renderings(Incidents("test"))

    def of(**variables: Any) -> object:
        subscribed = SCHEMA.understood(query, None).subscribed
        assert subscribed is not None
        executor = SCHEMA.executor(subscribed, variables, CONTEXT)
        assert not isinstance(executor, list)
        return renderings.of(subscribed, executor)

    first = of(u="ann", s="a cursor")
    assert of(u="bob") is first
    assert of(u="bob", x=False) is first
    assert of(u="ann", s="a cursor", x=True) is not first


def test_without_introspection_no_name_is_told() -> None:
    closed = make_schema(introspection=False)
    for query in (
        "subscription { inboxEvent }",
        "subscription { __schema { queryType { name } } }",
    ):
        subscribed = closed.understood(query, None).subscribed
        assert subscribed is not None
        assert subscribed.errors
        assert "Did you mean" not in str(subscribed.errors)
    open_to_all = SCHEMA.understood("subscription { inboxEvent }", None).subscribed
    assert open_to_all is not None
    assert "Did you mean" in str(open_to_all.errors)


def _shown(renderings: Renderings, query: str, variables: dict[str, Any], event: Event) -> str:
    subscribed = SCHEMA.understood(query, None).subscribed
    assert subscribed is not None
    executor = SCHEMA.executor(subscribed, variables, CONTEXT)
    assert not isinstance(executor, list)
    rendering = renderings.of(subscribed, executor)
    rendering.show(event)
    return rendering.show(event)


def _executed(query: str, variables: dict[str, Any], event: Event) -> str:
    subscribed = SCHEMA.understood(query, None).subscribed
    assert subscribed is not None
    executor = SCHEMA.executor(subscribed, variables, CONTEXT)
    assert not isinstance(executor, list)
    result = execute_subscription_event(executor.build_per_event_executor(shown(event)))
    assert isinstance(result, ExecutionResult)
    assert not result.errors
    return encoded({"data": result.data}).decode()
