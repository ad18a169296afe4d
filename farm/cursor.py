"""Cursors and page tokens: opaque to people, signed against forging.

A token is its payload and a keyed BLAKE2b over purpose, subject and payload, in unpadded base64url.
The subject (whose inbox, whose followers) is in the signature only, so that one person's token says
nothing to, and does nothing for, another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Callable
from typing import NamedTuple

from farm.errors import InvalidArgument
from farm.limits import TOKEN_CHARACTERS_MAX

_MAC_BYTES = 10
_CURSOR = struct.Struct(">QQQ")

END = 2**64 - 1  # the position after everything that a change did


class Signer:
    """Makes and reads tokens with the store's secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, purpose: str, subject: str, payload: bytes) -> str:
        return self.signer_of(purpose, subject)(payload)

    def signer_of(self, purpose: str, subject: str) -> Callable[[bytes], str]:
        """What signs payload after payload about one subject."""
        begun = self._begun(purpose, subject)

        def sign(payload: bytes) -> str:
            return _text_of(_ended(begun.copy(), payload) + payload)

        return sign

    def read(self, purpose: str, subject: str, token: str, field: str) -> bytes:
        """The payload. Raises `InvalidArgument` naming the field where the token is not ours."""
        text = token[:TOKEN_CHARACTERS_MAX]
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if _text_of(raw) != token:
            # The last character has bits to spare, so that several texts are the same bytes; only
            # one of them was given out (RFC 4648, 3.5).
            raw = b""
        mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(purpose, subject, payload)):
            raise InvalidArgument(f"{field}: was not given out here for this; leave it out")
        return payload

    def _mac(self, purpose: str, subject: str, payload: bytes) -> bytes:
        return _ended(self._begun(purpose, subject), payload)

    def _begun(self, purpose: str, subject: str) -> hashlib.blake2b:
        """The hash of all but the payload, which the tokens of a page have in common."""
        made = hashlib.blake2b(digest_size=_MAC_BYTES, key=self._secret)
        for part in (purpose.encode(), subject.encode(errors="surrogatepass")):
            made.update(len(part).to_bytes(4, "big"))
            made.update(part)
        return made


def _text_of(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _ended(made: hashlib.blake2b, payload: bytes) -> bytes:
    made.update(len(payload).to_bytes(4, "big") + payload)
    return made.digest()


class Cursor(NamedTuple):
    """A place in a person's inbox: pages go on below it, live events resume above it.

    A change moves one notification (position 0) or several (by the seq of the post of each).
    """

    incarnation: int
    change: int
    position: int = 0

    def pack(self) -> bytes:
        return _CURSOR.pack(*self)

    @staticmethod
    def unpack(payload: bytes, field: str) -> Cursor:
        """Raises `InvalidArgument` where an older Hark gave the cursor out."""
        if len(payload) != _CURSOR.size:
            raise InvalidArgument(f"{field}: was given out by another version; leave it out")
        return Cursor(*_CURSOR.unpack(payload))


class InboxCursors:
    """Signs and reads the cursors of inboxes of one store."""

    PURPOSE = "inbox"

    def __init__(self, incarnation: int, secret: bytes) -> None:
        self.incarnation = incarnation
        self._signer = Signer(secret)

    def signer_of(self, user_id: str) -> Callable[[int], str]:
        """What makes the cursors of one person's notifications, by the seq of the post."""
        sign, incarnation = self._signer.signer_of(self.PURPOSE, user_id), self.incarnation
        return lambda seq: sign(_CURSOR.pack(incarnation, seq, 0))

    def sign(self, user_id: str, change: int, position: int = 0) -> str:
        cursor = Cursor(self.incarnation, change, position)
        return self._signer.sign(self.PURPOSE, user_id, cursor.pack())

    def read(self, user_id: str, token: str, field: str) -> Cursor:
        """Raises `InvalidArgument` naming the field where it is no cursor of this inbox, or was
        given out by another store, in which it says where something else is."""
        cursor = self.read_of_any(user_id, token, field)
        if cursor.incarnation != self.incarnation:
            raise InvalidArgument(
                f"{field}: is a cursor of another Hark (a restored copy, or the original of this "
                "one); load the inbox anew"
            )
        return cursor

    def read_of_any(self, user_id: str, token: str, field: str) -> Cursor:
        """The same also of the store that this one was restored from, or of another copy of it."""
        return Cursor.unpack(self._signer.read(self.PURPOSE, user_id, token, field), field)
