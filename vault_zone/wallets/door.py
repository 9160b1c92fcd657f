"""The way into the internal API for the one request that holds a card: past the guard that refuses card-like text.

What holds:
 1. It is one method of one path, matched whole. Every other request meets the guard, whatever it holds.
 2. Address and query of that path meet no exception: card-like text there goes to the guard, which refuses it.
 3. The body is bounded and timely all the same, and who may send it is asked before it is parsed (callers.py).
"""

import re
from typing import Final

from tokenization.edge import App, Receive, Scope, Send
from tokenization.scanner import contains_card

_PATH: Final = re.compile(r"/v1/merchants/[a-z0-9][a-z0-9_-]{0,63}/wallet-tokens")


class CardDoor:
    """Sends a request through the guarded way or, for a wallet's card, through the bounded one."""

    def __init__(self, guarded: App, bounded: App) -> None:
        self._app = guarded
        self._bounded = bounded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._bounded if _is_for_a_card(scope) else self._app)(scope, receive, send)


def _is_for_a_card(scope: Scope) -> bool:
    path = scope.get("path", "")
    named = scope["type"] == "http" and scope.get("method") == "POST" and _PATH.fullmatch(path)  # (1)
    return bool(named) and not scope.get("query_string") and not contains_card(path)  # (2)
