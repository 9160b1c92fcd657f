"""A model that chooses sentences can say nothing else; the book itself holds nothing that the verifier would refuse."""

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offer_engine.models.prompt import Prompt
from offer_engine.presenting.locales import LOCALES, phrases
from offer_engine.presenting.phrasebook import PhraseBook, fields_of
from offer_engine.presenting.present import Presentation, Presented, present
from offer_engine.presenting.stream import SafeStream
from offer_engine.presenting.verifier import State, Verdict
from tests.offer_engine.presenting.paraphrases import PARAPHRASES
from tests.offer_engine.presenting.test_present import Scripted
from tests.offer_engine.presenting.world import grounds, verdict_in_the_middle

CHOSEN = "hello\ngives 2\nprice 1\nchoose"


def chosen(*texts: str, locale: str = "en", streamed: bool = True) -> Presented:
    """What comes of a model that answers so."""
    calls: list[list[str | Exception]] = [[text] for text in texts]
    voice = Scripted(*calls)
    return asyncio.run(
        present(
            Presentation(
                grounds(locale),
                voice,
                deadline_seconds=5,
                now_seconds=lambda: 0.0,
                streamed=streamed,
                wording="chosen",
            )
        )
    )


def test_the_chosen_sentences_are_said_in_their_order_of_the_offers_named() -> None:
    said = chosen(CHOSEN)
    assert said.by == "model"
    assert said.text.startswith(
        "Hello! The lorry leaves gives you free shipping. With Kettle week it comes to $67.15. It is entirely up to you."
    )


@pytest.mark.parametrize("streamed", [True, False])
def test_nothing_that_was_not_read_before_can_be_said(streamed: bool) -> None:
    for texts in PARAPHRASES.values():
        for text in texts:
            said = chosen(text, text, streamed=streamed)
            assert (said.by, said.verdicts) == ("template", ("no_phrase", "no_phrase"))
            assert text not in said.text


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("gives 3", Verdict.UNKNOWN_SLOT),
        ("gives", Verdict.UNKNOWN_SLOT),
        ("until 2", Verdict.UNKNOWN_SLOT),  # it has no end
        ("hello 1", Verdict.NO_PHRASE),
        ("gives 1 for free", Verdict.NO_PHRASE),
        ("give 1", Verdict.NO_PHRASE),
        ("GIVES 1", Verdict.NO_PHRASE),
        ("gives １", Verdict.NO_PHRASE),
        ("hello", Verdict.NO_OFFER),
        ("", Verdict.NO_OFFER),
        ("hello\n" * 13, Verdict.TOO_LONG),
    ],
)
def test_a_line_that_is_no_sentence_of_the_book_is_refused(line: str, verdict: Verdict) -> None:
    stream = SafeStream(PhraseBook(grounds()))
    stream.feed(line)
    stream.end()
    assert stream.verdict is verdict


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_whatever_is_said_is_made_of_the_book_s_sentences(text: str) -> None:
    stream = SafeStream(PhraseBook(grounds()))
    said = stream.feed(text) + stream.end()
    for offer in grounds().offers:
        said = said.replace(offer.value("title") or "", "")
    for phrase in phrases("en").values():
        said = re.sub(re.escape(phrase).replace(r"\{title\}", "").replace(r"\{", "{"), "", said)
    assert said.strip() == "" or any(name in text for name in phrases("en"))


@pytest.mark.parametrize("locale", LOCALES)
def test_a_language_has_every_sentence_and_none_that_the_verifier_would_refuse(locale: str) -> None:
    assert phrases(locale).keys() == phrases("en").keys()
    for name, phrase in phrases(locale).items():
        assert fields_of(phrase) == fields_of(phrases("en")[name])
        text = re.sub(r"\{([a-z]+)\}", r"{{offer.1.\1}}", phrase)
        assert verdict_in_the_middle(text, locale) is Verdict.OK, phrase


def test_the_model_is_told_the_sentences_and_which_do_not_fit_an_offer() -> None:
    prompt = PhraseBook(grounds()).prompt(Prompt("", ()))
    assert "gives N: {title} gives you {benefit}." in prompt.system
    assert "2. (free_shipping) not for it: saving, until, condition" in prompt.system
    assert "67.15" not in prompt.system


def test_a_planted_book_that_takes_any_line_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def any_line(_: PhraseBook, text: str, state: State) -> tuple[Verdict, State]:
        return Verdict.OK, state

    monkeypatch.setattr(PhraseBook, "sentence", any_line)
    monkeypatch.setattr(PhraseBook, "fill", lambda _, text: text)
    assert "If it breaks, we fix it." in chosen("If it breaks, we fix it.", "gives 1").text
