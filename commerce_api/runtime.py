"""The running commerce side, built once at start; commerce and the MCP server are two processes over the same parts."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import structlog

from audit.background import beside
from audit.event import Event, EventType
from audit.note import Signer
from audit.sequencer import Sequencer
from audit.serving_role import require
from audit.tiles import TileLog
from audit.transaction import Database
from commerce_api import sweeps
from commerce_api.agent_desk import AgentDesk
from commerce_api.brands import ORIGIN
from commerce_api.embeddings.nearest import nearest_of
from commerce_api.links import Links
from commerce_api.migrations import upgrade
from commerce_api.offering.ramping import Ramp
from commerce_api.offering.saying import SayingDesk, open_saying
from commerce_api.payment import Payments
from commerce_api.serving_rights import RIGHTS
from commerce_api.settings import CommerceSettings
from commerce_api.vault_client import VaultClient
from commerce_api.zone_notices import NoticeDesk
from offer_engine.serving import Rankers
from tokenization.clock import Clock, monotonic_seconds, now_milliseconds
from tokenization.logs import cause_of

OFFER_MODELS = "offer-models"  # in the data directory: a registry of each brand's
log = structlog.get_logger("commerce_api")


@dataclass(frozen=True, slots=True)
class Commerce:
    """Everything a request may need."""

    settings: CommerceSettings
    clock: Clock
    database: Database
    desk: AgentDesk
    payments: Payments
    links: Links
    agent_secret: bytes
    notices: NoticeDesk
    saying: SayingDesk


@asynccontextmanager
async def open_commerce(settings: CommerceSettings, clock: Clock = now_milliseconds) -> AsyncIterator[Commerce]:
    """Opens database and the way to the zone, without background work: what the MCP server's processes need.

    Raises NotPermitted where the database's role may not bring it up to date, or may not do all that serving needs.
    """
    async with AsyncExitStack() as stack:
        database = Database.open(settings.database_url, clock)
        stack.push_async_callback(database.close)
        await database.migrate(upgrade)
        await database.read(lambda connection: require(connection, RIGHTS))
        vault = VaultClient(settings.zone_url, settings.tls)
        stack.push_async_callback(vault.close)
        links = Links(settings.public_url, settings.mcp_url)
        offer_key = settings.offer_key_file.read_bytes().strip()
        payments = Payments(database, vault, links, offer_key, clock)
        rankers = Rankers(settings.data / OFFER_MODELS, monotonic_seconds)
        rankers.warm()
        desk = AgentDesk(database, payments, links, rankers, offer_key, clock, nearest_of(database))
        agent_secret = settings.agent_key_file.read_bytes().strip()
        notices = NoticeDesk(database, vault, payments, clock)
        saying = SayingDesk(database, offer_key, clock)
        yield Commerce(settings, clock, database, desk, payments, links, agent_secret, notices, saying)


@asynccontextmanager
async def running_commerce(settings: CommerceSettings, clock: Clock = now_milliseconds) -> AsyncIterator[Commerce]:
    """The commerce process: as open_commerce(), and it asks models, keeps the log and sweeps what time left behind."""
    async with AsyncExitStack() as stack:
        commerce = await stack.enter_async_context(open_commerce(settings, clock))
        saying = open_saying(settings.models_file, commerce.database, commerce.desk.offer_key, clock)
        commerce = replace(commerce, saying=await stack.enter_async_context(saying))
        log_files = TileLog(settings.log_directory, Signer.open(settings.log_key_file))
        sequencer = Sequencer(commerce.database, log_files, settings.log_directory, clock)
        stack.push_async_callback(sequencer.close)
        await commerce.database.change(lambda tx: tx.record(_log_event(EventType.LOG_STARTED)))
        async with beside(
            sequencer.run(lambda failure: log.error("log_not_written", cause=cause_of(failure))),
            sweeps.run(commerce.database, commerce.payments),
            Ramp(commerce.database, settings.data / OFFER_MODELS, clock).run(),
        ):
            yield commerce
        await commerce.database.change(lambda tx: tx.record(_log_event(EventType.LOG_STOPPED)))


def _log_event(kind: EventType) -> Event:
    return Event(type=kind, outcome="success", actor="service:commerce", origin=ORIGIN, resource="log:commerce")
