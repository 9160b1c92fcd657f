import gc
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenization.scanner.corpus import BENIGN_TALKS, TALK_EVASIONS, card_for, common_card, fours
from tokenization.scanner import ConversationScanner
from tokenization.scanner.fragments import Fragment

SEEDS = st.integers(0, 2**64 - 1)


def verdicts(messages: list[str], scanner: ConversationScanner | None = None) -> list[bool]:
    scanner = scanner or ConversationScanner()
    return [bool(scanner.check("talk", message, float(second))) for second, message in enumerate(messages)]


@pytest.mark.parametrize("row", TALK_EVASIONS)
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_a_card_split_over_messages_is_found_with_its_last_part(row: str, seed: int) -> None:
    rng = Random(seed)
    messages = TALK_EVASIONS[row](card_for(row, rng), rng)
    assert any(verdicts(messages)), messages


@pytest.mark.parametrize("row", BENIGN_TALKS)
@settings(max_examples=150, deadline=None)
@given(seed=SEEDS)
def test_ordinary_conversations_are_let_through(row: str, seed: int) -> None:
    messages = BENIGN_TALKS[row](Random(seed))
    assert not any(verdicts(messages)), messages


@given(seed=SEEDS)
def test_the_finding_is_about_the_message_that_completes_the_card(seed: int) -> None:
    groups = fours(common_card(Random(seed)))
    scanner = ConversationScanner()
    *before, last = groups
    assert not any(scanner.check("talk", group, 0.0) for group in before)
    (finding,) = scanner.check("talk", f"then {last}", 1.0)
    assert (finding.kind, finding.offset, finding.length) == ("conversation", 5, len(last))


@given(seed=SEEDS)
def test_conversations_do_not_mix(seed: int) -> None:
    scanner = ConversationScanner()
    groups = fours(common_card(Random(seed)))
    assert not any(scanner.check(f"talk {at}", group, 0.0) for at, group in enumerate(groups))


@given(seed=SEEDS)
def test_parts_are_forgotten_with_age(seed: int) -> None:
    groups = fours(common_card(Random(seed)))
    scanner = ConversationScanner(max_age_seconds=60.0)
    assert not any(scanner.check("talk", group, 61.0 * at) for at, group in enumerate(groups))
    assert any(scanner.check("again", group, 1000.0 + 10.0 * at) for at, group in enumerate(groups))


@given(seed=SEEDS)
def test_parts_are_forgotten_after_eight_messages(seed: int) -> None:
    first, *rest = fours(common_card(Random(seed)))
    chatter = ["and what colours are there?"] * (9 - len(rest))
    assert not any(verdicts([first, *chatter, *rest]))


@given(seed=SEEDS)
def test_a_found_card_is_forgotten_at_once(seed: int) -> None:
    scanner = ConversationScanner()
    groups = fours(common_card(Random(seed)))
    assert any(verdicts(groups, scanner))
    assert scanner._conversations == {}


@given(seed=SEEDS)
def test_forget_drops_a_conversation(seed: int) -> None:
    *before, last = fours(common_card(Random(seed)))
    scanner = ConversationScanner()
    assert not any(verdicts(before, scanner))
    scanner.forget("talk")
    scanner.forget("never seen")
    assert scanner._conversations == {}
    assert scanner.check("talk", last, 9.0) == []


def test_the_number_of_conversations_is_bounded_and_the_oldest_goes_first() -> None:
    scanner = ConversationScanner(max_conversations=3)
    for at in range(10):
        scanner.check(f"talk {at}", "4242", float(at))
    assert list(scanner._conversations) == ["talk 7", "talk 8", "talk 9"]


def test_stale_conversations_leave_memory_when_any_other_speaks() -> None:
    scanner = ConversationScanner(max_age_seconds=60.0)
    scanner.check("old", "4242", 0.0)
    scanner.check("new", "hello", 61.0)
    assert list(scanner._conversations) == ["new"]


@given(message=st.text(max_size=80))
def test_only_fragments_of_digits_are_kept_of_a_message(message: str) -> None:
    scanner = ConversationScanner()
    scanner.check("talk", message, 0.0)
    for kept in scanner._conversations.values():
        for item in kept:
            strings = [held for held in gc.get_referents(*item.fragments) if isinstance(held, str)]
            assert all(held.isdigit() and len(held) < 19 for held in strings)


def test_what_is_kept_does_not_show_itself() -> None:
    scanner = ConversationScanner()
    scanner.check("talk", "4242", 0.0)
    assert "4242" not in repr(scanner)
    assert "4242" not in repr(scanner._conversations)
    assert "4242" not in f"{Fragment('4242', (4,), bare=True, spoken=False)!r}"


def test_identifiers_are_not_kept() -> None:
    scanner = ConversationScanner()
    for message in ("order 1240311797", "#W1006327", "12:30", "2026-11-22", "$42.42", "1Z999AA10123456784"):
        scanner.check("talk", message, 0.0)
    assert all(not item.fragments for item in scanner._conversations["talk"])


def test_a_message_too_long_is_refused() -> None:
    (finding,) = ConversationScanner().check("talk", "x" * 300_000, 0.0)
    assert finding.kind == "too_large"
