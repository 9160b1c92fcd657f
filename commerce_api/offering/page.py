"""What a merchant sees of a brand's offers: campaigns, budgets, what came of them, which way of choosing earns most, where
the model stands, why offers were not made, and decisions with the proof that they come out the same again. One HTML file that
needs nothing else, without script."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Any, Final, NamedTuple

import jinja2
from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from commerce_api.brands import Brand
from commerce_api.models import offer_budget, offer_decision, offer_outcome
from commerce_api.offering.earning import Earning, earning_of, serving_of
from commerce_api.offering.ramping import RULES
from commerce_api.offering.replayed import Replayed, replayed
from commerce_api.offering.standing import next_step, standing_of
from commerce_api.policy_offers import Offer
from offer_engine.judging.plots import Bar, bar, drawn, forest, qini_curve
from offer_engine.judging.promotion import SHARE_PERCENT
from offer_engine.judging.standing import WORDS, lately_in_words, verdict
from offer_engine.judging.style import style
from offer_engine.offers import NO_OFFER
from offer_engine.serving import Rankers
from tokenization.clock import as_text
from tokenization.money import Money

DECISIONS_SHOWN: Final = 20
DECISIONS_READ: Final = 5_000  # the newest: what reasons are counted in
_REFUNDS: Final = ("refunded", "refund_returned")
_NORMAL_95: Final = 1.959964


class Share(NamedTuple):
    """A share with its Wilson score interval of 95 % (Wilson 1927): honest for few, and for none."""

    part: int
    whole: int
    low: float
    high: float


class Campaign(NamedTuple):
    """An offer of the policy, and what came of it. ``budget`` is spent, set aside and whole, as texts."""

    offer: Offer
    decided: int
    shown: int
    taken: Share
    bought: Share
    value: str
    given_back: str
    budget: tuple[str, str, str] | None
    uses: tuple[int, int, int] | None
    reasons: tuple[tuple[str, int], ...]


def campaigns_of(connection: Connection, brand: Brand) -> list[Campaign]:
    """Each offer of the policy, in its order."""
    counted = connection.execute(
        select(offer_decision.c.chosen, func.count().label("decisions"))
        .where(offer_decision.c.brand == brand.id)
        .group_by(offer_decision.c.chosen)
    )
    decided: dict[str, int] = {row.chosen: row.decisions for row in counted}
    came, gone = _outcomes(connection, brand.id), _refunded(connection, brand.id)
    budgets = {
        row.offer: row for row in connection.execute(select(offer_budget).where(offer_budget.c.brand == brand.id))
    }
    reasons = _reasons(connection, brand.id)
    return [
        _campaign(brand, offer, decided.get(offer.id, 0), came, gone.get(offer.id, 0), budgets.get(offer.id), reasons)
        for offer in brand.policy.offers
    ]


def render_page(connection: Connection, brand: Brand, rankers: Rankers, now_ms: int) -> str:
    """The page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "number": lambda value: f"{value:,}",
        "words": lambda code: str(code).replace("_", " "),
        "moment": lambda at_ms: as_text(at_ms)[:16].replace("T", " "),
        "money": lambda minor: Money(minor, brand.currency).text(),
        "percent": lambda share: f"{100 * share:.1f} %",
        "figure": lambda value: f"{value:.4g}",
    }
    newest = connection.execute(
        select(offer_decision)
        .where(offer_decision.c.brand == brand.id)
        .order_by(offer_decision.c.decided_ms.desc())
        .limit(DECISIONS_SHOWN)
    ).all()
    return environment.get_template("page.html").render(
        **_models(connection, brand, rankers, now_ms),
        brand=brand,
        campaigns=campaigns_of(connection, brand),
        decisions=[(row, replayed(connection, row, rankers)) for row in newest],
        no_offer=NO_OFFER,
        now_ms=now_ms,
        style=style(),
    )


def _models(connection: Connection, brand: Brand, rankers: Rankers, now_ms: int) -> dict[str, Any]:
    """What page_models.html says: which way of choosing earns most, and where the model stands."""
    registry = rankers.registry(brand.id)
    standing = standing_of(connection, brand, registry, now_ms)
    stage = standing.stage if standing is not None else None
    earning = earning_of(connection, brand, stage, serving_of(rankers, brand), now_ms)
    return {
        "earning": earning,
        "values_plot": drawn(forest(_values(earning), "Sales a decision")),
        "uplifts_plot": drawn(forest(_uplifts(earning), "Gain over chance")),
        "qini_plot": drawn(qini_curve(earning.qini)) if earning.qini else "",
        "standing": standing,
        "next": next_step(brand, standing) if standing is not None else "",
        "guards": [(guard, words, verdict(guard, standing.measured, RULES)) for guard, words in WORDS.items()]
        if standing is not None
        else [],
        "lately": lately_in_words(standing.measured, RULES) if standing is not None else [],
        "rules": RULES,
        "shares": SHARE_PERCENT,
        "stages": [(stage, percent) for stage, percent in SHARE_PERCENT.items() if percent],
        "history": registry.history()[::-1] if registry is not None else [],
    }


def _values(earning: Earning) -> list[Bar]:
    return [bar(each.name, each.value, marked=each.is_model) for each in earning.policies if each.value is not None]


