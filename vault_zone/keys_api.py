"""What operators may ask about keys, over mutual TLS: list, rotate, retire, destroy one, re-key. Never a key."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from tokenization.wire import Identifier, Wire
from vault_zone import key_life, rekeying
from vault_zone.access import Permitted
from vault_zone.callers import ZoneIn, asks
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.key_rows import Purpose, is_known
from vault_zone.rekeying import Rekeying, RekeyingState
from vault_zone.roles import Verb
from vault_zone.runtime import Zone

router = APIRouter(prefix="/v1")


class KeyView(Wire):
    """A data key: everything but the key. ``records`` are sealed or marked under it; times in milliseconds since 1970."""

    key_id: str
    merchant: str
    purpose: str
    epoch: int
    provider: str
    state: str
    uses: int
    records: int
    created_ms: int
    retire_by_ms: int
    retired_ms: int | None
    destroyed_ms: int | None


class KeyList(Wire):
    """Data keys in the order of merchant, purpose and epoch."""

    keys: tuple[KeyView, ...]


class RotateKey(Wire):
    """Which key to rotate; ``wrapping`` is the merchant's wrapping key in the provider."""

    purpose: Purpose | Annotated[str, Field(pattern="^wrapping$")] = Purpose.SEALING


class Rotated(Wire):
    """``key_id`` is the new data key's; ``rewrapped`` how many data keys are under the new wrapping key."""

    key_id: str | None = None
    rewrapped: int = 0


class KeyEnded(Wire):
    """``changed`` is false when the key stood there already."""

    key_id: Identifier
    changed: bool


class RekeyingView(Wire):
    """How far a run of re-keying is: ``done`` of ``total`` cards."""

    rekeying: str
    merchant: str
    state: RekeyingState
    total: int
    done: int
    started_ms: int
    changed_ms: int


@router.get("/merchants/{merchant}/keys")
async def get_keys(merchant: str, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.LIST_KEYS)]) -> KeyList:
    """The merchant's data keys."""
    found = await zone.database.read(lambda connection: key_life.list_keys(connection, [merchant]))
    return KeyList(keys=tuple(KeyView(**info._asdict()) for info in found))


@router.post("/merchants/{merchant}/keys/rotate")
async def post_rotate(
    merchant: str, asked: RotateKey, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.ROTATE_KEY)]
) -> Rotated:
    """Begins a new epoch of a purpose, or a new version of the wrapping key."""
    actor = caller.acting_for(merchant)
    await require_known(zone, merchant)
    if asked.purpose == "wrapping":
        return Rotated(rewrapped=await key_life.rotate_wrapping(zone.keys, zone.database, merchant, actor))
    return Rotated(key_id=await key_life.rotate(zone.keys, merchant, Purpose(asked.purpose), actor))


@router.post("/merchants/{merchant}/keys/{key}/retire")
async def post_retire(
    merchant: str, key: str, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.RETIRE_KEY)]
) -> KeyEnded:
    """Ends a key's sealing; what it sealed still opens."""
    actor = caller.acting_for(merchant)
    changed = await zone.database.change(lambda tx: key_life.retire(tx, key, merchant, actor))
    zone.keys.forget_merchant(merchant)
    return KeyEnded(key_id=key, changed=changed)


@router.post("/merchants/{merchant}/keys/{key}/destroy")
async def post_destroy(
    merchant: str, key: str, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.RETIRE_KEY)]
) -> KeyEnded:
    """Destroys one retired key that nothing is under. One with cards, and all of a merchant, are operations of two persons."""
    actor = caller.acting_for(merchant)
    await zone.database.change(lambda tx: key_life.destroy_key(tx, key, merchant, actor))
    zone.keys.forget(key)
    zone.sweeper.note_deletion()
    return KeyEnded(key_id=key, changed=True)


@router.post("/merchants/{merchant}/rekeyings", status_code=202)
async def post_rekeying(merchant: str, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.REKEY)]) -> RekeyingView:
    """Begins to seal the merchant's cards anew under its active key, or tells of the run that is under way."""
    actor = caller.acting_for(merchant)
    await require_known(zone, merchant)
    return _view(await zone.database.change(lambda tx: rekeying.start(tx, merchant, actor)))


@router.get("/merchants/{merchant}/rekeyings/{run}")
async def get_rekeying(
    merchant: str, run: str, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.REKEY)]
) -> RekeyingView:
    """How far a run is."""
    return _view(await zone.database.read(lambda connection: rekeying.find(connection, run, merchant)))


def _view(run: Rekeying) -> RekeyingView:
    fields = asdict(run)
    return RekeyingView(rekeying=fields.pop("id"), **fields)


async def require_known(zone: Zone, merchant: str) -> None:
    """Raises ZoneRefusal(NOT_FOUND) for a merchant that the zone does not know: asking again would not help."""
    if not await zone.database.read(lambda connection: is_known(connection, merchant)):
        raise ZoneRefusal(ZoneError.NOT_FOUND)
