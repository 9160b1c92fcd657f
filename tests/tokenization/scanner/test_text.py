import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenization.scanner.corpus import (
    NOISE,
    TEMPLATES,
    TEXT_EVASIONS,
    card,
    card_for,
    common_card,
    fours,
    in_script,
    told,
)
from tokenization.scanner import Finding, contains_card, find_cards, text
from tokenization.scanner.finding import KINDS
from tokenization.scanner.limits import MAX_FINDINGS, MAX_TEXT_CHARS

SEEDS = st.integers(0, 2**64 - 1)
NOISE_DRAWS = 1_000

KINDS_OF_ROWS = {
    "plain": "digits",
    "groups of four, space": "digits",
    "full-width digits": "digits",
    "zero-width space between the digits": "digits",
    "letters O, l for 0 and 1, not grouped": "digits",
    "spoken": "spoken",
    "spoken pairs, hyphens": "spoken",
    "base64": "base64",
    "base64 twice": "base64",
    "base32": "base64",
    "percent-encoding": "percent",
    "percent-encoding twice": "percent",
    "hex": "hex",
    "hex integer": "hex",
    "entities, decimal": "entity",
    "escapes, \\u": "escape",
    "quoted-printable": "escape",
    "JSON text, fields p0 to p3": "fields",
    "form text, p0=…&p1=…": "fields",
}

BENIGN_LINES = (
    "call me at +1 415 555 0132, order 1240311797 shipped 2026-11-22 via 1Z999AA10123456784",
    "4242 is my street number",
    "IBAN DE89370400440532013000",
    "IBAN DE89 3704 0044 0532 0130 00",
    "GB29 NWBK 6016 1331 9268 19",
    "ORD-2024-1234-5678-9012",
    "1732300000000",
    "epoch millis 1732300000000, nanos 1732300000000000000",
    "phones 415-555-0132 / 415-555-0199",
    "+4915123456789 or +49 1512 3456789",
    "sizes 36 37 38 39 40 41 42 43",
    "22/11/2026 - 25/11/2026",
    "23/11/2026 – 27/11/2026, from 9:30 to 17:45 or 10:15-11:30",
    "52.520008, 13.404954 and 40.712776, -74.005974",
    "score 0.4837261948372615",
    "order 302-1234567-1234567",
    "social security number 123-45-6789",
    "your security code is 482193",
    "your verification code is 4821",
    "Enter your 3-digit CVC, or 4 digits for American Express",
    "the card ending in 1111, CVC required",
    "cvc check passed in 2026",
    "price 42.42, 41.99, 37.50, 39.00, 40.25",
    "the first two of four, then seven or eight, nine at most",
    "one two three four five six seven eight nine ten eleven twelve",
    "sort code 40-47-84 account 70872490",
    "ISBN 978-3-16-148410-0",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
    "Invoice 2026-000123 of 22.11.2026, EUR 1.234,56, due 2026-12-22",
    "TLS 1.3, PCI DSS 6.4.2, 6.4.3, 7.2.5, 7.2.6, 8.4.2 and 8.6.1-8.6.3",
    "((50, -20), (30, 20), (-50, 20), (-30, -20))",
    "17 18 19 20 21 22 23      22 23 24 25 26 27 28",
    "'\\u2591\\u2592\\u2593\\u2502\\u2524\\u2561'",
    "[[13717, 16446], [14698, 14945], [14176, 15978]]",
    '{"subtotal":13717,"tax":1132,"shipping":500,"total":15349}',
    "Apt 4012, unit 5512 USD, box 6611 pcs, 9021 kg",
    "4000 km, 4500 km, 4700 km, 4800 km",
)

SUSPICIOUS_LINES = (
    "my card: 4242 4242 4242 4242",
    "4242 4242 4242 4242, call me at +1 415 555 0132, order 1240311797",
    "order 1240311797 for 4242424242424242 shipped 2026-11-22",
    "3782 822463 10005",
    "take four two four two, four two four two, four two four two, four two four two please",
    "cvc 123",
    "CVV2: 1234",
    "the security code is one two three",
    "my cvv is 1 2 3",
    "c.v.c. double four one",
    "123 is my cvc",
    "the three digits on the back are 123",
    "card verification value 999",
    '"cvc": "123"',
    "exp 12/30 cvv 123",
    "42424242424242421230123",
    "card number 1114242424242424242",
    "1) 4242 2) 4242 3) 4242 4) 4242",
    "the first four are 4242 and the next four are 4242 and the next four 4242 and the last four 4242",
)


@pytest.mark.parametrize("row", TEXT_EVASIONS)
@settings(max_examples=12, deadline=None)
@given(seed=SEEDS)
def test_every_card_is_found_however_it_is_written(row: str, seed: int) -> None:
    rng = Random(seed)
    message = told(row, card_for(row, rng), rng)
    assert contains_card(message), message
    assert find_cards(message)


@pytest.mark.parametrize("row", NOISE)
def test_other_numbers_are_rarely_called_cards(row: str) -> None:
    rng = Random(f"noise {row}")
    make, share = NOISE[row]
    called = [number for number in (make(rng) for _ in range(NOISE_DRAWS)) if contains_card(number)]
    assert len(called) <= share * NOISE_DRAWS, called[:3]


@pytest.mark.parametrize("line", BENIGN_LINES)
def test_what_shoppers_and_programs_write_is_let_through(line: str) -> None:
    assert find_cards(line) == []


@pytest.mark.parametrize("line", SUSPICIOUS_LINES)
def test_what_must_not_pass_is_found(line: str) -> None:
    assert find_cards(line)


