"""Custodians at a terminal: they read what is shown, write down their share, and answer what they are asked."""

import os
import re
import select
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[3]
TIMEOUT_SECONDS = 60
CLEARED = "\x1b[2J"
_WORD = re.compile(r"(\d+)\. ([a-z]+)")


@dataclass
class Terminal:
    """A command on a pseudo-terminal, answered at its prompts."""

    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    screens: list[str] = field(default_factory=list)  # what stood on the screen each time before it was cleared
    shares: dict[str, str] = field(default_factory=dict)
    said: str = ""
    mistakes: int = 0  # words that custodians misremember
    refuses: bool = False

    def run(self, names: list[str], present: list[str] | None = None) -> int:
        """Runs to the end; returns the exit status. ``present`` are shares to be typed unseen first."""
        ours, theirs = os.openpty()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **self.environment}
        process = subprocess.Popen(
            [sys.executable, "-m", "vault_zone", *self.arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        )
        os.close(theirs)
        waiting, name, left = list(names), "", list(present or [])
        words: dict[int, str] = {}
        screen = since_answer = ""
        try:
            while True:
                heard = self._hear(ours)
                if not heard:
                    break
                self.said += heard
                screen += heard
                since_answer += heard
                if CLEARED in screen:
                    *before, screen = screen.split(CLEARED)
                    self.screens += before
                tail = since_answer.splitlines()[-1] if since_answer else ""
                if tail.endswith("(letters, digits, dashes): "):
                    name = waiting.pop(0)
                    self._type(ours, name)
                elif tail.endswith("to see your share. "):
                    self._type(ours, "")
                elif tail.endswith("the screen is cleared. "):
                    words = {int(place): word for place, word in _WORD.findall(screen)}
                    self.shares[name] = " ".join(words[place] for place in sorted(words))
                    self._type(ours, "")
                elif asked := re.search(r"word (\d+): $", tail):
                    wrong = self.mistakes > 0
                    self.mistakes -= wrong
                    self._type(ours, "mistaken" if wrong else words[int(asked[1])])
                elif tail.endswith("to acknowledge this: "):
                    self._type(ours, "no" if self.refuses else "I ACCEPT")
                elif tail.endswith("(not shown): "):
                    self._type(ours, left.pop(0))
                else:
                    continue
                since_answer = ""
        finally:
            os.close(ours)
        self.screens.append(screen)
        return process.wait(TIMEOUT_SECONDS)

    @staticmethod
    def _hear(terminal: int) -> str:
        ready, _, _ = select.select([terminal], [], [], TIMEOUT_SECONDS)
        if not ready:
            raise AssertionError("the command says nothing and does not end")
        try:
            return os.read(terminal, 65_536).decode()
        except OSError:  # the other end is closed: the command has ended
            return ""

    @staticmethod
    def _type(terminal: int, text: str) -> None:
        os.write(terminal, f"{text}\n".encode())
