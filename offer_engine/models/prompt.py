"""What a model is asked: one form for all providers."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing that was said."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """Instructions, what was said so far, and how much may be answered. The last turn is a user's."""

    system: str
    turns: tuple[Turn, ...]
    maximum_tokens: int = 400
    temperature: float = 0.3
