"""What was passed on can never turn out wrong, however the text comes in."""

import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offer_engine.presenting.sentences import cut, sentences
from offer_engine.presenting.stream import SafeStream
from offer_engine.presenting.verifier import MAXIMUM_SENTENCE, Verdict, Verifier, filled
from tests.offer_engine.presenting.benign import BENIGN
from tests.offer_engine.presenting.world import grounds

PIECES = st.lists(
    st.sampled_from(
        [
            *(
                "{{offer.1.title}} costs {{offer.1.price}}. ",
                "{{offer.2.title}}: ",
                "{{offer.2.price}}",
                "{{",
                "}}",
                ". ",
                " ",
            ),
            *(
                "Hello! ",
                "It is ",
                "fr",
                "ee",
                "7",
                "sev",
                "enty ",
                "last ",
                "chance ",
                "e. ",
                "s ",
                "\n",
                "“Good.” ",
                "…",
            ),
            *("until ", "Zephyr ", "Grinder ", "The ", "one"),
        ]
    ),
    max_size=14,
)


def streamed(text: str, cuts: list[int]) -> tuple[str, SafeStream]:
    """What comes of a text that is fed in pieces."""
    stream = SafeStream(Verifier(grounds()))
    shown, start = "", 0
    for place in [*sorted(cuts), len(text)]:
        shown += stream.feed(text[start:place])
        start = place
    return shown + stream.end(), stream


@given(PIECES, st.randoms(use_true_random=False))
@settings(max_examples=400, deadline=None)
def test_pieces_do_not_matter_and_the_verdict_is_that_of_the_whole_text(pieces: list[str], rng: Random) -> None:
    text = "".join(pieces)
    verifier = Verifier(grounds())
    at_once, whole = streamed(text, [])
    in_pieces, stream = streamed(text, [rng.randrange(len(text) + 1) for _ in range(6)])
    assert (at_once, whole.verdict) == (in_pieces, stream.verdict)
    assert stream.verdict is verifier.verdict(text)


@given(PIECES)
@settings(max_examples=400, deadline=None)
def test_what_was_passed_on_is_a_beginning_that_holds_by_itself(pieces: list[str]) -> None:
    text = "".join(pieces)
    verifier = Verifier(grounds())
    stream = SafeStream(verifier)
    shown = ""
    for piece in pieces:
        shown += stream.feed(piece)
        assert text.startswith(stream.raw)
        assert verifier.verdict(stream.raw) in (Verdict.OK, Verdict.NO_OFFER)
        assert shown == filled(stream.raw, grounds())


def test_nothing_is_passed_on_after_a_violation() -> None:
    shown, stream = streamed("{{offer.1.title}} is good. It is free. It is lovely.", [])
    assert shown == "Kettle week is good. "
    assert stream.verdict is Verdict.CLAIM
    assert stream.feed("Hello. ") == ""


def test_a_sentence_that_does_not_end_is_not_held_for_ever() -> None:
    stream = SafeStream(Verifier(grounds()))
    fed = 0
    while stream.verdict is Verdict.OK and fed < 10 * MAXIMUM_SENTENCE:
        stream.feed("word ")
        fed += 5
    assert fed <= MAXIMUM_SENTENCE + 10
    assert stream.verdict is Verdict.TOO_LONG


def test_sentences_put_together_are_the_text() -> None:
    for texts in BENIGN.values():
        text = " ".join(texts)
        assert "".join(sentences(text)) == text
        assert len(sentences(text)) >= len(texts)


def test_a_planted_stream_that_passes_words_on_as_they_come_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offer_engine.presenting.stream.cut", lambda text: (text, "") if text.endswith(" ") else None)
    stream = SafeStream(Verifier(grounds()))
    begun = "{{offer.1.title}} comes to {{offer.1.price}} "
    passed = stream.feed(begun) + stream.feed("less.") + stream.end()
    assert passed.startswith("Kettle week comes to $67.15 "), "the first half was passed on before its end was known"
    assert Verifier(grounds()).verdict(begun + "less.") is Verdict.TURNED_VALUE


@given(st.text(alphabet=".!?…”)\n ab", max_size=40))
def test_a_sentence_ends_where_a_stop_and_a_blank_are_or_a_line_does(text: str) -> None:
    plain = re.search(r"[.!?…]+[\"”“»’')]{0,2}\s|\n", text)
    assert cut(text) == ((text[: plain.end()], text[plain.end() :]) if plain else None)


def test_a_flood_of_stops_is_read_in_one_go_and_refused() -> None:
    stream = SafeStream(Verifier(grounds()))
    assert stream.feed("." * 1_000_000) == ""  # where each stop is tried anew, this does not come to an end
    assert stream.verdict is Verdict.TOO_LONG
