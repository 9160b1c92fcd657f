"""The way to a shopper's mailbox: a port with two ends. Development writes letters to a file; production speaks SMTP over TLS.

A letter is sent after the page has been answered, so that how long sending takes, or whether it works, tells nobody anything.
"""

import asyncio
import json
import os
import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

import structlog

from audit.threads import in_thread
from commerce_api.settings import CommerceSettings
from tokenization.logs import cause_of

TIMEOUT_SECONDS: Final = 20
log = structlog.get_logger("authorization")


@dataclass(frozen=True, slots=True)
class Letter:
    """What is sent. ``sender`` is the brand's name."""

    to: str
    sender: str
    subject: str
    text: str


class Delivery(Protocol):
    """Somewhere letters go. Blocking; called in a thread of its own."""

    def send(self, letter: Letter) -> None:
        """Sends a letter. Raises OSError, smtplib.SMTPException or ValueError."""


@dataclass(frozen=True, slots=True)
class Outbox:
    """Development: a file of letters, one JSON line each, for its owner alone."""

    file: Path

    def send(self, letter: Letter) -> None:
        """Appends the letter."""
        self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        line = json.dumps({"to": letter.to, "from": letter.sender, "subject": letter.subject, "text": letter.text})
        with os.fdopen(os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as file:
            file.write(line + "\n")


@dataclass(frozen=True, slots=True)
class Smtp:
    """Production: ``smtps://user:password@host:465/sender@brand.example``, or ``smtp://`` for STARTTLS. Never in clear."""

    url: str = field(repr=False)
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False)

    def send(self, letter: Letter) -> None:
        """Sends the letter. Raises also ValueError for what cannot be written as one."""
        parts = urlsplit(self.url)
        message = _written(letter, unquote(parts.path.lstrip("/")))
        with self._connected(parts.scheme, parts.hostname or "", parts.port) as server:
            if parts.username:
                server.login(unquote(parts.username), unquote(parts.password or ""))
            server.send_message(message)

    def _connected(self, scheme: str, host: str, port: int | None) -> smtplib.SMTP:
        if scheme == "smtps":
            return smtplib.SMTP_SSL(host, port or 465, timeout=TIMEOUT_SECONDS, context=self.tls)
        server = smtplib.SMTP(host, port or 587, timeout=TIMEOUT_SECONDS)
        try:
            server.starttls(context=self.tls)
        except BaseException:
            server.close()
            raise
        return server


def _written(letter: Letter, sender: str) -> EmailMessage:
    """The letter as a message. Raises ValueError."""
    message = EmailMessage()
    try:
        message["To"], message["Subject"], message["From"] = letter.to, letter.subject, sender
        message.set_content(letter.text)
    except Exception:  # noqa: BLE001  # the library's reader of headers raises what its own slips raise
        raise ValueError("not a letter") from None
    return message


@dataclass
class Courier:
    """Takes letters at once and delivers them in the background."""

    delivery: Delivery
    _under_way: "set[asyncio.Task[None]]" = field(default_factory=set)

    def take(self, letter: Letter) -> None:
        """Takes a letter."""
        task = asyncio.create_task(self._send(letter))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Waits until every letter is delivered or given up."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _send(self, letter: Letter) -> None:
        try:
            await in_thread(self.delivery.send, letter)
        except (OSError, smtplib.SMTPException, ValueError) as failure:
            log.error("letter_not_sent", cause=cause_of(failure))


def delivery_of(settings: CommerceSettings) -> Delivery:
    """Where letters go under these settings; ``can_mail`` says whether there is such a place."""
    return Outbox(settings.outbox) if settings.smtp_url is None else Smtp(settings.smtp_url)
