"""hark.v1.OperationsService: for those who run it."""

from __future__ import annotations

from farm import wire
from farm.client import FarmClient, StoreClient
from farm.errors import NotFound
from farm.limits import check_id, shown
from gateway.calls import Service
from gateway.pb.hark.v1 import hark_pb2
from gateway.values import duration


class OperationsService:
    def __init__(self, store: StoreClient, farm: FarmClient) -> None:
        self._store = store
        self._farm = farm

    def service(self) -> Service:
        return Service(
            hark_pb2.DESCRIPTOR.services_by_name["OperationsService"],
            {
                "GetLedger": self.get_ledger,
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

    async def get_capacity(
        self, _request: hark_pb2.GetCapacityRequest
    ) -> hark_pb2.GetCapacityResponse:
        stats = await self._store.stats()
        workers = (await self._farm.state()).workers
        capacity = hark_pb2.GetCapacityResponse(
            backlog=stats.backlog,
            oldest_queued=duration(stats.oldest_seconds),
            deliveries_per_second=stats.deliveries_per_second,
            workers=workers,
            accepting=not stats.refusing_because,
            refusing_because=stats.refusing_because,
        )
        # While nothing is delivered nobody knows how long the backlog takes: then there is none.
        if stats.backlog == 0:
            capacity.backlog_estimate.CopyFrom(duration(0))
        elif stats.deliveries_per_second > 0:
            estimate = duration(stats.backlog / stats.deliveries_per_second)
            capacity.backlog_estimate.CopyFrom(estimate)
        return capacity

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
