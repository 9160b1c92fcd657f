"""A text that is read piece by piece: what one reader has taken, the next does not see."""

import re
from dataclasses import dataclass
from typing import Final

_TAKEN_FOR_ASCII: Final = str.maketrans({"ſ": "s", "ı": "i", "İ": "i", "\N{KELVIN SIGN}": "k"})
GAP = " | "  # keeps what stood on both sides of a taken piece from becoming one phrase


def as_matched(text: str) -> str:
    """What a pattern found in lower case, and in its letters: IGNORECASE takes others for them ("ſix"), tables do not."""
    return text.translate(_TAKEN_FOR_ASCII).lower()


@dataclass(slots=True)
class Rest:
    """What is still unread."""

    text: str

    def take(self, pattern: "re.Pattern[str]", group: int | str = 0) -> "re.Match[str] | None":
        """The pattern's first match, whose group is then read."""
        found = pattern.search(self.text)
        if found is not None:
            self.drop(found, group)
        return found

    def drop(self, found: "re.Match[str]", group: int | str = 0) -> None:
        """Marks a match of the text as it is now as read."""
        start, end = found.span(group)
        self.text = self.text[:start] + GAP + self.text[end:]
