"""The scanner's corpus, generated when it is used: cards, every way of hiding one, and numbers that are none.

Nothing here is a stored card number: a card is drawn from the issuer table and given its check digit at the time of use. The
tests and ``benchmarks/scan.py`` read the same rows, so the published table is the one that the tests hold.
"""

import base64
import html
import json
import math
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Final

from tokenization.scanner.issuers import ISSUER_RANGES, LENGTHS_BY_PREFIX, IssuerRange

VERSION: Final = 1

TextEvasion = Callable[[str, Random], str]
JsonEvasion = Callable[[str, Random], object]
TalkEvasion = Callable[[str, Random], list[str]]
Noise = Callable[[Random], str]

WORD_BREAK: Final = " "
UNITS: Final = "zero one two three four five six seven eight nine".split(WORD_BREAK)
TEENS: Final = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split(WORD_BREAK)
TENS: Final = "- - twenty thirty forty fifty sixty seventy eighty ninety".split(WORD_BREAK)
FOREIGN: Final = {
    "Spanish": "cero uno dos tres cuatro cinco seis siete ocho nueve".split(WORD_BREAK),
    "French": "zéro un deux trois quatre cinq six sept huit neuf".split(WORD_BREAK),
    "German": "null eins zwei drei vier fünf sechs sieben acht neun".split(WORD_BREAK),
    "Italian": "zero uno due tre quattro cinque sei sette otto nove".split(WORD_BREAK),
    "Portuguese": "zero um dois três quatro cinco seis sete oito nove".split(WORD_BREAK),
}
# The first digit of a row of ten in Unicode, or the ten digits.
SCRIPTS: Final = {
    "full-width": "０",
    "Arabic-Indic": "٠",
    "extended Arabic-Indic": "۰",
    "Devanagari": "०",
    "Bengali": "০",
    "Thai": "๐",
    "mathematical bold": "𝟎",
    "mathematical monospace": "𝟶",
    "segmented": "🯰",
    "circled": "⓪①②③④⑤⑥⑦⑧⑨",
    "negative circled": "⓿❶❷❸❹❺❻❼❽❾",
    "superscript": "⁰¹²³⁴⁵⁶⁷⁸⁹",
    "subscript": "₀",
    "CJK numerals": "〇一二三四五六七八九",
}
INVISIBLE: Final = {
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "soft hyphen": "\u00ad",
    "word joiner": "\u2060",
    "byte-order mark": "\ufeff",
    "direction mark": "\u200e",
    "variation selector": "\ufe0f",
    "Hangul filler": "\u3164",
}
SEPARATORS: Final = {
    "space": " ",
    "dash": "-",
    "dot": ".",
    "slash": "/",
    "comma": ",",
    "comma and space": ", ",
    "underscore": "_",
    "double space": "  ",
    "tab": "\t",
    "newline": "\n",
    "CR LF": "\r\n",
    "no-break space": "\u00a0",
    "thin space": "\u2009",
    "ideographic space": "\u3000",
    "en dash": "–",
    "em dash": "—",
    "full-width hyphen": "－",
    "middle dot": "·",
    "bullet": " • ",
    "pipe": " | ",
    "arrow": "→",
    "emoji": "🙂",
}
TEMPLATES: Final = (
    "{}",
    "my card is {}",
    "Please charge {} thanks",
    "Hi! {}. exp 12/30",
    "For the 2 kettles of order W1006327 use {}, ok?",
    '{{"role":"user","content":"pay with {}"}}',
    "{} 12/30 123",
)


def with_check_digit(body: str) -> str:
    """The digits followed by their Luhn check digit (ISO/IEC 7812-1 annex B), computed apart from the scanner's own way."""
    total = 0
    for index, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if index % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return body + str(-total % 10)


def card(rng: Random, issuer: IssuerRange | None = None, length: int | None = None) -> str:
    """A number that some scheme might issue."""
    issuer = issuer or rng.choice(ISSUER_RANGES)
    length = length or rng.choice(issuer.lengths)
    prefix = f"{rng.randint(issuer.first, issuer.last):04d}"
    return with_check_digit(prefix + "".join(rng.choices("0123456789", k=length - 5)))


def common_card(rng: Random) -> str:
    """A card of 14 to 16 digits of the schemes most met."""
    names = ("Visa", "Mastercard", "American Express", "Diners Club", "Discover", "JCB", "UnionPay")
    issuer = rng.choice([issuer for issuer in ISSUER_RANGES if issuer.scheme in names])
    return card(rng, issuer, max(length for length in issuer.lengths if length <= 16))


def fours(digits: str) -> list[str]:
    """The digits in groups of four, the last one shorter."""
    return chunks(digits, 4)


