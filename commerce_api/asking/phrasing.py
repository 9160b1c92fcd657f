"""Where a model may come in, if one is configured: it says the finished answer in other words, and changes no field of it.

What holds:
 1. A text that holds a figure, a date, a quoted title or an address which the template's does not is thrown away (I6).
 2. A model that fails, is slow or says too much costs its words and nothing else: the template's text stands (decision 9).
"""

import asyncio
import re
from typing import Final, Protocol

from commerce_api.schemas import AskView
from commerce_api.shown import one_line

PHRASING_SECONDS: Final = 3.0
LONGEST: Final = 4_000
_FACT: Final = re.compile(r"“[^”]*”|https?://\S+|\w*[0-9][\w.,:/-]*[\w%]|[0-9]")


class Phrasing(Protocol):
    """A model's words for an answer."""

    async def phrase(self, view: AskView) -> str:
        """The answer's text in other words. May raise OSError or TimeoutError."""


def facts_of(text: str) -> set[str]:
    """Every figure, date, quoted title and address in a text."""
    return set(_FACT.findall(text))


async def phrased(view: AskView, phrasing: Phrasing | None) -> AskView:
    """The answer with the model's words, if there is a model and its words hold (1); else as it was."""
    if phrasing is None:
        return view
    try:
        async with asyncio.timeout(PHRASING_SECONDS):
            text = one_line(await phrasing.phrase(view.model_copy(deep=True)))
    except (OSError, TimeoutError):  # (2)
        return view
    if not text or len(text) > LONGEST or facts_of(text) - facts_of(view.answer):
        return view
    return view.model_copy(update={"answer": text})
