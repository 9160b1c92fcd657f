"""Which products fit a need, and why: by what their records say, and by nothing else (I6)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Row

from commerce_api.asking.need import Need
from commerce_api.asking.words import has_word, stem, stems_of
from tokenization.money import Money

VARIANTS_TOLD = 6  # of each product


@dataclass(frozen=True, slots=True)
class Match:
    """A product held against a need. ``rows`` are its variants that come nearest; ``unsaid`` words are not in its record."""

    rows: "tuple[Row[Any], ...]"
    unsaid: tuple[str, ...]
    in_bounds: bool
    can_be_bought: bool
    why: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the record meets everything that was asked."""
        return not self.unsaid and self.in_bounds and self.can_be_bought


def match(rows: "Sequence[Row[Any]]", need: Need, currency: str) -> Match | None:
    """Holds a product's variants against the need; None if all of them are what is not wanted."""
    wanted_rows = [row for row in rows if not _is_unwanted(row, need)]
    if not wanted_rows:
        return None
    # A feed without groups' titles gives each variant its own: what all of them say is the product's.
    title = set.intersection(*(stems_of(row.product_title) for row in rows))
    text = title | stems_of(f"{rows[0].description} {rows[0].brand_name} {' '.join(_categories(rows[0]))}")
    wanted = [(word, stem(word)) for word in need.words]
    chosen_by = [wanted_stem for _, wanted_stem in wanted if not has_word(text, wanted_stem)]
    held = [(row, _row_stems(row)) for row in wanted_rows]
    # A word of which only variants speak ("slate") chooses among them.
    most = max(sum(has_word(stems, word) for word in chosen_by) for _, stems in held)
    chosen = [(row, stems) for row, stems in held if sum(has_word(stems, word) for word in chosen_by) == most]
    chosen, in_bounds = _kept(chosen, [_in_bounds(row, need) for row, _ in chosen])
    chosen, can_be_bought = _kept(chosen, [_can_be_bought(row, need.quantity) for row, _ in chosen])
    leading = chosen[0][1] | text
    unsaid = tuple(word for word, wanted_stem in wanted if not has_word(leading, wanted_stem))
    kept = tuple(row for row, _ in chosen[:VARIANTS_TOLD])
    said = tuple(word for word in need.words if word not in unsaid)
    return Match(kept, unsaid, in_bounds, can_be_bought, tuple(_why(kept[0], need, said, unsaid, text, currency)))


def _kept(
    chosen: "list[tuple[Row[Any], set[str]]]", holds: list[bool]
) -> "tuple[list[tuple[Row[Any], set[str]]], bool]":
    """Those for which it holds, or all of them if it holds for none."""
    kept = [pair for pair, good in zip(chosen, holds, strict=True) if good]
    return (kept, True) if kept else (chosen, False)


def _in_bounds(row: "Row[Any]", need: Need) -> bool:
    maximum_minor = need.maximum_minor
    return row.price_minor >= need.minimum_minor and (maximum_minor is None or row.price_minor <= maximum_minor)


def _can_be_bought(row: "Row[Any]", quantity: int) -> bool:
    return bool(row.available) and (row.stock is None or row.stock - row.reserved >= quantity)


def _is_unwanted(row: "Row[Any]", need: Need) -> bool:
    if not need.not_wanted:
        return False
    stems = _row_stems(row) | stems_of(f"{row.product_title} {' '.join(_categories(row))}")
    return any(has_word(stems, word) for word in need.not_wanted)


def _row_stems(row: "Row[Any]") -> set[str]:
    return stems_of(f"{row.title} {' '.join(value for _, value in json.loads(row.options))}")


def _categories(row: "Row[Any]") -> list[str]:
    found: list[str] = json.loads(row.categories)
    return found


def _why(
    row: "Row[Any]", need: Need, said: tuple[str, ...], unsaid: tuple[str, ...], text: set[str], currency: str
) -> list[str]:
    """Sentences of constants, of what was asked, and of the record's price; no text of the record's."""
    price, why = Money(row.price_minor, currency).text(), []
    if said:
        why.append(f"its record says: {', '.join(said)}")
    if unsaid:
        why.append(f"its record does not say: {', '.join(unsaid)}")
    maximum_minor = need.maximum_minor
    if maximum_minor is not None:
        word = "above" if row.price_minor > maximum_minor else "within"
        why.append(f"{price} is {word} {Money(maximum_minor, currency).text()}")
    if need.minimum_minor:
        word = "below" if row.price_minor < need.minimum_minor else "from"
        why.append(f"{price} is {word} {Money(need.minimum_minor, currency).text()}{' up' if word == 'from' else ''}")
    why.append("can be bought now" if _can_be_bought(row, need.quantity) else "cannot be bought now in this quantity")
    mentioned = [word for word in need.not_wanted if has_word(text, word)]
    if mentioned:
        why.append(f"its description mentions: {', '.join(mentioned)}")
    elif need.not_wanted:
        why.append(f"nothing in its record says: {', '.join(need.not_wanted)}")
    return why
