"""A shop's page with card fields, served on loopback: the page, its script and style, and one call that asks for fields.

The shop's server never sees a card. It asks commerce for fields with the digest that the browser sends, once for each digest,
so that a reload goes on with the same ones.
"""

import json
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

HERE = Path(__file__).parent
BODY_BYTES = 1024
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}


class Shop(BaseHTTPRequestHandler):
    """Set ``manifest`` (of the zone's /fields/manifest.json) and ``ask``: an opener's digest in, the fields' address out."""

    protocol_version = "HTTP/1.1"
    manifest: ClassVar[Mapping[str, Any]]
    ask: ClassVar[Callable[[str], str]]
    known: ClassVar[dict[str, str]]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Says nothing."""

    def do_GET(self) -> None:
        """The page and its two files."""
        name = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js"}.get(urlsplit(self.path).path)
        if name is None:
            self._send(404, b"", "text/plain")
            return
        text = (HERE / name).read_text(encoding="utf-8")
        if name == "page.html":
            loader = self.manifest["loader"]
            text = text.replace("{loader_url}", loader["url"]).replace("{loader_integrity}", loader["integrity"])
        self._send(200, text.encode(), TYPES[Path(name).suffix])

    def do_POST(self) -> None:
        """Fields for the browser whose digest this is."""
        body = self.rfile.read(min(int(self.headers["Content-Length"]), BODY_BYTES)).decode()
        digest = parse_qs(body)["digest"][0]
        if digest not in self.known:
            self.known[digest] = type(self).ask(digest)
        self._send(200, json.dumps({"url": self.known[digest]}).encode(), "application/json")

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        zone = "{0.scheme}://{0.netloc}".format(urlsplit(self.manifest["loader"]["url"]))
        policy = (
            f"default-src 'none'; script-src 'self' {zone}; style-src 'self'; connect-src 'self'; frame-src {zone}; "
            "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
        )
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Security-Policy", policy)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
