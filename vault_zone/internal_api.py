"""What commerce may ask of the zone, over mutual TLS: a capture link, a session's state, a charge. Never a card."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from tokenization.wire import CaptureSession, Charge, ChargeRequest, OpenCaptureSession
from vault_zone.access import Verb, require
from vault_zone.capture import FIELDS, is_return_address, open_session, read_session
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.runtime import Zone

router = APIRouter(prefix="/v1")


class Health(BaseModel):
    """Whether the zone can do its work now."""

    status: str
    log_writable: bool
    processor: str
    sandbox: bool


def zone_of(request: Request) -> Zone:
    """The running zone."""
    zone: Zone = request.app.state.zone
    return zone


def caller_of(request: Request) -> str | None:
    """The service whose certificate the connection presented. Set by the TLS-aware protocol in serve.py."""
    service: str | None = request.scope.get("extensions", {}).get("cordon.peer")
    return service


ZoneIn = Annotated[Zone, Depends(zone_of)]
CallerIn = Annotated[str | None, Depends(caller_of)]


@router.post("/capture-sessions", status_code=201)
async def post_capture_session(asked: OpenCaptureSession, zone: ZoneIn, caller: CallerIn) -> CaptureSession:
    """Makes a one-time capture link for a checkout; an earlier link that took no card stops working."""
    actor = require(caller, Verb.OPEN_CAPTURE)
    if not (is_return_address(asked.return_url) and is_return_address(asked.cancel_url)):
        raise ZoneRefusal(ZoneError.INVALID_REQUEST)
    path = "/fields" if asked.mode == FIELDS else "/capture"
    session, secret = await zone.database.change(lambda tx: open_session(tx, asked, actor))
    return session.model_copy(update={"url": f"{zone.settings.capture_url}{path}/{secret}"})


@router.get("/merchants/{merchant}/capture-sessions/{session}")
async def get_capture_session(merchant: str, session: str, zone: ZoneIn, caller: CallerIn) -> CaptureSession:
    """Where a capture session stands, with its token and grant once a card was captured."""
    require(caller, Verb.READ_CAPTURE)
    now_ms = zone.clock()
    found = await zone.database.read(lambda connection: read_session(connection, session, merchant, now_ms))
    if found is None:
        raise ZoneRefusal(ZoneError.NOT_FOUND)
    return found


@router.post("/charges")
async def post_charge(asked: ChargeRequest, zone: ZoneIn, caller: CallerIn) -> Charge:
    """Charges a grant, at most once for its payment id."""
    return await zone.engine.charge(asked, require(caller, Verb.CHARGE))


@router.get("/merchants/{merchant}/charges/{payment}")
async def get_charge(merchant: str, payment: str, zone: ZoneIn, caller: CallerIn) -> Charge:
    """Where the charge of a payment id stands."""
    require(caller, Verb.READ_CHARGE)
    found = await zone.engine.find(merchant, payment)
    if found is None:
        raise ZoneRefusal(ZoneError.NOT_FOUND)
    return found


@router.get("/health")
async def get_health(zone: ZoneIn, caller: CallerIn) -> Health:
    """Whether charges would be taken now."""
    require(caller, Verb.READ_HEALTH)
    return Health(
        status="ok" if zone.sequencer.is_writable() else "audit_unavailable",
        log_writable=zone.sequencer.is_writable(),
        processor=zone.processor.name,
        sandbox=zone.processor.is_sandbox,
    )
