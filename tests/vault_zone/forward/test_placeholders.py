"""A placeholder is a whole value at a place the entry names, and there is no other templating."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vault_zone.forward.world import entry, forward_request, usual_body
from tests.vault_zone.world import AMEX, VISA, a_card
from vault_zone.card import Card, Cvc
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.forward.allowlist import Destination
from vault_zone.forward.placeholders import Parts, Template
from vault_zone.forward.pointer import found_at, is_pointer, steps_of, text_of
from vault_zone.forward.request import prepare

NUMBER = {"number": "{{card.number}}"}


def destination(**other: Any) -> Destination:
    """The usual entry, without headers of secrets."""
    return Destination.model_validate(entry(443, secret_headers=[], **other))


def refusal(asked: dict[str, Any], **other: Any) -> ZoneError | None:
    """Why a body is refused, or None."""
    try:
        Template(asked, destination(**other))
    except ZoneRefusal as refused:
        return refused.kind
    return None


REFUSED: dict[str, dict[str, Any]] = {
    "within a text": {"source": {"number": "x{{card.number}}"}},
    "with spaces": {"source": {"number": "{{ card.number }}"}},
    "two in one value": {"source": {"number": "{{card.number}}{{card.cvc}}"}},
    "at another place": {"number": "{{card.number}}", "source": NUMBER},
    "another one at this place": {"source": {"number": "{{card.cvc}}"}},
    "one that does not exist": {"source": {"number": "{{card.pin}}"}},
    "another template language": {"source": NUMBER, "x": "{{request.body}}"},
    "half a brace": {"source": NUMBER, "x": "}}"},
    "as a name": {"source": NUMBER, "{{card.number}}": 1},
    "in a list": {"source": {"number": ["{{card.number}}"]}},
    "in upper case": {"source": {"number": "{{CARD.NUMBER}}"}},
    "with a newline": {"source": {"number": "{{card.number}}\n"}},
    "none at all": {"amount": 1},
    "none for the number": {"source": {"code": "{{card.cvc}}"}},
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_placeholder_anywhere_else_or_in_another_form_is_refused(case: str) -> None:
    assert refusal(REFUSED[case]) is ZoneError.PLACEHOLDER_REFUSED
    assert refusal({"source": NUMBER}) is None


def test_bodies_that_are_too_deep_too_long_or_not_finite_are_refused() -> None:
    deep: Any = 1
    for _ in range(20):
        deep = {"x": deep}
    for extra in (deep, [0] * 600, float("nan"), float("inf")):
        assert refusal({"source": NUMBER, "x": extra}) is ZoneError.FORWARD_REQUEST_REFUSED
    form = {"body": "form", "placeholders": [{"at": "/n", "holds": "card.number"}]}
    assert refusal({"n": "{{card.number}}", "x": 1}, **form) is ZoneError.FORWARD_REQUEST_REFUSED


def test_every_part_is_filled_in_its_form() -> None:
    holds = ("number", "exp_month", "exp_year", "exp_year2", "name", "cvc", "postal_code")
    places = [{"at": f"/{one}", "holds": f"card.{one}"} for one in holds]
    template = Template({one: f"{{{{card.{one}}}}}" for one in holds}, destination(placeholders=places))
    filled = json.loads(template.fill(Parts(a_card(AMEX), Cvc.parse("7373", None))))
    assert filled == {
        "number": AMEX,
        "exp_month": "12",
        "exp_year": "2034",
        "exp_year2": "34",
        "name": "Robin Field",
        "cvc": "7373",
        "postal_code": "97209",
    }


def test_a_part_that_the_card_lacks_is_never_sent_empty() -> None:
    full = a_card()
    bare = Card(pan=full.pan, expiry=full.expiry)
    template = Template(usual_body(source={**NUMBER, "name": "{{card.name}}"}), destination())
    with pytest.raises(ZoneRefusal) as refused:
        template.fill(Parts(bare, None))
    assert refused.value.kind is ZoneError.PLACEHOLDER_EMPTY
    with pytest.raises(ZoneRefusal) as refused:
        Template(usual_body(), destination()).fill(Parts(full, None))
    assert refused.value.kind is ZoneError.SECURITY_CODE_GONE


@settings(max_examples=80, deadline=None)
@given(value=st.text(max_size=30), name=st.text(min_size=1, max_size=8).filter(lambda one: one != "source"))
def test_values_of_the_callers_own_pass_unchanged_or_are_refused_for_their_braces(value: str, name: str) -> None:
    body = {"source": NUMBER, name: value}
    if "{{" in value + "|" + name or "}}" in value + "|" + name:
        assert refusal(body) is ZoneError.PLACEHOLDER_REFUSED
    else:
        filled = json.loads(Template(body, destination()).fill(Parts(a_card(), None)))
        assert filled == {"source": {"number": VISA}, name: value}


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ({"headers": {"authorization": "Bearer mine"}}, ZoneError.FORWARD_REQUEST_REFUSED),
        ({"headers": {"host": "elsewhere.example"}}, ZoneError.FORWARD_REQUEST_REFUSED),
        ({"headers": {"X-Trace": "a"}}, ZoneError.FORWARD_REQUEST_REFUSED),
        ({"headers": {"x-trace": "a\r\nhost: elsewhere"}}, ZoneError.FORWARD_REQUEST_REFUSED),
        ({"headers": {"x-trace": "caf\u00e9"}}, ZoneError.FORWARD_REQUEST_REFUSED),
        ({"headers": {"x-trace": "{{card.number}}"}}, ZoneError.PLACEHOLDER_REFUSED),
        ({"parameters": {}}, ZoneError.FORWARD_REQUEST_REFUSED),
        ({"parameters": {"id": "a", "other": "b"}}, ZoneError.FORWARD_REQUEST_REFUSED),
        ({"parameters": {"id": ".."}}, ZoneError.FORWARD_REQUEST_REFUSED),
        ({"parameters": {"id": "a/b"}}, ZoneError.FORWARD_REQUEST_REFUSED),
        ({"parameters": {"id": "a%2fb"}}, ZoneError.FORWARD_REQUEST_REFUSED),
        ({"parameters": {"id": "{{card.number}}"}}, ZoneError.FORWARD_REQUEST_REFUSED),
        ({"parameters": {"id": "a?x=1"}}, ZoneError.FORWARD_REQUEST_REFUSED),
    ],
)
def test_headers_and_path_are_the_entrys_and_callers_fill_only_what_is_theirs(
    asked: dict[str, Any], kind: ZoneError, tmp_path: Path
) -> None:
    to = destination(path="/v1/payments/{id}/capture")
    with pytest.raises(ZoneRefusal) as refused:
        prepare(forward_request("grt_x", **{"parameters": {"id": "a"}, **asked}), to, tmp_path)
    assert refused.value.kind is kind
    assert (
        prepare(forward_request("grt_x", parameters={"id": "pay_1"}), to, tmp_path).path == "/v1/payments/pay_1/capture"
    )


@settings(max_examples=50)
@given(st.lists(st.text(min_size=1, max_size=6).filter(lambda one: not set(one) & set("{}")), min_size=1, max_size=4))
def test_a_pointer_is_read_back_as_it_was_written(steps: list[str]) -> None:
    text = text_of(tuple(steps))
    assert is_pointer(text)
    assert steps_of(text) == tuple(steps)


def test_pointers_find_members_and_elements_and_no_star_in_names() -> None:
    document = {"a": [{"b": 1}, {"b": 2}], "*": 3, "x/y": {"~": 4}}
    assert list(found_at(document, "/a/*/b")) == [("/a/0/b", 1), ("/a/1/b", 2)]
    assert list(found_at(document, "/a/1/b")) == [("/a/1/b", 2)]
    assert list(found_at(document, "/x~1y/~0")) == [("/x~1y/~0", 4)]
    assert list(found_at(document, "/a/7")) == []
    assert list(found_at({"b": {"c": 1}}, "/*/c")) == []
