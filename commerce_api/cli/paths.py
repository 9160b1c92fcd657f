"""Where the development stack keeps everything unless told otherwise."""

from pathlib import Path

DEFAULT_DATA = Path(".cordon")
