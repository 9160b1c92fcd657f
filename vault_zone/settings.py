"""The zone's settings: frozen, read once at start, no default for a secret (I9). Secrets are files, never arguments."""

import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DEVELOPMENT = "development"
PRODUCTION = "production"
PROCESSORS_FILE = "processors.json"


class SettingsRefused(Exception):
    """The process must not start like this. Holds one line for each thing to mend."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class ZoneSettings:
    """Where the zone listens, what it stores where, and whom it charges through."""

    data: Path
    environment: str
    database_url: str
    capture_host: str
    capture_port: int
    capture_url: str
    internal_host: str
    internal_port: int
    processor_url: str | None  # the sandbox's, in development
    charge_timeout_seconds: float
    notices_url: str | None = None
    trusted_proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    @property
    def is_https(self) -> bool:
        """Whether shoppers reach the card page over TLS."""
        return self.capture_url.startswith("https://")

    @property
    def keys(self) -> Path:
        """The key provider's directory: which one it is, its keystore, the files with its secrets."""
        return self.data / "keys"

    @property
    def log_key_file(self) -> Path:
        """The private key that signs the audit log's checkpoints."""
        return self.keys / "log.key"

    @property
    def forward_directory(self) -> Path:
        """The signed list of forward destinations, the key it is signed by, and the secrets and authorities it names."""
        return self.data / "forward"

    @property
    def log_directory(self) -> Path:
        """The audit log's tiles and checkpoint."""
        return self.data / "log"

    @property
    def tls(self) -> Path:
        """The authority's certificate and the zone's own identity."""
        return self.data / "tls"

    @property
    def notices_authority_file(self) -> Path | None:
        """Whose certificate commerce shows, where it is not one that everybody trusts."""
        path = self.tls / "notices-ca.crt"
        return path if path.is_file() else None

    @classmethod
    def read(
        cls,
        *,
        data: Path,
        database_url: str | None,
        capture_host: str,
        capture_port: int,
        capture_url: str | None,
        internal_host: str,
        internal_port: int,
        processor_url: str | None,
        charge_timeout_seconds: float,
        notices_url: str | None = None,
        trusted_proxies: Sequence[str] = (),
        environ: Mapping[str, str] = os.environ,
    ) -> "ZoneSettings":
        """Checks everything before anything starts. Raises SettingsRefused with every problem at once."""
        environment = environ.get("CORDON_ENVIRONMENT", DEVELOPMENT)
        problems: list[str] = []
        if environment not in (DEVELOPMENT, PRODUCTION):
            problems.append("CORDON_ENVIRONMENT must be development or production")
        shown_url = capture_url or f"http://{capture_host}:{capture_port}"
        if environment == PRODUCTION and not shown_url.startswith("https://"):
            problems.append("--capture-url must be the https:// address under which shoppers reach the card page")
        problems += _processor_problems(data, environment, processor_url)
        if environment == PRODUCTION and not (database_url or "").startswith("postgresql"):
            problems.append("--database-url must name a PostgreSQL database in production")
        if notices_url is not None and not notices_url.startswith(
            "https://" if environment == PRODUCTION else ("https://", "http://")
        ):
            problems.append("--notices-url must be commerce's https:// address, with its path /zone/notices")
        settings = cls(
            data=data,
            environment=environment,
            database_url=database_url or f"sqlite:///{data / 'zone.sqlite3'}",
            capture_host=capture_host,
            capture_port=capture_port,
            capture_url=shown_url.rstrip("/"),
            internal_host=internal_host,
            internal_port=internal_port,
            processor_url=processor_url,
            charge_timeout_seconds=charge_timeout_seconds,
            notices_url=notices_url,
            trusted_proxies=_networks(trusted_proxies, problems),
        )
        needed = (
            settings.log_key_file,
            settings.tls / "zone.crt",
            settings.tls / "access.json",
        )
        init = f"run `vault-zone init --data {data}` first"
        problems += [f"{path} is missing: {init}" for path in needed if not path.is_file()]
        if problems:
            raise SettingsRefused(problems)
        return settings


def _processor_problems(data: Path, environment: str, processor_url: str | None) -> list[str]:
    """Whom the zone charges through: processors.json, which production needs, or the sandbox at an address."""
    path = data / PROCESSORS_FILE
    if environment == PRODUCTION and processor_url is not None:
        return [f"--processor-url is the sandbox's address: leave it out, production charges through {path}"]
    if not path.exists() and (environment == PRODUCTION or processor_url is None):
        sandbox = "" if environment == PRODUCTION else ", or give the sandbox's address as --processor-url"
        return [f"{path} is missing: name the processors in it (docs/connectors.md){sandbox}"]
    return []


def _networks(texts: Sequence[str], problems: list[str]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """Addresses and networks in CIDR notation; a problem for each that cannot be read or is everybody."""
    networks = []
    for text in texts:
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            problems.append("--trusted-proxy must be an address or a network, such as 10.0.0.7 or 10.0.0.0/24")
            continue
        if network.prefixlen == 0:
            problems.append("--trusted-proxy must not trust every address there is: name the proxy's own")
        networks.append(network)
    return tuple(networks)
