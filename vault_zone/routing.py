"""Which processors a charge may be sent to, in which order, and why each: a pure function of rules and health.

What holds for the candidates:
 1. A grant that names a processor leaves only that one.
 2. A processor that lacks what the charge needs is none.
 3. One whose breaker does not let calls through comes behind those that are well; it is never left out, since a processor
    that is ill is better than none.
 4. There are at most ``legs_maximum``, no processor twice.
"""

from collections.abc import Collection
from dataclasses import dataclass

from tokenization.wire import ChargeRequest
from vault_zone.card import Card, Exposure
from vault_zone.processors.port import Feature
from vault_zone.processors.registry import Processors
from vault_zone.routing_policy import Question, RoutingPolicy

NAMED_BY_GRANT = "named_by_grant"
BY_RULE = "by_rule"
BY_DEFAULT = "by_default"
OTHERS_UNWELL = "others_unwell"
AFTER_DECLINE = "after_decline"
AFTER_NO_CONNECTION = "after_no_connection"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A processor that a charge may be sent to, and why: a code, and the rule that named it."""

    processor: str
    reason: str
    rule: str | None = None


def question_of(asked: ChargeRequest, card: Card) -> Question:
    """What a charge is routed by. Of the number the first eight digits are read, for the rules, and kept nowhere."""
    bin8 = card.pan.expose(Exposure.PROCESSOR)[:8]
    return Question(asked.merchant, card.pan.brand, bin8, asked.amount_minor, asked.currency)


def candidates(
    policy: RoutingPolicy,
    processors: Processors,
    asked: Question,
    *,
    bound_to: str | None,
    needs: Collection[Feature],
    unwell: Collection[str],
) -> tuple[Candidate, ...]:
    """The processors in the order in which they are to be asked; none when no processor can do it."""
    able = {name for name in processors.names if all(processors.has(name, feature) for feature in needs)}  # (2)
    if bound_to is not None:  # (1)
        return (Candidate(bound_to, NAMED_BY_GRANT),) if bound_to in able else ()
    names, rule = policy.decide(asked)
    reason = BY_RULE if rule else BY_DEFAULT
    fit = [name for name in names if name in able]
    ordered = sorted(fit, key=lambda name: name in unwell)  # (3) stable: within each half the rule's order stays
    return tuple(
        Candidate(name, reason if name == fit[0] else OTHERS_UNWELL, rule)
        for name in ordered[: policy.legs_maximum]  # (4)
    )
