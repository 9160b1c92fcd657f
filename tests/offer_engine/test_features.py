"""Features are the same online and offline, hold what the offers come to, and nothing that a ranker must not know."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offer_engine import features
from offer_engine.features import (
    ALLOWED,
    DEFAULT_SCHEMA,
    Feature,
    Form,
    Schema,
    SchemaRefused,
    Side,
    assemble,
    category_number,
    context_features,
    offer_features,
)
from offer_engine.offers import ContextLine, Offer, discount_minor, margin_minor
from tests.offer_engine.test_decide import catalogues, context, lines

PROTECTED = re.compile(
    r"age\b|birth|sex|gender|race|ethnic|nation|origin|religio|disab|health|pregnan|marital|orient|union|politic|"
    r"zip|postal|region|country|city|locale|language|name|mail|phone|subject|customer"
)


@given(lines, catalogues)
def test_columns_of_offers_are_what_each_offer_comes_to(over: tuple[ContextLine, ...], catalogue: list[Offer]) -> None:
    now = context(over)
    columns = offer_features(now, catalogue)
    for place, offer in enumerate(catalogue):
        taken = discount_minor(offer, over)
        assert columns["discount_minor"][place] == taken
        assert columns["margin_minor"][place] == margin_minor(offer, now)
        assert columns["priority"][place] == offer.priority


@given(st.lists(st.tuples(lines, catalogues), min_size=1, max_size=4))
def test_a_log_and_a_single_decision_give_the_same_columns(
    decisions: list[tuple[tuple[ContextLine, ...], list[Offer]]],
) -> None:
    alone, contexts, offers, counts = [], [], [], []
    for over, catalogue in decisions:
        known, columns = context_features(context(over)), offer_features(context(over), catalogue)
        as_arrays = {name: np.array([value], dtype=np.float64) for name, value in known.items()}
        alone.append(assemble(DEFAULT_SCHEMA, as_arrays, columns, np.array([len(catalogue)])))
        contexts.append(known)
        offers.append(columns or dict.fromkeys(("discount_minor", "discount_share", "margin_share"), np.zeros(0)))
        counts.append(len(catalogue))
    together = assemble(
        DEFAULT_SCHEMA,
        {name: np.array([each[name] for each in contexts], dtype=np.float64) for name in contexts[0]},
        {
            name: np.concatenate([each[name] for each in offers])
            for name in ("discount_minor", "discount_share", "margin_share")
        },
        np.array(counts),
    )
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_a_schema_lays_out_numbers_logarithms_and_buckets() -> None:
    schema = Schema(
        (
            Feature("line_count", scale=2.0),
            Feature("margin_minor", Form.LOGARITHM, 10.0),
            Feature("category", Form.CATEGORY, buckets=3),
        )
    )
    matrix = assemble(
        schema,
        {"line_count": np.array([4.0, 6.0])},
        {"margin_minor": np.array([np.e - 1, 1 - np.e, 0.0]), "category": np.array([4.0, 0.0, 5.0])},
        np.array([2, 1]),
    )
    expected = np.array([[1, 2, 0.1, 0, 1, 0], [1, 2, -0.1, 0, 0, 0], [1, 3, 0, 0, 0, 1]])
    np.testing.assert_allclose(matrix, expected)


def test_what_is_not_known_is_nought() -> None:
    matrix = assemble(DEFAULT_SCHEMA, {}, {}, np.array([2]))
    np.testing.assert_array_equal(matrix[:, 0], [1, 1])
    assert matrix[:, 1:].sum() == 0


@pytest.mark.parametrize("name", ["age", "gender", "postal_code", "subject", "locale", "ethnicity", ""])
def test_a_feature_that_is_not_on_the_list_is_refused(name: str) -> None:
    with pytest.raises(SchemaRefused, match="not on the list"):
        Schema((Feature("unit_count"), Feature(name)))


def test_the_list_itself_holds_nothing_that_is_protected_or_stands_for_a_person() -> None:
    assert [name for name in ALLOWED if PROTECTED.search(name)] == []
    assert PROTECTED.search("postal_code")
    assert PROTECTED.search("gender")


def test_a_planted_protected_feature_on_the_list_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "ALLOWED", {**ALLOWED, "gender": Side.CONTEXT})
    assert [name for name in features.ALLOWED if PROTECTED.search(name)] == ["gender"]


@pytest.mark.parametrize(
    "wrong",
    [
        (Feature("unit_count"), Feature("unit_count")),
        (Feature("channel", Form.CATEGORY),),
        (Feature("unit_count", scale=0.0),),
        (Feature("unit_count", scale=float("nan")),),
    ],
)
def test_a_schema_that_makes_no_sense_is_refused(wrong: tuple[Feature, ...]) -> None:
    with pytest.raises(SchemaRefused):
        Schema(wrong)


def test_a_schema_survives_its_json_and_its_hash_tells_every_change() -> None:
    assert Schema.from_json(DEFAULT_SCHEMA.as_json()) == DEFAULT_SCHEMA
    shorter = Schema(DEFAULT_SCHEMA.features[:-1])
    rescaled = Schema((Feature("subtotal_minor", Form.LOGARITHM, 9.0), *DEFAULT_SCHEMA.features[1:]))
    assert len({DEFAULT_SCHEMA.hash, shorter.hash, rescaled.hash}) == 3


@given(st.text())
def test_a_category_is_never_the_number_for_not_known(text: str) -> None:
    assert 0 < category_number(text) < 2**32
