"""Runs what is asked over a connection that stays open: one payload after another.

A question or a change has one payload, a subscription one for each event. It ends well, or by one
of: `HttpRefusal` (nothing of that kind can be asked here), `Failed` (errors of GraphQL's, the last
that is told), `Unavailable` (the rest is to be had elsewhere, or later).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, NamedTuple

from graphql import FieldNode, GraphQLError, located_error
from graphql.execution import ExecutionResult, Executor, create_source_event_stream

from farm.errors import Unavailable
from farm.live import ProcessEnds
from gateway.context import Context
from gateway.graphql_http import GraphQL, Question
from gateway.refusals import HttpRefusal, Incidents, graphql_error
from gateway.rendering import Renderings
from gateway.schema import Schema
from gateway.subscribed import Subscribed


class Payload(NamedTuple):
    """An answer of GraphQL's in JSON, and the event's cursor."""

    text: str
    cursor: str = ""


class Failed(Exception):
    """Nothing more will come; these errors say why."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(errors)
        self.errors = errors


class Running:
    """What is asked over all connections that stay open."""

    def __init__(
        self, schema: Schema, context: Context, graphql: GraphQL, incidents: Incidents
    ) -> None:
        self._schema = schema
        self._context = context
        self._graphql = graphql
        self._incidents = incidents
        self._renderings = Renderings(incidents)

    def subscribes(self, question: Question) -> bool:
        return self._subscribed(question) is not None

    async def run(
        self, question: Question, method: str, resume_after: str = ""
    ) -> AsyncGenerator[Payload, None]:
        """The payloads; a subscription goes on after this cursor, if there is one."""
        subscribed = self._subscribed(question)
        if subscribed is None:
            body = await self._answer(question, method)
            with self._graphql.unsent.counted(len(body)):
                yield Payload(body.decode())
            return
        if subscribed.errors:
            raise self._failed(subscribed.errors)
        async with aclosing(self._events(subscribed, question, resume_after)) as payloads:
            async for payload in payloads:
                yield payload

    def _subscribed(self, question: Question) -> Subscribed | None:
        return self._schema.understood(question.query, question.operation).subscribed

    async def _answer(self, question: Question, method: str) -> bytes:
        try:
            answer = await self._graphql.run(question, method)
        except HttpRefusal:
            raise
        except Exception as error:
            raise self._failed([located_error(error)]) from error
        if not answer.run:
            raise Failed(json.loads(answer.body)["errors"])
        return answer.body

    async def _events(
        self, subscribed: Subscribed, question: Question, resume_after: str
    ) -> AsyncGenerator[Payload, None]:
        context = self._context._replace(resume_after=resume_after)
        executor = self._schema.executor(subscribed, question.variables, context)
        if isinstance(executor, list):
            raise self._failed(executor)
        rendering = self._renderings.of(subscribed, executor)
        began = False
        try:
            source = await self._source(executor)
            del executor  # as the subscription itself does with what it no longer needs
            async with aclosing(source) as events:
                async for event in events:
                    yield Payload(rendering.show(event), event.cursor)
                    began = True
        except (GeneratorExit, Failed, ProcessEnds):
            raise
        except Exception as error:
            if began and isinstance(error, Unavailable):
                raise
            raise self._failed([_located(error, subscribed)]) from error

    async def _source(self, executor: Executor[Any]) -> Any:
        """The events of the subscription as they come from the farm."""
        begun = create_source_event_stream(executor)
        source = await begun if inspect.isawaitable(begun) else begun
        if isinstance(source, ExecutionResult):
            raise self._failed(source.errors or [])
        return source

    def _failed(self, errors: list[GraphQLError]) -> Failed:
        return Failed([graphql_error(error, self._incidents) for error in errors])


def _located(error: Exception, subscribed: Subscribed) -> GraphQLError:
    """The error with the place in the query where it arose."""
    field = subscribed.operation.selection_set.selections[0]
    if not isinstance(field, FieldNode):
        return located_error(error)
    return located_error(error, [field], [(field.alias or field.name).value])
