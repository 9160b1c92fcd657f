"""The look of the pages as far as a machine can judge it: completeness and contrast."""

import re

import pytest

from tests.vault_zone.processors.sandbox_server.world import World
from vault_zone.processors.sandbox_server.cards import PUBLISHED_CARDS
from vault_zone.processors.sandbox_server.pages import TEMPLATES, display_number, outcome_text
from vault_zone.processors.sandbox_server.timing import Timing

CSS = (TEMPLATES / "sandbox.css").read_text(encoding="utf-8")
TEXT_ON_GROUND = [
    ("ink", "page"),
    ("ink", "card"),
    ("muted", "page"),
    ("muted", "card"),
    ("accent", "page"),
    ("accent", "card"),
    ("danger", "card"),
    ("on-accent", "accent"),
    ("on-notice", "notice"),
]
AA_TEXT = 4.5  # WCAG 2.2, success criterion 1.4.3


def themes() -> dict[str, dict[str, str]]:
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", part)) for part in CSS.split("prefers-color-scheme")[:2]
    )
    return {"light": light, "dark": dark}


def luminance(colour: str) -> float:
    """Relative luminance: WCAG 2.2, section "Terms"."""
    channels = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_the_contrast_formula_knows_black_on_white_and_the_limit() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") < AA_TEXT < contrast("#767676", "#ffffff")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXT_ON_GROUND)
def test_text_can_be_read_on_its_ground_in_either_theme(theme: str, text: str, ground: str) -> None:
    colours = themes()[theme]
    assert contrast(colours[text], colours[ground]) >= AA_TEXT


def test_focus_is_visible_and_never_taken_away() -> None:
    assert ":focus-visible" in CSS
    assert "outline: none" not in CSS
    assert "outline: 0" not in CSS


@pytest.mark.anyio
async def test_the_index_lists_every_card_with_what_it_does(world: World) -> None:
    async with world.client(None) as client:
        page = (await client.get("/")).text
        style = await client.get("/static/sandbox.css")
        icon = await client.get("/static/icon.svg")
    for card in PUBLISHED_CARDS:
        row = f'<th scope="row">{display_number(card.number)}</th><td>{card.title}</td>'
        assert f'{row}<td class="muted">{outcome_text(card, Timing())}</td>' in page
    assert style.headers["Content-Type"].startswith("text/css")
    assert icon.headers["Content-Type"] == "image/svg+xml"
