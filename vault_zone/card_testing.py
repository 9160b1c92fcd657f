"""The capture page's defence against card testing: what a submission has to pass before its card is looked at.

What must hold for each submission on a link:
 1. One that comes before the link's next try is not looked at, nor counted, nor recorded; it is told when to come again.
 2. Where a proof of work is asked for, it brings one or has waited instead (vault_zone/puzzle.py).
 3. It is counted against every limit (vault_zone/velocity.py) in the transaction that takes or refuses its card.
 4. It is of the try that it was made for: of many sent at once on one link, one is looked at.
 5. Up to its answer, each step is the same for a card that the zone holds and for one that it does not.
 6. Each refusal, by a limit as by a field, is a refused try of its link: the next waits longer, and the last ends it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.engine import Connection

from audit.event import Event, EventType
from audit.transaction import Transaction
from tokenization.addresses import network_of
from vault_zone.capture import SHOPPER, LinkRefusal, LinkRefused, OpenLink, count_refused_card
from vault_zone.card import CardField, CardInvalid, Pan
from vault_zone.fingerprint import Fingerprint, fingerprint_of
from vault_zone.hazmat.provider import KeyDestroyed, KeyUnavailable
from vault_zone.key_rows import ORIGIN, Purpose
from vault_zone.models import capture_session
from vault_zone.puzzle import (
    ANSWER,
    PUZZLE,
    Puzzle,
    age_instead_seconds,
    bits_needed,
    bits_proven,
    make_puzzle,
    read_challenge,
)
from vault_zone.runtime import Zone
from vault_zone.velocity import Tried, VelocityExceeded, count, pressure, tried

LONGEST_WAIT_SECONDS = 120  # on one link, for a limit that may last longer: another card may be within its limits
OVER_A_LIMIT = "over_a_limit"  # which, is for the record's reader


class TryLater(Exception):
    """The submission was not looked at. It may be made again at ``again_ms``, from a page shown anew."""

    def __init__(self, again_ms: int) -> None:
        super().__init__("try_later")
        self.again_ms = again_ms


@dataclass(frozen=True, slots=True)
class Defence:
    """What a page of the link shows: the puzzle for its next submission, and from when one is looked at."""

    puzzle: Puzzle
    again_ms: int


@dataclass(frozen=True, slots=True)
class Submission:
    """One submission that may be looked at. ``mark`` is its card's fingerprint, None where the number is none."""

    link: OpenLink
    mark: Fingerprint | None
    attempt: Tried
    has_proof: bool

    def count(self, tx: Transaction) -> None:
        """First act of the transaction that takes or refuses the card (3). Raises TryLater, VelocityExceeded, LinkRefused."""
        tries, again_ms = _tries_of(tx.connection, self.link)
        if tries != self.link.tries:  # (4)
            raise TryLater(again_ms)
        share = count(tx, self.attempt)
        bits = bits_needed(tries, share)
        if bits and not self.has_proof:  # (2)
            raise TryLater(tx.now_ms + age_instead_seconds(bits) * 1000)


async def begin_submission(zone: Zone, link: OpenLink, fields: Mapping[str, str], address: str) -> Submission:
    """What a form's submission counts for, before anything in it is judged. Raises TryLater, KeyUnavailable, KeyDestroyed."""
    now_ms = zone.clock()
    if now_ms < link.next_try_ms:  # (1)
        raise TryLater(link.next_try_ms)
    key_id, key = await zone.keys.ready(link.merchant, Purpose.CAPTURE)
    pan = _number_of(fields)
    mark = (
        await fingerprint_of(zone.keys, link.merchant, pan) if pan else None
    )  # (5) whatever else is wrong with the form
    attempt = tried(
        key,
        zone.limits.limits_of(link.merchant),
        merchant=link.merchant,
        network=network_of(address),
        checkout=link.checkout,
        pan=pan,
        mark=mark,
    )
    return Submission(link, mark, attempt, await _has_proof(zone, link, fields, key_id, key, now_ms))


def refuse_over_limit(tx: Transaction, link: OpenLink, exceeded: VelocityExceeded) -> None:
    """A submission over a limit is a refused try of its link (6), and on record. Raises LinkRefused."""
    again_ms = min(exceeded.again_ms, tx.now_ms + LONGEST_WAIT_SECONDS * 1000)
    count_refused_card(tx, link, (OVER_A_LIMIT,), not_before_ms=again_ms)
    tx.record(
        Event(
            type=EventType.VELOCITY_LIMITED,
            outcome="failure",
            actor=SHOPPER,
            origin=ORIGIN,
            resource=link.session,
            merchant=link.merchant,
            data={"limit": exceeded.kind.value, "count": exceeded.count},
        )
    )


async def defence_of(zone: Zone, link: OpenLink, address: str) -> Defence:
    """What the link's page shows now. Raises LinkRefused, KeyUnavailable, KeyDestroyed."""
    now_ms = zone.clock()
    key_id, key = await zone.keys.ready(link.merchant, Purpose.CAPTURE)
    limits = zone.limits.limits_of(link.merchant)
    seen = tried(key, limits, merchant=link.merchant, network=network_of(address), checkout=link.checkout)

    def look(connection: Connection) -> tuple[int, int, float]:
        return *_tries_of(connection, link), pressure(connection, seen, now_ms)

    tries, again_ms, share = await zone.database.read(look)
    bits = bits_needed(tries, share)
    return Defence(make_puzzle(key_id, key, session=link.session, tries=tries, bits=bits, now_ms=now_ms), again_ms)


async def _has_proof(
    zone: Zone, link: OpenLink, fields: Mapping[str, str], key_id: str, key: bytes, now_ms: int
) -> bool:
    claimed = read_challenge(fields.get(PUZZLE, ""))
    if claimed is None:
        return False
    if claimed.key_id != key_id:  # its page was shown under the key before, or by a process that still uses it
        try:
            key = await zone.keys.read(
                lambda connection: zone.keys.opening_key(connection, claimed.key_id, link.merchant, Purpose.CAPTURE)
            )
        except (KeyUnavailable, KeyDestroyed):
            return False
    answer = fields.get(ANSWER, "")
    return bits_proven(claimed, key, answer, session=link.session, tries=link.tries, now_ms=now_ms) is not None


def _number_of(fields: Mapping[str, str]) -> Pan | None:
    try:
        return Pan.parse(fields.get(CardField.NUMBER.value, ""))
    except CardInvalid:
        return None


def _tries_of(connection: Connection, link: OpenLink) -> tuple[int, int]:
    row = connection.execute(
        select(capture_session.c.tries, capture_session.c.next_try_ms).where(capture_session.c.id == link.session)
    ).first()
    if row is None:
        raise LinkRefused(LinkRefusal.UNKNOWN)
    return row.tries, row.next_try_ms
