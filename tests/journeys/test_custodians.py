"""A zone in custodians' hands, with its real programs: a ceremony at a terminal, a sealed start, two who open it, kill -9."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from commerce_api.cli.ports import free_port
from tests.journeys.running import ROOT, wait_for
from tests.requirement import requirement
from tests.vault_zone.cli.custodians import Terminal
from tests.vault_zone.world import capture_request
from vault_zone.hazmat.local import KEYSTORE, ROOT_KEY

CUSTODIANS = ["ann", "bob", "cyd"]


@dataclass
class SealedZone:
    """A zone's directory after its ceremony, and its program."""

    data: Path
    capture: str
    internal: str
    shares: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """`vault-zone serve`, until its listener answers."""
        ports = [address.rsplit(":", 1)[1] for address in (self.capture, self.internal)]
        arguments = ["--data", str(self.data), "--processor-url", "http://127.0.0.1:9"]
        arguments += ["--capture-port", ports[0], "--internal-port", ports[1]]
        log = (self.data / "serve.log").open("ab")
        command = [sys.executable, "-m", "vault_zone", "serve", *arguments]
        self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=ROOT)
        log.close()
        wait_for(lambda: self.health() is not None, f"the zone did not start: {self.log()}")

    def stop(self, how: signal.Signals) -> None:
        """Ends the program."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)

    def log(self) -> str:
        """The end of the program's log."""
        return (self.data / "serve.log").read_text(encoding="utf-8", errors="replace")[-1500:]

    def health(self) -> tuple[int, str] | None:
        """What the public listener says of itself; None while nothing answers."""
        try:
            answer = httpx.get(f"{self.capture}/health", trust_env=False, timeout=2)
        except httpx.HTTPError:
            return None
        return answer.status_code, answer.json()["status"]

    def command(self, *words: str, share: str | None = None) -> str:
        """A command of vault-zone to its end: what it printed, or its refusal."""
        done = subprocess.run(
            [sys.executable, "-m", "vault_zone", *words],
            input=share,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=ROOT,
        )
        return done.stdout + done.stderr

    def unseal(self, name: str, share: str | None = None) -> str:
        """`vault-zone unseal` as one custodian."""
        identity = str(self.data / "out" / name)
        return self.command("unseal", "--zone", self.internal, "--as", identity, share=share or self.shares[name])

    def open_capture(self) -> httpx.Response:
        """Commerce asks for a capture link."""
        tls = self.data / "out"
        with httpx.Client(
            verify=ssl_context(tls, "commerce"), base_url=self.internal, trust_env=False, timeout=10
        ) as commerce:
            return commerce.post("/v1/capture-sessions", json=capture_request().model_dump(mode="json"))


def ssl_context(tls: Path, name: str) -> Any:
    """As commerce's own client makes it."""
    import ssl

    context = ssl.create_default_context(cafile=str(tls / "ca.crt"))
    context.load_cert_chain(tls / f"{name}.crt", tls / f"{name}.key")
    return context


@pytest.fixture
def zone(tmp_path: Path) -> Iterator[SealedZone]:
    """A zone whose root key is in three shares."""
    data = tmp_path / "zone"
    ports = [free_port(), free_port()]
    made = SealedZone(data, f"http://127.0.0.1:{ports[0]}", f"https://127.0.0.1:{ports[1]}", {})
    made.command("init", "--data", str(data))
    for name in (ROOT_KEY, KEYSTORE):
        (data / "keys" / name).unlink(missing_ok=True)
    ceremony = Terminal(["ceremony", "--data", str(data)])
    assert ceremony.run(CUSTODIANS) == 0, ceremony.said
    made.shares = ceremony.shares
    for name in ("commerce", *(f"custodian:{custodian}" for custodian in CUSTODIANS)):
        role = ["--role", "custodian"] if name.startswith("custodian") else []
        made.command("identity", name, *role, "--data", str(data), "--out", str(data / "out"))
    try:
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.stop(signal.SIGKILL)


@requirement("3.7.6")
def test_a_zone_starts_sealed_two_custodians_open_it_and_a_restart_seals_it(zone: SealedZone) -> None:
    zone.start()
    assert zone.health() == (503, "sealed")
    assert zone.open_capture().json()["error"]["code"] == "zone_sealed"
    assert "1 of 2" in zone.unseal("ann")
    assert "share_given_already" in zone.unseal("ann", zone.shares["bob"])
    assert "mistyped" in zone.unseal("bob", zone.shares["bob"].replace(" ", " x", 1))
    assert "the zone is open" in zone.unseal("cyd")
    assert zone.health() == (200, "ok")
    session = zone.open_capture()
    assert session.status_code == 201
    page = httpx.get(session.json()["url"], trust_env=False, timeout=10)
    assert (page.status_code, "Card number" in page.text) == (200, True)
    zone.stop(signal.SIGKILL)
    zone.start()
    assert zone.health() == (503, "sealed")
    assert "1 of 2" in zone.unseal("bob")
    assert "the zone is open" in zone.unseal("ann")
    assert zone.open_capture().status_code == 201
    sealed = zone.command("seal", "--zone", zone.internal, "--as", str(zone.data / "out" / "bob"))
    assert sealed.startswith("sealed")
    assert zone.health() == (503, "sealed")
    zone.stop(signal.SIGTERM)
    words = " ".join(zone.shares["ann"].split()[4:9])
    kept = b"".join(path.read_bytes() for path in zone.data.rglob("*") if path.is_file())
    assert words.encode() not in kept
    assert os.fsencode("custodian:ann") in kept, "the search would find what is kept"
