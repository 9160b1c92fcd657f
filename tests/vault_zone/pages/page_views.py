"""Views for the tests of the pages, and the page as a reader of HTML sees it."""

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

from vault_zone.pages.render import CardPageView

VOID = {"meta", "link", "input", "br"}


def card_view(**changed: Any) -> CardPageView:
    """A usual purchase, with what a test changes of it."""
    usual: dict[str, Any] = {
        "merchant_name": "Fernhill Outfitters",
        "amount_text": "$137.17",
        "description_lines": ["1 × Alder trail jacket, moss, size M", "2 × Merino hiking socks"],
        "action_url": "/capture/cl_test",
        "expires_text": "This page is open until 15:42.",
        "sandbox": True,
        "cancel_url": "https://fernhill.example/back",
    }
    return CardPageView(**{**usual, **changed})


class Document(HTMLParser):
    """Elements with their attributes and own text. Raises AssertionError where tags do not match."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == [], self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute of {tag} stands twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self._open[-1] if self._open else "", data.strip()))

    def all(
        self, tag: str, where: Callable[[dict[str, str | None]], bool] = lambda _: True
    ) -> list[dict[str, str | None]]:
        """The attributes of every element of one kind."""
        return [attrs for name, attrs in self.elements if name == tag and where(attrs)]

    def values(self, attribute: str) -> list[str]:
        """Every value of an attribute, wherever it stands."""
        return [attrs[attribute] or "" for _, attrs in self.elements if attribute in attrs]
