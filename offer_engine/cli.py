"""``offer-engine``: rankers from what ``cordon offers export`` writes. docs/offers-judging.md walks through it."""

import argparse
import getpass
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from offer_engine.exploration import Exploration, ExplorationKind
from offer_engine.features import DEFAULT_SCHEMA, SchemaRefused
from offer_engine.judging.estimators import Estimator
from offer_engine.judging.guards import GROUPINGS, GROUPINGS_USUAL
from offer_engine.judging.judge import Judge, Judgement, from_lines
from offer_engine.judging.policies import LinearPolicy, ScoringPolicy
from offer_engine.judging.promotion import Measured, Reason, Rules, Stage, advance, gate
from offer_engine.judging.report import ANSWERS, TITLES, render_report, shown
from offer_engine.judging.standing import guard_lines, reason_of
from offer_engine.judging.uplift import uplift_of
from offer_engine.judging.watching import Watch, look_of
from offer_engine.learning import cards, gbdt
from offer_engine.learning.files import read_lines, size_bytes
from offer_engine.learning.linear import LinearModel, ModelInvalid, Priors, fit
from offer_engine.learning.log import TRAINED_PERCENT, LogInvalid, Reading
from offer_engine.learning.machines import Machines
from offer_engine.learning.registry import Card, Change, HistoryMoved, ModelKind, ModelMissing, Registry
from offer_engine.learning.rewards import DAY_MS, Measure, RewardRule
from offer_engine.learning.summary import Summary
from offer_engine.learning.together import count_together, train_together
from offer_engine.learning.training import Source, Told, count_in_processes
from tokenization.clock import monotonic_seconds, now_milliseconds

if TYPE_CHECKING:
    from rich.progress import Progress

OK, REFUSED = 0, 1
_TELL_SECONDS: Final = 30.0
_TABLE_WIDTH: Final = 180  # of what is not a terminal: nothing is folded


class Training(NamedTuple):
    """Who hears how far training is: bytes and decisions that were read, trees that are grown."""

    read: Told
    grown: Callable[[int], None]


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
    except HistoryMoved:
        sys.stderr.write("offer-engine: the history was added to meanwhile; look at it and ask again\n")
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
    card = commands.add_parser("card", help="what a reviewer asks of a model: its data, features, metrics and limits")
    rollback = commands.add_parser("rollback", help="take all traffic from the model that has any")
    for command, run in (
        (train, _train),
        (evaluate, _evaluate),
        (report, _report),
        (promote, _promote),
        (card, _card),
        (rollback, _rollback),
    ):
        command.add_argument(
            "--registry", type=Path, default=Path("offer-models"), metavar="DIR", help="(default: %(default)s)"
        )
        command.set_defaults(run=run)
    for command in (train, evaluate, report, promote):
        _add_log(command)
    train.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes, one for each file, and threads"
    )
    train.add_argument("--kind", choices=("linear", "boosted"), default="linear", help="(default: %(default)s)")
    _add_machines(train)
    card.add_argument("model", metavar="MODEL", help="the beginning of its name")
    for command in (evaluate, report, promote):
        command.add_argument("--model", required=True, metavar="BEGINNING", help="of the model's name")
        _add_exploration(command)
    report.add_argument("--out", type=Path, default=Path("offers.html"), metavar="FILE", help="(default: %(default)s)")
    promote.add_argument(
        "--groups",
        nargs="*",
        choices=list(GROUPINGS),
        default=GROUPINGS_USUAL,
        help=f"shoppers whom the model must do as well by (default: {' '.join(GROUPINGS_USUAL)})",
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
        metavar="MS",
        help="judge by what was known then (default: now; no later than each line was exported)",
    )


def _add_machines(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--machines", metavar="IP:PORT,IP:PORT,…", help="train with these machines, each of which reads its own files"
    )
    command.add_argument("--this", type=int, default=0, metavar="N", help="which of the machines this is, from 0")
    command.add_argument(
        "--wait-minutes", type=float, default=120.0, metavar="N", help="for the others to read (default: %(default)g)"
    )


def _as_of(arguments: argparse.Namespace) -> int:
    return now_milliseconds() if arguments.as_of is None else int(arguments.as_of)


def _add_exploration(command: argparse.ArgumentParser) -> None:
    default = Exploration()
    command.add_argument("--exploration", choices=list(ExplorationKind), type=ExplorationKind, default=default.kind)
    command.add_argument("--sharpness", type=float, default=default.sharpness, help="(default: %(default)s)")
    command.add_argument("--floor", type=float, default=default.floor, help="least propensity (default: %(default)s)")


