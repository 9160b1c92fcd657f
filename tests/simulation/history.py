"""One history: shoppers, merchants, zones that die and start again, a processor, and what must hold after each step.

What must hold, always:
 1. An order takes money at most once, whatever shoppers, channels and crashes do.
 2. Neither side ever captures more than was authorized, nor refunds more than was captured.
 3. Every charge the processor knows was on our disk before it was sent, and was sent once to any processor.
 4. The books sum to zero, and say of each charge what its row says.
 5. What commerce was told is final stays so.
At rest, when nothing goes wrong any more and time has passed:
 6. Nothing is pending, unknown or accepted.
 7. Of every charge and modification both sides say the same; money that came late is in a person's queue.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from audit.transaction import DatabaseBusy
from tests.simulation.clockwork import Clockwork
from tests.simulation.processor import Account, SimulatedProcessor
from tests.simulation.store import Crash, Disk, Faults, SimulatedDatabase
from tests.vault_zone.world import ACTOR, MERCHANT, START_MS
from tokenization.wire import (
    FINAL_CHARGE_STATES,
    FINAL_MODIFICATION_STATES,
    Charge,
    ChargeRequest,
    ChargeState,
    ModificationKind,
    ModificationRequest,
)
from vault_zone.breaker import Breakers
from vault_zone.card import Cvc
from vault_zone.charge import ChargeEngine
from vault_zone.errors import ZoneRefusal
from vault_zone.keyring import KeyRing
from vault_zone.lapsing import Lapses
from vault_zone.ledger.posting import post
from vault_zone.modifications import Modifications
from vault_zone.processors.port import Outcome, ProcessorEvent
from vault_zone.processors.registry import Processors
from vault_zone.routing_policy import Patience, RoutingPolicy
from vault_zone.security_codes import SecurityCodes

ORDERS = 3
CHANNELS = 2
AMOUNT_MINOR = 10_000
TRIES = 6
TICK_SECONDS = 5.0  # between two rounds of housekeeping: as long as nobody waits for it, the longer the cheaper
REST_SECONDS = 240.0  # longer than a dead process's charge is left alone, then unknown, then provably absent
REST_TICKS = 8
ABANDON_SECONDS = 60  # a shopper who does not come back from the bank is given up
_BOOKED = "SELECT charge_id, sum(kept_minor) AS kept_minor FROM ledger_charge GROUP BY charge_id"


class Broken(AssertionError):
    """Something that must hold does not. Its text says what, and of which charge."""


@dataclass
class Template:
    """What every history starts from: a merchant, its keys, cards and grants."""

    image: bytes
    provider: Any
    grants: list[str]


@dataclass
class Process:
    """A zone's process: what is in its memory, and the tasks that die with it."""

    database: SimulatedDatabase
    engine: ChargeEngine
    modifications: Modifications
    lapses: Lapses
    tasks: set["asyncio.Task[Any]"] = field(default_factory=set)


