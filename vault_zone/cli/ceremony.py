"""``vault-zone ceremony``: the root key, given out in shares to custodians who each see their own alone (PCI DSS 3.7.6, 3.7.8).

What holds:
 1. Nothing is made before the record can be written, and no share is shown again once its custodian has gone on.
 2. A share is shown to its custodian alone: the screen is cleared before and after.
 3. Each custodian types back some of the words, so that what was written down is right, and acknowledges the duty.
 4. The root key comes into force only when every custodian has done so; a ceremony broken off leaves nothing behind.
 5. ``reshare`` needs enough of the present shares; the root key they open is replaced, so that they open nothing afterwards.
"""

import argparse
import asyncio
import getpass
import os
import secrets
import sys
from pathlib import Path

from audit.event import Event, EventType
from audit.transaction import Database
from tokenization.clock import now_milliseconds
from vault_zone.cli.refused import CommandRefused
from vault_zone.hazmat.ceremony import NewRoot, refuse_if_keys_exist
from vault_zone.hazmat.local import LocalKeys
from vault_zone.hazmat.provider import KeyUnavailable
from vault_zone.hazmat.shares import ShareFault, ShareRefused
from vault_zone.identity import Identity
from vault_zone.key_rows import ORIGIN
from vault_zone.migrations import upgrade
from vault_zone.roles import Kind
from vault_zone.settings import DEVELOPMENT

WORDS_ASKED = 3
TRIES = 3
ACCEPT = "I ACCEPT"
_CLEAR = "\x1b[2J\x1b[3J\x1b[H"
_FAULTS = {
    ShareFault.MISTYPED: "these are not the words of a share, or one is mistyped: check each, and their order",
    ShareFault.FOREIGN: "this share is of another ceremony",
    ShareFault.REPEATED: "this share was given already: the next custodian's is needed",
    ShareFault.WRONG_TOGETHER: "these shares together open nothing: begin again",
    ShareFault.NOT_SEALED: "no share is needed",
}


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    ceremony = commands.add_parser(
        "ceremony", help="make the root key and give it out in shares, or give out new shares"
    )
    ceremony.add_argument("what", nargs="?", choices=["new", "reshare"], default="new")
    ceremony.add_argument("--data", type=Path, required=True, metavar="DIR", help="the zone's data directory")
    ceremony.add_argument("--database-url", help="postgresql://… (default: SQLite in the data directory)")
    ceremony.add_argument("--shares", type=int, default=3, help="how many custodians get a share (default: 3)")
    ceremony.add_argument("--threshold", type=int, default=2, help="how many have to act together (default: 2)")
    ceremony.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if not 2 <= arguments.threshold <= arguments.shares <= 16:
        raise CommandRefused(
            "two custodians at least have to act together, of sixteen at most: 2 <= threshold <= shares <= 16"
        )
    environment = os.environ.get("CORDON_ENVIRONMENT", DEVELOPMENT)
    url = (
        arguments.database_url
        or os.environ.get("CORDON_DATABASE_URL")
        or f"sqlite:///{arguments.data / 'zone.sqlite3'}"
    )
    if not (arguments.data / "keys").is_dir():
        raise CommandRefused(f"{arguments.data} holds no zone: run `vault-zone init --data {arguments.data}` first")
    hold = _hold_first if arguments.what == "new" else _hold_again
    return asyncio.run(hold(arguments, arguments.data / "keys", environment, url))


async def _hold_first(arguments: argparse.Namespace, keys: Path, environment: str, url: str) -> int:
    refuse_if_keys_exist(keys, environment)
    database = await _record_of(url)  # (1)
    try:
        new = NewRoot.make(environment=environment, threshold=arguments.threshold, shares=arguments.shares)
        _say(
            f"Key ceremony for {arguments.data}, {environment}: {new.threshold} of {len(new.shares)} shares open the zone.\n\n"
        )
        custodians = await _give_out(database, new)
        await _note_held(database, new, custodians, environment, "first")
        new.install(keys)  # (4)
    finally:
        await database.close()
    _say(
        f"The root key {new.root_id} is in force. The zone starts sealed; each of {new.threshold} custodians opens it with\n"
        "  vault-zone unseal --zone https://… --as DIR/NAME\n"
    )
    return 0


async def _hold_again(arguments: argparse.Namespace, keys: Path, environment: str, url: str) -> int:
    provider = LocalKeys.open(keys, environment)
    database = await _record_of(url)
    try:
        _open_with_present_shares(provider)  # (5)
        new = NewRoot.make(environment=environment, threshold=arguments.threshold, shares=arguments.shares)
        custodians = await _give_out(database, new)
        await _note_held(database, new, custodians, environment, "reshare")
        try:
            provider.reseal(*new.for_reseal())
        except KeyUnavailable:
            raise CommandRefused("the keystore could not be written: the present shares are still the ones") from None
    finally:
        provider.close()
        await database.close()
    _say(
        f"The root key {new.root_id} is in force; the shares from before open nothing. A running zone is sealed now.\n"
    )
    return 0


