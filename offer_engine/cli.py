"""``offer-engine``: rankers from what ``cordon offers export`` writes. docs/offers-judging.md walks through it."""

import argparse
import getpass
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from offer_engine.exploration import Exploration, ExplorationKind
from offer_engine.features import DEFAULT_SCHEMA, SchemaRefused
from offer_engine.judging.estimators import Estimator
from offer_engine.judging.intervals import Interval
from offer_engine.judging.judge import Judge, Judgement, from_lines
from offer_engine.judging.policies import LinearPolicy, ScoringPolicy
from offer_engine.judging.promotion import Guard, Measured, Reason, Rules, Stage, advance, gate
from offer_engine.judging.report import ANSWERS, TITLES, render_report, shown
from offer_engine.judging.uplift import uplift_of
from offer_engine.learning.files import read_lines, size_bytes
from offer_engine.learning.linear import LinearModel, ModelInvalid, fit
from offer_engine.learning.log import LogInvalid, Reading
from offer_engine.learning.registry import Card, Change, ModelKind, ModelMissing, Registry
from offer_engine.learning.rewards import DAY_MS, Measure, RewardRule
from offer_engine.learning.training import Source, Told, count_in_processes
from tokenization.clock import now_milliseconds

TRAINED_PERCENT: Final = 70  # of the subjects; the others are judged on
OK, REFUSED = 0, 1
_TABLE_WIDTH: Final = 180  # of what is not a terminal: nothing is folded


class CommandRefused(Exception):
    """The command was understood and will not be done. The message says what to do instead."""


