"""What commerce may ask for: that a card is forwarded, and where that stands. Part of the internal API."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from tokenization.wire_forward import Forward, ForwardRequest
from vault_zone.access import Verb, require
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.forward.engine import ForwardEngine
from vault_zone.internal_api import CallerIn

router = APIRouter(prefix="/v1")


def forwards_of(request: Request) -> ForwardEngine:
    """The running zone's engine."""
    engine: ForwardEngine = request.app.state.zone.forwards
    return engine


ForwardsIn = Annotated[ForwardEngine, Depends(forwards_of)]


@router.post("/forwards")
async def post_forward(asked: ForwardRequest, forwards: ForwardsIn, caller: CallerIn) -> Forward:
    """Fills a request's placeholders and sends it to an allowed destination, at most once for its key."""
    return await forwards.forward(asked, require(caller, Verb.FORWARD))


@router.get("/merchants/{merchant}/forwards/{idempotency_key}")
async def get_forward(merchant: str, idempotency_key: str, forwards: ForwardsIn, caller: CallerIn) -> Forward:
    """Where a forwarded request stands, with what may be told of its answer."""
    require(caller, Verb.READ_FORWARD)
    found = await forwards.find(merchant, idempotency_key)
    if found is None:
        raise ZoneRefusal(ZoneError.NOT_FOUND)
    return found