def _train(arguments: argparse.Namespace) -> int:
    if arguments.machines and arguments.as_of is None:
        raise CommandRefused("several machines need the same --as-of")
    rule, as_of = _rule(arguments), _as_of(arguments)
    source = Source(tuple(arguments.log), DEFAULT_SCHEMA, rule, as_of, (0, TRAINED_PERCENT))
    machines = arguments.machines and Machines.parsed(arguments.machines, arguments.this, 60.0 * arguments.wait_minutes)
    trained = (_boosted if arguments.kind == "boosted" else _linear)(source, machines, arguments.jobs)
    if machines and machines.this:
        _say(f"machine {machines.this} is done; the model is in the registry of machine 0")
        return OK
    about = {
        **cards.about(trained.reading, trained.summary, trained.model),
        "trained_ms": now_milliseconds(),
        "trained_by": getpass.getuser(),
        "parameters": trained.parameters,
        "machines": len(machines.places) if machines else 1,
    }
    card = Registry(arguments.registry).add(trained.model.to_bytes(), trained.kind, about)
    left_out = _left_out(trained.reading, trained.summary.held_out_decisions)
    _say(f"{card.model}  {card.decisions:,} decisions, {card.offers} offers; {left_out}")
    return OK


class _Trained(NamedTuple):
    """A model of either kind, and what its card is made from."""

    model: LinearModel | gbdt.BoostedModel
    kind: ModelKind
    reading: Reading
    summary: Summary
    parameters: dict[str, Any]


def _linear(source: Source, machines: Machines | None, jobs: int) -> _Trained:
    with _training(source) as told:
        read = partial(count_together, machines) if machines else count_in_processes
        counted = read(source, jobs, told.read)
    if not counted.summary.decisions.sum():
        raise CommandRefused(
            f"no decision can be learned from: {_left_out(counted.reading, counted.summary.held_out_decisions)}"
        )
    priors = Priors()
    model = fit(counted.statistics, source.schema, priors)
    return _Trained(model, ModelKind.LINEAR, counted.reading, counted.summary, asdict(priors))


def _boosted(source: Source, machines: Machines | None, jobs: int) -> _Trained:
    with _training(source) as told:
        train = partial(train_together, machines) if machines else gbdt.train
        trained = train(source, jobs, *told)
    parameters = {**gbdt.PARAMETERS, "rounds": gbdt.ROUNDS}
    return _Trained(trained.model, ModelKind.BOOSTED, trained.reading, trained.summary, parameters)


def _card(arguments: argparse.Namespace) -> int:
    registry = Registry(arguments.registry)
    sys.stdout.write(cards.as_text(registry.card(registry.find(arguments.model))))
    return OK


def _evaluate(arguments: argparse.Namespace) -> int:
    _, reading, judgement, reason = _judged(arguments)
    _say_table(judgement)
    left_out = f"{_left_out(reading, reading.other_share)}, {reading.not_drawn:,} not drawn"
    _say(f"Judged on {reading.used:,} decisions; {left_out}.")
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
    registry, rules = Registry(arguments.registry), Rules()
    name, history = registry.find(arguments.model), registry.history()
    stage, serving = _stage(history, name), _serving(history)
    if serving not in (None, name):
        raise CommandRefused(f"{serving[:16]} is on its way; roll it back first")
    reason = _judged(arguments)[3] if stage is Stage.APPRENTICE else Reason.PASSED
    measured = Measured(0, 0, {}) if serving is None else _measured(arguments, history[-1])
    move = advance(stage, measured, rules, reason)
    if move.stage is not stage:
        told = reason_of(move, measured, rules)
        newest = history[-1] if history else None
        judged_with = _exploration(arguments) if stage is Stage.APPRENTICE else None
        change = Change(now_milliseconds(), name, move.stage.value, arguments.by, told, judged_with)
        registry.record_after(change, newest)
    for line in guard_lines(measured, rules):
        _say(line)
    _say(f"{name[:16]}  {stage.value} -> {move.stage.value}: {move.reason.value.replace('_', ' ')}")
    return OK if move.reason is Reason.PASSED else REFUSED


def _rollback(arguments: argparse.Namespace) -> int:
    registry = Registry(arguments.registry)
    history = registry.history()
    name = _serving(history)
    if name is None:
        raise CommandRefused("no model has traffic")
    change = Change(now_milliseconds(), name, Stage.ROLLED_BACK.value, arguments.by, arguments.reason)
    registry.record_after(change, history[-1])
    _say(f"{name[:16]}  -> {Stage.ROLLED_BACK.value}; the incumbent decides alone")
    return OK


def _stage(history: Sequence[Change], name: str) -> Stage:
    stages = [Stage(change.stage) for change in history if change.model == name]
    return stages[-1] if stages else Stage.APPRENTICE


