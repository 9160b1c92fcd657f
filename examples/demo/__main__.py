"""``make demo``: one purchase through everything, told as it happens, and then searched for the card.

Exit code 0 only if the purchase went through, the card was found nowhere but on its way to the processor, the search would
have found it, and the log verifies.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from commerce_api.cli.doctor import browser_path
from commerce_api.cli.ports import choose_ports
from commerce_api.cli.refused import CommandRefused
from commerce_api.cli.stack import Stack
from commerce_api.links import Links
from examples.demo.leaks import Card, MemoryUnreadable, count_files, hits, search_files, search_memory
from examples.demo.shopper import ShopperStuck, pay_in_browser, pay_over_http
from examples.demo.wiretap import Wiretap

ROOT = Path(__file__).parents[2]
STORE = ROOT / "examples" / "harbour-and-pine"
BRAND, BRAND_NAME = "harbour-pine", "Harbour & Pine"
CARD = Card("4242424242424242", "737")  # Visa's published test number
NOWHERE = "nowhere"
console = Console(highlight=False, width=118 if not sys.stdout.isatty() else None)


@dataclass
class Outcome:
    """What was shown to be true, by name. The demonstration succeeds when all of it is."""

    proven: dict[str, bool] = field(default_factory=dict)
    order: dict[str, Any] | None = None

    def prove(self, claim: str, *, holds: bool) -> None:
        """Notes a claim and whether it held."""
        self.proven[claim] = self.proven.get(claim, True) and holds


def main() -> int:
    """Plays the purchase. Returns 0 when everything held."""
    parser = argparse.ArgumentParser(prog="make demo", description="One purchase through everything.")
    parser.add_argument("--data", type=Path, default=Path(".cordon/demo"), metavar="DIR")
    parser.add_argument(
        "--over-http", action="store_true", help="play the shopper over HTTP even if there is a browser"
    )
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        outcome = play(arguments.data, over_http=arguments.over_http)
    except CommandRefused as refused:
        for line in refused.lines:
            console.print(f"demo: {line}", style="red", markup=False)
        return 1
    print_verdict(outcome, time.monotonic() - started)
    return 0 if outcome.proven and all(outcome.proven.values()) else 1


def play(data: Path, *, over_http: bool) -> Outcome:
    """Sets up, buys, searches, verifies."""
    outcome = Outcome()
    if data.exists():
        shutil.rmtree(data)
    ports, lines = choose_ports(None)
    for line in lines:
        console.print(f"demo: {line}")
    stack = Stack(data, ports, {"zone": None, "commerce": None})
    with ExitStack() as closing:
        stack.set_up()
        closing.callback(stack.stop)
        taps = [closing.enter_context(tap.running()) for tap in wiretaps(stack)]
        stack.zone_url_for_commerce = f"https://127.0.0.1:{taps[0].port}"
        stack.processor_url_for_zone = f"http://127.0.0.1:{taps[1].port}"
        stack.set_programs()
        title("Set-up")
        import_store(data)
        stack.start(lambda name: step("cordon", f"{name} is up"))
        title("The purchase")
        outcome.order = buy(stack, data, outcome, over_http=over_http)
        title("Where the card number was looked for")
        print_search(search(stack, taps, outcome))
    title("The record")
    verify(data, outcome)
    if outcome.order is not None:
        title("Receipt")
        print_receipt(outcome.order)
    return outcome


def wiretaps(stack: Stack) -> list[Wiretap]:
    """Recorders of the two legs that matter: between the sides, and from the zone to the processor."""
    own = stack.data / "wiretap"
    stack.issue_identity("wiretap", own, host="127.0.0.1")
    return [
        Wiretap.between_sides(stack.ports["internal"], own, stack.data / "commerce" / "tls"),
        Wiretap("zone → processor", stack.ports["processor"]),
    ]


def import_store(data: Path) -> None:
    """Adds the brand from its feed, as a user would."""
    command = [sys.executable, "-m", "commerce_api", "brand", "add", BRAND_NAME]
    command += ["--feed", str(STORE / "products.csv"), "--policy", str(STORE / "policy.json"), "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        raise CommandRefused("the store's feed could not be imported:", *done.stderr.strip().splitlines()[-5:])
    step("cordon", done.stdout.splitlines()[0])


def buy(stack: Stack, data: Path, outcome: Outcome, *, over_http: bool) -> dict[str, Any] | None:
    """Runs the assistant, and the shopper when the assistant hands over; returns the order."""
    mcp_url = Links(stack.url("commerce"), stack.url("mcp")).mcp(BRAND) or ""
    order: dict[str, Any] | None = None
    for event in assistant_events(mcp_url):
        tell_assistant(event)
        if event["step"] == "card_pasted":
            outcome.prove("a card pasted into the chat is refused", holds=event["refused"] is True)
        if event["step"] == "handed_off":
            shop(event["continue_url"], data, outcome, over_http=over_http)
        if event["step"] == "ordered":
            order = event["order"]
    outcome.prove("the assistant has a paid order", holds=order is not None)
    return order


def assistant_events(mcp_url: str) -> Iterator[dict[str, Any]]:
    """What the assistant reports, line by line, from its own process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.demo.assistant", mcp_url], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with process:
        for line in process.stdout or ():
            yield json.loads(line)