def main(argv: list[str] | None = None) -> int:
    """Runs one command. Returns its exit code: 0 done, 1 refused or not good enough, 2 not understood."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except (CommandRefused, LogInvalid, ModelMissing, ModelInvalid, SchemaRefused) as refused:
        sys.stderr.write(f"offer-engine: {refused}\n")
        return REFUSED
    except FileNotFoundError as missing:
        sys.stderr.write(f"offer-engine: no such file: {missing.filename}\n")
        return REFUSED
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="offer-engine", description="Rankers of offers: trained, judged, promoted.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="a model from decisions, into the registry")
    evaluate = commands.add_parser("evaluate", help="judge a model on subjects it was not trained on")
    report = commands.add_parser("report", help="the same, as a page with plots")
    promote = commands.add_parser("promote", help="one stage further, if what was measured lets it")
    rollback = commands.add_parser("rollback", help="take all traffic from the model that has any")
    for command, run in (
        (train, _train),
        (evaluate, _evaluate),
        (report, _report),
        (promote, _promote),
        (rollback, _rollback),
    ):
        command.add_argument(
            "--registry", type=Path, default=Path("offer-models"), metavar="DIR", help="(default: %(default)s)"
        )
        command.set_defaults(run=run)
    for command in (train, evaluate, report, promote):
        _add_log(command)
    train.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes, one for each file"
    )
    train.add_argument("--kind", choices=("linear", "boosted"), default="linear", help="(default: %(default)s)")
    for command in (evaluate, report, promote):
        command.add_argument("--model", required=True, metavar="BEGINNING", help="of the model's name")
        _add_exploration(command)
    report.add_argument("--out", type=Path, default=Path("offers.html"), metavar="FILE", help="(default: %(default)s)")
    promote.add_argument(
        "--measured", type=Path, metavar="FILE", help="what was seen in this stage; not for an apprentice"
    )
    rollback.add_argument("--reason", required=True, help="why, for the history")
    for command in (promote, rollback):
        command.add_argument(
            "--by", default=getpass.getuser(), metavar="NAME", help="who answers for it (default: %(default)s)"
        )
    return parser


def _add_log(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "log", nargs="+", type=Path, metavar="LOG", help="exported decisions: JSON lines, plain or .gz"
    )
    command.add_argument(
        "--measure", choices=list(Measure), type=Measure, default=Measure.CONVERSION, help="the reward"
    )
    command.add_argument(
        "--purchase-days", type=int, default=7, metavar="DAYS", help="a purchase counts within (default: 7)"
    )
    command.add_argument(
        "--reversal-days", type=int, default=30, metavar="DAYS", help="it may come back within (default: 30)"
    )
    command.add_argument(
        "--as-of",
        type=int,
        default=now_milliseconds(),
        metavar="MS",
        help="judge by what was known then (default: now; no later than each line was exported)",
    )


def _add_exploration(command: argparse.ArgumentParser) -> None:
    default = Exploration()
    command.add_argument("--exploration", choices=list(ExplorationKind), type=ExplorationKind, default=default.kind)
    command.add_argument("--sharpness", type=float, default=default.sharpness, help="(default: %(default)s)")
    command.add_argument("--floor", type=float, default=default.floor, help="least propensity (default: %(default)s)")


def _train(arguments: argparse.Namespace) -> int:
    source = Source(tuple(arguments.log), DEFAULT_SCHEMA, _rule(arguments), arguments.as_of, (0, TRAINED_PERCENT))
    with _progress("reading decisions", size_bytes(source.paths)) as told:
        if arguments.kind == "boosted":
            from offer_engine.learning import gbdt

            trained = gbdt.train(source, told)
            data, kind, reading = trained.model.to_bytes(), ModelKind.BOOSTED, trained.reading
        else:
            counted = count_in_processes(source, arguments.jobs, told)
            _require_decisions(counted.reading)
            data, kind = fit(counted.statistics, DEFAULT_SCHEMA).to_bytes(), ModelKind.LINEAR
            reading = counted.reading
    _require_decisions(reading)
    card = Registry(arguments.registry).add(data, kind, _about(reading, arguments))
    _say(f"{card.model}  {reading.used:,} decisions, {len(reading.arms.names)} offers; {_left_out(reading)}")
    return OK


def _require_decisions(reading: Reading) -> None:
    if not reading.used:
        raise CommandRefused(f"no decision can be learned from: {_left_out(reading)}")


def _about(reading: Reading, arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "trained_ms": now_milliseconds(),
        "trained_by": getpass.getuser(),
        "data_from_ms": reading.first_ms or 0,
        "data_until_ms": reading.last_ms or 0,
        "decisions": reading.used,
        "left_out": {
            "not_presented": reading.not_presented,
            "immature": reading.immature,
            "erased": reading.erased,
            "kept_for_judging": reading.other_share,
        },
        "measure": arguments.measure.value,
        "features": [feature.name for feature in reading.schema.features],
        "schema_hash": reading.schema.hash,
        "offers": len(reading.arms.names),
        "metrics": {"trained_percent_of_subjects": float(TRAINED_PERCENT)},
    }


def _evaluate(arguments: argparse.Namespace) -> int:
    _, reading, judgement, reason = _judged(arguments)
    _say_table(judgement)
    _say(f"Judged on {reading.used:,} decisions; {_left_out(reading)}, {reading.not_drawn:,} not drawn.")
    _say(ANSWERS.get(reason, reason.value))
    return OK if reason is Reason.PASSED else REFUSED


def _report(arguments: argparse.Namespace) -> int:
    card, reading, judgement, reason = _judged(arguments)
    policy, registry = _policy(arguments), Registry(arguments.registry)
    with _progress("uplift", size_bytes(arguments.log)) as told:
        curve = uplift_of(policy, _batches(arguments, _reading(arguments, card), told)(), reading.arms)
    page = render_report(judgement, card, reading, reason, curve, registry.history())
    arguments.out.write_text(page, encoding="utf-8")
    _say(f"{arguments.out}: {ANSWERS.get(reason, reason.value)}")
    return OK


def _promote(arguments: argparse.Namespace) -> int:
    registry = Registry(arguments.registry)
    name = registry.find(arguments.model)
    stage, serving = _stage(registry, name), _serving(registry)
    if serving not in (None, name):
        raise CommandRefused(f"{serving[:16]} is on its way; roll it back first")
    reason = _judged(arguments)[3] if stage is Stage.APPRENTICE else Reason.PASSED
    measured = Measured(0, 0, {}) if arguments.measured is None else read_measured(arguments.measured)
    move = advance(stage, measured, Rules(), reason)
    if move.stage is not stage:
        judged_with = _exploration(arguments) if stage is Stage.APPRENTICE else None
        change = Change(now_milliseconds(), name, move.stage.value, arguments.by, move.reason.value, judged_with)
        registry.record(change)
    _say(f"{name[:16]}  {stage.value} -> {move.stage.value}: {move.reason.value.replace('_', ' ')}")
    return OK if move.reason is Reason.PASSED else REFUSED


def _rollback(arguments: argparse.Namespace) -> int:
    registry = Registry(arguments.registry)
    name = _serving(registry)
    if name is None:
        raise CommandRefused("no model has traffic")
    registry.record(Change(now_milliseconds(), name, Stage.ROLLED_BACK.value, arguments.by, arguments.reason))
    _say(f"{name[:16]}  -> {Stage.ROLLED_BACK.value}; the incumbent decides alone")
    return OK


def _stage(registry: Registry, name: str) -> Stage:
    stages = [Stage(change.stage) for change in registry.history() if change.model == name]
    return stages[-1] if stages else Stage.APPRENTICE


def _serving(registry: Registry) -> str | None:
    """The model that has traffic or had it last and was not taken back."""
    history = registry.history()
    return history[-1].model if history and Stage(history[-1].stage) is not Stage.ROLLED_BACK else None


def read_measured(path: Path) -> Measured:
    """``{"decisions": n, "stage_ms": n, "guards": {"refunds": [value, lower, upper], …}}``. Raises CommandRefused."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        guards = {
            Guard(name): Interval(float(value), float(lower), float(upper), float(lower), float(upper))
            for name, (value, lower, upper) in found["guards"].items()
        }
        return Measured(int(found["decisions"]), int(found["stage_ms"]), guards)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CommandRefused(
            f"{path} does not say decisions, stage_ms and guards: see docs/offers-judging.md"
        ) from None


