"""A security code is in memory only, sealed, used once, and gone in time (PCI DSS 3.3.1, 3.3.2)."""

import gc
import pickle

import pytest

from tests.requirement import requirement
from tests.vault_zone.world import TestClock
from vault_zone.card import Cryptogram, Cvc, Exposure
from vault_zone.security_codes import LIFETIME_SECONDS, MAXIMUM_HELD, SecurityCodes


def exposed(code: Cvc | Cryptogram | None) -> object:
    return code.expose(Exposure.PROCESSOR) if code else None


@requirement("3.3.1")
def test_a_code_is_given_once() -> None:
    codes = SecurityCodes(TestClock().seconds)
    codes.hold("grt_a", Cvc.parse("737", None))
    assert exposed(codes.take("grt_a")) == "737"
    assert codes.take("grt_a") is None


def test_a_code_past_its_time_is_gone() -> None:
    clock = TestClock()
    codes = SecurityCodes(clock.seconds)
    codes.hold("grt_a", Cvc.parse("7373", None))
    clock.advance(LIFETIME_SECONDS)
    assert codes.take("grt_a") is None


def test_codes_past_their_time_are_erased_without_being_asked_for() -> None:
    clock = TestClock()
    codes = SecurityCodes(clock.seconds)
    for number in range(10):
        codes.hold(f"grt_{number}", Cvc.parse("737", None))
        clock.advance(LIFETIME_SECONDS / 5)
    codes.forget_expired()
    assert repr(codes) == "SecurityCodes(4 held)"


def test_a_code_that_was_held_anew_lives_by_its_new_end() -> None:
    clock = TestClock()
    codes = SecurityCodes(clock.seconds)
    codes.hold("grt_a", Cvc.parse("737", None))
    clock.advance(LIFETIME_SECONDS / 2)
    codes.hold("grt_a", Cvc.parse("7373", None))
    clock.advance(LIFETIME_SECONDS / 2)
    codes.forget_expired()
    assert exposed(codes.take("grt_a")) == "7373"


@requirement("3.2.1")
def test_a_code_that_is_given_back_keeps_the_time_it_had() -> None:
    """Or else asking again and again would keep it alive for ever."""
    clock = TestClock()
    codes = SecurityCodes(clock.seconds)
    codes.hold("grt_a", Cvc.parse("737", None))
    for _ in range(3):
        clock.advance(LIFETIME_SECONDS / 4)
        code = codes.take("grt_a")
        assert code is not None
        codes.give_back("grt_a", code)
    clock.advance(LIFETIME_SECONDS / 4)
    assert codes.take("grt_a") is None


def test_a_code_that_was_to_be_forgotten_while_it_was_out_cannot_be_given_back() -> None:
    codes = SecurityCodes(TestClock().seconds)
    codes.hold("grt_a", Cvc.parse("737", None))
    code = codes.take("grt_a")
    assert code is not None
    codes.forget("grt_a")
    codes.give_back("grt_a", code)
    assert codes.take("grt_a") is None


def test_a_forgotten_code_is_gone() -> None:
    codes = SecurityCodes(TestClock().seconds)
    codes.hold("grt_a", Cvc.parse("737", None))
    codes.forget("grt_a")
    assert codes.take("grt_a") is None


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault_zone.security_codes.MAXIMUM_HELD", 3)
    codes = SecurityCodes(TestClock().seconds)
    for number in range(5):
        codes.hold(f"grt_{number}", Cvc.parse("737", None))
    assert [exposed(codes.take(f"grt_{number}")) for number in range(5)] == [None, None, "737", "737", "737"]
    assert MAXIMUM_HELD >= 1000


@requirement("3.3.2")
def test_what_is_held_is_sealed_and_shows_nothing() -> None:
    codes = SecurityCodes(TestClock().seconds)
    codes.hold("grt_a", Cvc.parse("7391", None))
    assert "7391" not in repr(codes) + repr(vars(codes))
    held = [thing for thing in gc.get_referents(codes._held) if isinstance(thing, tuple)]
    assert b"7391" not in pickle.dumps(held)
