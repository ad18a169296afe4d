"""What a browser shows: Hark's own two pages, and GraphiQL; all that they load is from here.

browser/    the operator's page at `/`, an inbox at `/inbox/USER`, written by hand
graphiql/   the page at `/graphql`; its README says what the files are made of
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import quote

from sanic.response import HTTPResponse

from gateway.refusals import HttpRefusal

_HERE = Path(__file__).parent
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_ONLY_FROM_HERE = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; "
)
# Text of strangers stands in these pages: nothing inline runs, and no text can become markup.
_POLICY = _ONLY_FROM_HERE + (
    "style-src 'self'; img-src 'self'; form-action 'self'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
# GraphiQL's editor styles itself inline and draws its icons from data: URLs.
_GRAPHIQL_POLICY = _ONLY_FROM_HERE + (
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; form-action 'none'"
)
# A browser takes these for "here" and "above", percent-encoded too, and never asks for them.
_NO_SEGMENTS = (".", "..")


class Pages:
    """The pages and their files, read once.

    A file's URL holds a part of a hash, so a browser keeps it for good and still sees a new one.
    For ours it is one of all files together, in a folder's place, so that scripts which import
    each other need not know it.
    """

    def __init__(self) -> None:
        self._graphiql_files = _files("graphiql")
        self._graphiql = _page("graphiql/index.html")
        for name, content in self._graphiql_files.items():
            self._graphiql = self._graphiql.replace(name, f"{name}?{_hash(content)}")
        self._files = _files("browser")
        self._version = _hash(b"".join(self._files[name] for name in sorted(self._files)))
        self._operator = self._versioned("browser/operator.html")
        self._inbox = self._versioned("browser/inbox.html")

    def _versioned(self, name: str) -> str:
        return re.sub(r'(?<=")/browser/', f"/browser/{self._version}/", _page(name))

    def operator(self) -> HTTPResponse:
        return _html(self._operator, _POLICY)

    def inbox(self) -> HTTPResponse:
        """The same for everybody: the script reads from the address whose inbox it is."""
        return _html(self._inbox, _POLICY)

    def inbox_of(self, user_id: str) -> HTTPResponse:
        """What the form on the operator's page leads to: the address of that inbox."""
        if user_id in _NO_SEGMENTS:
            return self.inbox()
        location = f"/inbox/{quote(user_id, safe='')}" if user_id else "/"
        return HTTPResponse(status=303, headers={"location": location})

    def graphiql(self) -> HTTPResponse:
        return _html(self._graphiql, _GRAPHIQL_POLICY, {"vary": "Accept"})

    def file(self, version: str, name: str) -> HTTPResponse:
        """Raises `HttpRefusal` where there is no such file."""
        return _file(self._files if version == self._version else {}, name)

    def graphiql_file(self, name: str) -> HTTPResponse:
        """Raises `HttpRefusal` where there is no such file."""
        return _file(self._graphiql_files, name)


def _files(folder: str) -> dict[str, bytes]:
    paths = [path for path in (_HERE / folder).iterdir() if path.suffix in _MEDIA_TYPES]
    return {path.name: path.read_bytes() for path in paths}


def _page(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _html(page: str, policy: str, more: dict[str, str] | None = None) -> HTTPResponse:
    headers = {
        "cache-control": "no-cache",
        "content-security-policy": policy,
        "referrer-policy": "no-referrer",
    }
    return HTTPResponse(
        page, headers=headers | (more or {}), content_type="text/html; charset=utf-8"
    )


def _file(files: dict[str, bytes], name: str) -> HTTPResponse:
    if name not in files:
        raise HttpRefusal(404, "NOT_FOUND", "there is no such file")
    return HTTPResponse(
        files[name],
        headers={"cache-control": "public, max-age=31536000, immutable"},
        content_type=_MEDIA_TYPES[Path(name).suffix],
    )
