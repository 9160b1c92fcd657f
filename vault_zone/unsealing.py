"""A zone whose root key is in custodians' hands: it starts sealed, and enough of them open it (PCI DSS 3.7.6).

What holds:
 1. Sealed, the zone answers health and this alone, on both listeners (seal_gate.py): no card is taken and nothing is charged.
 2. A share counts once, and a custodian gives one in a round: two persons have to act. A round begins anew with the process,
    with a combination that does not open, and when the zone is sealed.
 3. A share is on record with who gave it, and never with a word of it.
 4. Any custodian may seal the zone at once. Every key in memory is forgotten with it.
"""

from dataclasses import dataclass, field
from typing import Final

from audit.event import Event, EventType
from audit.transaction import Database
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.hazmat.files import KeyRefused
from vault_zone.hazmat.local import LocalKeys, Progress
from vault_zone.hazmat.shares import ShareFault, ShareRefused
from vault_zone.key_rows import ORIGIN
from vault_zone.keyring import KeyRing

ERROR_OF: Final = {
    ShareFault.MISTYPED: ZoneError.SHARE_MISTYPED,
    ShareFault.FOREIGN: ZoneError.SHARE_OF_ANOTHER_CEREMONY,
    ShareFault.REPEATED: ZoneError.SHARE_GIVEN_ALREADY,
    ShareFault.WRONG_TOGETHER: ZoneError.SHARES_DO_NOT_OPEN,
    ShareFault.NOT_SEALED: ZoneError.NOT_SEALED,
}


@dataclass(slots=True)
class Unsealing:
    """The round of shares that is under way."""

    keys: KeyRing
    database: Database
    _gave: set[str] = field(default_factory=set)

    @property
    def local(self) -> LocalKeys | None:
        """The provider, if it is one that custodians open."""
        provider = self.keys.provider
        return provider if isinstance(provider, LocalKeys) else None

    @property
    def is_sealed(self) -> bool:
        """Whether shares are needed before anything is served."""
        return self.keys.provider.is_sealed

    def progress(self) -> Progress:
        """How many shares were given in this round, of how many."""
        return self.local.progress() if self.local else Progress(0, 0)

    async def give(self, share: str, custodian: str) -> Progress:
        """Takes one custodian's share. Raises ZoneRefusal: SHARE_*, SHARES_DO_NOT_OPEN, NOT_SEALED, KEYS_UNAVAILABLE."""
        local = self.local
        if local is None or not local.is_sealed:
            raise ZoneRefusal(ZoneError.NOT_SEALED)
        if custodian in self._gave and local.progress().given:  # (2)
            await self._record(EventType.SHARE_GIVEN, custodian, local, reason=ZoneError.SHARE_GIVEN_ALREADY.code)
            raise ZoneRefusal(ZoneError.SHARE_GIVEN_ALREADY)
        try:
            progress = local.unseal(share)
        except ShareRefused as refused:
            if refused.fault is ShareFault.WRONG_TOGETHER:
                self._gave.clear()
            await self._record(EventType.SHARE_GIVEN, custodian, local, reason=ERROR_OF[refused.fault].code)
            raise ZoneRefusal(ERROR_OF[refused.fault]) from None
        except KeyRefused:
            raise ZoneRefusal(ZoneError.KEYS_UNAVAILABLE) from None
        if progress.given <= 1:
            self._gave.clear()  # the first of a round, whatever was given before it
        self._gave.add(custodian)
        await self._record(EventType.SHARE_GIVEN, custodian, local)  # (3)
        if not local.is_sealed:
            self._gave.clear()
            await self._record(EventType.ZONE_UNSEALED, custodian, local)
        return progress

    async def seal(self, custodian: str) -> None:
        """Seals the zone (4). Raises ZoneRefusal(NOT_SEALABLE) where the provider is not in custodians' hands."""
        local = self.local
        if local is None or not local.shares:
            raise ZoneRefusal(ZoneError.NOT_SEALABLE)
        local.seal()
        self._gave.clear()
        self.keys.forget_all()
        await self._record(EventType.ZONE_SEALED, custodian, local)

    async def _record(self, kind: EventType, custodian: str, local: LocalKeys, reason: str | None = None) -> None:
        progress = local.progress()
        data: dict[str, str | int | bool] = {"key": local.root_id}
        if kind is not EventType.ZONE_SEALED:
            data |= {"shares": progress.given, "threshold": progress.needed}
        if kind is EventType.SHARE_GIVEN:
            data["custodian"] = custodian
        if reason:
            data["reason"] = reason
        event = Event(
            type=kind,
            outcome="failure" if reason else "success",
            actor=custodian,
            origin=ORIGIN,
            resource=local.root_id,
            data=data,
        )
        await self.database.change(lambda tx: tx.record(event))
