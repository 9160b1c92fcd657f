"""One sending of the card form, whichever page it came from: what it became, for the page to show.

What holds for a sending:
 1. Only the browser that claimed the link is heard; what others send is not read.
 2. The card is sealed and its code held in memory, or nothing of it is kept.
 3. A refused card is counted against the link, with the names of the broken rules and no value.
 4. A sending whose answer was lost is sent again and comes to the same end, with no second token.
"""

from dataclasses import dataclass

from audit.transaction import Transaction
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
from vault_zone.capture_form import (
    FormErrors,
    SafeValues,
    agreed_wording,
    parse_capture_form,
    parse_form_body,
    safe_values,
)
from vault_zone.card import Card
from vault_zone.card_testing import Submission, TryLater, begin_submission, refuse_over_limit
from vault_zone.device import Client, Device, read_device
from vault_zone.runtime import Zone
from vault_zone.velocity import VelocityExceeded


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


@dataclass(frozen=True, slots=True)
class NotLookedAt:
    """Too many tries, or too early a one (card_testing.py): the card was not judged. Not before ``again_ms`` is the next."""

    link: OpenLink
    again_ms: int


Submitted = CardTaken | CardRefused | NotLookedAt


async def submit_card(
    zone: Zone, secret: str, claim: str | None, body: bytes, *, client: Client, mode: Mode = PAGE
) -> Submitted:
    """Takes the card of a form's body, or says what to mend.

    Raises LinkRefused, FormRefused (no form of ours), KeyUnavailable, KeyDestroyed, DatabaseBusy.
    """
    try:
        return await _submit(zone, secret, claim, body, client, mode)
    except LinkRefused as refused:
        if refused.refusal is not LinkRefusal.USED:
            raise
        finished = await zone.database.read(lambda connection: finished_link(connection, secret, claim, mode))
        if finished is None:
            raise
        return CardTaken(finished)  # (4)


async def _submit(zone: Zone, secret: str, claim: str | None, body: bytes, client: Client, mode: Mode) -> Submitted:
    now_ms = zone.clock()
    link = await zone.database.read(lambda connection: claimed_link(connection, secret, claim, now_ms, mode))  # (1)
    fields = parse_form_body(body)
    try:
        submission = await begin_submission(zone, link, fields, client.address)
        captured = parse_capture_form(fields, as_datetime(now_ms))
        if isinstance(captured, FormErrors):
            await zone.database.change(lambda tx: _refuse(tx, submission, captured))  # (3)
            return CardRefused(link, captured, safe_values(fields))
        link, grant = await zone.keys.change(
            lambda tx: _take(
                tx,
                zone,
                submission,
                secret=secret,
                claim=claim,
                card=captured.card,
                mode=mode,
                wording=agreed_wording(fields),
                device=read_device(fields, client),
            )
        )
    except VelocityExceeded as exceeded:
        over = exceeded
        await zone.database.change(lambda tx: refuse_over_limit(tx, link, over))
        return NotLookedAt(link, 0)
    except TryLater as later:
        return NotLookedAt(link, later.again_ms)
    zone.codes.hold(grant, captured.cvc)  # (2)
    return CardTaken(link)


def _refuse(tx: Transaction, submission: Submission, errors: FormErrors) -> None:
    submission.count(tx)
    broken = tuple(f"{field.value}:{code.value}" for field, code in errors.codes.items())
    count_refused_card(tx, submission.link, broken)


def _take(
    tx: Transaction,
    zone: Zone,
    submission: Submission,
    *,
    secret: str,
    claim: str | None,
    card: Card,
    mode: Mode,
    wording: str | None,
    device: Device,
) -> tuple[OpenLink, str]:
    submission.count(tx)
    return capture_card(
        tx,
        zone.keys,
        secret=secret,
        claim=claim,
        card=card,
        fingerprint=submission.mark,
        mode=mode,
        wording=wording,
        device=device,
    )
