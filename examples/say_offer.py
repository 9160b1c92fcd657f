"""Says two offers of Harbour & Pine to a shopper: by the models of a file, or by the template where there is none.

python -m examples.say_offer --locale de
python -m examples.say_offer --models models.json --calls calls.jsonl --shopper "Something for my mother's kitchen"
"""

import argparse
import asyncio
import secrets
import sys
from pathlib import Path

from offer_engine.models.egress import Egress
from offer_engine.models.prompt import Turn
from offer_engine.models.records import JsonLinesRecorder, read_records, reconcile
from offer_engine.models.router import Router
from offer_engine.models.specs import load_specs
from offer_engine.offers import Context, ContextLine, Offer, OfferKind
from offer_engine.presenting.locales import locale_for
from offer_engine.presenting.present import Presentation
from offer_engine.presenting.sayables import sayable
from offer_engine.presenting.verifier import Grounds
from offer_engine.presenting.voices import ModelVoice
from tokenization.clock import monotonic_seconds, now_milliseconds

BRAND = "Harbour & Pine"
KETTLES = Offer(
    "coffee-corner", 1, "15% off kettles and coffee", OfferKind.PERCENT_OFF, "USD", percent_basis_points=1_500
)
SHIPPING = Offer("shipping", 1, "Shipping on us", OfferKind.FREE_SHIPPING, "USD")
_A_DAY_MS = 86_400_000


def grounds(locale: str) -> Grounds:
    """What may be said: both offers for a kettle of $79."""
    now_ms = now_milliseconds()
    line = ContextLine("hp-kettle-oat", "hp-kettle", frozenset({"Kitchen > Kettles"}), 7_900, 1)
    context = Context("harbour-pine", "psn_example", "USD", (line,), now_ms)
    said = (
        sayable(KETTLES, context, locale=locale, brand=BRAND, expires_ms=now_ms + _A_DAY_MS),
        sayable(SHIPPING, context, locale=locale, brand=BRAND, disclosures=("Shipping within the US.",)),
    )
    return Grounds(locale, said, BRAND, ("Drift Electric Kettle - oat", "Tide Pour-Over Set"))


async def say(chosen: argparse.Namespace) -> None:
    """Streams the presentation to the terminal, then tells what it was."""
    talk = [Turn("user", chosen.shopper)] if chosen.shopper else []
    egress = voice = None
    if chosen.models is not None:
        egress = Egress(JsonLinesRecorder(chosen.calls), secrets.token_bytes(32), now_milliseconds, monotonic_seconds)
        voice = ModelVoice(Router(load_specs(chosen.models), egress, monotonic_seconds))
    presentation = Presentation(
        grounds(locale_for(chosen.locale)),
        voice,
        deadline_seconds=chosen.deadline_seconds,
        now_seconds=monotonic_seconds,
        talk=talk,
        hints=("kettles and coffee", "shipping"),
        wording=chosen.wording,
    )
    async for piece in presentation:
        sys.stdout.write(piece)
        sys.stdout.flush()
    if egress is not None:
        await egress.close()
    outcome = presentation.presented
    if outcome is not None:
        sys.stdout.write(f"\n\nby {outcome.by}; verdicts of the calls: {', '.join(outcome.verdicts) or 'no call'}\n")
    if chosen.models is not None and chosen.calls.exists():
        problems = reconcile(read_records(chosen.calls))
        sys.stdout.write(f"calls and verdicts: {problems or 'agree'}\n")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--locale", default="en", help="a language tag, such as de-CH")
    parser.add_argument("--models", type=Path, help="a file of models (docs/models.md)")
    parser.add_argument("--calls", type=Path, default=Path("calls.jsonl"), help="where calls are put on record")
    parser.add_argument("--shopper", default="", help="what the shopper said")
    parser.add_argument("--wording", choices=("free", "chosen"), default="free")
    parser.add_argument("--deadline-seconds", type=float, default=6.0)
    asyncio.run(say(parser.parse_args()))


if __name__ == "__main__":
    main()
