"""Keys made, opened, wrapped anew, rotated and destroyed in any order by several processes, beside a model: every provider."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.requirement import requirement
from tests.vault_zone.hazmat import test_provider_faults as faults
from tests.vault_zone.hazmat.harness import HARNESSES, Harness
from tests.vault_zone.hazmat.test_provider_contract import version_of
from vault_zone.hazmat.local import LocalKeys
from vault_zone.hazmat.provider import KeyContext, KeyDestroyed, KeyProvider, KeyUnavailable

PROCESSES_MAXIMUM = 3
WHO = st.integers(0, PROCESSES_MAXIMUM - 1)
WHOM = st.integers(0, 1)
NTH = st.integers(0, 40)
MESSAGE = b"message"


class Made(NamedTuple):
    """A data key that the model knows, in one of its wrapped forms."""

    context: KeyContext
    key: bytes
    wrapped: bytes


class ProviderMachine(RuleBasedStateMachine):
    """Two merchants, up to three processes, and what each merchant's keys must answer."""

    harness: ClassVar[Harness]
    runs: ClassVar[Iterator[int]] = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        run = next(self.runs)
        self.merchants = [f"shop-{run}-{name}" for name in ("ash", "birch")]
        self.harness.merchants.extend(self.merchants)
        self.processes: list[KeyProvider] = [self.harness.provider]
        self.newest: dict[str, int] = {}
        self.destroyed: set[str] = set()
        self.made: list[Made] = []
        self.macs: dict[str, bytes] = {}

    def of(self, who: int) -> KeyProvider:
        """One of the processes."""
        return self.processes[who % len(self.processes)]

    def answer(self, merchant: str, call: Callable[[], bytes | None]) -> bytes | None:
        """What the call gives; None when the merchant's keys were destroyed, which it has to say."""
        if merchant not in self.destroyed:
            return call()
        with pytest.raises(KeyDestroyed):
            call()
        return None

    @precondition(lambda self: len(self.processes) < PROCESSES_MAXIMUM)
    @rule()
    def another_process_starts(self) -> None:
        """It has nothing in memory."""
        self.processes.append(self.harness.another())

    @rule(who=WHO, whom=WHOM, purpose=st.sampled_from(["sealing", "fingerprint"]))
    def generates(self, who: int, whom: int, purpose: str) -> None:
        """A key that never was before, under the newest version."""
        context = KeyContext(self.merchants[whom], purpose, f"key_{len(self.made)}")

        def call() -> bytes:
            made = self.of(who).generate(context)
            assert len(made.key) == 32
            assert made.key not in {one.key for one in self.made}
            self.made.append(Made(context, made.key, made.wrapped))
            return made.wrapped

        if (wrapped := self.answer(context.merchant, call)) is not None:
            assert version_of(wrapped) == self.newest.setdefault(context.merchant, 1)

    @precondition(lambda self: self.made)
    @rule(who=WHO, nth=NTH)
    def unwraps(self, who: int, nth: int) -> None:
        """Whatever version it is under, whoever made it."""
        one = self.made[nth % len(self.made)]
        opened = self.answer(one.context.merchant, lambda: self.of(who).unwrap(one.wrapped, one.context))
        assert opened in (None, one.key)

    @precondition(lambda self: self.made)
    @rule(who=WHO, nth=NTH)
    def unwraps_for_another(self, who: int, nth: int) -> None:
        """For another merchant, purpose or key it opens never."""
        one = self.made[nth % len(self.made)]
        context, other = one.context, next(name for name in self.merchants if name != one.context.merchant)
        for moved in (
            context._replace(merchant=other),
            context._replace(purpose="capture"),
            context._replace(key_id="k"),
        ):
            with pytest.raises(KeyUnavailable):
                self.of(who).unwrap(one.wrapped, moved)

    @precondition(lambda self: self.made)
    @rule(who=WHO, nth=NTH)
    def rewraps(self, who: int, nth: int) -> None:
        """The same key under the newest version; the older form still opens."""
        one = self.made[nth % len(self.made)]
        wrapped = self.answer(one.context.merchant, lambda: self.of(who).rewrap(one.wrapped, one.context))
        if wrapped is not None:
            assert version_of(wrapped) == self.newest[one.context.merchant]
            self.made.append(one._replace(wrapped=wrapped))

    @rule(who=WHO, whom=WHOM)
    def macs_a_message(self, who: int, whom: int) -> None:
        """Always the same for a merchant, never the same for two."""
        merchant = self.merchants[whom]
        mac = self.answer(merchant, lambda: self.of(who).mac(merchant, MESSAGE))
        if mac is not None:
            self.newest.setdefault(merchant, 1)
            assert mac == self.macs.setdefault(merchant, mac)
            assert len(set(self.macs.values())) == len(self.macs)

    @rule(who=WHO, whom=WHOM)
    def rotates(self, who: int, whom: int) -> None:
        """One version more."""
        merchant = self.merchants[whom]
        self.answer(merchant, lambda: self.of(who).rotate(merchant))
        if merchant not in self.destroyed:
            self.newest[merchant] = self.newest.get(merchant, 1) + 1

    @rule(who=WHO, whom=WHOM, really=st.sampled_from([False, False, True]))
    def destroys(self, who: int, whom: int, really: bool) -> None:
        """For good; again does nothing more. Now and then only, or there would be nothing to look at."""
        merchant = self.merchants[whom]
        if really or merchant in self.destroyed:
            self.of(who).destroy(merchant)
            self.destroyed.add(merchant)

    @rule(who=WHO)
    def checks(self, who: int) -> None:
        """It serves, whatever was destroyed."""
        self.of(who).check()


SETTINGS = settings(
    max_examples=20,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)


def machine_on(on: Harness) -> type[ProviderMachine]:
    """The machine over this provider."""

    class Machine(ProviderMachine):
        harness = on

    return Machine


@requirement("3.7.5")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", HARNESSES)
def test_every_provider_does_what_the_model_does(kind: str, tmp_path: Path) -> None:
    with HARNESSES[kind](tmp_path) as harness:
        fewer = settings(SETTINGS, max_examples=8)  # a token takes its time for every object
        run_state_machine_as_test(machine_on(harness), settings=fewer if kind == "pkcs11" else SETTINGS)


class SeesNoOtherProcess(LocalKeys):
    """Looks at the file once."""

    def _current(self):  # type: ignore[no-untyped-def]
        return (self._keystore, self._root) if self._sets else super()._current()


PLANTED = (
    SeesNoOtherProcess,
    faults.BindsMerchantOnly,
    faults.SameKeyTwice,
    faults.RewrapDoesNothing,
    faults.RotationForgetsTheOld,
    faults.MacFollowsRotation,
    faults.OneMacForAll,
    faults.DestroysNothing,
    faults.ForgetsThatItDestroyed,
    faults.RemembersTheDestroyed,
)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", PLANTED)
def test_the_model_finds_a_planted_fault(kind: type[LocalKeys], tmp_path: Path) -> None:
    only_search = settings(SETTINGS, phases=[Phase.generate], max_examples=60)
    with (
        faults.faulty_harness(tmp_path, kind) as harness,
        pytest.raises((AssertionError, pytest.fail.Exception, KeyUnavailable)),
    ):
        run_state_machine_as_test(machine_on(harness), settings=only_search)