@pytest.mark.parametrize(("row", "kind"), KINDS_OF_ROWS.items())
def test_a_finding_names_its_rule(row: str, kind: str) -> None:
    rng = Random(5)
    for _ in range(20):
        digits = card(rng)
        if row.startswith("letters"):
            digits = next(number for number in iter(lambda: card(rng), "") if {"0", "1"} & set(number[4:]))
        assert {finding.kind for finding in find_cards(TEXT_EVASIONS[row](digits, rng))} == {kind}


@given(seed=SEEDS, before=st.sampled_from(["", "pay ", "é ", "🙂 "]), after=st.sampled_from(["", " thanks", ". é"]))
def test_a_finding_covers_exactly_the_card(seed: int, before: str, after: str) -> None:
    rng = Random(seed)
    digits = rng.choice([" ".join(fours(common_card(rng))), in_script("full-width", common_card(rng))])
    (finding,) = find_cards(before + digits + after)
    assert (finding.offset, finding.length) == (len(before), len(digits))


@given(
    seed=SEEDS,
    row=st.sampled_from(["base64", "hex", "percent-encoding", "escapes, \\u", "entities, decimal", "spoken"]),
)
def test_a_finding_covers_the_encoded_card(seed: int, row: str) -> None:
    rng = Random(seed)
    encoded = TEXT_EVASIONS[row](common_card(rng), rng)
    (finding,) = find_cards(f"pay {encoded} thanks")
    assert (finding.offset, finding.length) == (4, len(encoded))


@settings(max_examples=300, deadline=None)
@given(message=st.text(max_size=200) | st.text("0123456789 -.,:xOl%&#;\\u=\"'{}[]", max_size=200))
def test_findings_are_well_formed_and_agree_with_the_fast_answer(message: str) -> None:
    findings = find_cards(message)
    assert contains_card(message) == bool(findings)
    ends = 0
    for finding in findings:
        assert finding.kind in KINDS
        assert finding.offset >= ends
        assert finding.length > 0
        ends = finding.offset + finding.length
    assert ends <= len(message)


@given(seed=SEEDS)
def test_a_finding_holds_nothing_of_the_card(seed: int) -> None:
    rng = Random(seed)
    digits = common_card(rng)
    (finding,) = find_cards(digits)
    shown = repr(finding) + str(finding)
    assert not re.search("[0-9]{4}", shown)
    assert set(Finding.__slots__) == {"kind", "offset", "length"}


GATES = (
    "may_hold_pairs",
    "may_hold_structure",
    "may_hold_look_alikes",
    "may_hold_speech",
    "may_hold_codes",
)


def found_without_gates(message: str, monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    with monkeypatch.context() as patched:
        for gate in GATES:
            patched.setattr(text, gate, lambda _: True)
        patched.setattr(text, "is_too_short", lambda _: False)
        patched.setattr(text, "digit_regions", lambda traits: [(0, len(traits.text))])
        return find_cards(message)


@pytest.mark.parametrize("row", [*TEXT_EVASIONS, *NOISE])
def test_the_cheap_tests_lose_nothing(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(f"gates {row}")
    for _ in range(40):
        message = told(row, card(rng), rng) if row in TEXT_EVASIONS else NOISE[row][0](rng)
        assert bool(find_cards(message)) == bool(found_without_gates(message, monkeypatch)), message


ALPHABETS = (
    "0123456789 -.,",
    "04OolI18 -|",
    "0123 onetwfurivsxghz-,.",
    "4 2\"'{}[]:,p=&1",
    "cv12 3.:-is my(",
)
SPOKEN_WORDS = [
    "four",
    "two",
    "oh",
    "double",
    "triple",
    "forty",
    "sixteen",
    "hundred",
    "thousand",
    "and",
    "then",
    "dash",
]
WORDS = [*SPOKEN_WORDS, "42", "4242", "cvc", "is", "123", "p1", "=", ":", "{", "}", '"', ",", "OO", "l1", "x"]


@settings(max_examples=400, deadline=None)
@given(
    message=st.one_of(
        *(st.text(alphabet, max_size=120) for alphabet in ALPHABETS),
        st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join),
        st.lists(st.sampled_from(WORDS), max_size=40).map("".join),
        st.lists(st.sampled_from([*WORDS, "quad", "cvv"]), max_size=5).map("".join),
    )
)
def test_the_cheap_tests_lose_nothing_in_any_text(message: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        ungated = found_without_gates(message, monkeypatch)
    assert bool(find_cards(message)) == bool(ungated)


@pytest.mark.parametrize("template", TEMPLATES)
@given(seed=SEEDS)
def test_words_around_a_card_do_not_hide_it(template: str, seed: int) -> None:
    assert contains_card(template.format(card(Random(seed))))


def test_a_text_beyond_the_bound_is_refused_unread() -> None:
    longest = "x" * MAX_TEXT_CHARS
    assert find_cards(longest) == []
    assert find_cards(longest + "x") == [Finding("too_large", 0, MAX_TEXT_CHARS + 1)]
    assert contains_card(longest + "x")


def test_a_text_with_too_many_findings_is_one_finding() -> None:
    text_of_cards = "4242424242424242 and, " * (MAX_FINDINGS + 1)
    assert find_cards(text_of_cards) == [Finding("too_large", 0, len(text_of_cards))]


def test_a_long_run_of_digits_is_not_searched_for_a_card_without_evidence() -> None:
    rng = Random(3)
    for _ in range(200):
        digits = common_card(rng)
        assert not contains_card(f"9{digits}78901")
        assert contains_card(f"card number: 9991{digits}")
