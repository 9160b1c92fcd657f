"""What a command says when it will not do what was asked."""


class CommandRefused(Exception):
    """The command was not carried out. Holds one line for each thing to mend, and nothing secret."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)
