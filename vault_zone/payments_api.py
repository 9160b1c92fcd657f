"""Disputes of a merchant's charges, and what commerce is told by itself, over mutual TLS."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from tokenization.wire import Dispute, Identifier, NoticeSecret, Wire
from vault_zone.access import EVERY_MERCHANT, Permitted
from vault_zone.callers import ZoneIn, asks
from vault_zone.disputes import list_disputes
from vault_zone.keys_api import require_known
from vault_zone.outbox import Mark, NoticeState, list_notices, replay
from vault_zone.outbox_signing import as_text, secret_of
from vault_zone.roles import Verb

router = APIRouter(prefix="/v1")
Moment = Annotated[int, Field(ge=0, le=10**14)]  # milliseconds since 1970


class Disputes(Wire):
    """A merchant's disputes, those with the nearest day for evidence first."""

    disputes: tuple[Dispute, ...]


class NoticeView(Wire):
    """A notice as an operator sees it."""

    notice: str
    merchant: str
    kind: str
    charge: str
    state: str
    attempts: int
    last_status: int | None
    happened_ms: int
    due_ms: int


class Notices(Wire):
    """Notices, newest first."""

    notices: tuple[NoticeView, ...]


class ReplayMark(Wire):
    """A notice behind which a replay goes on."""

    happened_ms: Moment
    notice: Identifier


class ReplayRequest(Wire):
    """What is to be told again: what happened from ``since_ms`` until before ``until_ms``, from behind ``after`` on."""

    since_ms: Moment
    until_ms: Moment
    merchant: Identifier | None = None
    only_abandoned: bool = False
    after: ReplayMark | None = None


class Replayed(Wire):
    """How many notices will be told again, and the ``after`` with which to go on; None behind the last."""

    notices: int
    after: ReplayMark | None = None


@router.get("/merchants/{merchant}/disputes")
async def get_disputes(
    merchant: str,
    zone: ZoneIn,
    caller: Annotated[Permitted, asks(Verb.READ_DISPUTES)],
    payment: Annotated[str | None, Query(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")] = None,
    only_open: bool = False,
) -> Disputes:
    """Disputes of the merchant's charges, or of one payment's."""
    found = await zone.database.read(
        lambda connection: list_disputes(connection, merchant, payment=payment, only_open=only_open)
    )
    return Disputes(disputes=tuple(found))


@router.get("/merchants/{merchant}/notice-secret")
async def get_notice_secret(
    merchant: str, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.READ_NOTICE_SECRET)]
) -> NoticeSecret:
    """What the merchant's notices are signed with now. A signature that does not fit is a reason to ask again."""
    await require_known(zone, merchant)
    return NoticeSecret(secret=as_text(await secret_of(zone.keys, merchant)))


@router.get("/notices")
async def get_notices(
    zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.LIST_NOTICES)], state: NoticeState | None = None
) -> Notices:
    """What was told, and what waits to be."""
    caller.acting_for(EVERY_MERCHANT)
    found = await zone.database.read(lambda connection: list_notices(connection, state))
    return Notices(notices=tuple(NoticeView(**row._asdict()) for row in found))


@router.post("/notices/replay")
async def post_replay(
    asked: ReplayRequest, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.REPLAY_NOTICES)]
) -> Replayed:
    """Has it told again, under the same ids. Repeat with the ``after`` that it answers with while there is one."""
    actor = caller.acting_for(asked.merchant or EVERY_MERCHANT)
    after = Mark(asked.after.happened_ms, asked.after.notice) if asked.after is not None else None
    done = await zone.database.change(
        lambda tx: replay(
            tx,
            since_ms=asked.since_ms,
            until_ms=asked.until_ms,
            merchant=asked.merchant,
            only_abandoned=asked.only_abandoned,
            actor=actor,
            after=after,
        )
    )
    return Replayed(notices=done.notices, after=ReplayMark(**done.after._asdict()) if done.after is not None else None)