class History:
    """Plays one seed."""

    def __init__(self, template: Template, disk: Disk, seed: int) -> None:
        self.rng = random.Random(seed)  # nosec B311  # a history that can be repeated is the point
        self.template = template
        self.disk = disk
        self.faults = Faults(self.rng)
        self.loop = Clockwork()
        self.trace: list[str] = []
        self.steps = 0
        self.broken: BaseException | None = None
        self._world: set[asyncio.Task[Any]] = set()
        self._told: dict[str, Charge] = {}
        self.outside = [
            SimulatedProcessor(name, self.rng, self.faults, self._deliver, self._check, self._spawn)
            for name in ("alpha", "beta")
        ]
        self.processes: list[Process] = []
        self.crashes = 0

    def play(self) -> None:
        """Runs it to its rest. Raises Broken, or whatever the engine raised that it must not."""
        self.disk.fill(self.template.image)
        asyncio.set_event_loop(self.loop)
        letters = _Letters(self.rng)
        try:
            with mock.patch("tokenization.ids.secrets", letters), mock.patch("audit.store.secrets", letters):
                self.loop.run_until_complete(self._play())
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            with suppress(BaseException):
                self.loop.run_until_complete(asyncio.sleep(0))
            asyncio.set_event_loop(None)
            self.loop.close()
        if self.broken is not None:
            raise self.broken

    def now_ms(self) -> int:
        """The wall clock of every process."""
        return START_MS + int(self.loop.time() * 1000)

    def note(self, text: str) -> None:
        """A line of the history."""
        self.trace.append(f"{self.loop.time():9.3f}  {text}")

    async def _play(self) -> None:
        self.processes = [self._start() for _ in range(self.rng.choice((1, 1, 2)))]
        keeper = self.loop.create_task(self._housekeep())
        actors = [
            self.loop.create_task(self._shopper(order, channel))
            for order in range(ORDERS)
            for channel in range(self.rng.choice((1, CHANNELS)))
        ]
        await asyncio.gather(*actors)
        await asyncio.sleep(self.rng.random() * 20)
        self.faults.end()
        self.note("from here on nothing goes wrong")
        keeper.cancel()
        for _ in range(REST_TICKS):
            await asyncio.sleep(REST_SECONDS / REST_TICKS)
            await self._tick(self._alive())
        self._check()
        self._check_at_rest()

    def _start(self) -> Process:
        process: Process

        def die() -> None:
            self._died(process)

        database = SimulatedDatabase.of(self.disk, self.rng, self.faults, self.now_ms, self._check, die)
        keys = KeyRing(self.template.provider, database, self.now_ms, self.loop.time)
        codes = SecurityCodes(self.loop.time)
        for grant in self.template.grants:
            if self.crashes == 0:
                codes.hold(grant, Cvc.parse("737", None))
        registry = Processors(*self.outside)
        common: dict[str, Any] = {"clock": self.now_ms, "log_is_writable": lambda: True, "books": post}
        policy = RoutingPolicy(("alpha", "beta"), patience=Patience(abandon_seconds=ABANDON_SECONDS))
        engine = ChargeEngine(
            database, keys, codes, registry, policy=policy, breakers=Breakers(self.loop.time), **common
        )
        acts = Modifications(database, registry, **common)
        lapses = Lapses(database, registry, engine, acts, clock=self.now_ms, patience=policy.patience)
        process = Process(database, engine, acts, lapses)
        return process

    def _alive(self) -> Process:
        return self.rng.choice(self.processes)

    def _died(self, process: Process) -> None:
        """Everything in its memory is gone; another one starts over the same disk."""
        if process not in self.processes:
            return
        self.crashes += 1
        self.note("a zone dies, another starts")
        process.database.cut_off()
        for task in process.tasks:
            task.cancel()
        self.processes.remove(process)
        fresh = self._start()
        self.processes.append(fresh)
        self._spawn(self._recover(fresh))

    async def _recover(self, process: Process) -> None:
        with suppress(Crash, DatabaseBusy, asyncio.CancelledError):
            idle_seconds = 60.0 if len(self.processes) > 1 else 0.0  # another process may be sending what is pending
            await process.engine.recover(idle_seconds=idle_seconds)
            await process.modifications.recover(idle_seconds=idle_seconds)

    async def _housekeep(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self._tick(self._alive())

    async def _tick(self, process: Process) -> None:
        async def work() -> None:
            await process.engine.recover(idle_seconds=60)
            await process.modifications.recover(idle_seconds=60)
            await process.engine.resolve_unknown()
            await process.modifications.resolve_unknown()
            await process.lapses.sweep()

        with suppress(DatabaseBusy, Died):
            await self._in(process, work())

    async def _in(self, process: Process, work: Awaitable[Any]) -> Any:
        """Runs it in a process. Raises Died when the process dies before it is done."""
        task: asyncio.Task[Any] = self.loop.create_task(work)  # type: ignore[arg-type]  # a coroutine
        process.tasks.add(task)
        try:
            return await task
        except Crash:
            raise Died from None
        except asyncio.CancelledError:
            if process in self.processes:
                raise  # the history itself is over
            raise Died from None
        finally:
            process.tasks.discard(task)

    def _spawn(self, work: Awaitable[None]) -> None:
        """Something of the world that goes on by itself."""
        task = self.loop.create_task(self._guarded(work))
        self._world.add(task)
        task.add_done_callback(self._world.discard)

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except (Crash, Died, DatabaseBusy):
            return
        except asyncio.CancelledError:
            raise
        except BaseException as failure:  # noqa: BLE001  # of a task nobody awaits: the history ends with it
            self._fail(failure)

    def _fail(self, failure: BaseException) -> None:
        self.broken = self.broken or failure

    async def _deliver(self, event: ProcessorEvent, processor: str) -> None:
        """A webhook reaches one process; where it dies or is busy, the processor sends it again."""
        for _ in range(20):
            process = self._alive()
            try:
                await self._in(process, process.engine.apply_webhook(event, processor))
            except (Died, DatabaseBusy):
                await asyncio.sleep(self.rng.random() * 5)
            else:
                return

    async def _shopper(self, order: int, channel: int) -> None:
        """Pays an order, as commerce does it: the same payment again until there is an answer. Then the merchant acts."""
        await asyncio.sleep(self.rng.random() * 2)
        manual = self.rng.random() < 0.5
        payment = f"pay_{order}_{channel if self.rng.random() < 0.7 else 0}"
        asked = ChargeRequest(
            payment=payment,
            merchant=MERCHANT,
            checkout=f"chk_{order}",
            grant=self.template.grants[order * CHANNELS + channel],
            amount_minor=AMOUNT_MINOR,
            currency="USD",
            return_url="http://127.0.0.1:8704/return",
            capture="manual" if manual else "automatic",
        )
        charged = await self._until_answered(lambda process: process.engine.charge(asked, ACTOR))
        if charged is None:
            return
        self._told_of(charged)
        for _ in range(self.rng.randrange(4)):
            await self._merchant(payment)

    async def _merchant(self, payment: str) -> None:
        """Captures, lets go or gives back, now and then twice at once, now and then the same thing again."""
        kind = self.rng.choice(
            (ModificationKind.CAPTURE, ModificationKind.VOID, ModificationKind.REFUND, ModificationKind.REFUND)
        )
        amount = None if kind is ModificationKind.VOID else self.rng.choice((None, 2_500, 5_000, 7_500))
        asked = ModificationRequest(
            request=f"req_{self.rng.randrange(10**6):06d}".translate(str.maketrans("0123456789", "bcdfghjkmn")),
            merchant=MERCHANT,
            payment=payment,
            kind=kind,
            amount_minor=amount,
            is_final=self.rng.random() < 0.5,
        )
        times = self.rng.choice((1, 1, 2))
        await asyncio.gather(
            *(self._until_answered(lambda process: process.modifications.modify(asked, ACTOR)) for _ in range(times))
        )
        await asyncio.sleep(self.rng.random() * 8)

    async def _until_answered(self, call: Callable[[Process], Awaitable[Any]]) -> Any:
        """The answer, or None for a refusal. After silence the same call is made again, to whoever is alive."""
        for _ in range(TRIES):
            process = self._alive()
            try:
                answer = await self._in(process, call(process))
            except ZoneRefusal as refusal:
                self.note(f"refused: {refusal.kind.code}")
                return None
            except (Died, DatabaseBusy):
                await asyncio.sleep(self.rng.random() * 3)
                continue
            self.note(f"answered: {type(answer).__name__} {answer.state}")
            return answer
        return None

    def _told_of(self, charged: Charge) -> None:
        if charged.state in FINAL_CHARGE_STATES:
            self._told[charged.charge] = charged  # (5)

    def _check(self) -> None:
        """After every commit and every effect. What is broken ends the history."""
        self.steps += 1
        if self.broken is None:
            try:
                self.check()
            except Broken as broken:
                self.note(f"BROKEN: {broken}")
                self._fail(broken)
                raise

    def check(self) -> None:
        """(1) to (5)."""
        rows = {row["id"]: row for row in self.disk.rows("SELECT * FROM charge")}
        self._check_processors(rows)
        held = {row["charge_id"]: row for row in self.disk.rows(_BOOKED)}
        for row in rows.values():
            self._check_row(row, held.get(row["id"]))
        if [row for row in self.disk.rows("SELECT sum(amount_minor) AS total FROM ledger_posting") if row["total"]]:
            raise Broken("(4) the books do not sum to zero")

    def _check_processors(self, rows: dict[str, Any]) -> None:
        taking: Counter[str] = Counter()
        for processor in self.outside:
            for account in processor.accounts.values():
                if account.reference not in rows:
                    raise Broken(f"(3) {processor.name} has a charge that is not on our disk: {account.reference}")
                if not 0 <= account.refunded_minor <= account.captured_minor <= account.amount_minor:
                    raise Broken(f"(2) at {processor.name}: {account}")
                taking[rows[account.reference]["checkout"]] += account.took_money
            if many := [reference for reference, calls in processor.calls.items() if calls > 1]:
                raise Broken(f"(3) sent to {processor.name} more than once: {many}")
        if twice := [order for order, count in taking.items() if count > 1]:
            raise Broken(f"(1) money is taken twice for {twice}")

    def _check_row(self, row: Any, booked: Any) -> None:
        if not 0 <= row["refunded_minor"] + row["refunding_minor"] <= row["captured_minor"] <= row["authorized_minor"]:
            raise Broken(f"(2) {row['id']}: {row}")
        told = self._told.get(row["id"])
        if told is not None and told.state != row["state"] and told.state is not ChargeState.AUTHORIZED:
            raise Broken(f"(5) {row['id']} was told as {told.state} and is {row['state']}")
        if told is not None and row["captured_minor"] < told.captured_minor:
            raise Broken(f"(5) {row['id']}: what was captured is gone")
        kept_minor = row["captured_minor"] - row["refunded_minor"]
        if kept_minor != (booked["kept_minor"] if booked else 0):
            raise Broken(f"(4) {row['id']}: the row keeps {kept_minor}, the books {booked}")

    def _check_at_rest(self) -> None:
        """(6) (7)."""
        for row in self.disk.rows("SELECT * FROM charge"):
            if row["state"] not in FINAL_CHARGE_STATES and row["state"] != ChargeState.AUTHORIZED:
                raise Broken(f"(6) {row['id']} is {row['state']} at rest")
            for processor in self.outside:
                self._check_agreement(row, processor.accounts.get(row["id"]), is_its=processor.name == row["processor"])
        for act in self.disk.rows("SELECT * FROM modification"):
            if act["state"] not in FINAL_MODIFICATION_STATES:
                raise Broken(f"(6) {act['id']}, a {act['kind']}, is {act['state']} at rest")

    @staticmethod
    def _check_agreement(row: Any, account: Account | None, *, is_its: bool) -> None:
        if not is_its:
            if account is not None and account.took_money:
                raise Broken(f"(7) {row['id']} took money at a processor that is not its own")
            return
        ours = (row["captured_minor"], row["refunded_minor"])
        theirs = (account.captured_minor, account.refunded_minor) if account else (0, 0)
        if ours != theirs:
            raise Broken(f"(7) {row['id']}: captured and refunded {ours} here, {theirs} there")
        if account is None and row["state"] != ChargeState.FAILED:
            raise Broken(f"(7) {row['id']} is {row['state']}, and the processor never had it")
        holds = account is not None and account.outcome is Outcome.AUTHORIZED
        if holds and row["state"] != ChargeState.AUTHORIZED and row["attention"] is None:
            raise Broken(f"(7) {row['id']} is {row['state']}, and the processor holds money for it")


class Died(Exception):
    """The process that was asked died; its caller knows nothing."""


class _Letters:
    """Randomness for ids, of the history's own."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def token_hex(self, count: int) -> str:
        """As secrets.token_hex."""
        return self._rng.randbytes(count).hex()