def chunks(digits: str, size: int) -> list[str]:
    """The digits in groups of one size, the last one shorter."""
    return [digits[at : at + size] for at in range(0, len(digits), size)]


def printed(digits: str) -> list[str]:
    """The digits as the scheme prints them: 4-6-5, 4-6-4, or fours."""
    if len(digits) in {14, 15}:
        return [digits[:4], digits[4:10], digits[10:]]
    return fours(digits)


def in_script(name: str, digits: str) -> str:
    """The digits in another row of Unicode."""
    row = SCRIPTS[name]
    return "".join(row[int(digit)] if len(row) == 10 else chr(ord(row) + int(digit)) for digit in digits)


def below_hundred(number: int, hyphen: str = "-") -> str:
    """English for 0 to 99."""
    if number < 10:
        return UNITS[number]
    if number < 20:
        return TEENS[number - 10]
    return TENS[number // 10] + (hyphen + UNITS[number % 10] if number % 10 else "")


def in_pairs(digits: str, hyphen: str) -> str:
    """As people say long numbers: forty-two, oh five, sixteen."""
    words = []
    for pair in chunks(digits, 2):
        leading_zero = len(pair) == 2 and pair[0] == "0"
        words.append(f"oh {UNITS[int(pair[1])]}" if leading_zero else below_hundred(int(pair), hyphen))
    return " ".join(words)


def with_repeats(digits: str) -> str:
    """Digit by digit with double and triple."""
    words: list[str] = []
    at = 0
    while at < len(digits):
        run = next(size for size in (3, 2, 1) if digits[at : at + size] == digits[at] * size)
        word = "oh" if digits[at] == "0" else UNITS[int(digits[at])]
        words.append({3: "triple ", 2: "double ", 1: ""}[run] + word)
        at += run
    return " ".join(words)


def scaled(digits: str) -> str:
    """Four digits at a time: four thousand two hundred forty-two, or forty-two hundred."""
    words = []
    for group in fours(digits):
        if len(group) < 4 or group[0] == "0":
            words.append(" ".join(UNITS[int(digit)] for digit in group))
            continue
        thousands, hundreds, rest = int(group[0]), int(group[1]), int(group[2:])
        parts = [f"{UNITS[thousands]} thousand"]
        parts += [f"{UNITS[hundreds]} hundred"] if hundreds else []
        parts += [below_hundred(rest)] if rest else []
        words.append(" ".join(parts))
    return ", ".join(words)


def mixed_words(digits: str, rng: Random) -> str:
    """Some digits as words, some as figures, in no order."""
    return " ".join(
        UNITS[int(digit)] if index < 5 or rng.random() < 0.5 else digit for index, digit in enumerate(digits)
    )


def joined(separator: str) -> TextEvasion:
    """Groups of four with the same separator."""
    return lambda digits, _: separator.join(fours(digits))


def apart(separator: str) -> TextEvasion:
    """Single digits with the same separator."""
    return lambda digits, _: separator.join(digits)


def each(write: Callable[[str], str], separator: str = "") -> TextEvasion:
    """Every digit written in another way."""
    return lambda digits, _: separator.join(write(digit) for digit in digits)


def script(name: str) -> TextEvasion:
    """All digits of another row of Unicode."""
    return lambda digits, _: in_script(name, digits)


def words_of(words: list[str]) -> Callable[[str], str]:
    """A digit's word in a list of ten."""
    return lambda digit: words[int(digit)]


def random_separators(digits: str, rng: Random) -> str:
    """Groups of four, a different separator each time."""
    text, *rest = fours(digits)
    for group in rest:
        text += rng.choice(list(SEPARATORS.values())) + group
    return text


def look_alikes(digits: str, rng: Random) -> str:
    """O, o for 0 and l, I for 1, in groups of four."""
    swapped = digits.replace("0", rng.choice("Oo")).replace("1", rng.choice("lI"))
    return " ".join(fours(swapped))


def scientific(digits: str, _: Random) -> str:
    """As a float prints itself."""
    return f"{digits[0]}.{digits[1:].rstrip('0')}e+{len(digits) - 1}"


def b64(text: str) -> str:
    """Standard base64 of UTF-8."""
    return base64.b64encode(text.encode()).decode()


def percent(text: str) -> str:
    """Every byte percent-encoded."""
    return "".join(f"%{byte:02X}" for byte in text.encode())


def tagged(text: str) -> str:
    """Invisible tag characters (U+E0000 block)."""
    return "".join(chr(0xE0000 + ord(character)) for character in text)


def sentence(digits: str, rng: Random) -> str:
    """The groups spread over a sentence."""
    words = ["then apples", "and later some pears", "before the plums", "as I was saying", "you know"]
    text, *rest = fours(digits)
    for group in rest:
        text += f" {rng.choice(words)} {group}"
    return text


def fillers(digits: str, rng: Random) -> str:
    """Groups with filler words between."""
    between = [" then ", " and ", " dash ", ", next ", " and then the ", " space ", "... uh ... ", " followed by "]
    text, *rest = fours(digits)
    for group in rest:
        text += rng.choice(between) + group
    return text


def word_by_word(digits: str) -> str:
    """Digit by digit in English."""
    return " ".join(UNITS[int(digit)] for digit in digits)


TEXT_EVASIONS: Final[dict[str, TextEvasion]] = {
    "plain": lambda digits, _: digits,
    "as printed, spaces": lambda digits, _: " ".join(printed(digits)),
    "as printed, dashes": lambda digits, _: "-".join(printed(digits)),
    **{f"groups of four, {name}": joined(separator) for name, separator in SEPARATORS.items()},
    "groups of four, another separator each time": random_separators,
    **{f"every digit apart, {name}": apart(separator) for name, separator in SEPARATORS.items()},
    "groups of two, three or five, spaces": lambda digits, rng: " ".join(chunks(digits, rng.choice((2, 3, 5)))),
    "two halves": lambda digits, _: " ".join(chunks(digits, 8)),
    **{f"{name} between the digits": apart(sign) for name, sign in INVISIBLE.items()},
    **{f"{name} digits": script(name) for name in SCRIPTS},
    "full-width digits and separators": lambda digits, _: "－".join(fours(in_script("full-width", digits))),
    "a script per group": lambda digits, rng: " ".join(
        in_script(rng.choice(list(SCRIPTS)), group) for group in fours(digits)
    ),
    "invisible tag characters": lambda digits, _: tagged(digits),
    "keycap emoji": each(lambda digit: digit + "\ufe0f\u20e3"),
    "combining mark on each digit": each(lambda digit: digit + "\u0301"),
    "enclosing circle on each digit": each(lambda digit: digit + "\u20dd"),
    "spoken": each(lambda digit: UNITS[int(digit)], " "),
    "spoken, dashes": each(lambda digit: UNITS[int(digit)], "-"),
    "spoken, commas": each(lambda digit: UNITS[int(digit)], ", "),
    "spoken, run together": each(lambda digit: UNITS[int(digit)]),
    "spoken, capitals": each(lambda digit: UNITS[int(digit)].upper(), " "),
    "spoken, full-width letters": each(
        lambda digit: "".join(chr(ord(letter) + 0xFEE0) for letter in UNITS[int(digit)]), " "
    ),
    "spoken, Cyrillic look-alikes": each(lambda digit: UNITS[int(digit)].replace("o", "о").replace("e", "е"), " "),
    "spoken, oh for zero": each(lambda digit: "oh" if digit == "0" else UNITS[int(digit)], " "),
    "spoken, mixed with figures": mixed_words,
    "spoken, double and triple": lambda digits, _: with_repeats(digits),
    "spoken pairs, hyphens": lambda digits, _: in_pairs(digits, "-"),
    "spoken pairs, spaces": lambda digits, _: in_pairs(digits, " "),
    "spoken thousands and hundreds": lambda digits, _: scaled(digits),
    "spoken with fillers": lambda digits, _: " and then ".join(map(word_by_word, fours(digits))),
    "spoken as a recogniser hears it (to, for)": each(
        lambda digit: {"2": "to", "4": "for"}.get(digit, UNITS[int(digit)]), " "
    ),
    **{f"spoken, {language}": each(words_of(words), " ") for language, words in FOREIGN.items()},
    "glued, ref_…_v2": lambda digits, _: f"ref_{digits}_v2",
    "glued to letters": lambda digits, _: f"abc{digits}xyz",
    "filler words between groups": fillers,
    "two halves, filler words between": lambda digits, _: " and then ".join(chunks(digits, 8)),
    "the next four are …": lambda digits, _: " and the next four are ".join(fours(digits)),
    "over a sentence": sentence,
    "numbered groups": lambda digits, _: " ".join(f"{index}) {group}" for index, group in enumerate(fours(digits), 1)),
    "letter between groups": joined("x"),
    "letter between digits": apart("x"),
    "words between groups, always the same": joined(" banana "),
    "HTML tags between groups": lambda digits, _: " ".join(f"<b>{group}</b>" for group in fours(digits)),
    "HTML tags between digits": lambda digits, rng: "".join(f"<{rng.choice('biu')}>{digit}</b>" for digit in digits),
    "letters O, o, l, I for 0 and 1": look_alikes,
    "letters O, l for 0 and 1, not grouped": lambda digits, _: digits.replace("0", "O").replace("1", "l"),
    "with expiry and code glued on": lambda digits, _: digits if len(digits) < 15 else f"{digits}1230123",
    "with zeros in front": lambda digits, _: digits if len(digits) < 15 else digits.zfill(24),
    "scientific notation": scientific,
    "base64": lambda digits, _: b64(digits),
    "base64url without padding": lambda digits, _: (
        base64.urlsafe_b64encode(f"card>?{digits}".encode()).decode().rstrip("=")
    ),
    "base64 of a sentence": lambda digits, _: b64(f"pay with {' '.join(fours(digits))} please"),
    "base64 twice": lambda digits, _: b64(b64(digits)),
    "base64, each group": lambda digits, _: " ".join(b64(group) for group in fours(digits)),
    "base64 glued to letters": lambda digits, _: f"ref_{b64(digits).rstrip('=')}_v2",
    "base64 in lines": lambda digits, _: "\n".join(chunks(b64(f"please use the card {digits} today"), 20)),
    "base64 of UTF-16": lambda digits, _: base64.b64encode(digits.encode("utf-16-le")).decode(),
    "base64 of full-width digits": lambda digits, _: b64(in_script("full-width", digits)),
    "base64 of spoken digits": lambda digits, _: b64(" ".join(UNITS[int(digit)] for digit in digits)),
    "base32": lambda digits, _: base64.b32encode(digits.encode()).decode(),
    "hex": lambda digits, _: digits.encode().hex(),
    "hex of a sentence": lambda digits, _: f"pay with {digits}".encode().hex().upper(),
    "hex, spaces": lambda digits, _: digits.encode().hex(" "),
    "hex, colons": lambda digits, _: digits.encode().hex(":"),
    "hex, 0x": each(lambda digit: hex(ord(digit)), " "),
    "hex of UTF-16": lambda digits, _: digits.encode("utf-16-be").hex(),
    "hex integer": lambda digits, _: hex(int(digits)),
    "percent-encoding": lambda digits, _: percent(digits),
    "percent-encoding twice": lambda digits, _: percent(percent(digits)),
    "percent-encoding of full-width digits": lambda digits, _: percent(in_script("full-width", digits)),
    "percent-encoding, every second digit": lambda digits, _: "".join(
        percent(digit) if at % 2 else digit for at, digit in enumerate(digits)
    ),
    "percent-encoding, %u": each(lambda digit: f"%u{ord(digit):04x}"),
    "base64, then percent-encoding": lambda digits, _: percent(b64(digits)),
    "entities, decimal": each(lambda digit: f"&#{ord(digit)};"),
    "entities, hexadecimal": each(lambda digit: f"&#x{ord(digit):x};"),
    "entities, no semicolon": each(lambda digit: f"&#{ord(digit)}"),
    "entities, padded": each(lambda digit: f"&#000{ord(digit)};"),
    "entities twice": each(lambda digit: html.escape(f"&#{ord(digit)};")),
    "named entities between groups": joined("&nbsp;"),
    "escapes, \\u": each(lambda digit: f"\\u{ord(digit):04x}"),
    "escapes, \\\\u": each(lambda digit: f"\\\\u{ord(digit):04x}"),
    "escapes, \\u{…}": each(lambda digit: f"\\u{{{ord(digit):x}}}"),
    "escapes, \\x": each(lambda digit: f"\\x{ord(digit):02x}"),
    "escapes, \\U": each(lambda digit: f"\\U{ord(digit):08x}"),
    "escapes, octal": each(lambda digit: f"\\{ord(digit):03o}"),
    "escapes, CSS": each(lambda digit: f"\\{ord(digit):x} "),
    "escapes, \\N{…}": each(lambda digit: f"\\N{{DIGIT {UNITS[int(digit)].upper()}}}"),
    "escapes, U+": each(lambda digit: f"U+{ord(digit):04X}", " "),
    "escapes of surrogate pairs": lambda digits, _: json.dumps(in_script("mathematical bold", digits))[1:-1],
    "newlines as \\n": joined("\\n"),
    "quoted-printable": each(lambda digit: f"={ord(digit):02X}"),
    "decimal ASCII": each(lambda digit: str(ord(digit)), " "),
    "decimal ASCII, chr(…)": each(lambda digit: f"chr({ord(digit)})", "+"),
    "binary ASCII": each(lambda digit: f"{ord(digit):08b}", " "),
    "JSON text, array of digits": lambda digits, _: json.dumps([int(digit) for digit in digits]),
    "JSON text, array of groups": lambda digits, _: json.dumps(fours(digits)),
    "JSON text, fields p0 to p3": lambda digits, _: json.dumps(
        {f"p{at}": group for at, group in enumerate(fours(digits))}
    ),
    "form text, p0=…&p1=…": lambda digits, _: "&".join(f"p{at}={group}" for at, group in enumerate(fours(digits))),
    "key: value text": lambda digits, _: ", ".join(f"part{at}: {group}" for at, group in enumerate(fours(digits), 1)),
}

# Thirteen digits cut into anything but fours are an old card or, far more likely, a postcode and an order number.
FROM_14_DIGITS: Final = frozenset({"two halves", "cut anyhow", "cut anyhow, a card spoken of"})

ALONE: Final = frozenset({"over a sentence", "base64 in lines"})
"""Rows that are told as a message of their own: another digit in the sentence would not belong to the card."""


def objects(digits: str, _: Random) -> object:
    """One group in each of several objects."""
    return [{"value": group} for group in fours(digits)]


def at_random(digits: str, rng: Random, most: int, parts: int) -> list[str]:
    """The digits cut anyhow into a number of parts, none longer than ``most``."""
    while True:
        cuts = [0, *sorted(rng.sample(range(1, len(digits)), parts - 1)), len(digits)]
        sizes = [after - before for before, after in pairwise(cuts)]
        if max(sizes) <= most:
            return [digits[before:after] for before, after in pairwise(cuts)]


JSON_EVASIONS: Final[dict[str, JsonEvasion]] = {
    "string": lambda digits, _: {"note": f"card {digits}"},
    "integer": lambda digits, _: {"n": int(digits)},
    "float": lambda digits, _: {"n": float(digits)} if len(digits) < 16 else {"n": int(digits)},
    "key": lambda digits, _: {digits: 1},
    "deep": lambda digits, _: {"a": [{"b": [[{"c": digits}]]}]},
    "array of digits, integers": lambda digits, _: [int(digit) for digit in digits],
    "array of digits, strings": lambda digits, _: {"d": list(digits)},
    "array of groups": lambda digits, _: {"d": fours(digits)},
    "array of spoken digits": lambda digits, _: [UNITS[int(digit)] for digit in digits],
    "array of random groups": lambda digits, rng: {"d": at_random(digits, rng, 8, rng.choice((3, 4, 5)))},
    "fields p0 to p3": lambda digits, _: {f"p{at}": group for at, group in enumerate(fours(digits))},
    "fields p0 to p3, integers": lambda digits, _: {f"p{at}": int(group) for at, group in enumerate(fours(digits))},
    "fields a to d": lambda digits, _: dict(zip("abcde", fours(digits), strict=False)),
    "fields first to fourth": lambda digits, _: dict(
        zip(("first", "second", "third", "fourth", "fifth"), fours(digits), strict=False)
    ),
    "counted fields, cut anyhow": lambda digits, rng: {
        f"part_{at}": cut for at, cut in enumerate(at_random(digits, rng, 8, 4))
    },
    "counted fields with others between": lambda digits, _: {
        key: value
        for at, group in enumerate(fours(digits))
        for key, value in ((f"p{at}", group), (f"note{at}", "none"))
    },
    "counted fields in reverse order": lambda digits, _: {
        f"p{at}": group for at, group in reversed(list(enumerate(fours(digits))))
    },
    "fields of any name": lambda digits, _: dict(
        zip(("kettle", "lamp", "desk", "chair", "shelf"), fours(digits), strict=False)
    ),
    "two halves, named": lambda digits, _: (
        {"left": digits[:8], "right": digits[8:]} if len(digits) <= 16 else {"n": digits}
    ),
    "one group in each object": objects,
    "between the words of two fields": lambda digits, _: {
        "a": f"it begins with {' '.join(fours(digits[:8]))}",
        "b": f"{' '.join(fours(digits[8:]))} is the rest",
    },
    "base64 in a field": lambda digits, _: {"blob": b64(digits)},
    "full-width in fields": lambda digits, _: {
        f"p{at}": in_script("full-width", group) for at, group in enumerate(fours(digits))
    },
    "security code in a field": lambda _, rng: {"cvc": f"{rng.randrange(1000):03d}"},
    "security code, camel case": lambda _, rng: {"cardSecurityCode": rng.randrange(100, 1000)},
}

TALK_EVASIONS: Final[dict[str, TalkEvasion]] = {
    "groups of four": lambda digits, _: fours(digits),
    "groups as printed": lambda digits, _: printed(digits),
    "two halves": lambda digits, _: [digits[:8], digits[8:]] if len(digits) <= 16 else [digits[:12], digits[12:]],
    "two halves, grouped, with words": lambda digits, _: [
        f"my number starts {' '.join(fours(digits[:8]))}",
        f"and goes on {' '.join(fours(digits[8:]))}",
    ],
    "spoken halves": lambda digits, _: [word_by_word(half) for half in (digits[:8], digits[8:])],
    "spoken groups with fillers": lambda digits, _: ["then " + word_by_word(group) for group in fours(digits)],
    "groups with words": lambda digits, _: [f"next: {group} ok?" for group in fours(digits)],
    "groups with other messages between": lambda digits, _: (
        [text for group in fours(digits)[:4] for text in (group, "go on please")][:-1]
        if len(digits) <= 16
        else fours(digits)
    ),
    "cut anyhow": lambda digits, rng: at_random(digits, rng, 8, rng.randint(3, 8)),
    "cut anyhow, a card spoken of": lambda digits, rng: [
        "can I give you my card?",
        *at_random(digits, rng, 8, rng.randint(3, 7)),
    ],
    "whole in one message": lambda digits, _: ["hello", digits],
    "full-width groups": lambda digits, _: [in_script("full-width", group) for group in fours(digits)],
}


def digits_at_random(rng: Random, count: int) -> str:
    """Digits that begin with none, one or more zeros as it happens."""
    return "".join(rng.choices("0123456789", k=count))


def moment(rng: Random) -> datetime:
    """Some time from 2015 to 2035."""
    return datetime(2015, 1, 1, tzinfo=UTC) + timedelta(
        seconds=rng.randrange(20 * 365 * 86_400), microseconds=rng.randrange(10**6)
    )


def iban(rng: Random, country: str, body_digits: int) -> str:
    """An IBAN of digits with its ISO 7064 check digits."""
    body = digits_at_random(rng, body_digits)
    letters = "".join(str(ord(letter) - 55) for letter in country)
    return f"{country}{98 - int(body + letters + '00') % 97:02d}{body}"


def usps(rng: Random, count: int) -> str:
    """A USPS number with its check digit (weights 3 and 1)."""
    body = rng.choice(("92", "93", "94", "95")) + digits_at_random(rng, count - 3)
    total = sum(int(digit) * (3 if at % 2 == 0 else 1) for at, digit in enumerate(reversed(body)))
    return body + str(-total % 10)


def ean13(rng: Random) -> str:
    """A barcode with its check digit, of a country that begins with 3, 4, 5 or 8."""
    body = rng.choice("3458") + digits_at_random(rng, 11)
    total = sum(int(digit) * (3 if at % 2 else 1) for at, digit in enumerate(body))
    return body + str(-total % 10)


def sizes(rng: Random) -> str:
    """Neighbouring sizes, as a shop lists them."""
    first = rng.randrange(30, 40)
    return " ".join(map(str, range(first, first + rng.randint(8, 12))))


def price_list(rng: Random) -> str:
    """Prices with a currency."""
    return ", ".join(f"${rng.randrange(1, 999)}.{rng.randrange(100):02d}" for _ in range(rng.randint(2, 8)))


def code(rng: Random, count: int) -> str:
    """Digits of a telephone or order number."""
    return digits_at_random(rng, count)


def telephone(rng: Random, separator: str = "-") -> str:
    """A North American number without country code."""
    return separator.join((str(rng.randrange(201, 990)), str(rng.randrange(200, 999)), code(rng, 4)))


def log_line(rng: Random) -> str:
    """Time, address, port, status and size."""
    address = ".".join(str(rng.randrange(256)) for _ in range(4))
    return f"{moment(rng):%Y-%m-%d %H:%M:%S.%f} {address}:{rng.randrange(1024, 65536)} 200 {rng.randrange(10**5)}"


def snowflake(rng: Random) -> str:
    """An id of 41 bits of milliseconds since 2010 and 22 bits of noise, made from 2015 to 2028."""
    milliseconds = rng.randrange(1_420_070_400_000, 1_830_297_600_000) - 1_288_834_974_657
    return str(milliseconds << 22 | rng.getrandbits(22))


def some_iban(rng: Random) -> str:
    """An IBAN of a country whose account numbers are digits."""
    return iban(rng, *rng.choice((("DE", 18), ("ES", 20), ("AT", 16), ("BE", 12), ("NO", 11), ("DK", 14), ("FI", 14))))


def minor(rng: Random) -> int:
    """An amount in minor units."""
    return rng.randrange(100, 99_999)


def products(rng: Random) -> str:
    """A catalogue's JSON: ten-digit ids side by side, prices in minor units."""
    return json.dumps([{"id": code(rng, 10), "price": {"amount": minor(rng), "currency": "USD"}} for _ in range(6)])


def letters(rng: Random) -> str:
    """The body of one of Cordon's own ids."""
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=26))