def _uplifts(earning: Earning) -> list[Bar]:
    return [bar(name, uplift, marked=name == "The model") for name, uplift in earning.uplifts]


def told(played: Replayed) -> Sequence[str]:
    """A decision in lines, for a terminal."""
    record = played.record
    lines = [f"{played.decision}: {record['chosen']}, by {record['policy']}, draw {record['draw']:.6f}"]
    lines += [
        f"  could be   {each['offer']:24} score {each['score']:12.4g}  probability {each['propensity']:.6f}"
        for each in record["candidates"]
    ]
    lines += [f"  left out   {each['offer']:24} {each['reason']}" for each in record["excluded"]]
    ends = {
        True: "Played again it comes out the same.",
        False: "Played again it comes out DIFFERENTLY: the record, or what decided, is not what it was.",
        None: "It cannot be played again here: its offers or its model are not kept any more.",
    }
    return [*lines, ends[played.is_same]]


def share(part: int, whole: int) -> Share:
    """A part of a whole, which is at least the part: what was taken was shown, though nobody may have said so."""
    whole = max(whole, part)
    if not whole:
        return Share(part, whole, 0.0, 1.0)
    rate, z2 = part / whole, _NORMAL_95**2
    middle = (rate + z2 / (2 * whole)) / (1 + z2 / whole)
    reach = _NORMAL_95 / (1 + z2 / whole) * sqrt(rate * (1 - rate) / whole + z2 / (4 * whole**2))
    return Share(part, whole, max(0.0, middle - reach), min(1.0, middle + reach))


def _outcomes(connection: Connection, brand: str) -> Mapping[tuple[str, str], tuple[int, int]]:
    """Decisions and value by offer and outcome. One that happened twice to a decision counts once."""
    rows = connection.execute(
        select(
            offer_decision.c.chosen,
            offer_outcome.c.type,
            func.count(func.distinct(offer_outcome.c.decision)).label("decisions"),
            func.sum(offer_outcome.c.value_minor).label("value_minor"),
        )
        .join(offer_decision, offer_decision.c.id == offer_outcome.c.decision)
        .where(offer_outcome.c.brand == brand)
        .group_by(offer_decision.c.chosen, offer_outcome.c.type)
    )
    return {(row.chosen, row.type): (row.decisions, int(row.value_minor)) for row in rows}


def _refunded(connection: Connection, brand: str) -> Mapping[str, int]:
    """By offer, what is refunded of the orders that it was bought in: each has it in all by then, so the last word counts."""
    later, bought = offer_outcome.alias("later"), offer_outcome.alias("bought")
    of_same = (later.c.decision == offer_outcome.c.decision, later.c.type.in_(_REFUNDS))
    is_later = (later.c.at_ms > offer_outcome.c.at_ms) | (
        (later.c.at_ms == offer_outcome.c.at_ms) & (later.c.key > offer_outcome.c.key)
    )
    rows = connection.execute(
        select(offer_decision.c.chosen, func.sum(offer_outcome.c.value_minor).label("value_minor"))
        .join(offer_decision, offer_decision.c.id == offer_outcome.c.decision)
        .where(
            offer_outcome.c.brand == brand,
            offer_outcome.c.type.in_(_REFUNDS),
            select(bought.c.key)
            .where(bought.c.decision == offer_outcome.c.decision, bought.c.type == "purchased")
            .exists(),
            ~select(later.c.key).where(*of_same, is_later).exists(),
        )
        .group_by(offer_decision.c.chosen)
    )
    return {row.chosen: int(row.value_minor) for row in rows}


def _reasons(connection: Connection, brand: str) -> Mapping[str, Counter[str]]:
    newest = connection.execute(
        select(offer_decision.c.record)
        .where(offer_decision.c.brand == brand)
        .order_by(offer_decision.c.decided_ms.desc())
        .limit(DECISIONS_READ)
    )
    counted: dict[str, Counter[str]] = {}
    for text in newest.scalars():
        for each in json.loads(text)["excluded"]:
            counted.setdefault(each["offer"], Counter())[each["reason"]] += 1
    return counted


def _campaign(
    brand: Brand,
    offer: Offer,
    decided: int,
    came: Mapping[tuple[str, str], tuple[int, int]],
    refunded_minor: int,
    row: Any,
    reasons: Mapping[str, Counter[str]],
) -> Campaign:
    def count(outcome: str) -> int:
        return came.get((offer.id, outcome), (0, 0))[0]

    def money(minor: int) -> str:
        return Money(minor, brand.currency).text()

    budget = uses = None
    limits = offer.limits
    if row is not None and limits.budget_minor is not None:
        budget = (money(row.spent_minor), money(row.reserved_minor), money(limits.budget_minor))
    if row is not None and limits.budget_uses is not None:
        uses = (row.spent_uses, row.reserved_uses, limits.budget_uses)
    shown = count("shown")
    return Campaign(
        offer=offer,
        decided=decided,
        shown=shown,
        taken=share(count("accepted"), shown),
        bought=share(count("purchased"), shown),
        value=money(came.get((offer.id, "purchased"), (0, 0))[1]),
        given_back=money(refunded_minor),
        budget=budget,
        uses=uses,
        reasons=tuple(reasons.get(offer.id, Counter()).most_common(3)),
    )
