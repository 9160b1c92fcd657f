"""Regret curves as a page: a plot for each market, in the style of the offer engine's reports, without a script."""

from collections.abc import Mapping, Sequence
from html import escape

from offer_engine.judging.plots import curves
from offer_engine.judging.style import style

Curves = Mapping[str, Sequence[tuple[float, float]]]  # by the name of who played: rounds, and regret added up by then


def regret_page(markets: Mapping[str, Curves], rounds: int) -> str:
    """A page of the players' regret in each market, by its name: what the best offer of each round would have earned more."""
    sheet = style()
    policy = f"default-src 'none'; style-src 'sha256-{sheet.hash}'; base-uri 'none'; form-action 'none'"
    plots = "".join(_plot(name, players, rounds) for name, players in markets.items())
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>Offers: regret</title>\n<style>{sheet.text}</style>\n</head>\n<body>\n<main>\n"
        "<h1>Regret in made-up markets</h1>\n"
        "<p>What the best offer of each round would have earned more than the one that was made, added up. "
        "Lower is better: the oracle, which knows the market, stays at 0.</p>\n"
        f"{plots}</main>\n</body>\n</html>\n"
    )


def _plot(name: str, players: Curves, rounds: int) -> str:
    title = f"Regret, {name}"
    drawn = curves(list(players.items()), title, f"{rounds:,} rounds")
    region = f'<div class="wide" tabindex="0" role="region" aria-label="{escape(title)}">{drawn}</div>'
    return f"<h2>{escape(name[0].upper() + name[1:])}</h2>\n{region}\n"
