"""The words the scanner knows: spoken digits, words that stand between digits, and words that tell what a number is.

Data, with the two smallest functions on it. Number words are English in full, and the ten digits in Spanish, French, German,
Italian and Portuguese.
"""

import re
from typing import Final

_ASCII_DIGITS: Final = b"0123456789"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


UNITS: Final[dict[str, str]] = {
    word: digit
    for digit, words in {
        "0": "zero oh o nought naught nil aught cero null",
        "1": "one uno un une ein eins eine um uma",
        "2": "two dos deux zwei zwo due dois duas",
        "3": "three tree tres trois drei tre",
        "4": "four fower cuatro quatre vier quattro quatro",
        "5": "five fife cinco cinq funf fuenf cinque",
        "6": "six seis sechs sei",
        "7": "seven siete sept sieben sette sete",
        "8": "eight ocho huit acht otto oito",
        "9": "nine niner nueve neuf neun nove",
    }.items()
    for word in words.split()
}
TEENS: Final[dict[str, str]] = {
    "ten": "10",
    "eleven": "11",
    "twelve": "12",
    "thirteen": "13",
    "fourteen": "14",
    "fifteen": "15",
    "sixteen": "16",
    "seventeen": "17",
    "eighteen": "18",
    "nineteen": "19",
}
TENS: Final[dict[str, str]] = {
    "twenty": "20",
    "thirty": "30",
    "forty": "40",
    "fourty": "40",
    "fifty": "50",
    "sixty": "60",
    "seventy": "70",
    "eighty": "80",
    "ninety": "90",
}
SCALES: Final[dict[str, int]] = {"hundred": 100, "thousand": 1000}
REPEATS: Final[dict[str, int]] = {
    "double": 2,
    "dubble": 2,
    "twice": 2,
    "triple": 3,
    "treble": 3,
    "thrice": 3,
    "quadruple": 4,
    "quad": 4,
}
# Words that a recogniser writes for a digit; read as digits only in a second pass, where no other reading was found.
HOMOPHONES: Final[dict[str, str]] = {
    "to": "2",
    "too": "2",
    "for": "4",
    "fore": "4",
    "won": "1",
    "ate": "8",
    "sicks": "6",
}

NUMBER_WORDS: Final = frozenset({*UNITS, *TEENS, *TENS, *SCALES, *REPEATS})
NUMBER_WORDS_AND_HOMOPHONES: Final = NUMBER_WORDS | frozenset(HOMOPHONES)

# Words that people put between the groups of one number.
FILLERS: Final = _words(
    "and then dash hyphen minus space dot point period comma slash stroke next followed by digit digits number numbers again"
    " uh um erm er eh hmm so ok okay yes right first second third fourth fifth sixth last final finally part group block chunk"
    " set piece half rest ending end ends starting start starts begins comes the is are it its my that"
    " pause wait sorry hold now plus with also after"
)
# A message of digits and these words alone is meant to be read as digits.
SMALL_TALK: Final = FILLERS | _words(
    "card cc pan visa mastercard amex here here's heres go goes please thanks thank you sure hi hello hey now i'll ill send"
    " sending continue continued cont continuing more one with of in to on a this these those i'm im was be"
)

CARD_WORDS: Final = re.compile(
    r"card|visa|master ?card|maestro|amex|american express|discover|diners|jcb|union ?pay|rupay|\bpan\b|\bcc\b|credit|debit",
    re.IGNORECASE,
)
# A 13-digit number so labelled is a barcode or a telephone number; Visa has not issued 13 digits for decades.
NOT_CARD_LABELS: Final = re.compile(
    r"(?:gtin|ean|upc|isbn|barcode|asin|sku|phone|tel|telephone|mobile|mob|cell|whats ?app|fax|sms|imei)"
    r"(?:[ _-]?(?:13|14|number|no|nr|num|is))?[\W_]{0,6}\+?\Z",
    re.IGNORECASE,
)
# Between two numbers these say that each is an amount or a measure of its own.
UNIT_WORDS: Final = _words(
    "usd eur gbp jpy chf cad aud cny inr brl dollar dollars euro euros pound pounds cents yen mm cm m km kg g lb lbs oz ml l"
    " pcs pc pieces piece units unit items item inch inches in ft px mb gb tb kb ms s sec min mins h hours days weeks months"
    " years each amount price total subtotal tax qty quantity cost balance minor currency"
)


def digit_count(text: str) -> int:
    """How many ASCII digits the text holds."""
    raw = text.encode("utf-8", "surrogatepass")
    return len(raw) - len(raw.translate(None, _ASCII_DIGITS))
