"""``vault-zone reconcile``: a processor's settlement report held against the books, and what does not agree."""

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenization.money import Money
from vault_zone.cli import zone_client
from vault_zone.cli.refused import CommandRefused
from vault_zone.reconciliation.forms import FORMS
from vault_zone.reconciliation.importing import BATCH_LIMIT
from vault_zone.reconciliation.line import Line
from vault_zone.reconciliation.reading import Form, ReportRefused, digest_of, form_of, lines

BATCH_TIMEOUT_SECONDS = 60.0
DAY_MS = 86_400_000
_MENDS = {
    "file_not_readable": "see whether it is there and may be read",
    "not_csv_in_utf8": "hand in the CSV as the processor gave it, in UTF-8",
    "columns_missing": "its heading has not the columns of any report known here: see docs/ledger.md",
    "card_like_text": "a report holds no card number; ask the processor, and treat the file as account data",
    "line_too_long": "no report has such a line",
}


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command: ``reconcile FILE``, and with ``breaks`` or ``resolve`` in its place what those do."""
    parser = commands.add_parser(
        "reconcile",
        help="hold a processor's settlement report against the books; `breaks` and `resolve` for what does not agree",
        description="FILE is the processor's CSV. `reconcile breaks` lists what does not agree, oldest first; "
        "`reconcile resolve BREAK --reason TEXT` writes down why.",
    )
    parser.add_argument("what", metavar="FILE | breaks | resolve")
    parser.add_argument("broken", nargs="?", metavar="BREAK", help="of resolve: which one")
    parser.add_argument("--merchant", required=True, help="whose account at the processor it is")
    parser.add_argument("--processor", metavar="NAME", help="whose report it is (default: by its columns)")
    parser.add_argument("--dry-run", action="store_true", help="say what it would come to, and change nothing")
    parser.add_argument("--resolved", action="store_true", help="of breaks: those that were resolved")
    parser.add_argument("--reason", metavar="TEXT", help="of resolve: why they did not agree; it is kept for good")
    zone_client.add_arguments(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.what == "breaks":
        return _breaks(arguments)
    return _resolve(arguments) if arguments.what == "resolve" else _report(arguments)


def _report(arguments: argparse.Namespace) -> int:
    file = Path(arguments.what)
    try:
        form = form_of(file, FORMS)
        check(file, form)
        with zone_client.open_client(arguments) as zone:
            processor = arguments.processor or form.processor
            if arguments.dry_run:
                return _try(zone, arguments.merchant, processor, file, form)
            return _hand_in(zone, arguments.merchant, processor, file, form)
    except ReportRefused as refused:
        mend = _MENDS.get(refused.code, "nothing of the file was taken in")
        raise CommandRefused(f"{file}, line {refused.line}: {refused.code}: {mend}") from None


def check(file: Path, form: Form) -> None:
    """Reads the whole file once before anything of it is handed in. Raises ReportRefused."""
    for _ in lines(file, form):
        pass


def _hand_in(zone: zone_client.ZoneClient, merchant: str, processor: str, file: Path, form: Form) -> int:
    of_merchant = f"/v1/merchants/{merchant}/settlements"
    begun = zone.call("POST", of_merchant, {"processor": processor, "digest": digest_of(file)})
    if begun["is_finished"]:
        sys.stdout.write(
            f"this file was read before as {begun['settlement']}: {begun['lines']} lines, {begun['matched']} matched; "
            "nothing was done\n"
        )
        return 0
    path, total = f"{of_merchant}/{begun['settlement']}", Counter[str]()
    for batch in batches(file, form):
        body = {"lines": [line.model_dump(mode="json") for line in batch]}
        total.update(zone_counts(zone.call("POST", f"{path}/lines", body, timeout_seconds=BATCH_TIMEOUT_SECONDS)))
    ended = zone.call("POST", f"{path}/finish", timeout_seconds=BATCH_TIMEOUT_SECONDS)
    sys.stdout.write(
        f"{begun['settlement']}: {total['lines']} new lines of {processor}, {total['matched']} matched, "
        f"{total['breaks']} breaks; {ended['breaks']} charges of that time are in no report\n"
    )
    return 1 if total["breaks"] or ended["breaks"] else 0


def _try(zone: zone_client.ZoneClient, merchant: str, processor: str, file: Path, form: Form) -> int:
    total, codes = Counter[str](), Counter[str]()
    for batch in batches(file, form):
        body = {"lines": [line.model_dump(mode="json") for line in batch], "dry_run": True}
        done = zone.call(
            "POST",
            f"/v1/merchants/{merchant}/settlements/{processor}/lines",
            body,
            timeout_seconds=BATCH_TIMEOUT_SECONDS,
        )
        total.update(zone_counts(done))
        codes.update(done["codes"])
    sys.stdout.write(
        f"would be: {total['lines']} new lines of {processor}, {total['matched']} matched, {total['breaks']} breaks\n"
    )
    sys.stdout.writelines(f"  {code}: {count}\n" for code, count in sorted(codes.items()))
    return 1 if codes else 0


def zone_counts(answer: dict[str, Any]) -> dict[str, int]:
    """The counts of an answer."""
    return {name: answer[name] for name in ("lines", "matched", "breaks")}


def batches(file: Path, form: Form) -> Iterator[tuple[Line, ...]]:
    """The file's lines, so many at a time as one call takes."""
    each = lines(file, form)
    while batch := tuple(itertools.islice(each, BATCH_LIMIT)):
        yield batch


