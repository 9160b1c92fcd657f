"""A brand's look: every accent that a policy may name can be read, in both schemes, pressed or not."""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from commerce_api.theme import MINIMUM_CONTRAST, Theme, contrast

COLOURS = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")


def test_the_contrast_is_that_of_the_guidelines() -> None:
    """Figures of WebAIM's contrast checker."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)
    assert contrast("#ff0000", "#ffffff") == pytest.approx(4.0, abs=0.01)


@given(COLOURS)
def test_whatever_accent_is_taken_can_be_read(accent: str) -> None:
    try:
        theme = Theme(accent=accent)
    except ValidationError:
        assert contrast(accent, "#f3f5f4") < MINIMUM_CONTRAST
        return
    for variables, grounds in ((theme.light, ("#ffffff", "#f3f5f4")), (theme.dark, ("#121614", "#191f1c"))):
        for ground in grounds:
            assert contrast(variables["--accent"], ground) >= MINIMUM_CONTRAST
        for face in ("--accent", "--accent-pressed"):
            assert contrast(variables[face], variables["--on-accent"]) >= MINIMUM_CONTRAST


@given(COLOURS)
def test_a_dark_accent_of_the_brand_s_own_is_taken_as_it_is_or_refused(accent: str) -> None:
    assume(contrast(accent, "#191f1c") >= MINIMUM_CONTRAST)
    assert Theme(accent_dark=accent).dark["--accent"] == accent


def test_without_a_word_of_the_brand_s_it_is_the_house_s_own() -> None:
    assert (Theme().light["--accent"], Theme().dark["--accent"]) == ("#0c6b4c", "#4cc394")


@pytest.mark.parametrize(
    "fields",
    [
        {"accent": "#f5d90a"},
        {"accent_dark": "#222222"},
        {"accent": "red"},
        {"accent": "#0C6B4C"},
        {"accent": "#0c6b4c;}body{display:none"},
        {"accent": "#0c6b4c\n"},
        {"image_hosts": ["https://images.example.com"]},
        {"image_hosts": ["images.example.com:8080"]},
        {"image_hosts": ["*.example.com"]},
        {"image_hosts": ["localhost"]},
        {"image_hosts": ["127.0.0.1"]},
        {"image_hosts": ["images.example.com; script-src *"]},
        {"image_hosts": ["a.example"] * 11},
        {"logo": "x"},
    ],
    ids=str,
)
def test_what_could_not_be_read_or_is_no_colour_and_no_host_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Theme.model_validate_json(json.dumps(fields))
