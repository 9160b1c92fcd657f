"""How a command says that it cannot go on: lines for a person, each with what to do."""


class CommandRefused(Exception):
    """The command cannot be carried out. ``lines`` say why and what to do."""

    def __init__(self, *lines: str) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines
