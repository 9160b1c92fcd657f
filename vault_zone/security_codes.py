"""Security codes between capture and authorization: in memory only, sealed, one use, bounded in time (PCI DSS 3.3.1, 3.3.2).

The cryptogram of a network token is one too: it authenticates one payment, and is kept in no other way.

What holds:
 1. A code is never written anywhere; a process that ends takes its codes with it.
 2. While held it is sealed under a key that exists only in this process.
 3. take() gives it once; a second take finds nothing.
 4. Past its time it is gone, and what asks for it fails closed.
"""

import heapq
import json
from collections.abc import Callable

from vault_zone.card import Cryptogram, Cvc, Exposure
from vault_zone.hazmat.seal import new_key, seal, unseal

LIFETIME_SECONDS = 600  # ten minutes: long enough to come back from the merchant's page, short enough to be worthless
MAXIMUM_HELD = 100_000


class SecurityCodes:
    """The codes of cards captured and not yet charged, by grant."""

    def __init__(self, monotonic_seconds: Callable[[], float]) -> None:
        self._now_seconds = monotonic_seconds
        self._key = new_key()  # (2)
        self._held: dict[str, tuple[float, bytes]] = {}
        self._deadlines: dict[str, float] = {}  # of codes that were taken, should they be given back
        self._ends: list[tuple[float, str]] = []  # a heap: what is past its time is found without a look at the rest

    def __repr__(self) -> str:
        return f"SecurityCodes({len(self._held)} held)"

    def hold(self, grant: str, code: Cvc | Cryptogram, lifetime_seconds: float = LIFETIME_SECONDS) -> None:
        """Holds the code for the grant's one authorization.

        ``lifetime_seconds`` may be shorter than LIFETIME_SECONDS, never longer.
        """
        self.forget_expired()
        self._hold_until(grant, code, self._now_seconds() + min(lifetime_seconds, LIFETIME_SECONDS))

    def give_back(self, grant: str, code: Cvc | Cryptogram) -> None:
        """Holds a code again that was taken for nothing, for the time it had left; none is left once it was to be forgotten."""
        self.forget_expired()
        if (deadline := self._deadlines.get(grant)) is not None:
            self._hold_until(grant, code, deadline)

    def _hold_until(self, grant: str, code: Cvc | Cryptogram, deadline: float) -> None:
        self._deadlines.pop(grant, None)
        if len(self._held) >= MAXIMUM_HELD:
            del self._held[next(iter(self._held))]  # the oldest; its shopper will be asked again
        sealed = seal(self._key, json.dumps(code.expose(Exposure.SEAL)).encode(), ("code", grant))
        self._held[grant] = (deadline, sealed)
        heapq.heappush(self._ends, (deadline, grant))

    def take(self, grant: str) -> Cvc | Cryptogram | None:
        """The code, once (3); None when it is gone (4)."""
        held = self._held.pop(grant, None)
        if held is None or held[0] <= self._now_seconds():
            return None
        self._deadlines[grant] = held[0]
        content = json.loads(unseal(self._key, held[1], ("code", grant)))
        return Cvc.parse(content, None) if isinstance(content, str) else Cryptogram.parse(*content)

    def forget(self, grant: str) -> None:
        """Erases the code of a grant that will not be charged."""
        self._held.pop(grant, None)
        self._deadlines.pop(grant, None)

    def forget_expired(self) -> None:
        """Erases what is past its time. A grant whose code was given anew since has a later end of its own in the heap."""
        now_seconds = self._now_seconds()
        while self._ends and self._ends[0][0] <= now_seconds:
            _, grant = heapq.heappop(self._ends)
            if (held := self._held.get(grant)) is not None and held[0] <= now_seconds:
                del self._held[grant]
            if (deadline := self._deadlines.get(grant)) is not None and deadline <= now_seconds:
                del self._deadlines[grant]
