"""Takes card-like text out of a text, for logs."""

from typing import Final

from tokenization.scanner.text import contains_card, find_cards

REMOVED: Final = "[card-like text removed]"
_MAX_ROUNDS: Final = 4  # taking one finding out may bring two parts together; after that the whole text goes


def redact(text: str) -> str:
    """The text with every finding replaced by ``[card-like text removed]``.

    The result holds no card-like text, and redacting it again changes nothing. A text that stays suspicious goes as a whole.
    """
    for _ in range(_MAX_ROUNDS):
        findings = find_cards(text)
        if not findings:
            return text
        if any(finding.kind == "too_large" for finding in findings):
            return REMOVED
        for finding in reversed(findings):
            text = text[: finding.offset] + REMOVED + text[finding.offset + finding.length :]
    return REMOVED if contains_card(text) else text
