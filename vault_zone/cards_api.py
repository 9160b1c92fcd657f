"""What commerce may ask about saved cards and grants, over mutual TLS. Never more of a card than its last four."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from tokenization.money import Money
from tokenization.wire import AmountMinor, CardSummary, Currency, Identifier, Wire
from vault_zone.access import Permitted
from vault_zone.callers import ZoneIn, asks
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.grants import GrantInfo, list_grants, revoke_grant
from vault_zone.roles import Verb
from vault_zone.saved_cards import Deleted, delete_card, grant_saved, list_cards

router = APIRouter(prefix="/v1/merchants/{merchant}")
GRANT_LIFETIME_MAXIMUM_SECONDS = 30 * 86_400  # the longest wait for a last parcel


class CreateGrant(Wire):
    """Asks for a grant on a saved card: for one checkout, up to ``amount_minor``, in at most ``uses`` charges."""

    token: Identifier
    shopper: Identifier
    checkout: Identifier
    amount_minor: AmountMinor
    currency: Currency
    lifetime_seconds: Annotated[int, Field(ge=30, le=GRANT_LIFETIME_MAXIMUM_SECONDS)] = 900
    uses: Annotated[int, Field(ge=1, le=20)] = 1
    processor: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")] | None = None


class GrantMade(Wire):
    """The grant's id, to charge with."""

    grant: Identifier


class GrantView(Wire):
    """A grant: what it is for and what is left of it. Times in milliseconds since 1970."""

    grant: str
    token: str
    checkout: str
    ceiling_minor: int
    used_minor: int
    currency: str
    uses_left: int
    processor: str | None
    created_ms: int
    expires_ms: int
    revoked_ms: int | None
    card: CardSummary


class GrantList(Wire):
    """Grants, newest first."""

    grants: tuple[GrantView, ...]


class GrantEnded(Wire):
    """``changed`` is false when it was revoked before."""

    grant: str
    changed: bool


class SavedCardView(Wire):
    """A saved card. Never more than this."""

    token: str
    card: CardSummary
    saved_ms: int


class SavedCardList(Wire):
    """A shopper's saved cards, newest first."""

    cards: tuple[SavedCardView, ...]


class CardEnded(Wire):
    """``changed`` is false when it was gone before; ``grants`` is how many went with it."""

    token: str
    changed: bool
    grants: int


@router.post("/grants", status_code=201)
async def post_grant(
    merchant: str, asked: CreateGrant, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.SAVE_CARD)]
) -> GrantMade:
    """Makes a grant on a card that this shopper saved, for one checkout. A card that is not theirs is not found."""
    actor = caller.acting_for(merchant)
    grant = await zone.database.change(
        lambda tx: grant_saved(
            tx,
            token=asked.token,
            merchant=merchant,
            shopper=asked.shopper,
            checkout=asked.checkout,
            ceiling=Money(asked.amount_minor, asked.currency),
            lifetime_seconds=asked.lifetime_seconds,
            actor=actor,
            uses=asked.uses,
            processor=asked.processor,
        )
    )
    return GrantMade(grant=grant)


@router.get("/grants")
async def get_grants(
    merchant: str,
    zone: ZoneIn,
    caller: Annotated[Permitted, asks(Verb.LIST_GRANTS)],
    checkout: str | None = None,
    token: str | None = None,
) -> GrantList:
    """The grants for a checkout, or on a token; one of the two is to be given."""
    caller.acting_for(merchant)
    if checkout is None and token is None:
        raise ZoneRefusal(ZoneError.INVALID_REQUEST)
    found = await zone.database.read(
        lambda connection: list_grants(connection, merchant, checkout=checkout, token=token)
    )
    return GrantList(grants=tuple(_grant_view(info) for info in found))


@router.post("/grants/{grant}/revoke")
async def post_revoke(
    merchant: str, grant: str, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.REVOKE_GRANT)]
) -> GrantEnded:
    """Takes a grant back and forgets its security code. Repeating it changes nothing."""
    actor = caller.acting_for(merchant)
    changed = await zone.database.change(lambda tx: revoke_grant(tx, grant=grant, merchant=merchant, actor=actor))
    zone.codes.forget(grant)
    return GrantEnded(grant=grant, changed=changed)


@router.get("/shoppers/{shopper}/cards")
async def get_cards(
    merchant: str, shopper: str, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.LIST_CARDS)]
) -> SavedCardList:
    """The shopper's saved cards."""
    caller.acting_for(merchant)
    now_ms = zone.clock()
    found = await zone.database.read(lambda connection: list_cards(connection, merchant, shopper, now_ms))
    return SavedCardList(
        cards=tuple(
            SavedCardView(
                token=card.token, card=CardSummary(brand=card.brand, last4=card.last4), saved_ms=card.saved_ms
            )
            for card in found
        )
    )


@router.delete("/shoppers/{shopper}/cards/{token}")
async def delete_saved_card(
    merchant: str, shopper: str, token: str, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.DELETE_CARD)]
) -> CardEnded:
    """Deletes a saved card: record, fingerprint, grants and their codes; the consent ends with it."""
    return await _end(merchant, shopper, token, zone, caller, "asked")


@router.post("/shoppers/{shopper}/cards/{token}/withdraw-consent")
async def post_withdrawal(
    merchant: str, shopper: str, token: str, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.DELETE_CARD)]
) -> CardEnded:
    """Withdraws the consent to a saved card, which deletes the card."""
    return await _end(merchant, shopper, token, zone, caller, "consent_withdrawn")


async def _end(merchant: str, shopper: str, token: str, zone: ZoneIn, caller: Permitted, reason: str) -> CardEnded:
    actor = caller.acting_for(merchant)
    deleted: Deleted = await zone.database.change(
        lambda tx: delete_card(tx, merchant=merchant, shopper=shopper, token=token, actor=actor, reason=reason)
    )
    for grant in deleted.grants:
        zone.codes.forget(grant)
    zone.sweeper.note_deletion()
    return CardEnded(token=token, changed=deleted.changed, grants=len(deleted.grants))


def _grant_view(info: GrantInfo) -> GrantView:
    fields = info._asdict()
    card = CardSummary(brand=fields.pop("brand"), last4=fields.pop("last4"))
    return GrantView(card=card, **fields)
