"""Two who hold tokens of one grant, the owner and a thief: whatever they try and when, one line of tokens is left, or none."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import create_engine, update
from sqlalchemy.engine import Connection

from audit.transaction import Transaction
from commerce_api.authorization import grants
from commerce_api.models import metadata, oauth_grant, oauth_refresh

BRAND, CLIENT = "harbour-pine", "client-1"
BEGAN_MS = 1_795_000_000_000
GRACE_MS = grants.GRACE_SECONDS * 1000
OWNER, THIEF = 0, 1
Try = tuple[int, int, int]  # who, after how many milliseconds, how many tokens before the newest that it holds

PAUSES_MS = (0, 1, 5_000, GRACE_MS - 1, GRACE_MS, GRACE_MS + 1, 3_600_000)
TRIES = st.lists(st.tuples(st.sampled_from((OWNER, THIEF)), st.sampled_from(PAUSES_MS), st.integers(0, 2)), max_size=14)


def renewed(connection: Connection, secret: str, now_ms: int, successor: str) -> bool:
    """Whether a refresh token is taken, as the token endpoint takes it (protocol.py)."""
    tx = Transaction(connection, now_ms)
    found = grants.take_refresh(tx, BRAND, secret, CLIENT)
    if found is None or grants.is_early(tx, found):
        return False
    grants.spend(tx, found)
    grants.keep_refresh(tx, found.grant.id, successor, found.grant.expires_ms)
    return True


def who_goes_on(tries: list[Try]) -> set[int]:
    """Who renews later than a grace after the token that both held was used."""
    engine = create_engine("sqlite://")
    now_ms, first_ms = BEGAN_MS, None
    going_on: set[int] = set()
    held = (["shared"], ["shared"])
    with engine.begin() as connection:
        metadata.create_all(connection)
        tx = Transaction(connection, now_ms - GRACE_MS)
        grants.grant(
            tx,
            "code",
            brand=BRAND,
            client=CLIENT,
            shopper="shp_1",
            scope="catalog:read",
            resource="https://store.example/mcp",
            redirect_uri="https://client.example/",
            challenge="c",
        )
        [grant] = tx.execute(oauth_grant.select()).all()
        grants.keep_refresh(tx, grant.id, "shared", grant.expires_ms)
        for number, (who, pause_ms, before) in enumerate(tries):
            now_ms += pause_ms
            presented = held[who][-1 - min(before, len(held[who]) - 1)]
            if renewed(connection, presented, now_ms, f"token {number}"):
                held[who].append(f"token {number}")
                first_ms = now_ms if first_ms is None else first_ms
                if now_ms - first_ms > GRACE_MS:
                    going_on.add(who)
    engine.dispose()
    return going_on


BOTH_FROM_ONE = [(OWNER, 0, 0), (THIEF, 0, 0), (OWNER, 3_600_000, 0), (THIEF, 5_000, 0)]


@example(BOTH_FROM_ONE)
@given(TRIES)
def test_an_owner_and_a_thief_do_not_both_go_on_for_longer_than_one_grace(tries: list[Try]) -> None:
    assert len(who_goes_on(tries)) < 2


def test_who_is_alone_goes_on() -> None:
    assert who_goes_on([(OWNER, 3_600_000, 0)] * 5) == {OWNER}


def test_planted_fault_with_a_grace_for_what_another_tokens_use_took_both_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spend_all_now(tx: Transaction, granted: grants.Granted) -> None:
        if not granted.comes_again:
            left = (oauth_refresh.c.grant_id == granted.grant.id) & oauth_refresh.c.used_ms.is_(None)
            tx.execute(update(oauth_refresh).where(left).values(used_ms=tx.now_ms))

    monkeypatch.setattr(grants, "spend", spend_all_now)
    assert who_goes_on(BOTH_FROM_ONE) == {OWNER, THIEF}
