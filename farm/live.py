"""Live inboxes: what changes in the inbox of a person who is online, as it happens.

    async with live.watch("ann", since) as events:
        async for event in events:
            ...

The first event is LIVE. What happened after `since` comes first, then what happens.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from farm.client import StoreClient
from farm.observe import ProcessMetrics
from farm.wire import Event, EventKind


class Live:
    """The people who are online at this process."""

    def __init__(self, store: StoreClient, metrics: ProcessMetrics) -> None:
        self._store = store
        self._metrics = metrics

    @contextlib.asynccontextmanager
    async def watch(self, user_id: str, since: str = "") -> AsyncIterator[AsyncIterator[Event]]:
        """The events after `since`, a live cursor or an event's; empty: from now on.

        Entering raises `InvalidArgument` (a cursor of somebody else's), `ResourceExhausted` (too
        many are online here), `Unavailable`. The events end after a RESET with reason `too_slow`;
        when this process is to end, and in no other case, they raise `Unavailable`: resume
        elsewhere.
        """
        self._metrics.live_subscribers.inc()
        try:
            yield self._events(user_id, since)
        finally:
            self._metrics.live_subscribers.dec()

    async def _events(self, user_id: str, since: str) -> AsyncIterator[Event]:
        page = await self._store.inbox(user_id, 100)
        yield Event(EventKind.LIVE, since or page.live_cursor)
        seen = {one.id for one in page.notifications}
        while True:
            await asyncio.sleep(0.2)
            page = await self._store.inbox(user_id, 100)
            for one in reversed(page.notifications):
                if one.id not in seen:
                    seen.add(one.id)
                    yield Event(EventKind.ADDED, one.cursor, one)