def _breaks(arguments: argparse.Namespace) -> int:
    path, after = f"/v1/merchants/{arguments.merchant}/settlement-breaks", None
    with zone_client.open_client(arguments) as zone:
        while True:
            query = {"resolved": str(arguments.resolved).lower(), "after": after}
            page = zone.call("GET", path, query=query)
            sys.stdout.writelines(break_text(one, page["now_ms"]) for one in page["breaks"])
            if not page["breaks"]:
                break
            after = page["breaks"][-1]["broken"]
    if after is None:
        sys.stdout.write("nothing was resolved yet\n" if arguments.resolved else "report and books agree\n")
    return 0


def break_text(one: dict[str, Any], now_ms: int) -> str:
    """A break in one line, with its age, and how it was resolved in another."""
    age = (now_ms - one["found_ms"]) // DAY_MS
    theirs = "nothing" if one["theirs_minor"] is None else Money(one["theirs_minor"], one["currency"]).text()
    ours = "nothing" if not one["ours_minor"] else Money(one["ours_minor"], one["currency"]).text()
    about = f" of {one['charge']}" if one["charge"] and one["charge"] != one["subject"] else ""
    suspense = f", in suspense by {one['entry']}" if one["entry"] else ""
    text = (
        f"{one['broken']}  {age} d  {one['code']}: {one['processor']} {one['subject']}{about}: "
        f"reported {theirs}, in the books {ours}{suspense}\n"
    )
    return text + (f"    resolved by {one['resolved_by']}: {one['reason']}\n" if one["resolved_by"] else "")


def _resolve(arguments: argparse.Namespace) -> int:
    if not (arguments.broken and arguments.reason):
        raise CommandRefused("name the break and say why: vault-zone reconcile resolve BREAK --reason TEXT")
    path = f"/v1/merchants/{arguments.merchant}/settlement-breaks/{arguments.broken}/resolve"
    with zone_client.open_client(arguments) as zone:
        one = zone.call("POST", path, {"reason": arguments.reason})
    sys.stdout.write(f"{one['broken']} resolved by {one['resolved_by']}: {one['reason']}\n")
    if one["entry"]:
        sys.stdout.write(
            f"{one['entry']} stays in suspense; when the books explain it:\n"
            f"  vault-zone ledger reverse {one['entry']} --merchant {arguments.merchant}\n"
        )
    return 0
