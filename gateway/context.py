"""What resolvers ask."""

from __future__ import annotations

from typing import NamedTuple

from strawberry.types import Info

from farm.client import FarmClient, StoreClient
from farm.live import Live
from gateway.values import PostIds


class Context(NamedTuple):
    """The same for every question but for the last; there are no accounts yet."""

    store: StoreClient
    farm: FarmClient
    live: Live
    post_ids: PostIds
    resume_after: str = ""  # the cursor a subscription goes on from, whatever its query says


Asked = Info[Context, None]
