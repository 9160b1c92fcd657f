"""Stands between a connector and its counterpart, and loses, garbles or withholds what a test wants lost."""

from collections.abc import Callable
from enum import StrEnum

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from vault_zone.processors.sandbox_server.connection import NoReply


class Fault(StrEnum):
    """What becomes of the next request that moves money."""

    LOSE_REQUEST = "lose_request"  # the connection ends; the processor heard nothing
    LOSE_REPLY = "lose_reply"  # it took effect; the connection ends without a byte
    GARBAGE = "garbage"  # it took effect; the answer is a web page
    NONSENSE = "nonsense"  # it took effect; the answer is JSON that says nothing
    SERVER_ERROR = "server_error"  # the processor broke down: nobody knows whether it took effect
    SILENCE = "silence"  # it took effect; the answer never comes


EFFECTIVE = (Fault.LOSE_REPLY, Fault.GARBAGE, Fault.NONSENSE, Fault.SILENCE)


class FaultProxy:
    """An ASGI application that passes requests on, and makes the next one that ``moves_money`` meet a fault.

    Serve it with tests.vault_zone.processors.sandbox_server.world.served, whose connections it can close.
    """

    def __init__(self, upstream: httpx.AsyncClient, moves_money: Callable[[Request], bool]) -> None:
        self.upstream = upstream
        self.faults: list[Fault] = []
        self._moves_money = moves_money

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        fault = self.faults.pop(0) if self.faults and self._moves_money(request) else None
        response = await self._faulty(fault, request, body)
        if response is not None:
            await response(scope, receive, send)
            return
        while (await receive())["type"] != "http.disconnect":  # the client gives up first
            pass

    async def answer(self, request: Request, body: bytes) -> Response:
        """The counterpart's own answer."""
        kept = {k: v for k, v in request.headers.items() if k not in ("host", "content-length", "connection")}
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        said = await self.upstream.request(request.method, target, content=body, headers=kept)
        return Response(said.content, said.status_code, media_type=said.headers.get("content-type"))

    async def _faulty(self, fault: Fault | None, request: Request, body: bytes) -> Response | None:
        if fault is Fault.LOSE_REQUEST:
            return NoReply()
        if fault is Fault.SERVER_ERROR:
            return JSONResponse({"error": {"type": "api_error", "message": "out of order"}}, 500)
        answer = await self.answer(request, body)
        match fault:
            case Fault.LOSE_REPLY:
                return NoReply()
            case Fault.GARBAGE:
                return Response(b"<html>maintenance</html>", 200, media_type="text/html")
            case Fault.NONSENSE:
                return JSONResponse({"id": [], "status": {"a": 1}, "object": 7, "error": "?"}, 200)
            case Fault.SILENCE:
                return None
        return answer