def _judged(arguments: argparse.Namespace) -> tuple[Card, Reading, Judgement, Reason]:
    card = Registry(arguments.registry).card(Registry(arguments.registry).find(arguments.model))
    reading, policy = _reading(arguments, card), _policy(arguments)
    with _progress("judging", 2 * size_bytes(arguments.log)) as told:
        judgement = Judge().judge(reading, _batches(arguments, reading, told), [policy])
    return card, reading, judgement, gate(judgement, policy.name)


def _reading(arguments: argparse.Namespace, card: Card) -> Reading:
    """Other subjects than the model was trained on, whatever log it is; and what was drawn, for of no more can it be told."""
    if card.schema_hash != DEFAULT_SCHEMA.hash:
        raise CommandRefused("this model was trained on another schema of features; train a new one")
    return Reading(DEFAULT_SCHEMA, _rule(arguments), arguments.as_of, (TRAINED_PERCENT, 100), only_drawn=True)


def _policy(arguments: argparse.Namespace) -> ScoringPolicy:
    registry = Registry(arguments.registry)
    name = registry.find(arguments.model)
    exploration = _exploration(arguments)
    if registry.card(name).kind is ModelKind.BOOSTED:
        from offer_engine.learning import gbdt

        return gbdt.BoostedPolicy(gbdt.BoostedModel.from_bytes(registry.load(name)), exploration)
    return LinearPolicy(LinearModel.from_bytes(registry.load(name)), exploration)


def _exploration(arguments: argparse.Namespace) -> Exploration:
    try:
        return Exploration(arguments.exploration, arguments.sharpness, arguments.floor)
    except ValueError as wrong:
        raise CommandRefused(str(wrong)) from None


def _batches(arguments: argparse.Namespace, reading: Reading, told: Told) -> Callable[[], Any]:
    """Each reading goes on where the progress of the last one ended."""
    total, readings = size_bytes(arguments.log), iter(range(1_000))

    def lines() -> Iterator[bytes]:
        before = next(readings) * total
        return read_lines(arguments.log, lambda done: told(before + done))

    return from_lines(reading, lines)


def _rule(arguments: argparse.Namespace) -> RewardRule:
    return RewardRule(arguments.measure, arguments.purchase_days * DAY_MS, arguments.reversal_days * DAY_MS)


def _left_out(reading: Reading) -> str:
    return (
        f"left out {reading.not_presented:,} never shown, {reading.immature:,} too young, "
        f"{reading.erased:,} erased, {reading.other_share:,} of other subjects"
    )


def _say_table(judgement: Judgement) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("policy", *TITLES.values(), "lift [95 %]", "effective", "rewarded", box=None)
    for verdict in shown(judgement):
        values = (
            [f"{verdict.values[name].value:.4g}" for name in Estimator] if verdict.values else ["–"] * len(Estimator)
        )
        lift = verdict.lift
        said = f"{lift.value:+.4g} [{lift.lower:+.4g}, {lift.upper:+.4g}]" if lift else ", ".join(verdict.refusals)
        table.add_row(
            verdict.policy, *values, said, f"{verdict.effective_sample:,.0f}", f"{verdict.effective_rewarded:,.0f}"
        )
    width = None if sys.stdout.isatty() else _TABLE_WIDTH
    Console(file=sys.stdout, highlight=False, markup=False, width=width).print(table)


@contextmanager
def _progress(title: str, total_bytes: int) -> Iterator[Told]:
    """A bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns: Sequence[Any] = (
        *(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        ),
    )
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total_bytes)
        yield lambda done: progress.update(task, completed=done)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
