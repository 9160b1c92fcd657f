"""The zone's two ASGI programs: the internal API for commerce, and the public one for shoppers and processors."""

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from audit.event import Event, EventType
from audit.transaction import DatabaseBusy
from tokenization.clock import monotonic_seconds
from tokenization.edge import App, BodyLimit, CardGuard, Contained, error_body
from tokenization.logs import cause_of
from vault_zone import (
    cards_api,
    charges_api,
    fields_pages,
    internal_api,
    keys_api,
    operations_api,
    payments_api,
    public_pages,
    retention_api,
    unseal_api,
)
from vault_zone.access import AccessRefused
from vault_zone.delegation import acp, ucp
from vault_zone.delegation.desk import Desk
from vault_zone.errors import REFUSALS, ZoneError, ZoneRefusal
from vault_zone.forward import api as forward_api
from vault_zone.hazmat.provider import KeyDestroyed, KeyUnavailable
from vault_zone.key_rows import ORIGIN
from vault_zone.ledger import api as ledger_api
from vault_zone.reconciliation import api as reconciliation_api
from vault_zone.runtime import Zone
from vault_zone.seal_gate import OPEN_WHILE_SEALED, SealGate
from vault_zone.wallets import api as wallets_api
from vault_zone.wallets.door import CardDoor

INTERNAL_BODY_BYTES = 16 * 1024  # the largest internal request is a capture session with twenty lines
PUBLIC_BODY_BYTES = 16 * 1024  # a card form is under 1 KiB
WEBHOOK_BODY_BYTES = 512 * 1024  # Stripe's dispute may carry 150,000 characters of evidence
log = structlog.get_logger("vault_zone")


def internal_app(zone: Zone) -> App:
    """For commerce and operators: tokens, grants and money in JSON; card-like text is refused at the door (I2).

    One route is for a card, and has a door of its own (wallets/door.py).
    """
    gated = SealGate(Contained(internal_http(zone)), lambda: zone.unsealing.is_sealed, open_paths=OPEN_WHILE_SEALED)
    guarded = CardGuard(gated, maximum_bytes=INTERNAL_BODY_BYTES, monotonic_seconds=monotonic_seconds)
    return CardDoor(guarded, BodyLimit(gated, maximum_bytes=INTERNAL_BODY_BYTES))


def internal_http(zone: Zone) -> FastAPI:
    """The routes of the internal API, each with its verb (callers.py), without the guard before them."""
    app = FastAPI(
        title="Cordon zone, internal API",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        responses=REFUSALS,
    )
    app.state.zone = zone
    app.include_router(internal_api.router)
    app.include_router(forward_api.router)
    app.include_router(keys_api.router)
    app.include_router(operations_api.router)
    app.include_router(cards_api.router)
    app.include_router(charges_api.router)
    app.include_router(retention_api.router)
    app.include_router(ledger_api.router)
    app.include_router(reconciliation_api.router)
    app.include_router(payments_api.router)
    app.include_router(unseal_api.router)
    app.include_router(wallets_api.router)
    app.include_router(internal_api.description)
    install_error_handlers(app)
    return app


def public_app(zone: Zone) -> App:
    """For shoppers' browsers, the processor's webhooks and agent platforms."""
    app = public_http(zone)
    gate = SealGate(
        Contained(acp.BeforeFramework(app, app.state.desk)),
        lambda: zone.unsealing.is_sealed,
        open_paths=("/health",),
        answer=lambda path: public_pages.sealed_page(zone, path),
    )
    return BodyLimit(gate, maximum_bytes=PUBLIC_BODY_BYTES, longer=("/webhooks/", WEBHOOK_BODY_BYTES))


def public_http(zone: Zone) -> FastAPI:
    """The routes of the public program, without the guards before them."""
    app = FastAPI(
        title="Cordon zone, public",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        responses=REFUSALS,
    )
    app.state.zone = zone
    app.state.desk = Desk.of(zone)
    app.include_router(public_pages.router)
    app.include_router(fields_pages.router)
    app.include_router(acp.router)
    app.include_router(ucp.router)
    install_error_handlers(app)
    return app


async def record_refused_access(request: Request, refused: AccessRefused) -> None:
    """An attempt by somebody who may not is on record (PCI DSS 10.2.1.4): who the certificate says, which route, and why."""
    zone: Zone = request.app.state.zone
    route = getattr(request.scope.get("route"), "path", "unknown")
    caller = refused.caller
    data: dict[str, str | int | bool] = {
        "route": route.replace("{", "(").replace("}", ")"),
        "method": request.method.lower(),
        "reason": refused.reason,
    }
    event = Event(
        type=EventType.ACCESS_REFUSED,
        outcome="failure",
        actor=caller.actor,
        origin=ORIGIN,
        resource="api:internal",
        data=data | ({"role": caller.permission.role} if caller.permission else {}),
    )
    await zone.database.change(lambda tx: tx.record(event))


def install_error_handlers(app: FastAPI) -> None:
    """Every failure becomes one of ZoneError's codes; none of them carries a value of the request (I1)."""

    @app.exception_handler(ZoneRefusal)
    async def refused(request: Request, refusal: ZoneRefusal) -> JSONResponse:
        if isinstance(refusal, AccessRefused):
            await record_refused_access(request, refusal)
        return _answer(refusal.kind, **({"broken": list(refusal.broken)} if refusal.broken else {}))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, failure: RequestValidationError) -> JSONResponse:
        # FastAPI's own answer echoes the rejected value, also of a SecretStr; only the names of broken rules leave here.
        return _answer(ZoneError.INVALID_REQUEST, broken=sorted({error["type"] for error in failure.errors()}))

    @app.exception_handler(HTTPException)
    async def http(_: Request, failure: HTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed"}.get(failure.status_code, "refused")
        return JSONResponse(error_body(code, "There is nothing here for this request."), failure.status_code)

    @app.exception_handler(KeyUnavailable)
    async def keys(_: Request, __: KeyUnavailable) -> JSONResponse:
        return _answer(ZoneError.KEYS_UNAVAILABLE)

    @app.exception_handler(KeyDestroyed)
    async def destroyed(_: Request, __: KeyDestroyed) -> JSONResponse:
        return _answer(ZoneError.KEYS_DESTROYED)

    @app.exception_handler(DatabaseBusy)
    async def busy(_: Request, __: DatabaseBusy) -> JSONResponse:
        return _answer(ZoneError.BUSY)

    @app.exception_handler(SQLAlchemyError)
    async def database(_: Request, failure: SQLAlchemyError) -> JSONResponse:
        log.error("database_failed", cause=cause_of(failure))
        return _answer(ZoneError.BUSY)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, failure: Exception) -> JSONResponse:
        log.error("request_failed", cause=cause_of(failure))
        return _answer(ZoneError.INTERNAL)


def _answer(kind: ZoneError, **extra: object) -> JSONResponse:
    return JSONResponse({**error_body(kind.code, kind.message), **extra}, kind.status, {"cache-control": "no-store"})
