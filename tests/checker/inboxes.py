"""Inboxes as people read them while all went on: complete, newest first, and their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise, takewhile

from tests.checker.dump import Dump, Stored
from tests.checker.findings import Finding
from tests.checker.model import Call, Model


def check_inboxes(model: Model, dump: Dump) -> Iterator[Finding]:
    """Each read was true of some moment between its first page and its last."""
    reads = [call for call in model.calls["inbox"] if call.acknowledged]
    if not reads:
        return
    stored = {post.id: post for post in dump.posts}
    by_author = defaultdict[str, list[Stored]](list)
    for post in dump.posts:
        by_author[post.author].append(post)
    authors = defaultdict[str, set[str]](set)
    for author, followers in model.of_author.items():
        for user in followers:
            authors[user].add(author)
    for read in reads:
        user, names = read.values["user"], read.answer["posts"]
        if unknown := [name for name in names if name not in stored]:
            what = f"{user} sees {', '.join(unknown)}, not stored"
            yield Finding("nothing is made up", what, read.events)
            continue
        shown = [stored[name] for name in names]
        yield from _in_order(read, shown)
        for post in shown:
            yield from _may_be_seen(model, dump, read, post)
        # What is older than the last page may not have been asked for.
        last = 0 if read.answer["whole"] or not shown else shown[-1].seq
        yield from _complete(model, read, [by_author[author] for author in authors[user]], last)


def _complete(
    model: Model, read: Call, authors: list[list[Stored]], last: int
) -> Iterator[Finding]:
    """Nothing that is newer than the last post shown is missing."""
    seen = set(read.answer["posts"])
    for posts in authors:
        for post in takewhile(lambda post: post.seq > last, reversed(posts)):
            if post.id not in seen and _must_be_seen(model, read, post):
                what = f"{read.values['user']} does not see {post.id}"
                yield Finding("pages are complete", what, read.events)


def _in_order(read: Call, shown: list[Stored]) -> Iterator[Finding]:
    for newer, older in pairwise(shown):
        if newer.seq <= older.seq:
            what = f"{read.values['user']} sees {newer.id} before {older.id}"
            yield Finding("pages descend", what, read.events)
            return


def _may_be_seen(model: Model, dump: Dump, read: Call, post: Stored) -> Iterator[Finding]:
    user = read.values["user"]
    follows, mutes = model.follows(user, post.author), model.mutes(user, post.author)
    _, published_s = model.published(post.id)
    why = ""
    if dump.users.get(user, 0) not in post.audience:
        why = "which is not for them"
    elif not follows.may_hold(read.begin_s, min(published_s, read.end_s)):
        why = f"though they had unfollowed {post.author}"
    elif mutes.must_hold(read.begin_s, read.end_s):
        why = f"though they mute {post.author}"
    elif any(call.end_s < read.begin_s for call in model.retracts.get(post.id, ())):
        why = "which was retracted"
    if why:
        yield Finding("an inbox is one's own", f"{user} sees {post.id}, {why}", read.events)


def _must_be_seen(model: Model, read: Call, post: Stored) -> bool:
    user = read.values["user"]
    begin_s, end_s = model.published(post.id)
    return (
        end_s < read.begin_s
        and model.follows(user, post.author).must_hold(begin_s, read.end_s)
        and not model.mutes(user, post.author).may_hold(read.begin_s, read.end_s)
        and not any(call.begin_s <= read.end_s for call in model.retracts.get(post.id, ()))
    )