# Each with the share that may be called a card. It is not zero only where nothing tells such a number from a card: one in ten
# has a right check digit by chance, and of those the part that begins as cards do.
NOISE: Final[dict[str, tuple[Noise, float]]] = {
    "random 16-digit number": (lambda rng: f"id {code(rng, 16)}", 0.05),
    "random 15-digit number (FedEx Ground)": (lambda rng: f"FedEx {code(rng, 15)}", 0.02),
    "random 13-digit number": (lambda rng: f"ref {code(rng, 13)}", 0.03),
    "random 20-digit number": (lambda rng: code(rng, 20), 0.004),
    "snowflake": (snowflake, 0.01),
    "UUID": (lambda rng: str(uuid.UUID(int=rng.getrandbits(128), version=4)), 0.001),
    "SHA-256": (lambda rng: rng.randbytes(32).hex(), 0.003),
    "git commit": (lambda rng: rng.randbytes(20).hex(), 0.002),
    "traceparent": (lambda rng: f"00-{rng.randbytes(16).hex()}-{rng.randbytes(8).hex()}-01", 0.002),
    "barcode, bare": (lambda rng: f"{ean13(rng)} Kettle", 0.05),
    "USPS": (lambda rng: usps(rng, rng.choice((20, 22))), 0.001),
    "random base64": (lambda rng: base64.b64encode(rng.randbytes(48)).decode(), 0.0),
    "Cordon ids": (lambda rng: f"tok_{letters(rng)} chk_{letters(rng)}", 0.0),
    "time in milliseconds": (lambda rng: str(int(moment(rng).timestamp() * 1000)), 0.0),
    "time in microseconds": (lambda rng: str(int(moment(rng).timestamp() * 10**6)), 0.0),
    "time in nanoseconds": (lambda rng: str(int(moment(rng).timestamp() * 10**9)), 0.0),
    "time in ticks of 100 ns": (lambda rng: str(int((moment(rng).timestamp() + 62_135_596_800) * 10**7)), 0.0),
    "ISO 8601 time": (lambda rng: moment(rng).isoformat(), 0.0),
    "compact time": (lambda rng: f"{moment(rng):%Y%m%d%H%M%S}", 0.0),
    "day-month-year time": (lambda rng: f"{moment(rng):%d.%m.%Y %H:%M:%S} – {moment(rng):%d.%m.%Y}", 0.0),
    "two dates": (lambda rng: f"{moment(rng):%d/%m/%Y} - {moment(rng):%d/%m/%Y}", 0.0),
    "opening hours": (lambda rng: " ".join(f"{moment(rng):%H:%M}-{moment(rng):%H:%M}" for _ in range(5)), 0.0),
    "times of day": (lambda rng: " ".join(f"{moment(rng):%H:%M}" for _ in range(8)), 0.0),
    "log line": (log_line, 0.0),
    "IBAN": (some_iban, 0.0),
    "IBAN in fours": (lambda rng: " ".join(fours(some_iban(rng))), 0.0),
    "telephone, North America": (lambda rng: f"call +1 {telephone(rng, ' ')} or {telephone(rng)}", 0.0),
    "two telephones": (lambda rng: f"{telephone(rng)} / {telephone(rng)}", 0.0),
    "telephone, E.164": (lambda rng: f"+{rng.choice(('49', '44', '55', '62', '358'))}{code(rng, 10)}"[:14], 0.0),
    "telephone, Germany": (lambda rng: f"tel: 4915{code(rng, 9)}, +49 15{code(rng, 2)} {code(rng, 7)}", 0.0),
    "telephone, Britain": (lambda rng: f"+44 20 {code(rng, 4)} {code(rng, 4)} ext {code(rng, 3)}", 0.0),
    "postcode and telephone": (lambda rng: f"{rng.randrange(34000, 37999)} {telephone(rng)}", 0.0),
    "sort code and account": (lambda rng: f"{code(rng, 2)}-{code(rng, 2)}-{code(rng, 2)} {code(rng, 8)}", 0.0),
    "address": (lambda rng: f"{code(rng, 4)} Oak Street, Apt {code(rng, 2)}, Springfield, IL {code(rng, 5)}", 0.0),
    "prices": (price_list, 0.0),
    "quantities": (
        lambda rng: f"{rng.randrange(9)} x size {code(rng, 2)}, {rng.randrange(9)} x size {code(rng, 2)}",
        0.0,
    ),
    "a run of sizes": (sizes, 0.0),
    "coordinates": (lambda rng: f"{rng.uniform(-90, 90):.6f}, {rng.uniform(-180, 180):.6f}", 0.0),
    "a card used somewhere": (
        lambda rng: f"card used near {rng.uniform(-90, 90):.6f}, {rng.uniform(-180, 180):.6f}",
        0.0,
    ),
    "floats": (lambda rng: f"score {rng.random()!r}, {rng.uniform(1, 6)!r}", 0.0),
    "vector": (lambda rng: json.dumps([round(rng.random(), 2) for _ in range(12)]), 0.0),
    "UPS": (lambda rng: f"1Z{code(rng, 3)}AA{code(rng, 11)}", 0.0),
    "USPS in fours": (lambda rng: " ".join(fours(usps(rng, rng.choice((20, 22))))), 0.0),
    "FedEx, 12 digits": (lambda rng: " ".join(fours(code(rng, 12))), 0.0),
    "DHL": (lambda rng: f"JD0146{code(rng, 14)}", 0.0),
    "S10 parcels": (lambda rng: f"RR{code(rng, 9)}GB and CP{code(rng, 9)}DE", 0.0),
    "order numbers": (lambda rng: f"ORD-2024-{code(rng, 4)}-{code(rng, 4)}, #W{code(rng, 7)}", 0.0),
    "Amazon order": (lambda rng: f"{rng.choice(('302', '403', '503', '112'))}-{code(rng, 7)}-{code(rng, 7)}", 0.0),
    "catalogue JSON": (products, 0.0),
    "list of ten-digit ids, JSON": (lambda rng: json.dumps([code(rng, 10) for _ in range(5)]), 0.0),
    "prices in minor units, JSON": (
        lambda rng: json.dumps([{"amount": minor(rng), "currency": "USD"} for _ in range(6)]),
        0.0,
    ),
    "totals in minor units, JSON": (
        lambda rng: json.dumps(
            {"subtotal": minor(rng), "tax": minor(rng), "shipping": minor(rng), "total": minor(rng)}
        ),
        0.0,
    ),
    "barcode, labelled": (lambda rng: f"EAN: {ean13(rng)}, gtin={ean13(rng)}", 0.0),
    "numbers in words": (
        lambda rng: (
            f"I have {below_hundred(rng.randrange(99))} boxes of {below_hundred(rng.randrange(99))} and {code(rng, 1)} more"
        ),
        0.0,
    ),
    "one-time password": (lambda rng: f"your verification code is {code(rng, rng.choice((4, 6)))}", 0.0),
}

