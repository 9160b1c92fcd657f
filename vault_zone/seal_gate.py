"""The door of a sealed zone: health, and what opens it. Everything else is told to come back, before it is looked at."""

from collections.abc import Callable, Collection

from fastapi.responses import JSONResponse, Response

from tokenization.edge import App, Receive, Scope, Send, error_body
from vault_zone.errors import ZoneError

OPEN_WHILE_SEALED = ("/v1/health", "/v1/unseal", "/v1/seal")


class SealGate:
    """Answers 503 to every path but the open ones while the zone is sealed."""

    def __init__(
        self,
        app: App,
        is_sealed: Callable[[], bool],
        *,
        open_paths: Collection[str],
        answer: Callable[[str], Response] | None = None,
    ) -> None:
        """``answer`` makes the answer for a path; JSON with ``zone_sealed`` where it is not given."""
        self._app = app
        self._is_sealed = is_sealed
        self._open_paths = frozenset(open_paths)
        self._answer = answer or sealed_answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"] not in self._open_paths and self._is_sealed():
            await self._answer(scope["path"])(scope, receive, send)
            return
        await self._app(scope, receive, send)


def sealed_answer(_: str = "") -> Response:
    """What a program is told."""
    kind = ZoneError.ZONE_SEALED
    headers = {"cache-control": "no-store", "retry-after": "60"}
    return JSONResponse(error_body(kind.code, kind.message), kind.status, headers)
