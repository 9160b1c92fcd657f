import gzip
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenization.scanner.corpus import (
    JSON_EVASIONS,
    NOISE,
    TEXT_EVASIONS,
    card,
    common_card,
    fours,
    minor,
)
from tokenization.scanner import (
    Finding,
    contains_card,
    contains_card_in_bytes,
    contains_card_in_json,
    find_cards_in_json,
)
from tokenization.scanner.limits import MAX_JSON_DEPTH, MAX_JSON_LEAVES, MAX_TEXT_CHARS

SEEDS = st.integers(0, 2**64 - 1)
SHARED = Path(__file__).parents[4] / "shared" / "data"
JSON = "application/json"
EVERY = 7  # of the shops' records are read in every form, the others in one

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.text("0123456789", max_size=8),
    lambda children: st.lists(children, max_size=5) | st.dictionaries(st.text(max_size=5), children, max_size=5),
    max_leaves=20,
)


@pytest.mark.parametrize("row", JSON_EVASIONS)
@settings(max_examples=12, deadline=None)
@given(seed=SEEDS)
def test_a_card_is_found_however_a_document_splits_it(row: str, seed: int) -> None:
    rng = Random(seed)
    value = JSON_EVASIONS[row](card(rng), rng)
    assert contains_card_in_json(value), value
    assert find_cards_in_json(value)
    assert contains_card_in_bytes(json.dumps(value).encode(), JSON)
    assert contains_card_in_bytes(json.dumps(value, indent=2).encode(), None)


# As a text, an integer has lost the zeros that it began with.
@pytest.mark.parametrize("row", sorted(JSON_EVASIONS.keys() - {"fields p0 to p3, integers"}))
def test_the_text_of_a_document_is_enough_to_find_the_card(row: str) -> None:
    rng = Random(f"document text {row}")
    for _ in range(20):
        assert contains_card(json.dumps(JSON_EVASIONS[row](card(rng), rng)))


@pytest.mark.parametrize("row", TEXT_EVASIONS)
def test_a_card_in_a_string_of_a_body_is_found(row: str) -> None:
    rng = Random(f"body {row}")
    for _ in range(5):
        body = json.dumps({"messages": [{"role": "user", "content": TEXT_EVASIONS[row](card(rng), rng)}]})
        assert contains_card_in_bytes(body.encode(), "application/json; charset=utf-8")


@settings(max_examples=80, deadline=None)
@given(value=JSON_VALUES)
def test_the_fast_answer_agrees_with_the_findings(value: object) -> None:
    assert contains_card_in_json(value) == bool(find_cards_in_json(value))


@pytest.mark.parametrize(
    "name",
    ["catalogue JSON", "list of ten-digit ids, JSON", "prices in minor units, JSON", "totals in minor units, JSON"],
)
@settings(max_examples=80, deadline=None)
@given(seed=SEEDS)
def test_prices_and_identifiers_side_by_side_are_not_joined(name: str, seed: int) -> None:
    value = json.loads(NOISE[name][0](Random(seed)))
    assert find_cards_in_json(value) == []
    assert not contains_card_in_bytes(json.dumps(value).encode(), JSON)


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, count=st.integers(2, 9), key=st.sampled_from(["prices", "amounts", "quantity", "order_ids", "zip"]))
def test_lists_of_integers_with_a_name_of_their_own_are_not_joined(seed: int, count: int, key: str) -> None:
    rng = Random(seed)
    assert find_cards_in_json({key: [rng.randrange(1000, 10_000) for _ in range(count)]}) == []


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS)
def test_an_order_with_its_numbers_is_not_joined(seed: int) -> None:
    rng = Random(seed)
    order = {
        "id": f"ord_{rng.getrandbits(64):x}".translate(str.maketrans("0123456789", "ghijklmnop")),
        "lines": [{"sku": f"{rng.randrange(10**9, 10**10)}", "quantity": rng.randrange(1, 9), "unit_price": minor(rng)}]
        * 3,
        "subtotal": minor(rng),
        "tax": minor(rng),
        "total": minor(rng),
        "address": {"line1": "593 Cedar Avenue", "line2": "Suite 826", "zip": f"{rng.randrange(10_000, 99_999)}"},
        "created_at": 1_732_300_000_000 + rng.randrange(10**10),
    }
    assert find_cards_in_json(order) == []


def shop_documents() -> Iterator[tuple[str, object]]:
    with (SHARED / "feeds" / "retail_acp" / "products.jsonl").open(encoding="utf-8") as lines:
        yield from (("product", json.loads(line)) for line in lines)
    with gzip.open(SHARED / "tau2_retail" / "store.json.gz") as store:
        for collection in json.load(store).values():
            yield from (("record", record) for record in collection.values())
    with gzip.open(SHARED / "tau2_retail" / "tasks_train.json.gz") as tasks:
        yield from (("task", task) for task in json.load(tasks))


@pytest.mark.skipif(not SHARED.exists(), reason="the shops' data is not beside this checkout")
def test_a_whole_shop_raises_no_false_alarm() -> None:
    count = 0
    for kind, value in shop_documents():
        count += 1
        compact = json.dumps(value, separators=(",", ":"))
        assert not contains_card_in_bytes(compact.encode(), JSON), kind
        if count % EVERY == 0:
            assert find_cards_in_json(value) == [], kind
            lines = [json.dumps(value), *json.dumps(value, indent=1).splitlines()]
            assert not any(map(contains_card, lines)), kind
    assert count > 1_000


