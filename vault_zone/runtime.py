"""The running zone: what its two listeners share, built once at start."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import structlog

from audit.background import beside
from audit.event import Event, EventType
from audit.note import Signer
from audit.sequencer import Sequencer
from audit.serving_role import require
from audit.tiles import TileLog
from audit.transaction import Database
from tokenization.clock import Clock, monotonic_seconds, now_milliseconds
from tokenization.logs import cause_of
from tokenization.tally import Tally
from vault_zone.admission import Admission
from vault_zone.charge import ChargeEngine
from vault_zone.disputes import disputes_in
from vault_zone.executors import EXECUTORS
from vault_zone.forward.allowlist import SignedList
from vault_zone.forward.engine import ForwardEngine
from vault_zone.forward.sending import Sender
from vault_zone.hazmat.opening import open_provider
from vault_zone.housekeeping import FORWARD_RECOVER_SECONDS, chores_of, keep
from vault_zone.key_rows import ORIGIN
from vault_zone.keyring import KeyRing
from vault_zone.lapsing import Lapses
from vault_zone.ledger.posting import post
from vault_zone.migrations import upgrade
from vault_zone.modifications import Modifications
from vault_zone.operations import Act, Executor, keep_sweeping
from vault_zone.outbox_courier import NoticeCourier
from vault_zone.processors.opening import open_processors
from vault_zone.processors.registry import Processors
from vault_zone.rekeying import Rekeyer
from vault_zone.routing_policy import FILE_NAME as ROUTING_FILE_NAME
from vault_zone.routing_policy import RoutingPolicy
from vault_zone.security_codes import SecurityCodes
from vault_zone.serving_rights import RIGHTS
from vault_zone.settings import PRODUCTION, ZoneSettings
from vault_zone.sweeping import Sweeper
from vault_zone.unsealing import Unsealing
from vault_zone.velocity_policy import FILE_NAME as LIMITS_FILE_NAME
from vault_zone.velocity_policy import VelocityPolicy

log = structlog.get_logger("vault_zone")


@dataclass(frozen=True, slots=True)
class Zone:
    """Everything a request may need. Holds no card."""

    settings: ZoneSettings
    clock: Clock
    database: Database
    keys: KeyRing
    codes: SecurityCodes
    processors: Processors
    sequencer: Sequencer
    engine: ChargeEngine
    modifications: Modifications
    forwards: ForwardEngine
    refused_webhooks: Tally
    sweeper: Sweeper
    limits: VelocityPolicy = field(default_factory=VelocityPolicy)
    access: Admission = field(default_factory=Admission)  # nobody may do anything, unless the files say otherwise
    executors: Mapping[Act, Executor] = field(default_factory=lambda: EXECUTORS)
    unsealing: Unsealing = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "unsealing", Unsealing(self.keys, self.database))


@asynccontextmanager
async def running_zone(settings: ZoneSettings, clock: Clock = now_milliseconds) -> AsyncIterator[Zone]:
    """Opens processors, keys, database and log; recovers; runs the background tasks; closes in the reverse order.

    Raises SettingsRefused, KeyRefused, AdmissionRefused, SequencerRunning, LogDamaged, NotPermitted where the database's role
    may not bring it up to date or may not do all that serving needs, and whatever the database says when it cannot be reached.
    """
    limits = VelocityPolicy.read(settings.data / LIMITS_FILE_NAME)
    access = Admission.open(settings.tls, clock())
    async with AsyncExitStack() as stack:
        processors = open_processors(settings)
        stack.push_async_callback(processors.close)
        policy = RoutingPolicy.read(settings.data / ROUTING_FILE_NAME, processors.names)
        provider = open_provider(settings.keys, settings.environment)
        stack.callback(provider.close)
        database = Database.open(settings.database_url, clock)
        stack.push_async_callback(database.close)
        await database.migrate(upgrade)
        await database.read(lambda connection: require(connection, RIGHTS))
        log_files = TileLog(settings.log_directory, Signer.open(settings.log_key_file))
        sequencer = Sequencer(database, log_files, settings.log_directory, clock)
        stack.push_async_callback(sequencer.close)
        keys, codes = KeyRing(provider, database, clock), SecurityCodes(monotonic_seconds)
        writable = sequencer.is_writable
        engine = ChargeEngine(
            database,
            keys,
            codes,
            processors,
            clock=clock,
            log_is_writable=writable,
            policy=policy,
            books=post,
            disputes=disputes_in(post),
        )
        modifications = Modifications(database, processors, clock=clock, log_is_writable=writable, books=post)
        lapses = Lapses(database, processors, engine, modifications, clock=clock, patience=policy.patience)
        await database.change(lambda tx: tx.record(_log_event(EventType.LOG_STARTED)))
        await access.record(database)
        await sequencer.sequence()
        await engine.recover()
        await modifications.recover()
        forwards = ForwardEngine(
            database,
            keys,
            codes,
            SignedList(settings.forward_directory),
            Sender(settings.forward_directory, only_public=settings.environment == PRODUCTION),
            clock=clock,
            log_is_writable=sequencer.is_writable,
        )
        await forwards.recover(idle_seconds=FORWARD_RECOVER_SECONDS)
        rekeyer, sweeper = Rekeyer(database, keys), Sweeper(database, codes, clock)
        zone = Zone(
            settings,
            clock,
            database,
            keys,
            codes,
            processors,
            sequencer,
            engine,
            modifications,
            forwards,
            Tally(clock),
            sweeper,
            limits,
            access,
        )
        work = [
            sequencer.run(lambda failure: log.error("log_not_written", cause=cause_of(failure))),
            rekeyer.run(lambda failure: log.error("rekeying_waits", cause=cause_of(failure))),
            access.watch(database, clock),
            keep_sweeping(zone),
            *(
                keep(chore, _chore_failed)
                for chore in chores_of(database, engine, modifications, lapses, forwards, codes, keys, sweeper)
            ),
        ]
        if settings.notices_url is not None:
            courier = NoticeCourier(
                database, keys, settings.notices_url, clock, authority=settings.notices_authority_file
            )
            stack.push_async_callback(courier.close)
            work.append(courier.run(lambda failure: log.error("notices_wait", cause=cause_of(failure))))
        async with beside(*work):
            yield zone
        await database.change(lambda tx: tx.record(_log_event(EventType.LOG_STOPPED)))


def _chore_failed(name: str, failure: Exception) -> None:
    log.error("chore_failed", chore=name, cause=cause_of(failure))


def _log_event(kind: EventType) -> Event:
    return Event(type=kind, outcome="success", actor="service:vault_zone", origin=ORIGIN, resource="log:vault_zone")
