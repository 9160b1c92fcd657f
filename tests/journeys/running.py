"""The real stack in a test: `cordon up` as a user runs it, on free ports, with what a test needs to act as the outside."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from examples.demo.leaks import Card
from examples.demo.shopper import ShopperStuck, pay_over_http

ROOT = Path(__file__).parents[2]
STORE = ROOT / "examples" / "harbour-and-pine"
BRAND = "harbour-pine"
START_SECONDS = 120  # two busy cores, four processes
WAIT_SECONDS = 60
POLL_SECONDS = 0.1


@dataclass
class Running:
    """A stack that runs, as its own JSON describes it."""

    process: "subprocess.Popen[str]"
    described: dict[str, Any]
    data: Path

    @property
    def brand(self) -> dict[str, str]:
        """The brand's addresses and key."""
        found: dict[str, str] = self.described["brands"][BRAND]
        return found

    def pids(self) -> dict[str, int]:
        """The process ids as they are now: a program that died has another one after."""
        pids: dict[str, int] = json.loads((self.data / "run.json").read_text(encoding="utf-8"))["pids"]
        return pids

    def agent(self) -> httpx.Client:
        """A client of the agents' API with the brand's key."""
        return httpx.Client(
            base_url=f"{self.described['commerce_url']}/agents/v1/{BRAND}",
            headers={"authorization": f"Bearer {self.brand['agent_api_key']}"},
            timeout=30,
            trust_env=False,
        )

    def processor(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """The sandbox's own account of what happened, or a fault to set."""
        key = (self.data / "zone" / "keys" / "processor-api.key").read_text(encoding="utf-8").strip()
        answer = httpx.request(
            method,
            f"{self.described['processor_url']}{path}",
            json=body,
            headers={"authorization": f"Bearer {key}"},
            trust_env=False,
        )
        answer.raise_for_status()
        content: dict[str, Any] = answer.json()
        return content

    def charges(self) -> list[dict[str, Any]]:
        """Every charge the processor knows."""
        found: list[dict[str, Any]] = self.processor("GET", "/sandbox/charges")["charges"]
        return found

    def checkout(self, quantity: int = 1, variant_id: str = "hp-kettle-oat") -> dict[str, Any]:
        """A checkout that was handed over to the shopper."""
        with self.agent() as agent:
            made = agent.post(
                "/checkouts",
                json={
                    "lines": [{"variant_id": variant_id, "quantity": quantity}],
                    "buyer": {"email": "robin@shopper.example"},
                    "shipping_address": {
                        "line1": "12 Quay Street",
                        "city": "Portland",
                        "region": "OR",
                        "postal_code": "97209",
                        "country": "US",
                    },
                },
            )
            made.raise_for_status()
            handed = agent.post(f"/checkouts/{made.json()['checkout_id']}/complete")
            handed.raise_for_status()
            content: dict[str, Any] = handed.json()
            return content

    def look(self, checkout_id: str) -> dict[str, Any]:
        """Where a checkout stands; an empty answer while commerce is away."""
        try:
            with self.agent() as agent:
                answer = agent.get(f"/checkouts/{checkout_id}")
        except httpx.HTTPError:
            return {"status": "commerce does not answer"}
        content: dict[str, Any] = answer.json()
        return content

    def pay(self, checkout: dict[str, Any], number: str = "4242424242424242") -> bool:
        """The shopper pays over HTTP; False when a page was not there (something is down)."""
        try:
            pay_over_http(checkout["continue_url"], Card(number, "737"), lambda _: None)
        except (ShopperStuck, httpx.HTTPError):
            return False
        return True

    def kill(self, name: str) -> None:
        """kill -9 to one program; the stack starts it again."""
        os.kill(self.pids()[name], signal.SIGKILL)

    def await_restart(self, name: str, old: int) -> None:
        """Waits until the program runs again under another process id."""
        wait_for(lambda: self.pids()[name] != old, f"{name} was not started again")


def wait_for(condition: Callable[[], bool], complaint: str, *, seconds: float = WAIT_SECONDS) -> None:
    """Polls until it holds. Raises AssertionError after ``seconds``: a bound, not a pace."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(complaint)
        time.sleep(POLL_SECONDS)


def cordon(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Runs a `cordon` command to its end."""
    command = [sys.executable, "-m", "commerce_api", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT, **options)


def add_store(data: Path, *more: str) -> None:
    """Adds the example store."""
    done = cordon(
        *("brand", "add", "Harbour & Pine", "--feed", str(STORE / "products.csv")),
        *("--policy", str(STORE / "policy.json"), "--data", str(data), *more),
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def running_stack(data: Path, *arguments: str) -> Iterator[Running]:
    """`cordon up --json` until the block ends; then SIGTERM, and it must end well."""
    command = [
        sys.executable,
        "-m",
        "commerce_api",
        "up",
        "--data",
        str(data),
        "--port-base",
        "0",
        "--json",
        *arguments,
    ]
    errors = (data / "up.err").open("w+", encoding="utf-8")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            process.wait(30)
            errors.seek(0)
            raise AssertionError(f"the stack did not start: {errors.read()[-2000:]}")
        yield Running(process, json.loads(line), data)
        process.send_signal(signal.SIGTERM)
        assert process.wait(START_SECONDS) == 0, "the stack did not stop cleanly"
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        if process.stdout:
            process.stdout.close()
        errors.close()
