"""The commerce process as an ASGI program: agents' API and checkout pages behind the rate limit and the card guard."""

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from audit.event import Event, EventType
from audit.transaction import DatabaseBusy
from commerce_api import agents_api, checkout_pages, zone_notices
from commerce_api.authorization import connections, endpoints
from commerce_api.authorization.desk import AuthorizationDesk
from commerce_api.billing import api as billing_api
from commerce_api.brands import ORIGIN
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.memory import api as memory_api
from commerce_api.memory.asker import StepUpNeeded
from commerce_api.offering import saying_api
from commerce_api.rate_limit import FromClient, RateLimited
from commerce_api.rates import AGENTS_PER_SECOND, Limits, Rates
from commerce_api.runtime import Commerce
from tokenization.clock import monotonic_seconds
from tokenization.edge import Answer, App, CardGuard, Contained, Scope, error_body, header
from tokenization.logs import cause_of
from tokenization.tally import Tally

BODY_BYTES = 64 * 1024  # of an agent: a checkout of fifty lines with an address is under 8 KiB, a talk is longer
OAUTH_BYTES = 16 * 1024  # a client that registers may name ten long addresses, and some devices' passkeys are long
FORM_BYTES = 4 * 1024  # of everybody else: a page's form is under 1 KiB, and so is a notice of the zone
UNSTORABLE_TEXT = "text_unstorable"
_UNSTORABLE_STATES = {"22021", "22P05"}  # PostgreSQL: character_not_in_repertoire, untranslatable_character
log = structlog.get_logger("commerce_api")


def commerce_app(commerce: Commerce, limits: Limits | None = None) -> App:
    """Agents' API and pages. Card-like text is refused before anything reads, logs or stores it (I2), and nobody has that read
    more often than ``limits`` let them; without these they are the usual ones.
    """
    trusted = commerce.settings.trusted_proxies
    rates = Rates(monotonic_seconds, agents_api.presented, limits or Limits(keyed_per_second=AGENTS_PER_SECOND))
    app = FastAPI(title="Cordon commerce", version="1", docs_url=None, redoc_url=None)
    app.state.commerce = commerce
    app.state.rates = rates
    app.state.authorization = AuthorizationDesk(commerce)
    app.include_router(endpoints.router)
    app.include_router(connections.router)
    app.include_router(agents_api.router)
    app.include_router(saying_api.router)
    app.include_router(memory_api.router)
    app.include_router(billing_api.router)
    app.include_router(checkout_pages.router)
    app.include_router(zone_notices.router)
    install_error_handlers(app)
    guarded = CardGuard(
        app,
        maximum_bytes=BODY_BYTES,
        monotonic_seconds=monotonic_seconds,
        conversation=conversation_of,
        on_refusal=refusal_recorder(commerce, "agents_api"),
    )
    limited = RateLimited(
        guarded,
        rates,
        maximum_bytes=body_bytes,
        refuse=_refuse_for_rate,
        is_signed=commerce.notices.is_signed,
    )
    return Contained(FromClient(limited, trusted))


def body_bytes(scope: Scope) -> int:
    """How long a body may be: only agents have much to say."""
    path = scope["path"]
    if agents_api.brand_of(path) is not None:
        return BODY_BYTES
    return OAUTH_BYTES if path.split("/")[2:3] == ["oauth"] else FORM_BYTES


def _refuse_for_rate(_: bytes, __: int) -> Answer:
    kind = CommerceError.RATE_LIMITED
    return kind.status, error_body(kind.code, kind.message)


def conversation_of(scope: Scope) -> str | None:
    """Who is speaking: the conversation an agent names, or else the client's address and credential."""
    if scope.get("path") == zone_notices.PATH:
        return None  # not a conversation: each notice is read by itself
    named = header(scope, b"conversation-id") or header(scope, b"mcp-session-id")
    client = scope.get("client") or ("", 0)
    credential = header(scope, b"authorization") or ""
    place = scope.get("path", "").strip("/").partition("/")[0]
    return f"{place}|{client[0]}|{hash(credential)}|{named or ''}"


def refusal_recorder(commerce: Commerce, channel: str):  # type: ignore[no-untyped-def]  # a coroutine function of a scope
    """Records that card-like text was refused: that it happened, never what it was (PCI DSS 12.10.7).

    Anybody can have it refused, so the first is recorded at once and those that follow within a minute by their number.
    """
    tally = Tally(commerce.clock)

    async def record(_: Scope) -> None:
        if not (number := tally.count()):
            return
        event = Event(
            type=EventType.CARD_TEXT_REFUSED,
            outcome="failure",
            actor="agent",
            origin=ORIGIN,
            resource=f"channel:{channel}",
            data={"channel": channel, "count": number},
        )
        try:
            await commerce.database.change(lambda tx: tx.record(event))
        except (DatabaseBusy, SQLAlchemyError) as failure:
            tally.keep(number)
            log.warning("refusal_not_recorded", cause=cause_of(failure))  # it is refused all the same

    return record


def install_error_handlers(app: FastAPI) -> None:
    """Every failure becomes one of CommerceError's codes; none of them carries a value of the request (I2)."""

    @app.exception_handler(CommerceRefusal)
    async def refused(_: Request, refusal: CommerceRefusal) -> JSONResponse:
        return _answer(refusal.kind)

    @app.exception_handler(StepUpNeeded)
    async def step_up(_: Request, refusal: StepUpNeeded) -> JSONResponse:
        return _answer(refusal.kind, step_up=list(refusal.ways))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, failure: RequestValidationError) -> JSONResponse:
        # The framework's own answer echoes what was sent; only the names of broken rules leave here.
        return _answer(CommerceError.INVALID_REQUEST, broken=sorted({error["type"] for error in failure.errors()}))

    @app.exception_handler(HTTPException)
    async def http(_: Request, failure: HTTPException) -> JSONResponse:
        if failure.status_code == 400:  # a body that is not even text
            return _answer(CommerceError.INVALID_REQUEST, broken=["json_invalid"])
        code = {404: "not_found", 405: "method_not_allowed"}.get(failure.status_code, "refused")
        content = error_body(code, "There is nothing here for this request.")
        return JSONResponse(content, failure.status_code, failure.headers)  # with Allow, where it is the method

    @app.exception_handler(DatabaseBusy)
    async def busy(_: Request, __: DatabaseBusy) -> JSONResponse:
        return _answer(CommerceError.BUSY)

    @app.exception_handler(SQLAlchemyError)
    async def database(_: Request, failure: SQLAlchemyError) -> JSONResponse:
        if is_unstorable(failure):
            return _answer(CommerceError.INVALID_REQUEST, broken=[UNSTORABLE_TEXT])
        log.error("database_failed", cause=cause_of(failure))
        return _answer(CommerceError.BUSY)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, failure: Exception) -> JSONResponse:
        log.error("request_failed", cause=cause_of(failure))
        return _answer(CommerceError.INTERNAL)


def is_unstorable(failure: BaseException) -> bool:
    """Whether a text of the request is one that PostgreSQL stores nowhere (it holds a NUL); SQLite takes it as it is."""
    return getattr(getattr(failure, "orig", None), "sqlstate", None) in _UNSTORABLE_STATES


def _answer(kind: CommerceError, **extra: object) -> JSONResponse:
    headers = {"cache-control": "no-store"}
    if kind is CommerceError.UNAUTHENTICATED:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse({**error_body(kind.code, kind.message), **extra}, kind.status, headers)