def _serving(history: Sequence[Change]) -> str | None:
    """The model that has traffic or had it last and was not taken back."""
    return history[-1].model if history and Stage(history[-1].stage) is not Stage.ROLLED_BACK else None


def _measured(arguments: argparse.Namespace, began: Change) -> Measured:
    """What the log says of the stage, as the newest look sees it."""
    look = look_of(began, _told_until(arguments))
    if look is None:
        return Measured(0, 0, {})
    watch = Watch(began.model, began.at_ms, look, arguments.groups)
    with _progress("comparing", size_bytes(arguments.log)) as told:
        watch.add_lines(read_lines(arguments.log, told))
    return watch.measured()


def _told_until(arguments: argparse.Namespace) -> int:
    """The moment that the logs tell of: the newest one's export, where it says so, and no later than ``--as-of``. A stage is no
    older than what is known of it.
    """
    exported = [_exported_ms(next(read_lines([path]), b"")) for path in arguments.log]
    return min([_as_of(arguments), *([max(told)] if (told := [at for at in exported if at is not None]) else [])])


def _exported_ms(line: bytes) -> int | None:
    """When a line was exported; None for one that does not say. What is no record is refused where it is read as one."""
    try:
        told = json.loads(line)["exported_ms"]
    except (ValueError, KeyError, TypeError):
        return None
    return told if isinstance(told, int) else None


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
    share = (TRAINED_PERCENT, 100)
    return Reading(DEFAULT_SCHEMA, _rule(arguments), _as_of(arguments), share, only_drawn=True)


def _policy(arguments: argparse.Namespace) -> ScoringPolicy:
    registry = Registry(arguments.registry)
    name = registry.find(arguments.model)
    exploration = _exploration(arguments)
    if registry.card(name).kind is ModelKind.BOOSTED:
        return gbdt.BoostedPolicy(gbdt.BoostedModel.from_bytes(registry.load(name)), exploration)
    return LinearPolicy(LinearModel.from_bytes(registry.load(name)), exploration)


def _exploration(arguments: argparse.Namespace) -> Exploration:
    try:
        return Exploration(arguments.exploration, arguments.sharpness, arguments.floor)
    except ValueError as wrong:
        raise CommandRefused(str(wrong)) from None


def _batches(arguments: argparse.Namespace, reading: Reading, told: Callable[[int], None]) -> Callable[[], Any]:
    """Each reading goes on where the progress of the last one ended."""
    total, readings = size_bytes(arguments.log), iter(range(1_000))

    def lines() -> Iterator[bytes]:
        before = next(readings) * total
        return read_lines(arguments.log, lambda done: told(before + done))

    return from_lines(reading, lines)


def _rule(arguments: argparse.Namespace) -> RewardRule:
    return RewardRule(arguments.measure, arguments.purchase_days * DAY_MS, arguments.reversal_days * DAY_MS)


def _left_out(reading: Reading, of_others: int) -> str:
    return (
        f"left out {reading.not_presented:,} never shown, {reading.immature:,} too young, "
        f"{reading.erased:,} erased, {of_others:,} of other subjects"
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
def _progress(title: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, where that is a terminal."""
    with _bar(title, total_bytes) as bar:
        yield lambda done: bar.update(bar.task_ids[0], completed=done)


@contextmanager
def _training(source: Source) -> Iterator[Training]:
    """How far training is, on standard error: a bar on a terminal, elsewhere a line now and then."""
    started = shown = monotonic_seconds()
    total = size_bytes(source.paths)
    with _bar("reading decisions", total) as bar:

        def read(done_bytes: int, decisions: int) -> None:
            nonlocal shown
            now = monotonic_seconds()
            rate = decisions / max(now - started, 1e-9)
            left = (now - started) * (total - done_bytes) / max(done_bytes, 1)
            said = f"{decisions:,} decisions, {rate:,.0f}/s, {left:,.0f} s left"
            bar.update(bar.task_ids[0], completed=done_bytes, description=said)
            if bar.disable and now - shown >= _TELL_SECONDS:
                shown = now
                sys.stderr.write(f"{said}\n")

        def grown(trees: int) -> None:
            nonlocal shown
            said = f"{trees} of {gbdt.ROUNDS} trees"
            bar.update(bar.task_ids[0], description=said)
            if bar.disable and monotonic_seconds() - shown >= _TELL_SECONDS:
                shown = monotonic_seconds()
                sys.stderr.write(f"{said}\n")

        yield Training(read, grown)


def _bar(title: str, total_bytes: int) -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    text = TextColumn("{task.description}")
    columns = (text, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(file=sys.stderr)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    bar.add_task(title, total=total_bytes)
    return bar


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
