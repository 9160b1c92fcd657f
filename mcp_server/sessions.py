"""What a client of the handshake era (2025-11-25) declares once, carried by the session id that it hands back with every call.

No process keeps sessions: the id itself says whether the host opens addresses. It grants nothing, so it needs no seal; who
makes one up changes only the form in which the same address reaches them (handoff.py).
"""

import json

from tokenization.ids import is_id, new_id

HEADER = "mcp-session-id"
OPENS_ADDRESSES = "url"
OPENS_NONE = "ses"


def session_for(body: bytes) -> str | None:
    """A fresh session id if the body is an ``initialize`` request, else None."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(request, dict) or request.get("method") != "initialize":
        return None
    node: object = request
    for name in ("params", "capabilities", "elicitation", "url"):
        node = node.get(name) if isinstance(node, dict) else None
    return new_id(OPENS_ADDRESSES if isinstance(node, dict) else OPENS_NONE)


def opens_addresses(session: str | None) -> bool:
    """Whether the session's host declared that it opens addresses."""
    return session is not None and is_id(session, OPENS_ADDRESSES)
