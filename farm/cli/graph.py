"""`hark follow`, `unfollow`, `mute`, `unmute`, `followers`, `following`: who hears of whom."""

from __future__ import annotations

import shlex
from argparse import Namespace

from farm.cli.answers import AddCommand, Answer, add_size, count, next_page, printable, words
from farm.cli.calls import Hark
from farm.limits import PEOPLE_PAGE_DEFAULT, PEOPLE_PAGE_MAX
from gateway.pb.hark.v1 import hark_pb2


def add_to(add: AddCommand) -> None:
    verb = add("follow", follow, "let somebody follow an author", "hark follow user2 user1")
    verb.add_argument("user", metavar="USER", type=words, help="who follows")
    verb.add_argument("author", metavar="AUTHOR", type=words, help="who is followed")
    verb = add("unfollow", unfollow, "end a following", "hark unfollow user2 user1")
    verb.add_argument("user", metavar="USER", type=words, help="who follows")
    verb.add_argument("author", metavar="AUTHOR", type=words, help="who is followed")
    about = "tell somebody nothing more of an author, followed or not"
    verb = add("mute", mute, about, "hark mute user2 user1")
    verb.add_argument("user", metavar="USER", type=words, help="who mutes")
    verb.add_argument("author", metavar="AUTHOR", type=words, help="who is muted")
    verb = add("unmute", unmute, "end a muting", "hark unmute user2 user1")
    verb.add_argument("user", metavar="USER", type=words, help="who mutes")
    verb.add_argument("author", metavar="AUTHOR", type=words, help="who is muted")
    verb = add("followers", followers, "show who follows an author", "hark followers user1")
    verb.add_argument("user", metavar="AUTHOR", type=words)
    add_size(verb, default=PEOPLE_PAGE_DEFAULT, most=PEOPLE_PAGE_MAX)
    about = "the page that this token begins"
    verb.add_argument("--after", metavar="TOKEN", type=words, default="", help=about)
    verb = add("following", following, "show whom somebody follows", "hark following user2")
    verb.add_argument("user", metavar="USER", type=words)
    add_size(verb, default=PEOPLE_PAGE_DEFAULT, most=PEOPLE_PAGE_MAX)
    verb.add_argument("--after", metavar="TOKEN", type=words, default="", help=about)


def follow(given: Namespace) -> Answer:
    request = hark_pb2.FollowRequest(follower_id=given.user, author_id=given.author)
    with Hark(given.grpc) as hark:
        done = hark.call("SocialGraphService/Follow", request, hark_pb2.FollowResponse)
    how = "follows" if done.changed else "followed before, and follows,"
    return _changed(given, how, changed=done.changed)


def unfollow(given: Namespace) -> Answer:
    request = hark_pb2.UnfollowRequest(follower_id=given.user, author_id=given.author)
    with Hark(given.grpc) as hark:
        done = hark.call("SocialGraphService/Unfollow", request, hark_pb2.UnfollowResponse)
    how = "no longer follows" if done.changed else "did not follow"
    return _changed(given, how, changed=done.changed)


def mute(given: Namespace) -> Answer:
    request = hark_pb2.MuteRequest(user_id=given.user, author_id=given.author)
    with Hark(given.grpc) as hark:
        done = hark.call("SocialGraphService/Mute", request, hark_pb2.MuteResponse)
    how = "mutes" if done.changed else "muted before, and mutes,"
    return _changed(given, how, changed=done.changed)


def unmute(given: Namespace) -> Answer:
    request = hark_pb2.UnmuteRequest(user_id=given.user, author_id=given.author)
    with Hark(given.grpc) as hark:
        done = hark.call("SocialGraphService/Unmute", request, hark_pb2.UnmuteResponse)
    how = "no longer mutes" if done.changed else "did not mute"
    return _changed(given, how, changed=done.changed)


def _changed(given: Namespace, how: str, *, changed: bool) -> Answer:
    text = f"{printable(given.user)} {how} {printable(given.author)}"
    return Answer({"changed": changed}, text)


def followers(given: Namespace) -> Answer:
    request = hark_pb2.ListFollowersRequest(
        author_id=given.user, page_size=given.size, page_token=given.after
    )
    with Hark(given.grpc) as hark:
        page = hark.call(
            "SocialGraphService/ListFollowers", request, hark_pb2.ListFollowersResponse
        )
    command = f"followers {shlex.quote(given.user)}"
    return _people(given, page, count(page.total, "follower"), command)


def following(given: Namespace) -> Answer:
    request = hark_pb2.ListFollowingRequest(
        user_id=given.user, page_size=given.size, page_token=given.after
    )
    with Hark(given.grpc) as hark:
        page = hark.call(
            "SocialGraphService/ListFollowing", request, hark_pb2.ListFollowingResponse
        )
    command = f"following {shlex.quote(given.user)}"
    return _people(given, page, f"{page.total:,} followed", command)


def _people(
    given: Namespace,
    page: hark_pb2.ListFollowersResponse | hark_pb2.ListFollowingResponse,
    total: str,
    command: str,
) -> Answer:
    """One id a line, then how many there are in all."""
    lines = [*map(printable, page.user_ids), total]
    if page.next_page_token:
        lines.append(f"more: {next_page(given, command, page.next_page_token)}")
    document = {
        "user_ids": list(page.user_ids),
        "next_page_token": page.next_page_token,
        "total": page.total,
    }
    return Answer(document, "\n".join(lines))
