"""Where a model stands, in words: for terminals and pages. Lines fit into 80 columns."""

from collections.abc import Mapping
from typing import Final

from offer_engine.judging.promotion import Guard, Measured, Move, Reason, Rules

WORDS: Final[Mapping[Guard, str]] = {
    Guard.REWARD_LOST: "sales lost, a decision",
    Guard.MARGIN_LOST: "margin lost, minor units",
    Guard.REFUNDS: "sales that came back",
    Guard.OPT_OUTS: "offers refused",
    Guard.FAULTS: "model could not decide",
    Guard.GROUP_GAP: "gap between shoppers",
}
NEXT: Final[Mapping[Reason, str]] = {
    Reason.PASSED: "may go on",
    Reason.ENDED: "nothing: this is the last stage",
    Reason.TOO_FEW_DECISIONS: "waits for more decisions",
    Reason.TOO_SOON: "waits until the stage has lasted its time",
    Reason.GUARD_WORSE: "goes back: a guard is worse beyond doubt",
    Reason.GUARD_MISSING: "waits: nothing is known yet of a guard",
    Reason.GUARD_UNCLEAR: "waits: not clear yet that it is as good as the priorities",
}


def reason_of(move: Move, measured: Measured, rules: Rules) -> str:
    """A move's reason as the history has it, with the guards that it was for."""
    if move.reason is not Reason.GUARD_WORSE:
        return move.reason.value
    windows = {"": measured.guards} | {
        f" in the last {_days(days)}": guards for days, guards in measured.lately.items()
    }
    worse = [
        f"{', '.join(guard.value for guard in found)}{when}"
        for when, guards in windows.items()
        if (found := rules.worse(guards))
    ]
    return f"{move.reason.value}: {'; '.join(worse)}"


def verdict(guard: Guard, measured: Measured, rules: Rules) -> str:
    """A guard in a word."""
    if guard not in measured.guards:
        return "not known"
    only = {guard: measured.guards[guard]}
    if rules.worse(only):
        return "worse"
    return "unclear" if rules.unclear(only) else "fine"


def guard_lines(measured: Measured, rules: Rules) -> list[str]:
    """A line for each guard; none where nothing was measured yet."""
    if not measured.guards:
        return []
    lines = [f"  {'model less priorities':25}{'value':>9}{'from':>10}{'to':>10}{'tolerated':>11}"]
    for guard, words in WORDS.items():
        told = verdict(guard, measured, rules)
        if guard in measured.guards:
            interval = measured.guards[guard]
            figures = f"{interval.value:9.4g}{interval.lower:10.4g}{interval.upper:10.4g}"
        else:
            figures = f"{'–':>9}{'':20}"
        lines.append(f"  {words:25}{figures}{rules.tolerance.get(guard, 0.0):11.4g}  {told}")
    return lines + [f"  {f'the last {_days(days)} alone':67}{told}" for days, told in lately_in_words(measured, rules)]


def lately_in_words(measured: Measured, rules: Rules) -> list[tuple[int, str]]:
    """The last days of a stage by themselves, in a word each."""
    return [
        (days, "not known" if not guards else "worse" if rules.worse(guards) else "not worse")
        for days, guards in measured.lately.items()
    ]


def _days(days: int) -> str:
    return "day" if days == 1 else f"{days} days"
