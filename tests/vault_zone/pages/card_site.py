"""A loopback site that serves the card page with its real headers, and remembers what was posted."""

import base64
import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from vault_zone.pages.render import AssetUnknown, asset_headers, asset_url, security_headers, static_asset

HTML = "text/html; charset=utf-8"


class CardSite:
    """Pages by path; POST answers 303 to `after_post`."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.posts: list[bytes] = []
        self.after_post = "/done"
        self.return_origin: str | None = None
        self.url = ""

    def plant(self, html: str, old: str, new: str) -> str:
        """`html` with a fault in its script: `old` becomes `new`, and the integrity is made to fit."""
        url = asset_url("card.js")
        body, _, integrity = static_asset(url.removeprefix("/assets/"))
        assert body.decode().count(old) == 1, f"not once in the script: {old}"
        faulty = body.decode().replace(old, new).encode()
        self.files["/assets/faulty.js"] = faulty
        digest = base64.b64encode(hashlib.sha384(faulty).digest()).decode()
        return html.replace(url, "/assets/faulty.js").replace(integrity, f"sha384-{digest}")

    def file(self, path: str) -> tuple[int, bytes, Mapping[str, str]]:
        """What GET answers."""
        if path in self.pages:
            headers = security_headers(self.return_origin, https=False)
            return 200, self.pages[path].encode(), {"Content-Type": HTML, **headers}
        if path in self.files:
            return 200, self.files[path], {"Content-Type": "text/javascript", **asset_headers()}
        try:
            body, content_type, _ = static_asset(path.removeprefix("/assets/"))
        except AssetUnknown:
            return 404, b"", {}
        return 200, body, {"Content-Type": content_type, **asset_headers()}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: ClassVar[CardSite]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass

    def do_GET(self) -> None:
        self._send(*self.site.file(self.path.partition("?")[0]))

    def do_POST(self) -> None:
        self.site.posts.append(self.rfile.read(int(self.headers["Content-Length"])))
        headers = security_headers(self.site.return_origin, https=False)
        self._send(303, b"", {"Location": self.site.after_post, **headers})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving() -> Iterator[CardSite]:
    """A site of its own on a free port, stopped at the end."""
    site = CardSite()
    handler = type("Handler", (_Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