@pytest.mark.skipif(not SHARED.exists(), reason="the shops' data is not beside this checkout")
def test_a_feed_of_rows_raises_no_false_alarm() -> None:
    text = (SHARED / "feeds" / "retail.csv").read_text(encoding="utf-8")
    assert not contains_card(text)
    assert not any(map(contains_card, text.splitlines()))


@pytest.mark.skipif(not SHARED.exists(), reason="the shops' data is not beside this checkout")
def test_logged_decisions_with_propensities_raise_no_false_alarm() -> None:
    for path in sorted((SHARED / "open_bandit").rglob("*.csv.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            assert not any(map(contains_card, islice(lines, 0, None, EVERY))), path.name


@given(seed=SEEDS)
def test_a_repeated_key_hides_nothing(seed: int) -> None:
    groups = fours(common_card(Random(seed)))
    body = "{" + ",".join(f'"part":"{group}"' for group in groups) + "}"
    assert contains_card_in_bytes(body.encode(), JSON)


@given(seed=SEEDS)
def test_a_form_is_read_by_field(seed: int) -> None:
    rng = Random(seed)
    digits = common_card(rng)
    form = urlencode({"note": f"card {digits}"})
    assert contains_card_in_bytes(form.encode(), "application/x-www-form-urlencoded")
    split = urlencode({f"p{at}": group for at, group in enumerate(fours(digits))})
    assert contains_card_in_bytes(split.encode(), "application/x-www-form-urlencoded")
    assert not contains_card_in_bytes(b"name=Ada&zip=60625&quantity=2", "application/x-www-form-urlencoded")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
@given(seed=SEEDS)
def test_a_body_is_read_in_any_usual_encoding(encoding: str, seed: int) -> None:
    body = f"caf\u00e9 {common_card(Random(seed))}".encode(encoding)
    assert contains_card_in_bytes(body, "text/plain")
    assert contains_card_in_bytes(body, None)


def test_bodies_that_are_broken_are_still_read() -> None:
    digits = common_card(Random(4))
    assert contains_card_in_bytes(b"\xff\xfe\xfd" + digits.encode(), JSON)
    assert contains_card_in_bytes(b'{"a": ' + digits.encode(), JSON)
    assert contains_card_in_bytes(
        f'{{"a":1}}\n{{"p0":"{digits[:8]}","p1":"{digits[8:]}"}}'.encode(), "application/x-ndjson"
    )
    assert not contains_card_in_bytes(b"\xff\xfe\xfd", JSON)
    assert not contains_card_in_bytes(b"", None)


def test_what_is_too_large_or_deep_is_refused() -> None:
    deep: object = "leaf"
    for _ in range(MAX_JSON_DEPTH + 1):
        deep = [deep]
    assert [finding.kind for finding in find_cards_in_json(deep)] == ["too_large"]
    assert [finding.kind for finding in find_cards_in_json([0] * (MAX_JSON_LEAVES + 2))] == ["too_large"]
    assert contains_card_in_bytes(b"[" * 100_000, JSON)
    assert contains_card_in_bytes(b" " * (MAX_TEXT_CHARS + 1), None)
    assert not contains_card_in_bytes(b" " * MAX_TEXT_CHARS, None)


def test_large_and_odd_numbers_are_read() -> None:
    digits = int(common_card(Random(9)))
    assert contains_card_in_json(digits)
    assert contains_card_in_json(-digits)
    assert contains_card_in_json(float(common_card(Random(9))[:15]) * 0 + 4_000_000_000_000_002.0)
    assert find_cards_in_json([10**5000, 1e300, float("nan"), float("inf"), True, None]) == []


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"cvc": "123"}, True),
        ({"cvv2": 1234}, True),
        ({"security_code": "one two three"}, True),
        ({"card": {"verification": {"cvv": "987"}}}, True),
        ({"cvc_check": "pass"}, False),
        ({"cvc": "provided"}, False),
        ({"cvc": None}, False),
        ({"code": "123"}, False),
        ({"cvc": "12345"}, False),
    ],
)
def test_a_security_code_is_known_by_its_key(value: object, found: bool) -> None:
    assert bool(find_cards_in_json(value)) == found


def test_findings_of_documents_hold_nothing_of_them() -> None:
    (finding,) = find_cards_in_json({"note": common_card(Random(2))})
    assert finding == Finding("digits", 0, finding.length)


FULL_WIDTH = "".join(chr(ord(digit) + 0xFEE0) for digit in "4242424242424242")
ARABIC = "".join(chr(ord(digit) + 0x0630) for digit in "4242424242424242")


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-16", "utf-32-le", "utf-32-be", "utf-32"]
)
@pytest.mark.parametrize("number", ["4242424242424242", FULL_WIDTH, ARABIC])
@pytest.mark.parametrize("content_type", ["application/json", None])
def test_a_body_is_read_in_every_way_that_a_json_parser_reads_it(
    encoding: str, number: str, content_type: str | None
) -> None:
    body = json.dumps({"pad": ["ok"] * 70, "postal_code": number}, ensure_ascii=False).encode(encoding)
    assert json.loads(body)["postal_code"] == number
    assert contains_card_in_bytes(body, content_type)


def test_a_surrogate_that_json_lets_pass_hides_nothing() -> None:
    body = b'{"ignored": "\xed\xa0\x80", "postal_code": "' + FULL_WIDTH.encode() + b'"}'
    assert json.loads(body)["postal_code"] == FULL_WIDTH
    assert contains_card_in_bytes(body, "application/json")
