"""Security codes in any order of holding, taking, giving back, forgetting, time and restarts, beside a model of them."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

import vault_zone.security_codes
from tests.requirement import requirement
from tests.vault_zone.world import TestClock
from vault_zone.card import Cryptogram, Cvc, Exposure
from vault_zone.security_codes import LIFETIME_SECONDS, SecurityCodes

BOUND = 2
NAMES = ("grt_a", "grt_b", "grt_c")
GRANTS = st.sampled_from(NAMES)
CODES = st.one_of(
    st.from_regex(r"[0-9]{3,4}", fullmatch=True).map(lambda text: Cvc.parse(text, None)),
    st.from_regex(r"[A-Za-z0-9+/]{27}=", fullmatch=True).map(lambda text: Cryptogram.parse(text, "05")),
)
Code = Cvc | Cryptogram


def shown(code: Code | None) -> object:
    """What the code is, to compare."""
    return code.expose(Exposure.PROCESSOR) if code else None


class Codes(RuleBasedStateMachine):
    """``held`` is what the model says must be given, oldest first; ``out`` what was taken and may come back."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = TestClock()
        self.codes = SecurityCodes(self.clock.seconds)
        self.held: dict[str, tuple[float, Code]] = {}
        self.out: dict[str, tuple[float, Code]] = {}

    @rule(grant=GRANTS, code=CODES, seconds=st.sampled_from([1.0, 60.0, LIFETIME_SECONDS, LIFETIME_SECONDS * 5]))
    def capture(self, grant: str, code: Code, seconds: float) -> None:
        """A card is captured: its code is held, never longer than LIFETIME_SECONDS."""
        self.codes.hold(grant, code, seconds)
        self.out.pop(grant, None)
        self._put(grant, self.clock.seconds() + min(seconds, LIFETIME_SECONDS), code)

    @rule(grant=GRANTS)
    def authorise(self, grant: str) -> None:
        """A charge takes the code, whatever comes of it: authorised or declined, there is none for a second."""
        expected = self.held.pop(grant, None)
        assert shown(self.codes.take(grant)) == (shown(expected[1]) if expected else None)
        if expected:
            self.out[grant] = expected
        assert self.codes.take(grant) is None

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def authorise_what_is_held(self, data: st.DataObject) -> None:
        """As authorise(), of a grant that has a code."""
        self.authorise(data.draw(st.sampled_from(sorted(self.held))))

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def refused_before_it_began(self, data: st.DataObject) -> None:
        """The code goes back for the time that it had."""
        self.back(data.draw(st.sampled_from(sorted(self.out))))

    def back(self, grant: str) -> None:
        """A charge that was not begun gives the code back."""
        deadline, code = self.out.pop(grant)
        self.codes.give_back(grant, code)
        if deadline > self.clock.seconds():
            self._put(grant, deadline, code)

    @rule(grant=GRANTS)
    def revoke(self, grant: str) -> None:
        """The grant is taken back: no code, and none comes back."""
        self.codes.forget(grant)
        self.held.pop(grant, None)
        if (gone := self.out.pop(grant, None)) is not None:
            self.codes.give_back(grant, gone[1])
            assert self.codes.take(grant) is None

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def revoke_while_it_is_out(self, data: st.DataObject) -> None:
        """As revoke(), of a grant whose code is with a charge that has not begun."""
        self.revoke(data.draw(st.sampled_from(sorted(self.out))))

    @rule(seconds=st.sampled_from([0.5, 30.0, 59.5, 300.0, LIFETIME_SECONDS]))
    def time_passes(self, seconds: float) -> None:
        """What is past its time is gone."""
        self.clock.advance(seconds)
        self.held = {grant: kept for grant, kept in self.held.items() if kept[0] > self.clock.seconds()}

    @rule()
    def sweep(self) -> None:
        """The zone erases what is past its time."""
        self.codes.forget_expired()

    @rule()
    def restart(self) -> None:
        """The process ends and another begins."""
        self.codes = SecurityCodes(self.clock.seconds)
        self.held, self.out = {}, {}

    @invariant()
    def no_more_than_the_bound_is_held_and_none_in_clear(self) -> None:
        """By its own count, and by looking into it."""
        assert len(self.codes._held) <= BOUND
        inside = repr(vars(self.codes))
        for _, code in self.held.values():
            value = code.expose(Exposure.PROCESSOR)
            if not isinstance(value, str):  # three digits may stand in any sealed bytes
                assert value[0] not in inside

    def teardown(self) -> None:
        """Everything that the model holds is given, once; nothing else is."""
        for grant in NAMES:
            self.authorise(grant)
        assert self.codes._held == {}

    def _put(self, grant: str, deadline: float, code: Code) -> None:
        now_seconds = self.clock.seconds()
        self.held = {each: kept for each, kept in self.held.items() if kept[0] > now_seconds}
        if len(self.held) >= BOUND:
            del self.held[next(iter(self.held))]
        self.held[grant] = (deadline, code)