def _open_with_present_shares(provider: LocalKeys) -> None:
    if not provider.is_sealed:
        raise CommandRefused(
            "this keystore is opened by a development root key, not by shares: hold the first ceremony"
        )
    while provider.is_sealed:
        progress = provider.progress()
        share = _ask_unseen(f"Present share {progress.given + 1} of {progress.needed} (not shown): ")
        try:
            provider.unseal(share)
        except ShareRefused as refused:
            if refused.fault is ShareFault.WRONG_TOGETHER or not sys.stdin.isatty():
                raise CommandRefused(_FAULTS[refused.fault]) from None
            _say(f"  {_FAULTS[refused.fault]}\n")


async def _give_out(database: Database, new: NewRoot) -> list[str]:
    """Shows each custodian the own share, and has it checked and acknowledged; returns their names."""
    names: list[str] = []
    for number, share in enumerate(new.shares, 1):
        name = _ask_name(number, len(new.shares), names)
        words = share.split()
        _show(name, words)
        _check(name, words)
        _acknowledge(name, new.threshold)
        names.append(name)
        await _record(database, EventType.CUSTODIAN_ACKNOWLEDGED, new.root_id, f"custodian:{name}", {"custodian": name})
        _clear()
        _say(f"{name} has share {number} of {len(new.shares)}.\n\n")
    return names


def _ask_name(number: int, total: int, taken: list[str]) -> str:
    while True:
        name = _ask(f"Custodian {number} of {total}, your name as in your certificate (letters, digits, dashes): ")
        if name not in taken and _is_name(name):
            return name
        _say("  a name of its own for each custodian, in small letters\n")
        _only_at_a_terminal("the custodians' names are not usable")


def _is_name(name: str) -> bool:
    try:
        Identity.parse(f"{Kind.CUSTODIAN}:{name}")
    except ValueError:
        return False
    return True


def _show(name: str, words: list[str]) -> None:
    """(2)"""
    _say(f"{name}: only you may see the screen now. The others turn away.\n")
    _ask("Press Enter to see your share. ")
    _clear()
    for row in range(0, len(words), 3):
        _say(
            "  "
            + "".join(f"{place + 1:>2}. {words[place]:<12}" for place in range(row, min(row + 3, len(words))))
            + "\n"
        )
    _say("\nWrite the words down by hand, with their numbers. They are not shown again, and not kept here.\n")
    _ask("Press Enter when that is done; the screen is cleared. ")
    _clear()


def _check(name: str, words: list[str]) -> None:
    """(3)"""
    left = TRIES
    while True:
        places = sorted(secrets.SystemRandom().sample(range(len(words)), WORDS_ASKED))
        if all(_ask(f"{name}, word {place + 1}: ").lower() == words[place] for place in places):
            return
        left -= 1
        if not left:
            raise CommandRefused("the words do not match: nothing is in force; begin again")  # (4)
        _say("  that is not the word. Look at what you wrote down.\n")


def _acknowledge(name: str, threshold: int) -> None:
    _say(
        f"\n{name}: you keep this share secret, apart from the other shares and from this machine;\n"
        f"you tell at once if it is lost or seen;\n"
        f"you act only together with {threshold - 1} other custodian{'' if threshold == 2 else 's'} at least.\n"
    )
    if _ask(f"Type {ACCEPT} to acknowledge this: ") != ACCEPT:
        raise CommandRefused("not acknowledged: nothing is in force; begin again")  # (4)


async def _record_of(url: str) -> Database:
    database = Database.open(url, now_milliseconds)
    await database.migrate(upgrade)
    return database


async def _note_held(database: Database, new: NewRoot, custodians: list[str], environment: str, reason: str) -> None:
    data: dict[str, str | int | bool] = {"shares": len(new.shares), "threshold": new.threshold}
    data |= {"environment": environment, "reason": reason}
    await _record(database, EventType.CEREMONY_HELD, new.root_id, f"custodian:{custodians[0]}", data)


async def _record(
    database: Database, kind: EventType, root_id: str, actor: str, data: dict[str, str | int | bool]
) -> None:
    event = Event(
        type=kind, outcome="success", actor=actor, origin=ORIGIN, resource=root_id, data={**data, "key": root_id}
    )
    await database.change(lambda tx: tx.record(event))


def _ask(prompt: str) -> str:
    _say(prompt)
    line = sys.stdin.readline()
    if not line:
        raise CommandRefused("the input ended: nothing is in force; begin again")
    return line.strip()


def _ask_unseen(prompt: str) -> str:
    return getpass.getpass(prompt) if sys.stdin.isatty() else _ask(prompt)


def _only_at_a_terminal(problem: str) -> None:
    if not sys.stdin.isatty():
        raise CommandRefused(problem)


def _clear() -> None:
    _say(_CLEAR if sys.stdout.isatty() else "\n")


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
