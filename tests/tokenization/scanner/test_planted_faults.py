"""Each rule is taken out in turn, and the corpus must notice: otherwise a test of that rule would prove nothing."""

from collections.abc import Callable, Iterator
from random import Random
from types import ModuleType
from typing import Any

import pytest

from tests.tokenization.scanner.corpus import (
    BENIGN_TALKS,
    JSON_EVASIONS,
    NOISE,
    TALK_EVASIONS,
    TEXT_EVASIONS,
    card,
    card_for,
)
from tokenization.scanner import (
    ConversationScanner,
    contains_card,
    contains_card_in_json,
    conversation,
    decoders,
    documents,
    exemptions,
    fields,
    fold,
    fragments,
    inert,
    log,
    redact,
    redaction,
    runs,
    shapes,
    spoken,
    structure,
    text,
    traits,
    written,
)
from tokenization.scanner.passed import Passed

DRAWS = 120
NOISE_DRAWS = 1_500

Fault = tuple[ModuleType, str, Any]


@pytest.fixture(autouse=True)
def _remembers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes while a rule is missing must not pass afterwards."""
    monkeypatch.setattr(inert, "_inert", Passed())
    monkeypatch.setattr(decoders, "_no_base64", Passed())
    monkeypatch.setattr(documents, "_plain_names", set())


def nothing(*_: object, **__: object) -> Iterator[Any]:
    return iter(())


def never(*_: object, **__: object) -> bool:
    return False


def always(*_: object, **__: object) -> bool:
    return True


def same(value: Any, *_: object) -> Any:
    return value


def missed_text(row: str) -> int:
    rng = Random(f"fault {row}")
    return sum(not contains_card(TEXT_EVASIONS[row](card_for(row, rng), rng)) for _ in range(DRAWS))


def missed_json(row: str) -> int:
    rng = Random(f"fault {row}")
    return sum(not contains_card_in_json(JSON_EVASIONS[row](card(rng), rng)) for _ in range(DRAWS))


def talk_is_stopped(messages: list[str]) -> bool:
    scanner = ConversationScanner()
    verdicts = [bool(scanner.check("talk", message, float(at))) for at, message in enumerate(messages)]
    return any(verdicts)


def missed_talk(row: str) -> int:
    rng = Random(f"fault {row}")
    return sum(not talk_is_stopped(TALK_EVASIONS[row](card_for(row, rng), rng)) for _ in range(DRAWS))


def readable_ascii(data: bytes) -> str | None:
    return data.decode() if data.isascii() else None


def without_kind(kind: str) -> Callable[..., Iterator[Any]]:
    original = decoders._possible
    return lambda *given: (decoder for decoder in original(*given) if decoder[0] != kind)


HIDING: list[tuple[Fault, Callable[[str], int], str]] = [
    ((text, "cards_in_digits", nothing), missed_text, "plain"),
    ((text, "cards_in_look_alikes", nothing), missed_text, "letters O, l for 0 and 1, not grouped"),
    ((text, "cards_in_speech", nothing), missed_text, "spoken"),
    ((text, "decoded", lambda *_: None), missed_text, "base64"),
    ((text, "fold", same), missed_text, "full-width digits"),
    ((text, "MAX_DECODE_DEPTH", 1), missed_text, "base64 twice"),
    ((fold, "_FOLDS", {}), missed_text, "circled digits"),
    ((fold, "_FOLDS", {}), missed_text, "spoken, Cyrillic look-alikes"),
    ((decoders, "_possible", without_kind("base64")), missed_text, "base64url without padding"),
    ((decoders, "_possible", without_kind("percent")), missed_text, "percent-encoding"),
    ((decoders, "_possible", without_kind("entity")), missed_text, "entities, hexadecimal"),
    ((decoders, "_possible", without_kind("escape")), missed_text, "escapes, octal"),
    ((decoders, "_possible", without_kind("hex")), missed_text, "hex integer"),
    ((decoders, "_readable", readable_ascii), missed_text, "base64 of full-width digits"),
    ((written, "_joins", never), missed_text, "two halves, filler words between"),
    ((written, "_numbered", lambda *_: ()), missed_text, "numbered groups"),
    ((written, "_equal_neighbours", nothing), missed_text, "letter between digits"),
    ((written, "_in_prose", nothing), missed_text, "over a sentence"),
    ((written, "holds_card", never), missed_text, "with expiry and code glued on"),
    ((written, "scientific_cards", nothing), missed_text, "scientific notation"),
    ((runs, "_after_zeros", never), missed_text, "with zeros in front"),
    ((shapes, "is_grouped_like_card", never), missed_text, "groups of four, another separator each time"),
    ((spoken, "run_together", lambda _: 0), missed_text, "spoken, run together"),
    ((spoken, "_repeated", lambda *_: None), missed_text, "spoken, double and triple"),
    ((spoken, "_scaled", lambda *_: None), missed_text, "spoken thousands and hundreds"),
    ((spoken, "_variants", lambda atoms: iter([atoms])), missed_text, "spoken pairs, spaces"),
    ((spoken, "FILLERS", frozenset()), missed_text, "spoken with fillers"),
    ((traits, "_MOST_DIGITS", {}), missed_text, "spoken"),
    ((traits, "_ROW_OF_DIGITS", b"0" * 20), missed_text, "plain"),
    ((traits, "_may_be_prose", never), missed_text, "over a sentence"),
    ((documents, "find_cards", lambda _: []), missed_json, "string"),
    ((documents, "joined_cards", nothing), missed_json, "array of groups"),
    ((documents, "codes_in", nothing), missed_json, "security code in a field"),
    ((fields, "_in_run", nothing), missed_json, "array of digits, strings"),
    ((fields, "_counted", nothing), missed_json, "counted fields with others between"),
    ((structure, "_between_words", nothing), missed_json, "between the words of two fields"),
    ((conversation, "joined_card", never), missed_talk, "groups of four"),
    ((fragments, "_is_cut_like_card", never), missed_talk, "two halves, grouped, with words"),
    ((fragments, "_begins_bare_row", never), missed_talk, "cut anyhow"),
    ((conversation, "MAX_TEXT_CHARS", 0), missed_talk, "groups of four"),
]


@pytest.mark.parametrize(
    ("fault", "missed", "row"), HIDING, ids=lambda value: value if isinstance(value, str) else None
)
def test_a_rule_taken_out_loses_cards(
    fault: Fault, missed: Callable[[str], int], row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert missed(row) == 0
    monkeypatch.setattr(*fault)
    assert missed(row) > 0


ALARMING: list[tuple[Fault, str]] = [
    ((shapes, "passes_luhn", always), "random 16-digit number"),
    (
        (shapes, "LENGTHS_BY_PREFIX", {f"{prefix:04d}": (19, 16, 13) for prefix in range(10_000)}),
        "time in milliseconds",
    ),
    ((shapes, "is_in_iban", never), "IBAN in fours"),
    ((shapes, "_is_in_postal_barcode", never), "USPS in fours"),
    ((shapes, "is_fraction", never), "floats"),
    ((shapes, "is_labelled_otherwise", never), "telephone, Germany"),
    ((shapes, "are_other_numbers", never), "a run of sizes"),
    ((shapes, "_is_whole", always), "two telephones"),
    ((exemptions, "_are_times", never), "times of day"),
    ((exemptions, "_are_decimals", never), "a card used somewhere"),
]


def called(row: str) -> float:
    rng = Random(f"noise {row}")
    return sum(contains_card(NOISE[row][0](rng)) for _ in range(NOISE_DRAWS)) / NOISE_DRAWS


@pytest.mark.parametrize(("fault", "row"), ALARMING, ids=lambda value: value if isinstance(value, str) else None)
def test_a_rule_taken_out_raises_false_alarms(fault: Fault, row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert called(row) <= NOISE[row][1]
    monkeypatch.setattr(*fault)
    assert called(row) > NOISE[row][1]


def test_joining_fields_whatever_names_them_would_alarm_on_amounts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(8)
    lists = [{"prices": [rng.randrange(1000, 10_000) for _ in range(4)]} for _ in range(300)]
    assert not any(map(contains_card_in_json, lists))
    monkeypatch.setattr(fields, "_is_named_otherwise", never)
    assert any(map(contains_card_in_json, lists))


def test_joining_any_fragments_would_alarm_on_ordinary_talk(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(8)
    talks = [BENIGN_TALKS["paying, postcode and telephone"](rng) for _ in range(600)]
    assert not any(map(talk_is_stopped, talks))
    monkeypatch.setattr(fragments, "_is_joined_card", always)
    assert any(map(talk_is_stopped, talks))


def test_a_card_with_expiry_within_an_iban_would_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = [NOISE["IBAN"][0](rng) for rng in map(Random, range(20_000))]
    assert not any(map(contains_card, numbers))
    monkeypatch.setattr(runs, "is_in_iban", never)
    assert any(map(contains_card, numbers))


def test_redaction_that_looks_once_would_leave_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "find_cards", lambda _: [])
    monkeypatch.setattr(redaction, "contains_card", never)
    assert contains_card(redact(card(Random(1))))


def test_a_log_without_its_last_look_would_leak_joined_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = card(Random(2), length=16)
    event = {"event": "x", **{f"p{at}": digits[4 * at : 4 * at + 4] for at in range(4)}}
    assert log.scrub_event(None, "info", dict(event)) == {"event": log.WITHHELD}
    monkeypatch.setattr(log, "contains_card_in_json", never)
    assert log.scrub_event(None, "info", dict(event)) == event
