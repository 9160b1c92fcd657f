"""One parser under atheris: ``python -m tests.vault_zone.fuzz.harness TARGET [libFuzzer's own arguments]``."""

import sys

import atheris

with atheris.instrument_imports(include=["vault_zone", "tokenization"]):
    from tests.vault_zone.fuzz.targets import TARGETS


def main(arguments: list[str]) -> None:
    """Runs until libFuzzer's limits end it, or a rule is broken."""
    name, *rest = arguments
    atheris.Setup([sys.argv[0], *rest], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
