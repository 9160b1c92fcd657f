"""The card-like-text scanner: finds payment card numbers and security codes however they are written, and says only where.

It decides nothing: callers refuse, redact or alarm. Nothing that it returns holds a character of what it read.
"""

from tokenization.scanner.conversation import ConversationScanner
from tokenization.scanner.documents import contains_card_in_bytes, contains_card_in_json, find_cards_in_json
from tokenization.scanner.finding import Finding, Kind
from tokenization.scanner.redaction import redact
from tokenization.scanner.text import contains_card, find_cards

__all__ = [
    "ConversationScanner",
    "Finding",
    "Kind",
    "contains_card",
    "contains_card_in_bytes",
    "contains_card_in_json",
    "find_cards",
    "find_cards_in_json",
    "redact",
]
