"""Answers a card page's puzzle as its script would."""

import itertools
import re

from vault_zone.puzzle import ANSWER, PUZZLE, read_challenge, zero_bits

_FIELD = re.compile(rf'name="{PUZZLE}" value="([^"]+)"')


def challenge_of(html: str) -> str:
    """The challenge in the page's form; empty where there is no form."""
    found = _FIELD.search(html)
    return found[1] if found else ""


def unanswered(html: str) -> dict[str, str]:
    """The form's fields as they go without script."""
    return {PUZZLE: challenge_of(html), ANSWER: ""}


def answered(html: str) -> dict[str, str]:
    """The form's fields that carry the puzzle and its answer."""
    challenge = challenge_of(html)
    claimed = read_challenge(challenge)
    if claimed is None:
        return {}
    seed = claimed.mac[:32]
    number = next(number for number in itertools.count() if zero_bits(seed, str(number)) >= claimed.bits)
    return {PUZZLE: challenge, ANSWER: str(number)}
