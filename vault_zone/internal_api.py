"""What commerce may ask of the zone, over mutual TLS: a capture link, a session's state, a charge. Never a card."""

from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Request
from pydantic import BaseModel

from audit.event import looks_like_card
from tokenization.wire import (
    CaptureSession,
    Charge,
    ChargeRequest,
    Modification,
    ModificationKind,
    ModificationRequest,
    OpenCaptureSession,
    ReturnRequest,
)
from vault_zone.access import Permitted, require
from vault_zone.callers import ZoneIn, asks
from vault_zone.capture import FIELDS, is_return_address, open_session, read_session
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.roles import Verb

router = APIRouter(prefix="/v1")
VERB_OF = {
    ModificationKind.CAPTURE: Verb.CAPTURE,
    ModificationKind.VOID: Verb.VOID,
    ModificationKind.REFUND: Verb.REFUND,
}
description = APIRouter(include_in_schema=False)


class Health(BaseModel):
    """Whether the zone can do its work now."""

    status: str
    log_writable: bool
    processor: str
    sandbox: bool
    sealed: bool  # custodians have to open it
    shares_given: int
    shares_needed: int
    certificate_seconds: int | None  # until new connections are taken no more: own certificate or revocation list ends


@router.post("/capture-sessions", status_code=201)
async def post_capture_session(
    asked: OpenCaptureSession, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.OPEN_CAPTURE)]
) -> CaptureSession:
    """Makes a one-time capture link for a checkout; an earlier link that took no card stops working."""
    actor = caller.acting_for(asked.merchant)
    if not (is_return_address(asked.return_url) and is_return_address(asked.cancel_url)):
        raise ZoneRefusal(ZoneError.INVALID_REQUEST)
    if asked.shopper is not None and looks_like_card(asked.shopper):  # it will stand in the record
        raise ZoneRefusal(ZoneError.INVALID_REQUEST)
    path = "/fields" if asked.mode == FIELDS else "/capture"
    session, secret = await zone.database.change(lambda tx: open_session(tx, asked, actor))
    return session.model_copy(update={"url": f"{zone.settings.capture_url}{path}/{secret}"})


@router.get("/merchants/{merchant}/capture-sessions/{session}")
async def get_capture_session(
    merchant: str, session: str, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.READ_CAPTURE)]
) -> CaptureSession:
    """Where a capture session stands, with its token and grant once a card was captured."""
    now_ms = zone.clock()
    found = await zone.database.read(lambda connection: read_session(connection, session, merchant, now_ms))
    if found is None:
        raise ZoneRefusal(ZoneError.NOT_FOUND)
    return found


@router.post("/charges")
async def post_charge(asked: ChargeRequest, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.CHARGE)]) -> Charge:
    """Charges a grant, at most once for its payment id."""
    return await zone.engine.charge(asked, caller.acting_for(asked.merchant))


@router.post("/charges/returned")
async def post_returned(asked: ReturnRequest, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.CHARGE)]) -> Charge:
    """The shopper came back from the bank: ends the authentication where the processor has to be told; what came of it."""
    caller.acting_for(asked.merchant)
    return await zone.engine.returned(asked)


@router.get("/merchants/{merchant}/charges/{payment}")
async def get_charge(
    merchant: str, payment: str, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.READ_CHARGE)]
) -> Charge:
    """Where the charge of a payment id stands."""
    found = await zone.engine.find(merchant, payment)
    if found is None:
        raise ZoneRefusal(ZoneError.NOT_FOUND)
    return found


@router.post("/modifications")
async def post_modification(
    asked: ModificationRequest, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.MODIFY_CHARGE)]
) -> Modification:
    """Captures, voids or refunds, at most once for its request key. ``pending`` and ``accepted``: ask again for its state."""
    actor = require(caller.caller, VERB_OF[asked.kind], asked.merchant)
    return await zone.modifications.modify(asked, actor)


@router.get("/merchants/{merchant}/modifications/{request}")
async def get_modification(
    merchant: str, request: str, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.READ_CHARGE)]
) -> Modification:
    """Where the capture, void or refund of a request key stands."""
    found = await zone.modifications.find(merchant, request)
    if found is None:
        raise ZoneRefusal(ZoneError.NOT_FOUND)
    return found


@router.get("/health")
async def get_health(zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.READ_HEALTH)]) -> Health:
    """Whether charges would be taken now."""
    sealed, progress = zone.unsealing.is_sealed, zone.unsealing.progress()
    status = "sealed" if sealed else "ok" if zone.sequencer.is_writable() else "audit_unavailable"
    return Health(
        status=status,
        sealed=sealed,
        shares_given=progress.given,
        shares_needed=progress.needed,
        log_writable=zone.sequencer.is_writable(),
        processor=zone.processors.default.name,
        sandbox=zone.processors.is_sandbox,
        certificate_seconds=zone.access.certificate_seconds(zone.clock()),
    )


@description.get("/openapi.json")
async def get_description(request: Request, caller: Annotated[Permitted, asks(Verb.READ_API)]) -> dict[str, Any]:
    """What this API offers, as OpenAPI."""
    app: FastAPI = request.app
    return app.openapi()
