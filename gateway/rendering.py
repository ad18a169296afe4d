"""How an event is shown to a subscriber: as JSON, with what their query selects."""

from __future__ import annotations

from typing import Any

from graphql.execution import ExecutionResult, Executor, execute_subscription_event

from farm.wire import Event
from gateway.live import shown
from gateway.refusals import Incidents, encoded, graphql_error


def rendered(executor: Executor[Any], event: Event, incidents: Incidents) -> str:
    result = execute_subscription_event(executor.build_per_event_executor(shown(event)))
    assert isinstance(result, ExecutionResult)
    body: dict[str, Any] = {}
    if result.errors:
        body["errors"] = [graphql_error(error, incidents) for error in result.errors]
    body["data"] = result.data
    return encoded(body).decode()
