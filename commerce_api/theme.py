"""How a brand's pages look: accent colours that can be read (WCAG 2.2, 1.4.3), and where its images may come from."""

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

MINIMUM_CONTRAST: Final = 4.5  # WCAG 2.2, 1.4.3, text of any size
_COLOUR: Final = "^#[0-9a-f]{6}$"
_HOST: Final = re.compile(r"(?=.{4,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
# The grounds that an accent stands on (checkout.css, view.css): of each scheme the one that is hardest to stand out from.
_LIGHT_GROUND: Final = "#f3f5f4"
_DARK_GROUND: Final = "#191f1c"
_WHITE: Final = "#ffffff"
_BLACK: Final = "#0b0f0d"
_HOUSE_LIGHT: Final = "#0c6b4c"
_HOUSE_DARK: Final = "#4cc394"
_PRESSED_PART: Final = 0.18
_STEP: Final = 0.05


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours written ``#rrggbb``, from 1 to 21 (WCAG 2.2, "contrast ratio")."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError("write a host name in lower case, such as images.example.com: no scheme, no port, no path")
    return text


Colour = Annotated[str, Field(pattern=_COLOUR)]
Host = Annotated[str, AfterValidator(_host)]


class Theme(BaseModel):
    """A brand's look. Without ``accent_dark`` the dark scheme takes ``accent``, lightened until it can be read."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    accent: Colour = _HOUSE_LIGHT
    accent_dark: Colour | None = None
    image_hosts: Annotated[tuple[Host, ...], Field(max_length=10)] = ()

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if contrast(self.accent, _LIGHT_GROUND) < MINIMUM_CONTRAST:
            raise ValueError("accent is too light for a light page: its contrast with #f3f5f4 must be at least 4.5")
        if self.accent_dark is not None and contrast(self.accent_dark, _DARK_GROUND) < MINIMUM_CONTRAST:
            raise ValueError("accent_dark is too dark for a dark page: its contrast with #191f1c must be at least 4.5")
        return self

    @property
    def light(self) -> dict[str, str]:
        """The style variables of the light scheme."""
        return _variables(self.accent)

    @property
    def dark(self) -> dict[str, str]:
        """The style variables of the dark scheme, in the same order."""
        if self.accent_dark is not None:
            return _variables(self.accent_dark)
        return _variables(_HOUSE_DARK if self.accent == _HOUSE_LIGHT else _lightened(self.accent))


def _variables(accent: str) -> dict[str, str]:
    """The accent, what is written on it, and the accent under a finger, which stands out from the writing even more."""
    ink = max(_WHITE, _BLACK, key=lambda candidate: contrast(candidate, accent))
    away = _BLACK if ink == _WHITE else _WHITE
    return {"--accent": accent, "--accent-pressed": _mixed(accent, away, _PRESSED_PART), "--on-accent": ink}


def _lightened(colour: str) -> str:
    part = 0.0
    while contrast(_mixed(colour, _WHITE, part), _DARK_GROUND) < MINIMUM_CONTRAST:
        part += _STEP
    return _mixed(colour, _WHITE, part)


def _mixed(colour: str, other: str, part: float) -> str:
    pairs = zip(_channels(colour), _channels(other), strict=True)
    return "#" + "".join(f"{round(one + (two - one) * part):02x}" for one, two in pairs)


def _channels(colour: str) -> list[int]:
    return list(bytes.fromhex(colour[1:]))


def _luminance(colour: str) -> float:
    red, green, blue = (
        channel / 255 / 12.92 if channel / 255 <= 0.04045 else ((channel / 255 + 0.055) / 1.055) ** 2.4
        for channel in _channels(colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
