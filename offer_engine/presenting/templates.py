"""The text that stands when no model's does: the same offers, in fixed sentences of the shopper's language."""

from collections.abc import Collection
from typing import Any

from offer_engine.presenting.locales import templates
from offer_engine.presenting.verifier import Grounds
from offer_engine.snapshot import Sayable


def whole(grounds: Grounds) -> str:
    """The whole text, where no model is asked."""
    named = range(1, len(grounds.offers) + 1)
    parts = [opening(grounds), offers(grounds)]
    told = "\n".join(part for part in parts if part)
    return "\n".join(part for part in (told, closing(grounds, named=named, told=told, by_model=False)) if part)


def opening(grounds: Grounds) -> str:
    """The sentence before the offers, or the one that says there is none."""
    said = _said(grounds)
    text: str = said["opening"] if grounds.offers else said["nothing"]
    return text


def offers(grounds: Grounds, without: Collection[int] = ()) -> str:
    """One line for each offer, by its place counted from 1, but for those that were named already."""
    said = _said(grounds)
    lines = [_line(offer, said) for place, offer in enumerate(grounds.offers, 1) if place not in without]
    return "\n".join(lines)


def closing(grounds: Grounds, *, named: Collection[int], told: str, by_model: bool) -> str:
    """What every presentation ends with: disclosures of the offers named that are not in the text yet, source, wording."""
    said = _said(grounds)
    lines: list[str] = []
    for place in sorted(named):
        for disclosure in grounds.offers[place - 1].disclosures:
            if disclosure not in told and disclosure not in lines:
                lines.append(disclosure)
    if grounds.brand:
        lines.append(_with(said["source"], {"brand": grounds.brand}))
    if by_model:
        lines.append(said["by_model"])
    return "\n".join(lines)


def _line(offer: Sayable, said: dict[str, str]) -> str:
    values = dict(offer.values)
    parts = [_with(said["offer"], values)]
    if "regular_price" in values:
        parts.append(_with(said["price"], values))
    parts += [_with(said[field], values) for field in ("minimum", "expires") if field in values]
    return " ".join(parts)


def _with(sentence: str, values: dict[str, str]) -> str:
    """The sentence with its places filled once: a brace in a value is text."""
    return sentence.format(**values)


def _said(grounds: Grounds) -> dict[str, str]:
    data: dict[str, Any] = templates(grounds.locale)
    said: dict[str, str] = data["said"]
    return said
