"""Text made inert: what is taken out, what is kept, what is refused, and that it never takes long."""

import contextlib
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce_api.catalogue.feed_rows import Refusal
from commerce_api.catalogue.feed_text import is_plain, one_line, paragraphs

TEXT = st.lists(
    st.one_of(
        st.text(max_size=8), st.sampled_from(["<", ">", "<b>", "</p>", "&lt;", "&#60;", "&amp;lt;", "<!--", "\u202e"])
    )
).map("".join)


def refused(text: str, reader: str = "one_line") -> str:
    with pytest.raises(Refusal) as raised:
        (one_line if reader == "one_line" else paragraphs)(text, "title", 300)
    return raised.value.code.value


@given(TEXT)
def test_a_title_comes_out_plain_or_not_at_all(text: str) -> None:
    try:
        cleaned = one_line(text, "title", 300)
    except Refusal:
        return
    assert is_plain(cleaned)
    assert len(cleaned) <= 300


@given(TEXT)
def test_a_description_comes_out_plain_or_not_at_all(text: str) -> None:
    try:
        cleaned = paragraphs(text, "description", 300)
    except Refusal:
        return
    assert all(is_plain(line) for line in cleaned.split("\n"))


@given(st.text(max_size=60).filter(is_plain).filter(lambda text: "&" not in text))
def test_plain_text_passes_unchanged(text: str) -> None:
    assert one_line(text, "title", 300) == text
    assert paragraphs(text, "description", 300) == text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  Tea \t pot\n", "Tea pot"),
        ("Caf\u0065\u0301", "Café"),
        ("“Noël” \u202eevil\u202c 灯", "“Noël” evil 灯"),
        ("in\u00advi\u200bsi\ufeffble\x07", "invisible"),
        ("tag\U000e0041\U000e0042ged", "tagged"),
        ("👩\u200d🍳 می\u200cخواهم", "👩\u200d🍳 می\u200cخواهم"),
        ("Salt &amp; pepper &#8364;5 &lt; 6", "Salt & pepper €5 < 6"),
        ("Tea&parts &copy 5", "Tea&parts &copy 5"),
        ("&amp;amp;", "&amp;"),
        ("&#8238;evil", "evil"),
        ("cable < 5 m, 3 <4 and >2 <3", "cable < 5 m, 3 <4 and >2 <3"),
    ],
)
def test_a_title_is_cleaned_without_losing_its_meaning(text: str, cleaned: str) -> None:
    assert one_line(text, "title", 300) == cleaned


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "a <b", "</p>", "<!-- x", "<?php", "&lt;img src=x&gt;", "<\u202ei>"]
)
def test_a_title_with_markup_is_refused(text: str) -> None:
    assert refused(text) == "markup_in_text"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("<p>One</p><p>Two<br/>Three</p>", "One\nTwo\nThree"),
        ("<ul><li>a</li><li>b</li></ul>", "a\nb"),
        ("bo<b>l</b>d <EM class='x'>it</EM>", "bold it"),
        ("a<script>alert('</p>')</script >b<STYLE>p{}</STYLE>c", "abc"),
        ("a<!-- <b>hidden</b> -->b", "ab"),
        ("a<script>never closed", "a"),
        ("a<!-- never closed", "a"),
        ("text <a href='cut", "text"),
        ("&lt;p&gt;Escaped once&lt;/p&gt;", "Escaped once"),
        ("&amp;lt;p&amp;gt;Escaped twice&amp;lt;/p&amp;gt;", "Escaped twice"),
        ("5 &lt; 6 &amp; 7 > 3", "5 < 6 & 7 > 3"),
        ("line one\r\n\r\n  line  two ", "line one\nline two"),
        ("", ""),
    ],
)
def test_a_description_loses_its_markup_and_keeps_its_words(text: str, cleaned: str) -> None:
    assert paragraphs(text, "description", 300) == cleaned


def test_markup_escaped_too_often_is_refused() -> None:
    assert refused("&amp;amp;lt;script&amp;amp;gt;", "paragraphs") == "markup_in_text"


def test_length_counts_what_is_left() -> None:
    assert len(one_line("x" * 300 + " " * 500, "title", 300)) == 300
    assert refused("x" * 301) == "text_too_long"
    assert paragraphs("<p>" + "<b></b>" * 5_000 + "x</p>", "description", 300) == "x"


def test_a_long_run_of_combining_marks_is_refused() -> None:
    assert refused("a" + "\u0301\u0316" * 16) == "text_malformed"
    assert one_line("a" + "\u0316" * 29, "title", 300) == unicodedata.normalize("NFC", "a" + "\u0316" * 29)


HALF_A_MEBIBYTE = 512 * 1024


@pytest.mark.parametrize(
    "piece",
    [
        "<a ",
        "<",
        "<!--",
        "<a b='",
        '<a "',
        "</",
        "<script>",
        "<script></script",
        "&lt;",
        "&amp;",
        "&#",
        "&amp;lt;a ",
        "\u0301\u0316",
        " ",
        "\n",
    ],
)
def test_half_a_mebibyte_of_anything_is_judged_in_linear_time(piece: str) -> None:
    text = (piece * HALF_A_MEBIBYTE)[:HALF_A_MEBIBYTE]
    began = time.process_time()
    for reader in (one_line, paragraphs):
        with contextlib.suppress(Refusal):
            reader(text, "description", 10_000)
    assert time.process_time() - began < 5