def shop(link: str, data: Path, outcome: Outcome, *, over_http: bool) -> None:
    """The shopper pays at the link that the assistant gave."""
    browser = None if over_http else browser_path()
    try:
        if browser is None:
            pay_over_http(link, CARD, lambda text: step("shopper", text))
        else:
            pay_in_browser(browser, link, CARD, data / "pictures", lambda text: step("shopper", text))
    except ShopperStuck as stuck:
        step("shopper", f"is stuck {stuck}")
        outcome.prove("the shopper could pay", holds=False)
        return
    outcome.prove("the shopper could pay", holds=True)


def search(stack: Stack, taps: list[Wiretap], outcome: Outcome) -> list[tuple[str, str, bool]]:
    """Looks for the card everywhere; rows of (place, what was found, whether that is as it must be)."""
    rows: list[tuple[str, str, bool]] = []
    found = search_files(stack.data, CARD)
    rows.append((f"{count_files(stack.data)} files: databases, logs, keys, audit log", _names(found), not found))
    for name, pid in stack.pids().items():
        if name in ("commerce", "mcp"):
            rows.append(_memory_row(name, pid))
    between, processor = (tap.bytes_recorded() for tap in taps)
    rows.append(
        (f"traffic commerce ↔ zone, {len(between):,} bytes", _listed(hits(between, CARD)), not hits(between, CARD))
    )
    on_leg = hits(processor, CARD)
    found_there = {"number", "code in JSON"} <= set(on_leg)
    rows.append((f"traffic zone → processor, {len(processor):,} bytes", _listed(on_leg), found_there))
    rows.append(_control_row(stack.data))
    outcome.prove("the card was found at the processor only", holds=all(good for _, _, good in rows))
    return rows


def _memory_row(name: str, pid: int) -> tuple[str, str, bool]:
    try:
        found = search_memory(pid, CARD)
    except MemoryUnreadable:
        return (f"memory of {name}", "not readable on this system; not searched", sys.platform != "linux")
    return (f"memory of {name} (process {pid})", _listed(found), not found)


def _control_row(data: Path) -> tuple[str, str, bool]:
    """The same search, where the card is: a process that holds it, and a file. Finding nothing would mean a blind search."""
    program = f"import sys; held = '{CARD.number}'; sys.stdout.write('x'); sys.stdout.flush(); sys.stdin.read()"
    planted = data / "control.txt"
    planted.write_text(CARD.number, encoding="utf-8")
    holder = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with holder:
        if holder.stdout is not None:
            holder.stdout.read(1)
        try:
            in_memory = "number" in search_memory(holder.pid, CARD)
        except MemoryUnreadable:
            in_memory = sys.platform != "linux"
        holder.kill()
    in_file = planted in search_files(data, CARD)
    planted.unlink()
    found = "found, as it must be" if in_memory and in_file else "NOT FOUND: the search is blind"
    return ("control: a file and a process that do hold it", found, in_memory and in_file)


