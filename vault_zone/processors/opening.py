"""Opens the processors that ``processors.json`` in the zone's data names, the first of them the default.

    {"processors": [
      {"name": "stripe", "kind": "stripe", "api_key_file": "keys/stripe-api.key", "webhook_key_file": "keys/stripe-webhook.key",
       "multiple_captures": false},
      {"name": "adyen", "kind": "adyen", "api_key_file": "keys/adyen-api.key", "webhook_key_file": "keys/adyen-webhook.key",
       "merchant_account": "HarbourPineEU", "live_endpoint_prefix": "0123456789abcdef-HarbourPine"},
      {"name": "sandbox", "kind": "sandbox"}]}

Relative paths start at the zone's data. Without the file, in development alone, there is the sandbox at ``--processor-url``.

What must hold before a card can go to any of them:
 1. Every processor has a name of its own, a kind that is known, and settings of that kind and no others.
 2. No secret stands in the file: each is in a key file that only its owner may read, in the form the processor gives it in.
    What is refused is named by its setting, never by its value: a key written into the wrong place is not told on.
 3. Where the cards go is fixed by the kind. Another address is this machine, in development, for a stand-in.
 4. Production charges no sandbox, and development no live account.
 5. All are live or none is: a card that a live account declined must not come to a test account, which would say it paid.
 6. No two names are one domain of idempotency keys, or the second would answer with what became of the charge at the first.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from vault_zone.hazmat.files import KeyRefused, read_secret_line
from vault_zone.processors.port import Processor
from vault_zone.processors.registry import Processors
from vault_zone.processors.sandbox import SandboxProcessor
from vault_zone.settings import PROCESSORS_FILE, PRODUCTION, SettingsRefused, ZoneSettings

_NAME: Final = re.compile(r"[a-z][a-z_]{0,19}")  # it stands in rows of twenty characters, and in ids that hold no digit
_COMMON: Final = frozenset({"name", "kind", "api_key_file", "webhook_key_file"})
_STRIPE_KEY: Final = re.compile(r"(?:sk|rk)_(test|live)_[A-Za-z0-9_]{8,250}")
_STRIPE_WEBHOOK_KEY: Final = re.compile(r"whsec_[!-~]{8,250}")
_ADYEN_KEY: Final = re.compile(r"[!-~]{16,500}")
_ADYEN_WEBHOOK_KEY: Final = re.compile(r"[0-9A-Fa-f]{64}")
_ADYEN_ACCOUNT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
_ADYEN_PREFIX: Final = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")  # becomes a part of a host's name
_SECRET: Final = re.compile(r"[!-~]{16,500}")


@dataclass(frozen=True, slots=True)
class _Account:
    """A processor that can be opened. ``domain``: within which an idempotency key means one charge."""

    name: str
    is_live: bool
    domain: tuple[str, str] = field(repr=False)
    open: Callable[[], Processor] = field(repr=False)


def open_processors(settings: ZoneSettings) -> Processors:
    """The processors of this zone; none of them is called. Raises SettingsRefused with every problem at once."""
    path = settings.data / PROCESSORS_FILE
    reading = _Reading(settings)
    accounts = reading.accounts(_entries(path) if path.exists() else [{"name": "sandbox", "kind": "sandbox"}])
    if reading.problems:
        raise SettingsRefused(reading.problems)
    return Processors(*(account.open() for account in accounts))


def _entries(path: Path) -> list[Any]:
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise SettingsRefused([f"{path} is not JSON that can be read"]) from None
    entries = written.get("processors") if isinstance(written, dict) and written.keys() == {"processors"} else None
    if not isinstance(entries, list) or not entries:
        raise SettingsRefused([f"{path} must hold an object of processors, a list of at least one"])
    return entries


class _Reading:
    """Reads the entries and gathers what is wrong with them."""

    def __init__(self, settings: ZoneSettings) -> None:
        self._settings = settings
        self._is_production = settings.environment == PRODUCTION
        self._where = str(settings.data / PROCESSORS_FILE)
        self._kinds = {"sandbox": self._sandbox, "stripe": self._stripe, "adyen": self._adyen}
        self.problems: list[str] = []

    def accounts(self, entries: Sequence[Any]) -> list[_Account]:
        accounts = [account for account in map(self._account, entries) if account is not None]
        names = [entry.get("name") for entry in entries if isinstance(entry, dict)]
        if any(isinstance(name, str) and names.count(name) > 1 for name in names):  # (1)
            self._refuse("two processors have the same name: give each its own")
        for account in accounts:
            if account.is_live and not self._is_production:  # (4)
                self._refuse(
                    f"{account.name}: a live account is charged in production only; put a test account's key into its file"
                )
        if self._settings.processor_url is not None and not any(
            isinstance(entry, dict) and entry.get("kind") == "sandbox" for entry in entries
        ):
            self._refuse("no sandbox is named in it: leave out --processor-url, or name it")
        if len({account.is_live for account in accounts}) > 1:  # (5)
            self._refuse("live and test accounts do not go together: take out the ones or the others")
        if len({account.domain for account in accounts}) < len(accounts):  # (6)
            self._refuse("two names are one account (Stripe: one key; Adyen: one company): leave one of them")
        return accounts

    def _account(self, entry: Any) -> _Account | None:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not _NAME.fullmatch(name):  # (1)
            self._refuse("each processor is an object with a name of up to 20 small letters and underscores")
            return None
        kind = entry.get("kind")
        reader = self._kinds.get(kind) if isinstance(kind, str) else None
        if reader is None:
            self._refuse(f"{name}: kind is {', '.join(self._kinds)}")
            return None
        before = len(self.problems)
        account = reader(name, entry)
        return account if len(self.problems) == before else None

    def _sandbox(self, name: str, entry: dict[str, Any]) -> _Account | None:
        self._only(name, entry, "url")
        if self._is_production:  # (4)
            self._refuse(f"{name}: the sandbox is for development: take it out")
            return None
        entry = {"url": self._settings.processor_url, **entry}
        url = self._here(name, entry, "url")
        if url is None and not entry["url"]:
            self._refuse(f"{name}: give --processor-url, or the address as its url")
        api_key = self._secret(name, {"api_key_file": "keys/processor-api.key", **entry}, "api_key_file", _SECRET)
        webhook_key = self._secret(
            name, {"webhook_key_file": "keys/processor-webhook.key", **entry}, "webhook_key_file", _SECRET
        )
        seconds = self._settings.charge_timeout_seconds
        return _Account(
            name,
            is_live=False,
            domain=("sandbox", str(url)),
            open=lambda: SandboxProcessor(
                str(url),
                api_key,
                webhook_key.encode(),
                name=name,
                timeout_seconds=seconds,
                request_lifetime_seconds=seconds * 1.5,
            ),
        )

    def _stripe(self, name: str, entry: dict[str, Any]) -> _Account | None:
        self._only(name, entry, "multiple_captures", "api_base")
        try:
            from vault_zone.processors.stripe_connector import API_BASE, StripeProcessor
        except ImportError:
            self._refuse(_not_installed(name, "stripe"))
            return None
        api_base = self._here(name, entry, "api_base") or API_BASE
        several = entry.get("multiple_captures", False)
        if not isinstance(several, bool):
            self._refuse(f"{name}: multiple_captures is true where Stripe has enabled it for the account, or false")
        api_key = self._secret(name, entry, "api_key_file", _STRIPE_KEY)
        webhook_key = self._secret(name, entry, "webhook_key_file", _STRIPE_WEBHOOK_KEY)
        return _Account(
            name,
            is_live="_live_" in api_key[:8],
            domain=("stripe", api_key),
            open=lambda: StripeProcessor(
                api_key,
                webhook_key,
                name=name,
                api_base=api_base,
                timeout_seconds=self._settings.charge_timeout_seconds,
                has_multiple_captures=several,
            ),
        )

    def _adyen(self, name: str, entry: dict[str, Any]) -> _Account | None:
        self._only(name, entry, "merchant_account", "live_endpoint_prefix", "api_base")
        try:
            from vault_zone.processors.adyen_connector import AdyenProcessor
        except ImportError:
            self._refuse(_not_installed(name, "adyen"))
            return None
        api_base = self._here(name, entry, "api_base")
        prefix = (
            self._text(name, entry, "live_endpoint_prefix", _ADYEN_PREFIX) if "live_endpoint_prefix" in entry else None
        )
        merchant_account = self._text(name, entry, "merchant_account", _ADYEN_ACCOUNT)
        api_key = self._secret(name, entry, "api_key_file", _ADYEN_KEY)
        webhook_key = self._secret(name, entry, "webhook_key_file", _ADYEN_WEBHOOK_KEY)
        return _Account(
            name,
            is_live=prefix is not None,
            # https://docs.adyen.com/development-resources/api-idempotency: keys are kept by company account. That holds the
            # merchant accounts and is not named to us, so there may be one of them.
            domain=("adyen", ""),
            open=lambda: AdyenProcessor(
                api_key,
                merchant_account,
                webhook_key,
                name=name,
                live_endpoint_prefix=prefix,
                api_base=api_base,
                timeout_seconds=self._settings.charge_timeout_seconds,
            ),
        )

    def _only(self, name: str, entry: dict[str, Any], *own: str) -> None:
        known = _COMMON | set(own)
        if not entry.keys() <= known:  # (1) (2)
            self._refuse(f"{name}: its settings are some of {', '.join(sorted(known))}, and nothing else")

    def _here(self, name: str, entry: dict[str, Any], setting: str) -> str | None:
        """An address on this machine, in development (3)."""
        value = entry.get(setting)
        if value is None:
            return None
        if self._is_production:
            self._refuse(f"{name}: {setting} is for development: take it out")
        elif not _is_here(value):
            self._refuse(f"{name}: {setting} is an address on this machine, http://127.0.0.1:PORT")
        return str(value)

    def _text(self, name: str, entry: dict[str, Any], setting: str, form: re.Pattern[str]) -> str:
        value = entry.get(setting)
        if isinstance(value, str) and form.fullmatch(value):
            return value
        self._refuse(f"{name}: {setting} is missing or not as the processor writes it")
        return ""

    def _secret(self, name: str, entry: dict[str, Any], setting: str, form: re.Pattern[str]) -> str:
        value = entry.get(setting)
        like = f"keys/{name}-{setting.removesuffix('_key_file')}.key"
        mend = f"{name}: {setting} names a file, such as {like}, that holds the secret and is yours alone (chmod 600)"
        if not isinstance(value, str) or not value or not value.isprintable():
            self._refuse(mend)
            return ""
        try:
            secret = read_secret_line(self._settings.data / value)
        except (KeyRefused, ValueError):
            self._refuse(mend)  # (2) not the path: it may be a secret in the wrong place
            return ""
        if not form.fullmatch(secret):
            self._refuse(
                f"{name}: what is in its {setting} is not such a key: copy it from the processor's dashboard again"
            )
            return ""
        return secret

    def _refuse(self, problem: str) -> None:
        self.problems.append(f"{self._where}: {problem}")


def _not_installed(name: str, extra: str) -> str:
    return (
        f"{name}: its client is not installed: python -m pip install --require-hashes -r deploy/locks/zone-{extra}.txt, or "
        f"build the image with --build-arg ZONE_EXTRAS={extra}"
    )


def _is_here(value: object) -> bool:
    """Whether it is an http address on this machine."""
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        is_here = (
            parts is not None
            and parts.scheme in ("http", "https")
            and parts.hostname in ("127.0.0.1", "::1")
            and parts.username is None
            and parts.port is not None
        )
    except ValueError:
        return False
    return is_here
