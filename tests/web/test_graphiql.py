"""GraphiQL comes whole from here."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from tests.farm_process import ROOT
from tests.web.web_process import WebProcess, ask

FILES = ROOT / "gateway/graphiql"
BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


class _Loaded(HTMLParser):
    """What a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.urls += [value for name, value in attrs if name in ("src", "href") and value]


@pytest.mark.process
@pytest.mark.parametrize("path", ["/graphql", "/query"])
def test_page_and_what_it_loads(web: WebProcess, path: str) -> None:
    page = ask(web.address, path, headers=BROWSER)
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "http" not in policy
    loaded = _Loaded()
    loaded.feed(page.body.decode())
    urls = [url for url in loaded.urls if not url.startswith("data:")]
    assert {url.partition("?")[0] for url in urls} == {
        "/graphiql/graphiql.css",
        "/graphiql/graphiql.js",
    }
    for url in urls:
        file = ask(web.address, url)
        kind = "text/css" if ".css?" in url else "text/javascript"
        assert file.headers["content-type"] == f"{kind}; charset=utf-8"
        assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert file.headers["x-content-type-options"] == "nosniff"
        assert file.body == (FILES / url.partition("?")[0].rpartition("/")[2]).read_bytes()


def test_style_sheet_loads_nothing() -> None:
    style = (FILES / "graphiql.css").read_text()
    outside = [url for url in re.findall(r"url\(([^)]*)", style) if "data:" not in url]
    assert outside == []
    assert "@import" not in style


def test_licences_name_what_is_bundled() -> None:
    licences = (FILES / "LICENSES.txt").read_text()
    wanted = json.loads((FILES / "package.json").read_text())["dependencies"]
    for name, version in wanted.items():
        assert f"\n{name} {version} (" in licences
    assert "GNU" not in licences