def verify(data: Path, outcome: Outcome) -> None:
    """Re-hashes both sides' logs."""
    done = subprocess.run(
        [sys.executable, "-m", "audit.cli", "verify", str(data)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    for line in done.stdout.splitlines():
        console.print("  " + line, markup=False)
    outcome.prove("the record verifies", holds=done.returncode == 0)


def title(text: str) -> None:
    """A heading."""
    console.print(f"\n[bold]{text}[/bold]")


_COLOURS = {"assistant": "cyan", "brand": "green", "shopper": "magenta", "cordon": "dim"}


def step(who: str, what: str) -> None:
    """A line of the timeline."""
    console.print(f"  [{_COLOURS[who]}]{who:>9}[/]  ", end="")
    console.print(what, markup=False)


def tell_assistant(event: dict[str, Any]) -> None:
    """The timeline's lines for what the assistant did and got."""
    kind = event["step"]
    if kind == "connected":
        step("assistant", f"connects over MCP; the brand offers {len(event['tools'])} tools")
        step("assistant", f"wants {event['want']}")
    elif kind == "found":
        step("assistant", f"searches “{event['query']}”")
        step("brand", f"{event['title']}, {event['price']}")
    elif kind == "offered":
        step("assistant", "asks for offers")
        step("brand", f"{event['title']}: {event['discount']} off, signed")
    elif kind == "checkout":
        step("assistant", f"starts a checkout: {event['total']} so far")
    elif kind == "card_pasted":
        step("assistant", "passes on a card number that the shopper pasted into the chat")
        step("brand", f"refuses it: {event['code']}")
    elif kind == "ready":
        step("assistant", "adds who buys and where it goes")
        parts = ", ".join(f"{name} {event[name]}" for name in ("items", "discount", "shipping", "tax"))
        step("brand", f"{event['total']} ({parts})")
    elif kind == "handed_off":
        step("assistant", "hands over to payment")
        step("brand", f"{event['status']}: {event['continue_url']}")
    elif kind == "ordered":
        step("assistant", f"learns that it is paid: {event['order']['order_id']}")
    else:
        step("assistant", f"{kind}: {event.get('reason', '')}")


def print_search(rows: list[tuple[str, str, bool]]) -> None:
    """The table of every place that was searched."""
    table = Table("place", "found", "", box=None, pad_edge=False, padding=(0, 2))
    for place, found, good in rows:
        table.add_row("  " + place, found, "[green]✓[/green]" if good else "[red]✗[/red]")
    console.print(table)


def print_receipt(order: dict[str, Any]) -> None:
    """The order as the shopper has it."""
    for line in order["lines"]:
        console.print(f"  {line['quantity']} × {line['title']:<52}{line['total']['text']:>12}", markup=False)
    for name in ("discount", "shipping", "tax", "total"):
        console.print(f"  {name:>56}{order['totals'][name]['text']:>12}", markup=False)
    card = order["paid_with"]
    console.print(f"  paid with {card['brand']} •••• {card['last4']}, order {order['order_id']}", markup=False)
    if order["sandbox"]:
        console.print("  Sandbox: no money moved.", style="yellow")


def print_verdict(outcome: Outcome, seconds: float) -> None:
    """What held and what did not."""
    console.print()
    for claim, holds in outcome.proven.items():
        console.print(f"  {'[green]✓[/green]' if holds else '[red]✗[/red]'} {claim}")
    console.print(f"\n  {seconds:.0f} s\n", style="dim")


def _listed(found: list[str]) -> str:
    return ", ".join(found) if found else NOWHERE


def _names(found: dict[Path, list[str]]) -> str:
    return ", ".join(path.name for path in found) if found else NOWHERE


if __name__ == "__main__":
    sys.exit(main())
