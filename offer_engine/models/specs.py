"""Which models there are: a file of the operator's, keys in files of their own (I9).

    {"models": [{"name": "first", "dialect": "openai", "base_url": "https://models.example/v1", "model": "small-1",
                 "key_file": "keys/first.key", "input_micros_per_million": 150000, "output_micros_per_million": 600000}]}

The order is the order in which they are asked. Prices are millionths of the currency for a million tokens.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

DialectName = Literal["openai", "anthropic", "gemini"]
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_OPEN_TO_OTHERS: Final = 0o077
_MILLION: Final = 1_000_000
_DEAREST: Final = 10**10  # millionths of the currency for a million tokens


class SpecsInvalid(ValueError):
    """The file of models cannot be used. The message names the rule and the place, and no value."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model of one provider. ``extra`` goes into the request's body as it is."""

    name: str
    dialect: DialectName
    base_url: str
    model: str
    key_file: Path | None = None
    input_micros_per_million: int = 0
    output_micros_per_million: int = 0
    currency: str = "USD"
    extra: Mapping[str, Any] = field(default_factory=dict)

    def cost_micros(self, input_tokens: int, output_tokens: int) -> int:
        """What so many tokens cost, in millionths of the currency, rounded up."""
        whole = input_tokens * self.input_micros_per_million + output_tokens * self.output_micros_per_million
        return -(-whole // _MILLION)


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    dialect: DialectName
    base_url: Annotated[str, Field(max_length=300)]
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$")]
    key_file: Annotated[str, Field(max_length=300)] | None = None
    input_micros_per_million: Annotated[int, Field(ge=0, le=_DEAREST)] = 0
    output_micros_per_million: Annotated[int, Field(ge=0, le=_DEAREST)] = 0
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    extra: dict[str, Any] = {}


class _Specs(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    models: Annotated[list[_Spec], Field(max_length=20)]


def load_specs(path: Path) -> list[ModelSpec]:
    """The models of a file; key files are relative to it. Raises SpecsInvalid, OSError."""
    try:
        specs = _Specs.model_validate(json.loads(path.read_text(encoding="utf-8"))).models
    except ValidationError as invalid:
        places = sorted({".".join(map(str, error["loc"])) for error in invalid.errors(include_input=False)})
        raise SpecsInvalid(f"not as it should be: {', '.join(places)}") from None
    except ValueError:
        raise SpecsInvalid("not JSON") from None
    if len({spec.name for spec in specs}) != len(specs):
        raise SpecsInvalid("two models have one name")
    for place, spec in enumerate(specs):
        address = urlsplit(spec.base_url)
        secure = address.scheme == "https" or (address.scheme == "http" and address.hostname in _LOOPBACK)
        if not secure or not address.hostname or address.username or address.query or address.fragment:
            raise SpecsInvalid(f"models.{place}.base_url must be a plain https address")
    return [
        ModelSpec(
            name=spec.name,
            dialect=spec.dialect,
            base_url=spec.base_url.rstrip("/"),
            model=spec.model,
            key_file=path.parent / spec.key_file if spec.key_file else None,
            input_micros_per_million=spec.input_micros_per_million,
            output_micros_per_million=spec.output_micros_per_million,
            currency=spec.currency,
            extra=spec.extra,
        )
        for spec in specs
    ]


def read_key(path: Path) -> str | None:
    """The key in a file that nobody but its owner can read; None where there is none, or others can."""
    try:
        if path.stat().st_mode & _OPEN_TO_OTHERS:
            return None
        return path.read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None
