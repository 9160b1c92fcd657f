"""Cards split over consecutive messages of one conversation, remembered in memory alone and no longer than needed.

What must hold:
 1. Nothing but digit fragments is kept of a message; no words, no whole numbers, and nothing that can no longer be joined.
 2. What is kept is bounded: in messages and seconds per conversation, and in conversations; the longest unused goes first.
 3. A conversation in which a card was found is forgotten at once; so is every other on ``forget``.
 4. Nothing of it is ever printed, compared or serialised: findings and reprs hold no digits.
"""

from collections import OrderedDict, deque
from typing import Final, NamedTuple

from tokenization.scanner.finding import Finding
from tokenization.scanner.fold import fold
from tokenization.scanner.fragments import Fragment, fragments_of, joined_card
from tokenization.scanner.lexicon import CARD_WORDS
from tokenization.scanner.limits import MAX_TEXT_CHARS
from tokenization.scanner.text import find_cards
from tokenization.scanner.views import View

MAX_CONVERSATIONS: Final = 10_000
MAX_MESSAGES: Final = 8  # a card in eight pairs of digits
MAX_AGE_SECONDS: Final = 900.0
_MAX_FRAGMENTS_PER_MESSAGE: Final = 4  # a message with more is a list
_FOUR: Final = 4  # digits in the groups that cards are written in


class _Message(NamedTuple):
    """What is kept of one message (1)."""

    at_seconds: float
    fragments: tuple[Fragment, ...]
    speaks_of_cards: bool


class ConversationScanner:
    """Finds cards in messages, whole or split over up to eight of them. Not shared between threads; holds no text."""

    def __init__(
        self,
        *,
        max_conversations: int = MAX_CONVERSATIONS,
        max_messages: int = MAX_MESSAGES,
        max_age_seconds: float = MAX_AGE_SECONDS,
    ) -> None:
        self._max_conversations = max_conversations
        self._max_messages = max_messages
        self._max_age_seconds = max_age_seconds
        self._conversations: OrderedDict[str, deque[_Message]] = OrderedDict()

    def __repr__(self) -> str:
        return f"ConversationScanner({len(self._conversations)} conversations)"  # (4)

    def check(self, conversation_id: str, message: str, now_seconds: float) -> list[Finding]:
        """Every finding in the message itself, and one of kind ``conversation`` if it completes a split card.

        ``now_seconds`` is any clock that does not run backwards. Offsets refer to this message.
        """
        self._expire(now_seconds)
        findings = find_cards(message)
        if not findings and len(message) <= MAX_TEXT_CHARS:
            findings = self._check_split(conversation_id, message, now_seconds)
        if findings:
            self.forget(conversation_id)  # (3)
        return findings

    def forget(self, conversation_id: str) -> None:
        """Drops everything kept of a conversation."""
        self._conversations.pop(conversation_id, None)

    def _check_split(self, conversation_id: str, message: str, now_seconds: float) -> list[Finding]:
        view = fold(View(message))
        fragments = _kept(fragments_of(view.text.lower()))
        kept = self._conversations.setdefault(conversation_id, deque(maxlen=self._max_messages))
        while kept and kept[0].at_seconds < now_seconds - self._max_age_seconds:
            kept.popleft()  # (2)
        kept.append(_Message(now_seconds, fragments, CARD_WORDS.search(view.text) is not None))
        self._conversations.move_to_end(conversation_id)
        while len(self._conversations) > self._max_conversations:
            self._conversations.popitem(last=False)  # (2)
        if not fragments or not joined_card(
            [item.fragments for item in kept], any(item.speaks_of_cards for item in kept)
        ):
            return []
        start, end = view.origin(fragments[0].start, fragments[-1].end)
        return [Finding("conversation", start, end - start)]

    def _expire(self, now_seconds: float) -> None:
        """(2) Conversations are in order of their last message, so the stale ones are in front."""
        oldest = now_seconds - self._max_age_seconds
        while self._conversations:
            conversation_id, messages = next(iter(self._conversations.items()))
            if messages[-1].at_seconds >= oldest:
                break
            del self._conversations[conversation_id]


def _kept(fragments: list[Fragment]) -> tuple[Fragment, ...]:
    """(1) The fragments that a later message may complete."""
    if len(fragments) > _MAX_FRAGMENTS_PER_MESSAGE:
        return ()
    return tuple(
        item for item in fragments if item.bare or item.spoken or item.is_in_fours or len(item.digits) <= _FOUR
    )