def run() -> None:
    checks = settings(
        max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    run_state_machine_as_test(Codes, settings=checks)


@pytest.fixture(autouse=True)
def _bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_zone.security_codes, "MAXIMUM_HELD", BOUND)


@requirement("3.2.1", "3.3.1", "3.3.2")
def test_in_any_order_a_code_is_given_once_in_time_and_is_else_nowhere() -> None:
    run()


class _KeepsWhatWasTaken(SecurityCodes):
    def take(self, grant: str) -> Code | None:
        held = self._held.get(grant)
        code = super().take(grant)
        if held is not None and code is not None:
            self._held[grant] = held
        return code


class _ForgetsTime(SecurityCodes):
    def take(self, grant: str) -> Code | None:
        if (held := self._held.get(grant)) is not None:
            self._held[grant] = (float("inf"), held[1])
        return super().take(grant)


class _HoldsForAsLongAsItIsAsked(SecurityCodes):
    def hold(self, grant: str, code: Code, lifetime_seconds: float = LIFETIME_SECONDS) -> None:
        self.forget_expired()
        self._hold_until(grant, code, self._now_seconds() + lifetime_seconds)


class _GivesTimeAnew(SecurityCodes):
    def give_back(self, grant: str, code: Code) -> None:
        if grant in self._deadlines:
            self._hold_until(grant, code, self._now_seconds() + LIFETIME_SECONDS)


class _TakesBackWhatWasForgotten(SecurityCodes):
    def give_back(self, grant: str, code: Code) -> None:
        deadline = self._deadlines.get(grant, self._now_seconds() + 1)
        self._hold_until(grant, code, deadline)


class _Unbounded(SecurityCodes):
    def _hold_until(self, grant: str, code: Code, deadline: float) -> None:
        kept = dict(self._held)
        super()._hold_until(grant, code, deadline)
        self._held = {**kept, **self._held}


class _InClear(SecurityCodes):
    def hold(self, grant: str, code: Code, lifetime_seconds: float = LIFETIME_SECONDS) -> None:
        super().hold(grant, code, lifetime_seconds)
        self.last = code.expose(Exposure.PROCESSOR)


_SHARED: dict[str, tuple[float, bytes]] = {}
_KEY: list[bytes] = []


class _SurvivesARestart(SecurityCodes):
    def __init__(self, monotonic_seconds: Callable[[], float]) -> None:
        super().__init__(monotonic_seconds)
        _KEY.append(self._key)
        self._key = _KEY[0]
        self._held = _SHARED


CVC, CRYPTOGRAM = Cvc.parse("737", None), Cryptogram.parse("gXc5UCLnM6ckD7pjM1TdPA==", "05")
LONG, HALF = LIFETIME_SECONDS * 5, LIFETIME_SECONDS / 2
# The steps in which each fault shows. The machine takes them too, with everything that it looks at.
FAULTS: dict[type[SecurityCodes], tuple[tuple[Any, ...], ...]] = {
    _KeepsWhatWasTaken: (("capture", "grt_a", CVC, 60.0), ("authorise", "grt_a")),
    _ForgetsTime: (("capture", "grt_a", CVC, 60.0), ("time_passes", 60.0), ("authorise", "grt_a")),
    _HoldsForAsLongAsItIsAsked: (("capture", "grt_a", CVC, LONG), ("time_passes", 600.0), ("authorise", "grt_a")),
    _GivesTimeAnew: (
        ("capture", "grt_a", CVC, LIFETIME_SECONDS),
        ("authorise", "grt_a"),
        ("time_passes", HALF),
        ("back", "grt_a"),
        ("time_passes", HALF),
        ("authorise", "grt_a"),
    ),
    _TakesBackWhatWasForgotten: (("capture", "grt_a", CVC, 60.0), ("authorise", "grt_a"), ("revoke", "grt_a")),
    _Unbounded: tuple(("capture", grant, CVC, 60.0) for grant in NAMES),
    _InClear: (("capture", "grt_a", CRYPTOGRAM, 60.0),),
    _SurvivesARestart: (("capture", "grt_a", CVC, 60.0), ("restart",), ("authorise", "grt_a")),
}


def play(steps: tuple[tuple[Any, ...], ...]) -> None:
    """Takes the steps, and looks after each as the machine does."""
    machine = Codes()
    for name, *given in steps:
        getattr(machine, name)(*given)
        machine.no_more_than_the_bound_is_held_and_none_in_clear()
    machine.teardown()


@requirement("3.3.1")
@pytest.mark.parametrize("fault", FAULTS)
def test_each_planted_fault_is_found(fault: type[SecurityCodes], monkeypatch: pytest.MonkeyPatch) -> None:
    play(FAULTS[fault])
    monkeypatch.setitem(globals(), "SecurityCodes", fault)
    with pytest.raises(AssertionError):
        play(FAULTS[fault])
