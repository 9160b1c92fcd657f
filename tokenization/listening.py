"""How a program tells the one that started it whether it listens: a line for each of its ports, in a pipe that was handed over.

A health address does not say so: where the port is another's, the answer is another's too.
"""

import contextlib
import os
from typing import Final

PIPE: Final = "CORDON_LISTENING_PIPE"  # in the environment: the descriptor to write to; absent where nobody asks
LISTENING: Final = "listening"
REFUSED: Final = "refused"


def tell(word: str, port: int) -> None:
    """Writes ``LISTENING`` or ``REFUSED`` and the port, if somebody asked to be told."""
    descriptor = os.environ.get(PIPE)
    if descriptor is None:
        return
    with contextlib.suppress(OSError, ValueError):  # who asked is gone: nothing depends on it here
        os.write(int(descriptor), f"{word} {port}\n".encode("ascii"))
