"""``vault-zone``: sets up, runs and looks after the zone."""

import argparse
import asyncio
import os
import secrets
import sys
from pathlib import Path

import structlog

from audit.note import Signer
from audit.sequencer import SequencerRunning
from tokenization import logs
from tokenization.clock import as_datetime, now_milliseconds
from tokenization.ids import new_id, new_secret
from vault_zone.hazmat.keys import KeyRefused, LocalKeys
from vault_zone.hazmat.pki import create_authority, issue_identity
from vault_zone.hazmat.process import harden_process
from vault_zone.settings import DEVELOPMENT, SettingsRefused, ZoneSettings


def main(argv: list[str] | None = None) -> int:
    """Runs one command. Returns 0 when done, 1 when refused, 2 for a call that cannot be understood."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["sandbox-processor"]:  # has a command line of its own
        from vault_zone.processors.sandbox_server.serve import serve as serve_sandbox

        return serve_sandbox(arguments[1:])
    parsed = _parser().parse_args(arguments)
    structlog.configure(processors=list(logs.PROCESSORS), logger_factory=structlog.stdlib.LoggerFactory())
    logs.install()
    command: dict[str, object] = {"init": _init, "identity": _identity, "serve": _serve}
    run = command[parsed.command]
    try:
        return run(parsed)  # type: ignore[operator,no-any-return]
    except (KeyRefused, SettingsRefused, SequencerRunning) as refused:
        problems = (
            refused.problems if isinstance(refused, SettingsRefused) else [str(refused) or type(refused).__name__]
        )
        for problem in problems:
            sys.stderr.write(f"vault-zone: {problem}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vault-zone", description="Cordon's cardholder-data environment.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    init = commands.add_parser("init", help="make keys, certificates and the log for a new zone")
    init.add_argument("--data", type=Path, required=True, metavar="DIR")
    identity = commands.add_parser("identity", help="issue a client certificate for a service that may call the zone")
    identity.add_argument("service", help="the service's name, for example commerce")
    identity.add_argument("--data", type=Path, required=True, metavar="DIR", help="the zone's data directory")
    identity.add_argument("--out", type=Path, required=True, metavar="DIR", help="where its key and certificate go")
    identity.add_argument("--host", action="append", default=[], help="a name or address it listens on, if it does")
    serve = commands.add_parser("serve", help="run the zone")
    serve.add_argument("--data", type=Path, required=True, metavar="DIR")
    serve.add_argument("--database-url", help="postgresql://… (default: SQLite in the data directory)")
    serve.add_argument("--capture-host", default="127.0.0.1")
    serve.add_argument("--capture-port", type=int, default=8701)
    serve.add_argument("--capture-url", help="the address under which shoppers reach the card page")
    serve.add_argument("--internal-host", default="127.0.0.1")
    serve.add_argument("--internal-port", type=int, default=8702)
    serve.add_argument("--processor-url", required=True)
    serve.add_argument("--charge-timeout-seconds", type=float, default=10.0)
    commands.add_parser("sandbox-processor", help="run the sandbox card processor (its own --help)")
    return parser


def _init(arguments: argparse.Namespace) -> int:
    data: Path = arguments.data
    environment = os.environ.get("CORDON_ENVIRONMENT", DEVELOPMENT)
    keys, now = data / "keys", as_datetime(now_milliseconds())
    LocalKeys.create(keys / "root.key", environment=environment, key_id=new_id("root"))
    Signer.create(keys / "log.key", f"cordon/vault_zone/{new_id('log')}", data / "log")
    _write_secret(keys / "processor-api.key", new_secret("sbk"))
    _write_secret(keys / "processor-webhook.key", secrets.token_hex(32))
    create_authority(data / "authority", now)
    issue_identity(data / "authority", data / "tls", "zone", now, hosts=("127.0.0.1", "::1", "localhost"))
    sys.stdout.write(f"zone made in {data} for {environment}: keys, log, certificate authority\n")
    return 0


def _identity(arguments: argparse.Namespace) -> int:
    now = as_datetime(now_milliseconds())
    issue_identity(arguments.data / "authority", arguments.out, arguments.service, now, hosts=tuple(arguments.host))
    sys.stdout.write(f"identity of {arguments.service} issued to {arguments.out}\n")
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    settings = ZoneSettings.read(
        data=arguments.data,
        database_url=arguments.database_url or os.environ.get("CORDON_DATABASE_URL"),
        capture_host=arguments.capture_host,
        capture_port=arguments.capture_port,
        capture_url=arguments.capture_url,
        internal_host=arguments.internal_host,
        internal_port=arguments.internal_port,
        processor_url=arguments.processor_url,
        charge_timeout_seconds=arguments.charge_timeout_seconds,
    )
    harden_process()
    from vault_zone.serve import serve

    asyncio.run(serve(settings))
    return 0


def _write_secret(path: Path, secret: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret + "\n")


if __name__ == "__main__":
    sys.exit(main())
