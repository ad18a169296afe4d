"""Posts: none acknowledged is lost, none refused is stored, each has the audience of its time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from farm.audience import BitMap
from tests.checker.dump import Dump, Stored
from tests.checker.findings import Finding, events_of
from tests.checker.model import Model


def check_posts(model: Model, dump: Dump) -> Iterator[Finding]:
    yield from _stored_once(dump)
    stored = {post.id: post for post in dump.posts}
    for name in model.publishes:
        yield from _answers_hold(model, name, stored.get(name))
    for post in dump.posts:
        yield from _was_sent(model, post)
        yield from _audience_fits(model, dump, post)
        retracts = [call for call in model.retracts.get(post.id, ()) if call.acknowledged]
        if retracts and not post.retracted:
            what = f"{post.id} is not retracted"
            yield Finding("acknowledged is durable", what, events_of(retracts))


def _stored_once(dump: Dump) -> Iterator[Finding]:
    for name, count in Counter(post.id for post in dump.posts).items():
        if count > 1:
            yield Finding("one post a key", f"{name} is stored {count} times")


def _answers_hold(model: Model, name: str, post: Stored | None) -> Iterator[Finding]:
    """What was said about a post is true of the store."""
    calls = model.publishes[name]
    acknowledged = [call for call in calls if call.acknowledged]
    if acknowledged and post is None:
        yield Finding("acknowledged is durable", f"{name} is lost", events_of(acknowledged))
        return
    for call in acknowledged:
        assert post is not None
        if (call.values["author"], call.values["content"]) != (post.author, post.content):
            what = f"{name} was acknowledged, and another one is stored"
            yield Finding("acknowledged is durable", what, call.events)
        if call.answer.get("queued", post.queued) != post.queued:
            what = f"{name} reached {post.queued} people at once, and others were told otherwise"
            yield Finding("the same answer again", what, call.events)
    firsts = [call for call in acknowledged if call.answer.get("duplicate") is False]
    if len(firsts) > 1:
        what = f"{name} was said to be new {len(firsts)} times"
        yield Finding("the same answer again", what, events_of(firsts))


def _was_sent(model: Model, post: Stored) -> Iterator[Finding]:
    """Somebody asked for this very post and was not refused."""
    calls = [
        call
        for call in model.publishes.get(post.id, ())
        if (call.values["author"], call.values["content"]) == (post.author, post.content)
    ]
    if not calls:
        yield Finding("nothing is made up", f"{post.id} is stored, and nobody sent it")
    elif not any(call.possible for call in calls):
        what = f"{post.id} was refused each time, and is stored"
        yield Finding("a refusal is never stored", what, events_of(calls))


def _audience_fits(model: Model, dump: Dump, post: Stored) -> Iterator[Finding]:
    """Between those who must have followed and those who may have."""
    begin_s, end_s = model.published(post.id)
    must, may = BitMap(), BitMap()
    for user in model.of_author.get(post.author, ()):
        follows = model.follows(user, post.author)
        number = dump.users.get(user)
        if number is None:
            if follows.must_hold(begin_s, end_s):
                what = f"{user} follows {post.author}, and nobody knows them"
                yield Finding("the audience of its time", what, events_of(follows.begins))
        elif follows.may_hold(begin_s, end_s):
            may.add(number)
            if follows.must_hold(begin_s, end_s):
                must.add(number)
    names = {number: name for name, number in dump.users.items()} if must - post.audience or (
        post.audience - may
    ) else {}  # fmt: skip
    for number in must - post.audience:
        follows = model.follows(names[number], post.author)
        what = f"{post.id} does not reach {names[number]}, who follows {post.author}"
        events = events_of([*follows.begins, *follows.ends, *model.publishes[post.id]])
        yield Finding("the audience of its time", what, events)
    for number in post.audience - may:
        follows = model.follows(names[number], post.author)
        what = f"{post.id} reaches {names[number]}, who does not follow {post.author}"
        events = events_of([*follows.begins, *follows.ends, *model.publishes[post.id]])
        yield Finding("the audience of its time", what, events)
