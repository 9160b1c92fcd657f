"""A loopback site that serves the checkout's pages with their real headers, and remembers what was sent."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from commerce_api.pages.render import page_headers, static_asset

HTML = "text/html; charset=utf-8"


class CheckoutSite:
    """Pages by path; POST answers with `answer` if there is one, and else 303 to `after_post`."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.card_page_origin: str | None = None
        self.after_post = "/"
        self.answer: str | None = None
        self.gets: list[str] = []
        self.posts: list[Mapping[str, str]] = []
        self.url = ""

    def page_headers(self) -> dict[str, str]:
        """Those of every page, with what a test changes of them."""
        return {**page_headers(self.card_page_origin, https=False), **self.headers}

    def get(self, path: str) -> tuple[int, bytes, Mapping[str, str]]:
        """What GET answers."""
        self.gets.append(path)
        if path in self.pages:
            return 200, self.pages[path].encode(), {"Content-Type": HTML, **self.page_headers()}
        found = static_asset(path.removeprefix("/assets/"))
        if found is None:
            return 404, b"", {}
        return 200, found.content, {"Content-Type": found.content_type or ""}

    def post(self, headers: Mapping[str, str]) -> tuple[int, bytes, Mapping[str, str]]:
        """What POST answers."""
        self.posts.append(headers)
        if self.answer is not None:
            return 409, self.answer.encode(), {"Content-Type": HTML, **self.page_headers()}
        return 303, b"", {"Location": self.after_post, **self.page_headers()}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: ClassVar[CheckoutSite]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass

    def do_GET(self) -> None:
        self._send(*self.site.get(self.path))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send(*self.site.post({name.lower(): value for name, value in self.headers.items()}))

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving() -> Iterator[CheckoutSite]:
    """A site of its own on a free port, stopped at the end."""
    site = CheckoutSite()
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
