"""Checksums over rows that nothing else vouches for: the store's own, and posts.

SQLite finds pages that make no sense, and takes any value in a page that does. Sets and lists carry
their sums with them; here are those of whole rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import apsw

from farm.audience import summed
from farm.errors import Corrupt
from farm.store.storage import Meta, PostRow

SUM_BYTES = 4


def sum_of(post: PostRow) -> int:
    """Over what never changes of a post. The name of a known author stands elsewhere."""
    seq, post_id, author, name, ordinal, created_us, received_us, audience, queued, _, text = post
    vouched = f"{seq} {author} {ordinal} {created_us} {received_us} {audience} {queued} {post_id}\0"
    return zlib.crc32((vouched + (text if author else f"{name}\0{text}")).encode())


def post_of(row: tuple[Any, ...]) -> PostRow:
    """A post and, last, its sum. Raises `Corrupt` where a bit has changed since they were stored;
    the oldest posts have none."""
    post = PostRow(*row[:-1])
    if row[-1] is not None and row[-1] != sum_of(post):
        raise Corrupt(f"post {post.seq}: the checksum does not match it; restore from a backup")
    return post


def summed_totals(change: int, now_us: int, secret: bytes, totals: bytes) -> bytes:
    """The totals with a sum that vouches for the whole row. Not for its incarnation: any other one
    is as good, and a backup gets another."""
    return _sum(change, now_us, secret, totals) + totals


def row_of(meta: Meta) -> tuple[Any, ...]:
    """As `meta_of` reads it."""
    return (*meta[:4], summed_totals(meta.change, meta.now_us, meta.secret, meta.totals))


def meta_of(row: tuple[Any, ...]) -> Meta:
    """Raises `Corrupt` where a bit has changed since it was stored."""
    incarnation, secret, change, now_us, totals = row
    if totals[:SUM_BYTES] != _sum(change, now_us, secret, totals[SUM_BYTES:]):
        raise Corrupt("meta: the checksum does not match its row; restore from a backup")
    return Meta(incarnation, secret, change, now_us, totals[SUM_BYTES:])


def _sum(change: int, now_us: int, secret: bytes, totals: bytes) -> bytes:
    return zlib.crc32(totals, zlib.crc32(b"%d %d %b" % (change, now_us, secret))).to_bytes(
        SUM_BYTES, "little"
    )


def teach(db: apsw.Connection) -> None:
    """Lets the tables of an older version get their sums in SQL."""
    functions: dict[str, Callable[..., bytes]] = {"summed": summed, "summed_totals": summed_totals}
    for name, function in functions.items():
        db.create_scalar_function(name, function)
