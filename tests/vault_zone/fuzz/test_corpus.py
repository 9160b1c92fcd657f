"""What fuzzing found stays found: saved inputs and seeds play again, hypothesis tries more, a parser that leaks is caught."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.requirement import requirement
from tests.vault_zone.fuzz.run import CORPUS, fuzz
from tests.vault_zone.fuzz.targets import SEEDS, TARGETS, Broken, Target, must_hold, refuses
from vault_zone.card import CardField, CardInvalid, CardProblem
from vault_zone.forward import scrubbing
from vault_zone.forward.scrubbing import Scrubber
from vault_zone.forward.traces import Traces

SOON_SECONDS = 2.0  # of this process's own time, on a slow machine; what is measured is some milliseconds
SAVED = [path for path in sorted(CORPUS.glob("*/*")) if path.is_file()]
PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([piece for seeds in SEEDS.values() for seed in seeds for piece in (seed, seed[:30], seed[-30:])]),
    st.text("0123456789 -/&=%+", max_size=30).map(str.encode),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
)
INPUTS = st.lists(PIECES, max_size=6).map(b"".join)


def play(target: Target, played: bytes) -> float:
    """The time that an input takes of this process, in seconds."""
    began = time.process_time()
    target(played)
    return time.process_time() - began


@requirement("6.2.4", "3.4.1")
@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_and_saved_input_is_answered_soon_and_silently(name: str) -> None:
    saved = [path.read_bytes() for path in SAVED if path.parent.name == name]
    assert [played[:40] for played in (*SEEDS[name], *saved) if play(TARGETS[name], played) > SOON_SECONDS] == []


@requirement("6.2.4")
@pytest.mark.parametrize("name", TARGETS)
def test_any_other_input_is_too(name: str) -> None:
    @settings(deadline=None)  # which a busy machine breaks; play() counts this process's own time
    @given(INPUTS)
    def tried(played: bytes) -> None:
        assert play(TARGETS[name], played) <= SOON_SECONDS

    tried()


def test_every_saved_input_has_a_target_and_every_target_has_seeds() -> None:
    assert {path.parent.name for path in SAVED} <= TARGETS.keys() == SEEDS.keys()


def chatty(given_bytes: bytes) -> None:
    """A parser that names what it refuses."""
    raise CardInvalid(CardField.NUMBER, CardProblem.MISSING) from ValueError(given_bytes.decode("latin-1"))


def forgetful(given_bytes: bytes) -> None:
    """A parser that keeps what it was given in the exception's own text."""
    failure = CardInvalid(CardField.NUMBER, CardProblem.MISSING)
    failure.args = (given_bytes.decode("latin-1"),)
    raise failure


def surprising(given_bytes: bytes) -> None:
    """A parser that lets through what it did not think of."""
    if b"%" in given_bytes:
        int(given_bytes)


PLANTED: dict[str, tuple[Callable[[bytes], None], type[Exception]]] = {
    "a cause that names the value": (chatty, Broken),
    "a text that holds the value": (forgetful, Broken),
    "an exception of no closed set": (surprising, ValueError),
}


@requirement("3.4.1")
@pytest.mark.parametrize("fault", PLANTED)
def test_a_parser_that_leaks_or_breaks_is_found_by_the_same_seeds(fault: str) -> None:
    parser, found = PLANTED[fault]

    def play_seeds() -> None:
        for seed in (seed for seeds in SEEDS.values() for seed in seeds):
            refuses(lambda seed=seed: parser(seed), seed, CardInvalid)  # type: ignore[misc]

    with pytest.raises(found):
        play_seeds()


@requirement("3.4.1")
@pytest.mark.parametrize(
    ("rule", "planted"),
    [
        ("the number was told", lambda _, value: "737" in str(value) or "sk_of" in str(value)),
        ("a secret was told", lambda _, value: "737" not in str(value) and "sk_of" not in str(value)),
    ],
)
def test_an_answer_that_is_told_without_its_search_is_found_by_the_same_seeds(
    monkeypatch: pytest.MonkeyPatch, rule: str, planted: Callable[[object, object], bool]
) -> None:
    monkeypatch.setattr(Scrubber, "_is_sensitive", planted)
    monkeypatch.setattr(Scrubber, "_is_put_together", lambda _, texts: False)
    monkeypatch.setattr(Traces, "shown_by", lambda _, fragments: 0)
    monkeypatch.setattr(scrubbing, "contains_card_in_json", lambda values: False)
    found = set()
    for seed in SEEDS["forward_answer"]:
        try:
            TARGETS["forward_answer"](seed)
        except Broken as broken:
            found.add(str(broken))
    assert rule in found


def test_a_rule_that_does_not_hold_is_named() -> None:
    with pytest.raises(Broken, match="the rule"):
        must_hold(False, "the rule")


@pytest.mark.parametrize("name", ["form_body"])
def test_the_fuzzer_runs_from_the_seeds(name: str, tmp_path: Path) -> None:
    code, said = fuzz(name, seconds=20, runs=300)
    assert (code, "number_of_executed_units: 300" in said.replace("  ", " ")) == (0, True), said[-500:]
