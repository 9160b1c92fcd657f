"""What a brand's model calls came to, day by day: costs, tokens, times, outcomes, verdicts; and whether each call has its end
and its verdict on record."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from math import ceil
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.engine import Connection, Row

from commerce_api.models import model_call
from offer_engine.models.records import KINDS, CallOpened, Record, reconcile
from tokenization.clock import as_text

DAY_MS: Final = 86_400_000
UNDER_WAY_MS: Final = 60_000  # longer than any presentation may take
_KINDS: Final = {name: kind for kind, name in KINDS.items()}
_PERCENTS: Final = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Day:
    """The calls that were opened on a day, in UTC. Costs are millionths by currency; times are p50, p95 and p99 in
    milliseconds, None where there was none. ``cost_untold`` calls ended without a provider's word on tokens.
    """

    day: str
    calls: int
    input_tokens: int
    output_tokens: int
    cost_micros: dict[str, int]
    cost_untold: int
    first_token_ms: tuple[int, ...] | None
    total_ms: tuple[int, ...] | None
    outcomes: dict[str, int]
    verdicts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Report:
    """Days with calls, oldest first; calls under way, which are in no day; and where the record does not agree."""

    days: list[Day]
    under_way: int
    problems: list[str]


def report_of(connection: Connection, brand: str, since_ms: int, now_ms: int) -> Report:
    """A brand's calls that were opened since then."""
    opened = (
        select(model_call.c.call)
        .where(model_call.c.brand == brand, model_call.c.record == KINDS[CallOpened], model_call.c.at_ms >= since_ms)
        .scalar_subquery()
    )
    rows = connection.execute(select(model_call).where(model_call.c.call.in_(opened))).all()
    by_call = defaultdict[str, list["Row[Any]"]](list)
    for row in rows:
        by_call[row.call].append(row)
    begun_ms = {row.call: row.at_ms for row in rows if row.record == KINDS[CallOpened]}
    under_way = {
        call
        for call, of_call in by_call.items()
        if len(of_call) < len(KINDS) and now_ms - begun_ms[call] < UNDER_WAY_MS
    }
    ended = [row for row in rows if row.call not in under_way]
    days = defaultdict[str, list["Row[Any]"]](list)
    for row in ended:
        days[as_text(begun_ms[row.call])[:10]].append(row)
    problems = reconcile(records_of([*ended, *_orphans(connection, since_ms)]))
    return Report([_day(day, days[day]) for day in sorted(days)], len(under_way), problems)


def records_of(rows: "Iterable[Row[Any]]") -> list[Record]:
    """Rows as the records that were written to them."""
    return [
        _KINDS[row.record](**{each.name: getattr(row, each.name) for each in fields(_KINDS[row.record])})
        for row in rows
    ]


def told(brand: str, report: Report) -> Sequence[str]:
    """A report in lines, for a terminal."""
    lines = []
    for day in report.days:
        cost = ", ".join(_money(micros, currency) for currency, micros in sorted(day.cost_micros.items())) or "no cost"
        untold = f" ({day.cost_untold} untold)" if day.cost_untold else ""
        lines += [
            f"{day.day}  {day.calls} calls, {day.input_tokens} tokens in, {day.output_tokens} out, {cost}{untold}",
            f"  first words  {_times(day.first_token_ms)}",
            f"  whole        {_times(day.total_ms)}",
            f"  outcomes     {_counts(day.outcomes)}",
            f"  verdicts     {_counts(day.verdicts)}",
        ]
    if report.under_way:
        lines.append(f"{report.under_way} under way")
    if not report.days:
        lines.append(f"no calls of {brand} in this time")
    return [*lines, *report.problems, f"calls and verdicts {'do not agree' if report.problems else 'agree'}"]


def _orphans(connection: Connection, since_ms: int) -> "Sequence[Row[Any]]":
    """Ends and verdicts of calls that were never opened: whose they are, nothing says."""
    opened = select(model_call.c.call).where(model_call.c.record == KINDS[CallOpened]).scalar_subquery()
    return connection.execute(
        select(model_call).where(model_call.c.at_ms >= since_ms, model_call.c.call.not_in(opened))
    ).all()


def _day(day: str, rows: "Sequence[Row[Any]]") -> Day:
    ended = [row for row in rows if row.record == "ended"]
    costs = Counter[str]()
    for row in ended:
        if row.cost_micros is not None:
            costs[row.currency] += row.cost_micros
    return Day(
        day=day,
        calls=sum(row.record == "opened" for row in rows),
        input_tokens=sum(row.input_tokens or 0 for row in ended),
        output_tokens=sum(row.output_tokens or 0 for row in ended),
        cost_micros=dict(costs),
        cost_untold=sum(row.cost_micros is None for row in ended),
        first_token_ms=_percentiles([row.first_token_ms for row in ended if row.first_token_ms is not None]),
        total_ms=_percentiles([row.total_ms for row in ended if row.outcome == "ok"]),
        outcomes=dict(Counter(row.outcome for row in ended).most_common()),
        verdicts=dict(Counter(row.verdict for row in rows if row.record == "judged").most_common()),
    )


def _percentiles(times_ms: list[int]) -> tuple[int, ...] | None:
    """By nearest rank: each is a time that was measured."""
    ordered = sorted(times_ms)
    return tuple(ordered[ceil(len(ordered) * percent / 100) - 1] for percent in _PERCENTS) if ordered else None


def _times(times_ms: tuple[int, ...] | None) -> str:
    if times_ms is None:
        return "none"
    return ", ".join(f"p{percent} {each / 1000:.2f} s" for percent, each in zip(_PERCENTS, times_ms, strict=True))


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _money(micros: int, currency: str) -> str:
    return f"{micros // 1_000_000}.{micros % 1_000_000:06d} {currency}"
