"""One effect for each idempotency key, whatever goes wrong on the way."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vault_zone.processors.sandbox_server.errors import ErrorCode, Refusal
from vault_zone.processors.sandbox_server.store import Answer


@dataclass(frozen=True, slots=True)
class Reply:
    """What to send: the JSON of an object, and whether the key had it already."""

    text: str
    replayed: bool


class Claims:
    """The idempotency keys being worked on in this process."""

    def __init__(self) -> None:
        self._keys: set[str] = set()

    @contextmanager
    def claim(self, key: str) -> Iterator[None]:
        """Holds the key. Raises Refusal when another request holds it."""
        if key in self._keys:
            raise Refusal(ErrorCode.IDEMPOTENCY_IN_FLIGHT)
        self._keys.add(key)
        try:
            yield
        finally:
            self._keys.discard(key)


def reply_of(answer: Answer, asked: bytes, *, is_new: bool) -> Reply:
    """The key's answer as a reply. Raises Refusal when the key came with another body before; ``asked`` is this body's."""
    if answer.fingerprint != asked:
        raise Refusal(ErrorCode.IDEMPOTENCY_CONFLICT)
    return Reply(answer.text, replayed=not is_new)
