"""The commerce side's settings: frozen, read once at start, no default for a secret (I9). Secrets are files."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tokenization.addresses import Network

# As the pages' policy can name it: https, or http on this very machine.
_ORIGIN = re.compile(r"https://[a-z0-9.-]+(:[0-9]+)?|http://(127\.0\.0\.1|localhost)(:[0-9]+)?")
_SMTP = re.compile(r"smtps?://[^\s/]+/[^\s/]+@[^\s/]+")
SMTP_FILE = "smtp.url"
DEVELOPMENT = "development"
PRODUCTION = "production"


class SettingsRefused(Exception):
    """The process must not start like this. Holds one line for each thing to mend."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class CommerceSettings:
    """Where commerce listens, what it stores where, and how it reaches the zone."""

    data: Path
    environment: str
    database_url: str
    host: str
    port: int
    public_url: str
    mcp_url: str | None
    zone_url: str
    capture_url: str
    smtp_url: str | None = field(default=None, repr=False)  # holds a password
    trusted_proxies: tuple[Network, ...] = ()  # whose word on a shopper's address counts

    @property
    def is_https(self) -> bool:
        """Whether shoppers reach the checkout pages over TLS."""
        return self.public_url.startswith("https://")

    @property
    def offer_key_file(self) -> Path:
        """The key that signs offer snapshots."""
        return self.data / "keys" / "offer.key"

    @property
    def agent_key_file(self) -> Path:
        """The secret that brands' agent keys are derived from."""
        return self.data / "keys" / "agent.key"

    @property
    def mcp_state_key_file(self) -> Path:
        """The key that seals what MCP clients carry between two halves of a call; the same for every process."""
        return self.data / "keys" / "mcp-state.key"

    @property
    def oauth_keys(self) -> Path:
        """The directory of the keys that sign access tokens; see commerce_api/authorization/keys.py."""
        return self.data / "keys" / "oauth"

    @property
    def outbox(self) -> Path:
        """Where mail goes in development: one JSON line for each."""
        return self.data / "logs" / "outbox.jsonl"

    @property
    def can_mail(self) -> bool:
        """Whether a shopper can be sent a sign-in code."""
        return self.environment == DEVELOPMENT or self.smtp_url is not None

    @property
    def models_file(self) -> Path:
        """Which language models there are (offer_engine/models/specs.py). Without it templates say everything."""
        return self.data / "models.json"

    @property
    def log_key_file(self) -> Path:
        """The private key that signs the audit log's checkpoints."""
        return self.data / "keys" / "log.key"

    @property
    def log_directory(self) -> Path:
        """The audit log's tiles and checkpoint."""
        return self.data / "log"

    @property
    def tls(self) -> Path:
        """This side's client certificate for the zone, and the zone's authority."""
        return self.data / "tls"

    @classmethod
    def read(
        cls,
        *,
        data: Path,
        database_url: str | None,
        host: str,
        port: int,
        public_url: str | None,
        mcp_url: str | None,
        zone_url: str,
        capture_url: str,
        trusted_proxies: tuple[Network, ...] = (),
        environ: Mapping[str, str] = os.environ,
    ) -> "CommerceSettings":
        """Checks everything before anything starts. Raises SettingsRefused with every problem at once."""
        environment = environ.get("CORDON_ENVIRONMENT", DEVELOPMENT)
        problems = []
        if environment not in (DEVELOPMENT, PRODUCTION):
            problems.append("CORDON_ENVIRONMENT must be development or production")
        shown_url = (public_url or f"http://{host}:{port}").rstrip("/")
        if environment == PRODUCTION and not shown_url.startswith("https://"):
            problems.append("--public-url must be the https:// address under which shoppers reach the checkout page")
        if environment == PRODUCTION and not (database_url or "").startswith("postgresql"):
            problems.append("--database-url must name a PostgreSQL database in production")
        if not _ORIGIN.fullmatch(capture_url.rstrip("/")):
            problems.append("--capture-url must be the bare https:// address of the card page, without a path")
        if not zone_url.startswith("https://"):
            problems.append("--zone-url must start with https://: the zone speaks mutual TLS only")
        from commerce_api.authorization.issuers import AuthorizationRefused, load_authorization  # commands start sooner

        try:
            load_authorization(data, production=environment == PRODUCTION)
        except AuthorizationRefused as refused:
            problems += refused.problems
        smtp_file = data / "keys" / SMTP_FILE
        smtp_url = smtp_file.read_text(encoding="utf-8").strip() if smtp_file.is_file() else None
        if smtp_url is not None and not _SMTP.fullmatch(smtp_url):
            problems.append(f"{smtp_file} must hold smtps://USER:PASSWORD@HOST/SENDER, or smtp:// for STARTTLS")
        settings = cls(
            data=data,
            environment=environment,
            database_url=database_url or sqlite_url(data),
            host=host,
            port=port,
            public_url=shown_url,
            mcp_url=mcp_url.rstrip("/") if mcp_url else None,
            zone_url=zone_url,
            capture_url=capture_url.rstrip("/"),
            smtp_url=smtp_url,
            trusted_proxies=trusted_proxies,
        )
        problems += models_problems(settings.models_file)
        needed = (
            settings.offer_key_file,
            settings.agent_key_file,
            settings.mcp_state_key_file,
            settings.log_key_file,
            settings.tls / "commerce.crt",
        )
        problems += [
            f"{path} is missing: run `cordon up`, or `cordon init --data {data}`"
            for path in needed
            if not path.is_file()
        ]
        if problems:
            raise SettingsRefused(problems)
        return settings


def models_problems(path: Path) -> list[str]:
    """What is to mend in a file of models and the keys that it names; nothing where there is no file."""
    if not path.exists():
        return []
    from offer_engine.models.specs import SpecsInvalid, load_specs, read_key

    remedy = "mend it (docs/models.md), or take it away to have offers said by templates"
    try:
        specs = load_specs(path)
    except SpecsInvalid as invalid:
        return [f"{path} cannot be used: {invalid}; {remedy}"]
    except OSError:
        return [f"{path} cannot be read; {remedy}"]
    keys = dict.fromkeys(spec.key_file for spec in specs if spec.key_file is not None)
    return [
        f"{key} must hold a model's key and be its owner's alone: write it and `chmod 600` it"
        for key in keys
        if read_key(key) is None
    ]


def sqlite_url(data: Path) -> str:
    """The default database of a commerce data directory."""
    return f"sqlite:///{data / 'commerce.sqlite3'}"
