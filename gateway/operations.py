"""hark.v1.OperationsService: for those who run it."""

from __future__ import annotations

from farm import wire
from farm.client import FarmClient, StoreClient
from farm.errors import NotFound
from farm.limits import (
    DEAD_LETTERS_PAGE_DEFAULT,
    DEAD_LETTERS_PAGE_MAX,
    check_id,
    check_page_size,
    shown,
)
from gateway.calls import Service
from gateway.pb.hark.v1 import hark_pb2
from gateway.values import STATUS, duration, time_for, timestamp


class OperationsService:
    def __init__(self, store: StoreClient, farm: FarmClient) -> None:
        self._store = store
        self._farm = farm

    def service(self) -> Service:
        return Service(
            hark_pb2.DESCRIPTOR.services_by_name["OperationsService"],
            {
                "GetLedger": self.get_ledger,
                "Explain": self.explain,
                "ListDeadLetters": self.list_dead_letters,
                "ReplayDeadLetters": self.replay_dead_letters,
                "GetCapacity": self.get_capacity,
                "SetWorkers": self.set_workers,
            },
        )

    async def get_ledger(self, request: hark_pb2.GetLedgerRequest) -> hark_pb2.GetLedgerResponse:
        post = await self._store.post(check_id("post_id", request.post_id))
        if post is None:
            raise NotFound(f"post_id '{shown(request.post_id)}': there is no such post")
        return hark_pb2.GetLedgerResponse(
            post_id=post.id,
            audience=post.audience,
            channels={channel.channel: _ledger(channel) for channel in post.ledger},
        )

    async def explain(self, request: hark_pb2.ExplainRequest) -> hark_pb2.ExplainResponse:
        found = await self._store.explain(request.post_id, request.user_id)
        return hark_pb2.ExplainResponse(
            in_audience=found.in_audience,
            reason=found.reason,
            deliveries=map(_step, found.deliveries),
            code=f"EXPLAIN_CODE_{found.code}",
        )

    async def list_dead_letters(
        self, request: hark_pb2.ListDeadLettersRequest
    ) -> hark_pb2.ListDeadLettersResponse:
        size = check_page_size(
            "page_size",
            request.page_size,
            default=DEAD_LETTERS_PAGE_DEFAULT,
            most=DEAD_LETTERS_PAGE_MAX,
        )
        page = await self._store.dead_letters(size, request.page_token)
        return hark_pb2.ListDeadLettersResponse(
            groups=map(_group, page.groups), next_page_token=page.next_token
        )

    async def replay_dead_letters(
        self, request: hark_pb2.ReplayDeadLettersRequest
    ) -> hark_pb2.ReplayDeadLettersResponse:
        group_id = check_id("group_id", request.group_id)
        done = await self._store.replay(group_id, dry_run=request.dry_run)
        return hark_pb2.ReplayDeadLettersResponse(replayed=done.replayed, skipped=done.skipped)

    async def get_capacity(
        self, _request: hark_pb2.GetCapacityRequest
    ) -> hark_pb2.GetCapacityResponse:
        stats = await self._store.stats()
        workers = (await self._farm.state()).workers
        return hark_pb2.GetCapacityResponse(
            backlog=stats.backlog,
            oldest_queued=duration(stats.oldest_seconds),
            deliveries_per_second=stats.deliveries_per_second,
            backlog_estimate=time_for(stats.backlog, stats.deliveries_per_second),
            workers=workers,
            accepting=not stats.refusing_because,
            refusing_because=stats.refusing_because,
        )

    async def set_workers(self, request: hark_pb2.SetWorkersRequest) -> hark_pb2.SetWorkersResponse:
        farm = await self._farm.set_workers(request.workers)
        return hark_pb2.SetWorkersResponse(workers=farm.workers)


def _ledger(channel: wire.ChannelLedger) -> hark_pb2.ChannelLedger:
    return hark_pb2.ChannelLedger(
        queued=channel.queued,
        retrying=channel.retrying,
        delivered=channel.delivered,
        dead=channel.dead,
        retracted=channel.retracted,
        suppressed=channel.suppressed,
        unaccounted=channel.unaccounted,
    )


def _step(delivery: wire.Delivery) -> hark_pb2.DeliveryStep:
    due_us = delivery.next_attempt_us
    return hark_pb2.DeliveryStep(
        channel=delivery.channel,
        status=STATUS[delivery.state.name],
        attempts=delivery.attempts,
        last_error=delivery.last_error,
        next_attempt_at=None if due_us is None else timestamp(due_us),
    )


def _group(group: wire.DeadLetterGroup) -> hark_pb2.DeadLetterGroup:
    return hark_pb2.DeadLetterGroup(
        id=group.id,
        channel=group.channel,
        error=group.error,
        count=group.dead,
        first_at=timestamp(group.first_us),
        last_at=timestamp(group.last_us),
        sample_user_ids=group.sample_user_ids,
        sample_post_ids=group.sample_post_ids,
    )
