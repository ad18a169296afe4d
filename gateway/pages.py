"""GraphiQL: the page that a browser finds at /graphql, and what it loads; all of it is from here.

`gateway/graphiql/README.md` says what the files are made of.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from sanic.response import HTTPResponse

from gateway.refusals import HttpRefusal

_FILES = Path(__file__).parent / "graphiql"
_MEDIA_TYPES = {
    "graphiql.js": "text/javascript; charset=utf-8",
    "graphiql.css": "text/css; charset=utf-8",
}
# The editor styles itself inline and draws its icons from data: URLs; all else is from here.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


class Pages:
    """The page and its files, read once.

    A file's URL holds a part of its hash, so a browser keeps it for good and still sees a new one.
    """

    def __init__(self) -> None:
        self._files = {name: (_FILES / name).read_bytes() for name in _MEDIA_TYPES}
        page = (_FILES / "index.html").read_text(encoding="utf-8")
        for name, content in self._files.items():
            page = page.replace(name, f"{name}?{hashlib.sha256(content).hexdigest()[:12]}")
        self._page = page.encode()

    def page(self) -> HTTPResponse:
        headers = {
            "cache-control": "no-cache",
            "content-security-policy": _POLICY,
            "referrer-policy": "no-referrer",
            "vary": "Accept",
        }
        return HTTPResponse(self._page, headers=headers, content_type="text/html; charset=utf-8")

    def file(self, name: str) -> HTTPResponse:
        """Raises `HttpRefusal` where there is no such file."""
        if name not in self._files:
            raise HttpRefusal(404, "NOT_FOUND", "there is no such file")
        return HTTPResponse(
            self._files[name],
            headers={"cache-control": "public, max-age=31536000, immutable"},
            content_type=_MEDIA_TYPES[name],
        )
