"""What the routes for agent platforms share, made once for the public program."""

from dataclasses import dataclass

from starlette.requests import Request

from audit.event import Event, EventType
from audit.transaction import Database
from tokenization.clock import Clock
from vault_zone.delegation.handover import Handovers
from vault_zone.key_rows import ORIGIN
from vault_zone.platforms import Platforms
from vault_zone.runtime import Zone
from vault_zone.tally import Tally


@dataclass(frozen=True, slots=True)
class Desk:
    """Where platforms' cards are taken."""

    database: Database
    now_ms: Clock
    platforms: Platforms
    handovers: Handovers
    refused: Tally

    @classmethod
    def of(cls, zone: Zone) -> "Desk":
        """The desk of a running zone."""
        return cls(
            zone.database,
            zone.clock,
            Platforms(zone.database, zone.clock),
            Handovers(zone.keys, zone.codes),
            Tally(zone.clock),
        )

    async def note_unknown(self, path: str) -> None:
        """That somebody without a key of ours asked. Anybody can do that, so the record counts them (PCI DSS 10.2.1.4)."""
        if count := self.refused.count():
            event = Event(
                type=EventType.ACCESS_REFUSED,
                outcome="failure",
                actor="platform:unknown",
                origin=ORIGIN,
                resource="api:public",
                data={"route": path, "method": "post", "count": count},
            )
            await self.database.change(lambda tx: tx.record(event))


def desk_of(request: Request) -> Desk:
    """The desk of the program that serves the request."""
    desk: Desk = request.app.state.desk
    return desk