BENIGN_TALKS: Final[dict[str, Callable[[Random], list[str]]]] = {
    "shopping": lambda rng: [
        "hi, I want a kettle",
        str(rng.randrange(1, 9)),
        f"size {rng.randrange(34, 48)}",
        f"{rng.randrange(10000, 99999)}",
        f"{rng.randrange(201, 990)}-{rng.randrange(200, 999)}-{rng.randrange(10**4):04d}",
        f"order {digits_at_random(rng, 10)}",
        f"#W{digits_at_random(rng, 7)}",
        "yes please",
        f"under ${rng.randrange(20, 500)}",
    ],
    "bare answers": lambda rng: [
        str(rng.randrange(1, 9)),
        str(rng.randrange(34, 48)),
        str(rng.randrange(10000, 99999)),
        f"{rng.randrange(201, 990)}{rng.randrange(200, 999)}{rng.randrange(10**4):04d}",
    ],
    "paying, postcode and telephone": lambda rng: [
        "can I pay by card?",
        f"{rng.randrange(34000, 37999)}",
        f"{rng.randrange(201, 990)}{rng.randrange(200, 999)}{rng.randrange(10**4):04d}",
        f"{rng.randrange(2, 40)}",
    ],
    "order numbers": lambda rng: [
        digits_at_random(rng, 10),
        digits_at_random(rng, 10),
        f"and {digits_at_random(rng, 10)}",
    ],
    "prices": lambda rng: [f"${rng.randrange(10, 99)}.{rng.randrange(100):02d}" for _ in range(8)],
    "dates and times": lambda rng: [f"{moment(rng):{form}}" for form in ("%Y-%m-%d", "%H:%M", "%d/%m/%Y", "%Y")],
    "words and numbers": lambda rng: [
        f"two of the {below_hundred(rng.randrange(20, 99))} watt ones",
        f"no, make it {below_hundred(rng.randrange(2, 12))}",
        f"{rng.randrange(1000, 9999)} Oak Street",
        f"{rng.randrange(10000, 99999)}",
    ],
}


def card_for(row: str, rng: Random) -> str:
    """A card of a length that the row is meant for."""
    while len(digits := card(rng)) < 14 and row in FROM_14_DIGITS:
        pass
    return digits


def is_issued(digits: str) -> bool:
    """Whether a scheme issues numbers of this beginning and length; said without the scanner's judgement."""
    return len(digits) in LENGTHS_BY_PREFIX.get(digits[:4], ())


def told(evasion: str, digits: str, rng: Random) -> str:
    """An evasion of a card in a chat template."""
    template = "{}" if evasion in ALONE else rng.choice(TEMPLATES)
    text = TEXT_EVASIONS[evasion](digits, rng)
    return template.format(json.dumps(text)[1:-1] if template.startswith("{{") else text)


def percentile(values: list[float], share: float) -> float:
    """The value below which that share of the values lies."""
    return sorted(values)[min(len(values) - 1, math.floor(len(values) * share))]
