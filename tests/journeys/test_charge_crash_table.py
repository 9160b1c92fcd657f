"""kill -9 to the charge engine at every moment between its writes and its calls, against a real sandbox processor.

Each act (a charge, a capture, a void, a refund) runs in a process of its own, once to its end, and once for each moment that it
passes by, dying there. Then the zone starts again, dies at each of the first moments of its recovery too, and at last recovers.
After that the processor's own list, our rows and the books say the same, each act took effect at most once, and nothing is
left without an end.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.engine import Connection

from audit.transaction import Database
from commerce_api.cli.ports import free_port
from tests.journeys.running import ROOT, wait_for
from tokenization.clock import now_milliseconds
from tokenization.ids import new_id
from vault_zone.ledger.verifying import verify
from vault_zone.migrations import upgrade
from vault_zone.models import charge, ledger_charge, modification

pytestmark = pytest.mark.anyio
API_KEY = "sbx-test-key-for-tests-only"
KILLED = -9
INTENT = ["before a transaction", "within a transaction", "after a commit"]
CALL = ["before a call", "sent", "after a call"]
MOMENTS = [*INTENT, *CALL, *INTENT]  # of every act: the outcome's commit is passed by as the intent's
IS_BEGUN, IS_SENT = MOMENTS.index("after a commit") + 1, MOMENTS.index("sent") + 1  # from these numbers on
# Where the zone dies again while it recovers: beside its first commits, with a question on the way, and beside the outcome's.
RECOVERY_DEATHS = (
    (2, "within a transaction"),
    (6, "after a commit"),
    (13, "sent"),
    (3, "within a transaction"),
    (4, "after a commit"),
)
ENDED = {"succeeded", "authorized", "failed", "voided"}


@dataclass
class Sandbox:
    """The processor's process, and its own account of what happened."""

    url: str

    def listed(self, what: str) -> list[dict[str, Any]]:
        """Every charge, or every modification, there is."""
        answer = httpx.get(
            f"{self.url}/sandbox/{what}", headers={"authorization": f"Bearer {API_KEY}"}, trust_env=False, timeout=30
        )
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()[what]
        return found

    def answers(self) -> bool:
        """Whether it listens."""
        try:
            return httpx.get(f"{self.url}/health", trust_env=False, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One sandbox for all the dying."""
    directory, port = tmp_path_factory.mktemp("sandbox"), free_port()
    for name in ("api", "webhook"):
        (directory / f"{name}.key").write_text(API_KEY, encoding="utf-8")
    command = [sys.executable, "-m", "vault_zone.processors.sandbox_server", "--port", str(port)]
    command += ["--data", str(directory / "data"), "--api-key-file", str(directory / "api.key")]
    command += ["--webhook-url", "http://127.0.0.1:9/", "--webhook-secret-file", str(directory / "webhook.key")]
    process = subprocess.Popen([*command, "--log", str(directory / "log")], cwd=ROOT)
    try:
        made = Sandbox(f"http://127.0.0.1:{port}")
        wait_for(made.answers, "the sandbox did not start")
        yield made
    finally:
        process.kill()
        process.wait()


@dataclass
class Act:
    """An act, and the keys under which it is asked for."""

    name: str
    payment: str
    checkout: str
    request: str


@dataclass
class Driver:
    """The warm parent, and what its children work on."""

    process: "subprocess.Popen[str]"
    places: dict[str, str]

    def run(self, *acts: Act, dies_at: int = 0) -> tuple[int, list[str]]:
        """Acts in a process of their own: how it ended, and the moments it passed by."""
        if self.process.stdin is None or self.process.stdout is None:
            raise AssertionError("the driver has pipes")
        named = [
            {"act": act.name, "payment": act.payment, "checkout": act.checkout, "request": act.request} for act in acts
        ]
        self.process.stdin.write(json.dumps({"acts": named, **self.places, "dies_at": dies_at}) + "\n")
        self.process.stdin.flush()
        done = json.loads(self.process.stdout.readline())
        return done["ended"], done["moments"]


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Driver]:
    """The warm parent, with a zone's keys."""
    data = tmp_path_factory.mktemp("driven") / "zone"
    subprocess.run([sys.executable, "-m", "vault_zone", "init", "--data", str(data)], check=True, cwd=ROOT)
    places = {"keys": str(data / "keys"), "processor": sandbox.url, "api_key": API_KEY}
    command = [sys.executable, "-m", "tests.journeys.crash_driver"]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        yield Driver(process, places)


@pytest.fixture
def driver(warm: Driver, database_url: str) -> Driver:
    """The same over a fresh database of each kind."""
    return Driver(warm.process, {**warm.places, "database": database_url})


def an_act(name: str) -> Act:
    """An act under keys of its own."""
    return Act(name, new_id("pay"), new_id("chk"), new_id("req"))


def row_of(connection: Connection, act: Act) -> Any:
    """The row of the act itself, or None."""
    if act.name == "charge":
        return connection.execute(select(charge).where(charge.c.payment == act.payment)).first()
    return connection.execute(select(modification).where(modification.c.request == act.request)).first()


async def states(database: Database, acts: list[Act]) -> list[str | None]:
    """Where each act stands; None where it was never begun."""
    rows = await database.read(lambda connection: [row_of(connection, act) for act in acts])
    return [None if row is None else row.state for row in rows]


async def everything_agrees(database: Database, sandbox: Sandbox) -> None:
    """The processor's list, our rows and the books say the same, and nothing is without an end."""

    def rows(connection: Connection) -> tuple[list[Any], list[Any], list[Any]]:
        return tuple(list(connection.execute(select(table))) for table in (charge, modification, ledger_charge))  # type: ignore[return-value]

    charges, acts, books = await database.read(rows)
    assert {row.state for row in (*charges, *acts)} <= ENDED
    assert not [row for row in (*charges, *acts) if row.attention]
    theirs = [one for one in sandbox.listed("charges") if one["reference"] in {row.id for row in charges}]
    took = {row.id: row for row in charges if row.state != "failed"}
    assert Counter(one["reference"] for one in theirs) == Counter(took.keys())  # each once, and no other
    for one in theirs:
        row = took[one["reference"]]
        told = (one["captured_minor"], one["refunded_minor"], one["status"])
        assert told == (row.captured_minor, row.refunded_minor, row.state)
    effects = Counter(one["reference"] for one in sandbox.listed("modifications") if one["charge_reference"] in took)
    assert effects == Counter(row.id for row in acts if row.state == "succeeded")
    assert not any(row.capturing_minor or row.refunding_minor for row in charges)
    held = {
        row.id: (
            0 if row.is_closed else row.authorized_minor - row.captured_minor,
            row.captured_minor - row.refunded_minor,
        )
        for row in took.values()
    }
    assert {row.charge_id: (row.held_minor, row.kept_minor) for row in books} == held
    verified = await verify(database)
    assert not verified.findings
    assert verified.sealed == verified.entries


@pytest.mark.parametrize("name", ["charge", "capture", "void", "refund"])
async def test_whatever_moment_it_is_killed_at_every_act_is_accounted_for(
    name: str, driver: Driver, database_url: str, sandbox: Sandbox
) -> None:
    database = Database.open(database_url, now_milliseconds)
    await database.migrate(upgrade)
    assert driver.run(an_act(name)) == (0, MOMENTS)
    acts = [an_act(name) for _ in MOMENTS]
    for number, act in enumerate(acts, 1):
        assert driver.run(act, dies_at=number) == (KILLED, MOMENTS[:number])
    sent = await database.read(lambda connection: row_of(connection, acts[IS_SENT - 1]).id)

    def has_arrived() -> bool:  # the recovery's clock is ahead of the request that is still on its way
        what = "charges" if name == "charge" else "modifications"
        return sent in {one["reference"] for one in sandbox.listed(what)}

    wait_for(has_arrived, "the request that was sent did not arrive")
    for number, moment in RECOVERY_DEATHS:
        ended, moments = driver.run(an_act("recover"), dies_at=number)
        assert (ended, moments[-1]) == (KILLED, moment)
    assert driver.run(an_act("recover"))[0] == 0
    await everything_agrees(database, sandbox)
    expected = [
        *[None] * (IS_BEGUN - 1),
        *["failed"] * (IS_SENT - IS_BEGUN),
        *["succeeded"] * (len(MOMENTS) - IS_SENT + 1),
    ]
    assert await states(database, acts) == expected

    # Asked again under its key, what was begun stays as it is; what was never begun is done now.
    assert driver.run(*acts, an_act("recover"))[0] == 0  # and sealed
    await everything_agrees(database, sandbox)
    assert await states(database, acts) == [state or "succeeded" for state in expected]
    await database.close()
