"""``vault-zone charges``: what needs attention, one charge with where it was sent and why, and two people's decision."""

import argparse
import sys
from typing import Any

from tokenization.clock import as_text
from vault_zone.cli import zone_client
from vault_zone.operations import Act

ACTS = {"succeeded": Act.RESOLVE_AS_SUCCEEDED, "failed": Act.RESOLVE_AS_FAILED}


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the group's commands."""
    group = commands.add_parser("charges", help="see charges, and decide what the processor's record does not")
    acts = group.add_subparsers(dest="what", required=True, metavar="WHAT")
    acts.add_parser("attention", help="what needs a person's attention; ends with 1 when something does").set_defaults(
        run=_attention
    )
    show = acts.add_parser("show", help="one charge: its amounts, where it was sent and why, what was done to it")
    show.add_argument("charge", metavar="CHARGE", help="its id, or that of one of its captures, voids or refunds")
    show.set_defaults(run=_show)
    resolve = acts.add_parser("resolve", help="ask for a decision, which another operator approves")
    resolve.add_argument("charge", metavar="CHARGE", help="as listed by `attention`")
    resolve.add_argument("--outcome", choices=list(ACTS), required=True, help="what happened at the processor")
    resolve.add_argument(
        "--reason", required=True, metavar="CODE", help="how it is known, for example seen_at_processor"
    )
    resolve.set_defaults(run=_resolve)
    for one in acts.choices.values():
        zone_client.add_arguments(one)


def _attention(arguments: argparse.Namespace) -> int:
    with zone_client.open_client(arguments) as zone:
        found = zone.call("GET", "/v1/charges/attention")["waiting"]
    for one in found:
        sys.stdout.write(
            f"{one['subject']} {one['kind']} {one['state']}: {one['reason']} since {as_text(one['since_ms'])}, "
            f"of {one['merchant']}\n"
        )
    return 1 if found else 0


def _show(arguments: argparse.Namespace) -> int:
    with zone_client.open_client(arguments) as zone:
        sys.stdout.write(as_lines(zone.call("GET", f"/v1/charges/{arguments.charge}")))
    return 0


def _resolve(arguments: argparse.Namespace) -> int:
    with zone_client.open_client(arguments) as zone:
        merchant = zone.call("GET", f"/v1/charges/{arguments.charge}")["charge"]["merchant"]
        body = {
            "act": ACTS[arguments.outcome],
            "merchant": merchant,
            "subject": arguments.charge,
            "grounds": arguments.reason,
        }
        asked = zone.call("POST", "/v1/operations", body)
    sys.stdout.write(
        f"{asked['operation']} waits for another operator until {as_text(asked['expires_ms'])}: "
        f"vault-zone operations approve {asked['operation']}\n"
    )
    return 0


def as_lines(story: dict[str, Any]) -> str:
    """A charge's story, a line for each thing."""
    charge = story["charge"]
    whose = f"{charge['merchant']}, {charge['card']['brand']} ending {charge['card']['last4']}"
    amounts = {
        "authorized": charge["authorized_minor"],
        "being captured": story["capturing_minor"],
        "captured": charge["captured_minor"],
        "being refunded": story["refunding_minor"],
        "refunded": charge["refunded_minor"],
        "disputed": charge["disputed_minor"],
    }
    lines = [
        f"{charge['charge']} {charge['state']}: {charge['amount_minor']} {charge['currency']} of {whose}",
        "  " + ", ".join(f"{name} {amount}" for name, amount in amounts.items()),
    ]
    if story["attention"]:
        lines.append(f"  needs attention: {story['attention']} since {as_text(story['attention_ms'])}")
    for leg in story["legs"]:
        rule = f" ({leg['rule']})" if leg["rule"] else ""
        code = f" {leg['decline_code']}" if leg["decline_code"] else ""
        lines.append(
            f"  leg {leg['leg']}: {leg['processor']}, {leg['reason']}{rule}: {leg['outcome'] or 'under way'}{code}"
        )
    for act in story["modifications"]:
        amount = "" if act["amount_minor"] is None else f" {act['amount_minor']}"
        outside = "" if act["is_ours"] else ", done at the processor"
        wanting = f", needs attention: {act['attention']}" if act["attention"] else ""
        lines.append(f"  {act['modification']} {act['kind']}{amount} {act['state']}{outside}{wanting}")
    return "\n".join(lines) + "\n"
