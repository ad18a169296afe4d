"""How events are shown to subscribers: as JSON, with what their query selects.

One post makes an event for each follower who is online, and GraphQL's executor takes a tenth of a
millisecond for each. But the events of one shape differ in three texts only: the cursor, and the
notification's id and user. So a query is executed once for each shape, on an event that has holes
in the place of these texts. What comes out is a template for the JSON of all, and to fill it in
takes two microseconds.

A hole is a text of a type of its own. The executor hands it through as it does every text, so a
hole is found by its type wherever the query has put it, under whatever name and however often; no
text that somebody wrote can look like one.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring
from typing import Any
from weakref import WeakValueDictionary

from graphql.execution import ExecutionResult, Executor, execute_subscription_event

from farm.wire import Event
from gateway.live import shown
from gateway.recent import Recent
from gateway.refusals import Incidents, encoded, graphql_error
from gateway.subscribed import Subscribed

TEMPLATES_MAX = 1_024
TEMPLATES_CHARACTERS_MAX = 16 * 1024 * 1024

Templates = Recent[Any, str]


class Renderings:
    """The renderings that subscribers of this process use, and the templates of them all."""

    def __init__(self, incidents: Incidents) -> None:
        self._incidents = incidents
        self._templates = Templates(most=TEMPLATES_MAX, size_max=TEMPLATES_CHARACTERS_MAX)
        self._known: WeakValueDictionary[Any, Rendering] = WeakValueDictionary()

    def of(self, subscribed: Subscribed, executor: Executor[Any]) -> Rendering:
        """The same for all whose query is the same and whose variables make no difference in it:
        whom they follow, and since when, is no part of what an event looks like.
        """
        values = executor.variable_values.coerced
        key = (subscribed, *(repr(values.get(name)) for name in subscribed.matters))
        rendering = self._known.get(key)
        if rendering is None:
            rendering = Rendering(executor, self._templates, self._incidents)
            self._known[key] = rendering
        return rendering


class Rendering:
    """Shows events to those who subscribed with one query."""

    def __init__(self, executor: Executor[Any], templates: Templates, incidents: Incidents) -> None:
        self._executor = executor
        self._templates = templates
        self._incidents = incidents

    def show(self, event: Event) -> str:
        """The answer, in JSON."""
        if not event.shape or event.notification is None:
            return self._plain(event)
        key = (self, event.shape)
        template = self._templates.get(key)
        if template is None:
            template = self._template(event)
            if template is None:
                return self._plain(event)
            self._templates.put(key, template, len(template))
        return template % {
            _CURSOR: encode_basestring(event.cursor),
            _ID: encode_basestring(event.notification.id),
            _USER: encode_basestring(event.notification.user_id),
        }

    def _plain(self, event: Event) -> str:
        result = self._execute(event)
        body: dict[str, Any] = {}
        if result.errors:
            body["errors"] = [graphql_error(error, self._incidents) for error in result.errors]
        body["data"] = result.data
        return encoded(body).decode()

    def _template(self, event: Event) -> str | None:
        """None where something went wrong: an error is one person's."""
        assert event.notification is not None
        notification = event.notification._replace(id=_ID, user_id=_USER)
        result = self._execute(event._replace(cursor=_CURSOR, notification=notification))
        return None if result.errors else with_holes({"data": result.data})

    def _execute(self, event: Event) -> ExecutionResult:
        executor = self._executor.build_per_event_executor(shown(event))
        result = execute_subscription_event(executor)
        assert isinstance(result, ExecutionResult), "no field of an event needs to wait"
        return result


class Hole(str):
    """Where a text stands that each subscriber has their own of. Its name is its text."""

    __slots__ = ()


_CURSOR, _ID, _USER = Hole("cursor"), Hole("id"), Hole("user")


def with_holes(value: Any) -> str:
    """JSON as a template of `%`: its holes are filled from a dictionary by their names."""
    match value:
        case Hole():
            return f"%({value})s"
        case dict():
            items = (f"{with_holes(key)}:{with_holes(item)}" for key, item in value.items())
            return f"{{{','.join(items)}}}"
        case list():
            return f"[{','.join(map(with_holes, value))}]"
        case _:
            return json.dumps(value, ensure_ascii=False).replace("%", "%%")
