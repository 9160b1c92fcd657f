"""The report on a model: one HTML page that needs nothing else, with no script, and everything in it escaped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import jinja2

from offer_engine.judging.estimators import Estimator
from offer_engine.judging.judge import Judgement, Verdict
from offer_engine.judging.plots import Bar, bar, drawn, forest, qini_curve
from offer_engine.judging.promotion import Reason
from offer_engine.judging.style import style
from offer_engine.judging.uplift import Qini
from offer_engine.learning.log import Reading
from offer_engine.learning.registry import Card, Change
from offer_engine.learning.rewards import Measure
from tokenization.clock import as_text

ANSWERS: Final = {
    Reason.PASSED: "Yes: better than the incumbent, and no worse than the best fixed offer.",
    Reason.LOG_CANNOT_TELL: "This log cannot tell. It may not be promoted on it.",
    Reason.NOT_JUDGED: "The model was not judged.",
    Reason.NOT_BETTER_THAN_INCUMBENT: "Not proven: it may be no better than the incumbent.",
    Reason.NO_FIXED_OFFER_TOLD: "Not proven: of no single offer can this log tell what always making it would earn.",
    Reason.WORSE_THAN_BEST_FIXED: "No: always making the same offer would earn more.",
}
MEASURES: Final = {
    Measure.CONVERSION: "1 for a purchase, less for one that came back",
    Measure.MARGIN: "margin in minor units, less for a purchase that came back",
}
TITLES: Final = {
    Estimator.DM: "DM",
    Estimator.IPS: "IPS",
    Estimator.SNIPS: "SNIPS",
    Estimator.DR: "DR",
    Estimator.SWITCH_DR: "Switch-DR",
    Estimator.DROS: "DRos",
}
_SHOWN_FIXED: Final = 5


def render_report(
    judgement: Judgement,
    card: Card,
    reading: Reading,
    reason: Reason,
    qini: Qini | None,
    history: Sequence[Change],
) -> str:
    """The page."""
    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "number": lambda value: f"{value:,.0f}",
        "short": lambda value: f"{value:#.4g}",
        "day": lambda at_ms: as_text(at_ms)[:10],
        "moment": lambda at_ms: as_text(at_ms)[:16].replace("T", " "),
    }
    sheet = style()
    verdicts = shown(judgement)
    return environment.get_template("report.html").render(
        style=sheet.text,
        style_hash=sheet.hash,
        passed=reason is Reason.PASSED,
        answer=ANSWERS.get(reason, reason.value),
        card=card,
        judgement=judgement,
        reading=reading,
        measure=MEASURES[reading.rule.measure],
        level=f"{judgement.level * 100:.0f}",
        estimators=list(Estimator),
        titles=TITLES,
        verdicts=verdicts,
        values_plot=drawn(forest(_values(verdicts), "Value of each policy")),
        lifts_plot=drawn(forest(_lifts(verdicts), "Difference from the incumbent")),
        qini=qini,
        qini_plot=drawn(qini_curve(qini)) if qini else "",
        history=list(history)[::-1],
    )


def shown(judgement: Judgement) -> list[Verdict]:
    """The model first, then the incumbent, the best fixed offers and random choice."""
    fixed = [each for name, each in judgement.verdicts.items() if name.startswith("always ")]
    fixed.sort(key=lambda each: -each.values[Estimator.DR].value if each.values else float("inf"))
    named = (*(["model"] if "model" in judgement.verdicts else []), judgement.incumbent)
    return [
        *(judgement.verdicts[name] for name in named),
        *fixed[:_SHOWN_FIXED],
        judgement.verdicts[judgement.random],
    ]


def _values(verdicts: Sequence[Verdict]) -> list[Bar]:
    return [
        bar(each.policy, each.values[Estimator.DR], marked=each.policy == "model") for each in verdicts if each.values
    ]


def _lifts(verdicts: Sequence[Verdict]) -> list[Bar]:
    return [
        bar(each.policy, each.lift, marked=each.policy == "model")
        for each in verdicts
        if each.lift is not None and each.policy != "incumbent"
    ]
