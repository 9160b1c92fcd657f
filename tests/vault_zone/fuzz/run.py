"""``python -m tests.vault_zone.fuzz.run --seconds 60 [TARGET …]``: each parser that meets cards, guided by coverage.

Starts from the saved corpus and the seeds. What is found goes to ``.cordon/fuzz/TARGET``; an input that breaks a rule is named
at the end, and is worth a seed in targets.py. Returns 1 if there is one.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from tests.vault_zone.fuzz.targets import SEEDS, TARGETS

ROOT = Path(__file__).parents[3]
CORPUS = Path(__file__).parent / "corpus"
WORK = ROOT / ".cordon" / "fuzz"
LONGEST_BYTES = 8192
LONGEST_SECONDS = 5


def fuzz(name: str, seconds: int, runs: int = -1) -> tuple[int, str]:
    """Fuzzes one target. Returns libFuzzer's exit code, which is 0 when nothing was found, and its last lines."""
    found = WORK / name
    found.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (found / f"seed-{number}").write_bytes(seed)
    saved = [str(CORPUS / name)] if (CORPUS / name).is_dir() else []
    arguments = [
        *("-print_final_stats=1", "-verbosity=0", f"-max_total_time={seconds}", f"-runs={runs}", "-seed=1"),
        *(f"-max_len={LONGEST_BYTES}", f"-timeout={LONGEST_SECONDS}", f"-artifact_prefix={WORK}/{name}-"),
        *(str(found), *saved),
    ]
    command = [sys.executable, "-m", "tests.vault_zone.fuzz.harness", name, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    return done.returncode, done.stdout + done.stderr


def main(arguments: list[str]) -> int:
    """Runs the targets, one after the other."""
    parser = argparse.ArgumentParser(prog="tests.vault_zone.fuzz.run")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    parsed = parser.parse_args(arguments)
    broken = 0
    for name in parsed.targets or TARGETS:
        code, said = fuzz(name, parsed.seconds)
        runs = next((line.split()[-1] for line in said.splitlines() if "number_of_executed_units" in line), "0")
        sys.stdout.write(f"{name:<18} {runs:>10} inputs  {'holds' if code == 0 else 'BROKEN'}\n")
        sys.stdout.flush()
        if code != 0:
            broken += 1
            sys.stdout.write("\n".join(said.splitlines()[-30:]) + "\n")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
