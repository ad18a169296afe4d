"""The limits of what people send, and the checks that name the field, the value and the rule.

Each check returns the value and raises `InvalidArgument`.
"""

from __future__ import annotations

import re

from farm.errors import InvalidArgument

ID_BYTES_MAX = 128
CONTENT_BYTES_MAX = 16 * 1024
POSTS_PER_CALL_MAX = 1_000
EDGES_PER_MESSAGE_MAX = 10_000
INBOX_PAGE_MAX = 100
INBOX_PAGE_DEFAULT = 20
MARKS_PER_CALL_MAX = 1_000
NOTIFICATION_ID_CHARACTERS_MAX = 25  # 64 bits of the post, 32 of the person, a dot between
TOKEN_CHARACTERS_MAX = 1_000
DEAD_LETTERS_PAGE_MAX = 100
DEAD_LETTERS_PAGE_DEFAULT = 50
PEOPLE_PAGE_MAX = 10_000
PEOPLE_PAGE_DEFAULT = 1_000
REJECTIONS_SHOWN_MAX = 20
WORKERS_MAX = 64
CREATED_AT_MAX_US = 253_402_300_800 * 1_000_000  # the year 10000 begins

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def shown(value: str) -> str:
    """A value as an error message may show it: short, and with nothing that moves a cursor."""
    text = value if len(value) <= 40 else value[:40] + "…"
    return text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text


def check_id(field: str, value: str) -> str:
    """An id: 1 to 128 bytes of UTF-8 without control characters."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidArgument(f"{field} '{ascii(value)[1:-1][:40]}': must be valid UTF-8") from None
    if not 1 <= size <= ID_BYTES_MAX:
        raise InvalidArgument(
            f"{field}: is {size} bytes long; must be 1 to {ID_BYTES_MAX} bytes of UTF-8"
        )
    if _CONTROL.search(value):
        raise InvalidArgument(f"{field} '{shown(value)}': must not contain control characters")
    return value


def check_text(value: str) -> str:
    """What is looked for, whatever it is: valid UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"'{shown(value)}': must be valid UTF-8") from None
    return value


def check_token(field: str, token: str) -> str:
    """A cursor or page token that may have been given out here: valid UTF-8, and no longer than any
    of them. Whoever signs them looks at the rest, and refuses in the same words."""
    if len(token) > TOKEN_CHARACTERS_MAX:
        raise InvalidArgument(f"{field}: was not given out here for this; leave it out")
    return check_text(token)


def check_content(field: str, value: str) -> str:
    """A post's content: 1 byte to 16 KiB of UTF-8."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidArgument(f"{field}: must be valid UTF-8") from None
    if not 1 <= size <= CONTENT_BYTES_MAX:
        raise InvalidArgument(
            f"{field}: is {size} bytes long; must be 1 to {CONTENT_BYTES_MAX} bytes of UTF-8"
        )
    return value


def check_created_at(field: str, time_us: int) -> int:
    """A time in microseconds since 1970, within the years 1970 to 9999."""
    if not 0 <= time_us < CREATED_AT_MAX_US:
        raise InvalidArgument(
            f"{field}: is {time_us / 1e6:.0f} seconds since 1970; must be in the years 1970 to 9999"
        )
    return time_us


def check_not_self(follower_field: str, follower: str, author: str) -> None:
    if follower == author:
        raise InvalidArgument(f"{follower_field} '{shown(follower)}': nobody can follow themselves")


def check_page_size(field: str, size: int, *, default: int, most: int) -> int:
    """A page size; 0 is the default."""
    if size == 0:
        return default
    if not 1 <= size <= most:
        raise InvalidArgument(f"{field} {size}: must be from 1 to {most}")
    return size
