"""What custodians ask of a zone, over mutual TLS: to open it with their shares, and to seal it."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, SecretStr

from tokenization.wire import Wire
from vault_zone.access import EVERY_MERCHANT, Permitted
from vault_zone.callers import ZoneIn, asks
from vault_zone.roles import Verb

router = APIRouter(prefix="/v1")


class GiveShare(Wire):
    """One custodian's share: 33 words."""

    share: Annotated[SecretStr, Field(min_length=1, max_length=600)]


class SealState(Wire):
    """Whether the zone is sealed, and how many shares were given of how many in this round."""

    sealed: bool
    given: int
    needed: int


@router.post("/unseal")
async def post_unseal(asked: GiveShare, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.UNSEAL)]) -> SealState:
    """Takes a share; the last that is needed opens the zone."""
    progress = await zone.unsealing.give(asked.share.get_secret_value(), caller.acting_for(EVERY_MERCHANT))
    return SealState(sealed=zone.unsealing.is_sealed, given=progress.given, needed=progress.needed)


@router.post("/seal")
async def post_seal(zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.UNSEAL)]) -> SealState:
    """Seals the zone at once: every key in memory is forgotten, and nothing is served until custodians open it."""
    await zone.unsealing.seal(caller.acting_for(EVERY_MERCHANT))
    progress = zone.unsealing.progress()
    return SealState(sealed=True, given=progress.given, needed=progress.needed)
