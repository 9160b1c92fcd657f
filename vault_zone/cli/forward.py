"""``vault-zone forward``: the list of destinations that cards may be forwarded to, and the key that signs it."""

import argparse
import sys
from pathlib import Path

from vault_zone.cli.refused import CommandRefused
from vault_zone.forward.allowlist import (
    LIST_FILE,
    PUBLIC_KEY_FILE,
    SIGNATURE_FILE,
    SIGNATURE_PURPOSE,
    AllowList,
    AllowListRefused,
    SignedList,
    parse_list,
)
from vault_zone.hazmat.signing import SigningKeyRefused, create_signing_key, sign_file


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the group's commands."""
    group = commands.add_parser("forward", help="where cards may be forwarded to")
    acts = group.add_subparsers(dest="act", required=True, metavar="ACT")
    key = acts.add_parser("key", help="make the key that signs the list; keep it outside the zone")
    key.add_argument("--out", type=Path, required=True, metavar="FILE", help="the private key, outside the zone's data")
    key.add_argument("--pin", type=Path, required=True, metavar="DIR", help="the zone's forward directory")
    key.set_defaults(run=_key)
    sign = acts.add_parser("sign", help="check a list and sign it")
    sign.add_argument("--key", type=Path, required=True, metavar="FILE")
    sign.add_argument("--list", type=Path, required=True, metavar="FILE", help=f"the list, {LIST_FILE}")
    sign.set_defaults(run=_sign)
    for name, run, text in (
        ("check", _check, "say whether the zone would use its list"),
        ("list", _list, "show the destinations"),
    ):
        act = acts.add_parser(name, help=text)
        act.add_argument("--directory", type=Path, required=True, metavar="DIR", help="the zone's forward directory")
        act.set_defaults(run=run)


def _key(arguments: argparse.Namespace) -> int:
    out, pin = arguments.out, arguments.pin
    if out.resolve().is_relative_to(pin.resolve().parent):
        raise CommandRefused("--out lies in the zone's data: who has the zone must not be able to sign its list")
    if (pin / PUBLIC_KEY_FILE).exists():
        raise CommandRefused(
            f"{pin / PUBLIC_KEY_FILE} is there already: another key replaces it by a person's hand only"
        )
    try:
        public = create_signing_key(out)
    except FileExistsError:
        raise CommandRefused(f"{out} is there already") from None
    pin.mkdir(parents=True, exist_ok=True, mode=0o700)
    (pin / PUBLIC_KEY_FILE).write_text(public + "\n", encoding="ascii")
    sys.stdout.write(f"signing key made in {out}, its public half pinned in {pin / PUBLIC_KEY_FILE}\n")
    return 0


def _sign(arguments: argparse.Namespace) -> int:
    content = arguments.list.read_bytes()
    try:
        listed = parse_list(content)
        signature = sign_file(arguments.key, SIGNATURE_PURPOSE, content)
    except AllowListRefused as refused:
        raise CommandRefused(refused.code, *refused.rules) from None
    except SigningKeyRefused as refused:
        raise CommandRefused(str(refused)) from None
    path = arguments.list.with_name(SIGNATURE_FILE)
    path.write_text(signature + "\n", encoding="ascii")
    sys.stdout.write(f"list {listed.serial} signed: {len(listed.destinations)} destination(s), signature in {path}\n")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    listed, digest = _read(arguments.directory)
    sys.stdout.write(f"list {listed.serial} is signed by the pinned key, digest {digest}\n")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    listed, _ = _read(arguments.directory)
    for one in listed.destinations:
        places = ", ".join(f"{placement.holds} at {placement.at}" for placement in one.placeholders)
        money = f"moves money ({one.amount_at}, {one.currency_at})" if one.moves_money else "moves no money"
        sys.stdout.write(
            f"{one.id}: {one.method} https://{one.host}:{one.port}{one.path} {one.body}\n"
            f"  for {', '.join(one.merchants)}; {money}\n"
            f"  fills {places}\n"
            f"  tells {', '.join(('status', *one.response))}\n"
        )
    return 0


def _read(directory: Path) -> tuple[AllowList, str]:
    try:
        return SignedList(directory).read()
    except AllowListRefused as refused:
        raise CommandRefused(f"nothing would be forwarded: {refused.code}", *refused.rules) from None
