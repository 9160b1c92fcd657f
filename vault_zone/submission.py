"""One sending of the card form, whichever page it came from: what it became, for the page to show.

What holds for a sending:
 1. Only the browser that claimed the link is heard; what others send is not read.
 2. The card is sealed and its code held in memory, or nothing of it is kept.
 3. A refused card is counted against the link, with the names of the broken rules and no value.
 4. A sending whose answer was lost is sent again and comes to the same end, with no second token.
"""

from dataclasses import dataclass

from tokenization.clock import as_datetime
from vault_zone.capture import (
    PAGE,
    LinkRefusal,
    LinkRefused,
    Mode,
    OpenLink,
    capture_card,
    claimed_link,
    count_refused_card,
    finished_link,
)
from vault_zone.capture_form import FormErrors, SafeValues, parse_capture_form, parse_form_body, safe_values
from vault_zone.fingerprint import fingerprint_of
from vault_zone.runtime import Zone


@dataclass(frozen=True, slots=True)
class CardTaken:
    """The card is sealed, now or by an earlier sending; the session is over."""

    link: OpenLink


@dataclass(frozen=True, slots=True)
class CardRefused:
    """Something is wrong with the fields, and the shopper may send them again. Holds nothing that may not be shown."""

    link: OpenLink
    errors: FormErrors
    safe_values: SafeValues


Submitted = CardTaken | CardRefused


async def submit_card(zone: Zone, secret: str, claim: str | None, body: bytes, mode: Mode = PAGE) -> Submitted:
    """Takes the card of a form's body, or says what to mend.

    Raises LinkRefused, FormRefused (no form of ours), KeyUnavailable, KeyDestroyed, DatabaseBusy.
    """
    try:
        return await _submit(zone, secret, claim, body, mode)
    except LinkRefused as refused:
        if refused.refusal is not LinkRefusal.USED:
            raise
        finished = await zone.database.read(lambda connection: finished_link(connection, secret, claim, mode))
        if finished is None:
            raise
        return CardTaken(finished)  # (4)


async def _submit(zone: Zone, secret: str, claim: str | None, body: bytes, mode: Mode) -> Submitted:
    now_ms = zone.clock()
    link = await zone.database.read(lambda connection: claimed_link(connection, secret, claim, now_ms, mode))  # (1)
    fields = parse_form_body(body)
    captured = parse_capture_form(fields, as_datetime(now_ms))
    if isinstance(captured, FormErrors):
        broken = tuple(f"{field.value}:{code.value}" for field, code in captured.codes.items())
        await zone.database.change(lambda tx: count_refused_card(tx, link, broken))  # (3)
        return CardRefused(link, captured, safe_values(fields))
    mark = await fingerprint_of(zone.keys, link.merchant, captured.card.pan)
    link, grant = await zone.keys.change(
        lambda tx: capture_card(
            tx, zone.keys, secret=secret, claim=claim, card=captured.card, fingerprint=mark, mode=mode
        )
    )
    zone.codes.hold(grant, captured.cvc)  # (2)
    return CardTaken(link)
