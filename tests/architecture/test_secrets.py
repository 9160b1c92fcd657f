"""No file of the repository holds a private key, a card number that is not published for testing, or a place on a machine."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture.repository import ROOT, Source

# What processors publish for tests (docs.stripe.com/testing, developer.paypal.com/braintree/docs/reference/general/testing).
PUBLISHED = {
    *("4242424242424242", "4000056655665556", "4000000000000077", "4111111111111111", "4000000000000002"),
    *("4000000000009995", "4000000000009987", "4000000000009979", "4000000000000069", "4000000000000127"),
    *("4000000000000119", "4100000000000019", "4000002760003184", "4000002500003155", "4000008400001629"),
    *("4000000000007726", "4000000000005126", "4000000000000259", "4000000000002685"),
    *("4012000077777777", "4009348888881881", "4012888888881881", "4222222222222", "4917610000000000003"),
    *("5555555555554444", "2223003122003222", "5105105105105100", "5200828282828210", "5454545454545454"),
    *("378282246310005", "371449635398431", "6011111111111117", "6011000990139424", "3056930009020004"),
    *("36227206271667", "30569309025904", "3566002020360505", "3530111333300000", "6200000000000005"),
    *("6205500000000000004", "6304000000000000", "6759649826438453"),
}
# Numbers of a card's form that are none, each with the reason.
NOT_CARDS = {
    "4006381333932": "an article number (GTIN-13) with a wrong check digit",
    "4006381001000": "the end of a range of article numbers",
    "42424242424242": "a published number cut short, to be refused",
    "5555555555554": "a published number cut short, to be refused",
}
# Put together here, so that this file does not hold what it looks for.
PRIVATE_KEY = re.compile("-{5}BEGIN " + "[A-Z0-9 ]*PRIVATE KEY" + "( BLOCK)?-{5}")
MACHINE_PATH = re.compile(r"(?<![\w.~/<>}-])/(?:" + "|".join(["root", "home", "work", "Users"]) + r")/[\w.-]")
REGISTRY = re.compile(
    "|".join(re.escape(".".join(parts)) for parts in (["pypi", "org"], ["pythonhosted", "org"], ["npmjs", "org"])),
    re.IGNORECASE,
)
# ISO/IEC 7812-1: 13 to 19 digits. Grouped by one space or hyphen, and not a part of a longer word or number.
_NUMBER = re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?!\w)")


def files() -> list[Source]:
    """Every text file that is in the repository or about to be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("this is not a checkout: git does not say which files are the repository's")
    paths = [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]
    return [Source(path.relative_to(ROOT).as_posix(), text) for path in paths if (text := _text(path)) is not None]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None  # a picture


def private_keys(text: str) -> list[str]:
    """Beginnings of private keys."""
    return [match[0] for match in PRIVATE_KEY.finditer(text)]


def machine_paths(text: str) -> list[str]:
    """Absolute paths into somebody's home or working directory."""
    return [match[0] for match in MACHINE_PATH.finditer(text)]


def registries(text: str) -> list[str]:
    """Host names of package registries: which one is used is the machine's business."""
    return [match[0] for match in REGISTRY.finditer(text)]


def card_numbers(text: str) -> list[str]:
    """Numbers that could be somebody's card; only their beginning and end are told."""
    found = (str(int(re.sub(r"[ -]", "", match[0]))) for match in _NUMBER.finditer(text))
    return [f"{n[:6]}…{n[-4:]}" for n in found if is_card_like(n) and n not in PUBLISHED and n not in NOT_CARDS]


def is_card_like(digits: str) -> bool:
    """Whether a scheme could have issued it: payment cards begin with 2 to 6 or 8, and UATP's fifteen digits with 1."""
    return (digits[0] in "234568" or (digits[0] == "1" and len(digits) == 15)) and luhn_valid(digits)


def luhn_valid(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(map(int, digits[::-2]))) % 10 == 0


@pytest.mark.parametrize("check", [private_keys, machine_paths, registries, card_numbers])
def test_no_file_of_the_repository_holds_such_a_thing(check: Callable[[str], list[str]]) -> None:
    assert {file.path: found for file in files() if (found := check(file.text))} == {}


def test_every_number_excused_here_is_written_somewhere() -> None:
    digits = "\n".join(
        re.sub(r"(?<=\d)[ -](?=\d)", "", f.text) for f in files() if not f.path.endswith("test_secrets.py")
    )
    assert [number for number in NOT_CARDS if number not in digits] == []


@pytest.mark.parametrize(
    ("check", "planted"),
    [
        (private_keys, "-----BEGIN " + "PRIVATE KEY-----"),
        (private_keys, "-----BEGIN EC " + "PRIVATE KEY-----"),
        (private_keys, "-----BEGIN OPENSSH " + "PRIVATE KEY-----"),
        (private_keys, "-----BEGIN PGP " + "PRIVATE KEY BLOCK-----"),
        (machine_paths, 'open("/' + 'root/cordon")'),
        (machine_paths, "see /" + "home/ann/cordon"),
        (machine_paths, "cd /" + "work/main"),
        (registries, "https://" + "py" + "pi.org/simple"),
        (registries, "https://files.python" + "hosted.org/packages"),
    ],
)
def test_a_planted_secret_is_seen(check: Callable[[str], list[str]], planted: str) -> None:
    assert len(check(planted)) == 1


@pytest.mark.parametrize(
    ("check", "innocent"),
    [
        (private_keys, "-----BEGIN CERTIFICATE-----"),
        (machine_paths, "https://shop.example/home/sale and ../work/ and /var/lib/cordon and /nonexistent"),
        (registries, "published on PyPI"),
        (card_numbers, "4242 4242 4242 4242, 3782-822463-10005"),
        (card_numbers, "sha256:4a" + "0" * 20 + " 1767225600000 and 0.4000000000000001"),
    ],
)
def test_innocent_text_passes(check: Callable[[str], list[str]], innocent: str) -> None:
    assert check(innocent) == []


@pytest.mark.parametrize("form", ["{}", "{:.4} {:.4} {:.4} {:.4}", "pan={}", "({})", "\u0664{}"])
def test_an_unpublished_card_number_is_seen_in_every_form(form: str) -> None:
    number = with_check_digit("453211001100110")
    groups = [number[start : start + 4] for start in range(0, 16, 4)] if form.count("{") > 1 else [number]
    if form.startswith("\u0664"):  # Arabic-Indic digits are digits too
        groups, form = [number.translate({ord("0") + digit: 0x0660 + digit for digit in range(10)})], "{}"
    assert card_numbers(form.format(*groups)) == [f"{number[:6]}…{number[-4:]}"]


def with_check_digit(digits: str) -> str:
    """The number that these digits and their check digit make."""
    return next(f"{digits}{last}" for last in range(10) if luhn_valid(f"{digits}{last}"))


def test_luhn_knows_the_published_numbers() -> None:
    assert [number for number in PUBLISHED | NOT_CARDS.keys() if not luhn_valid(number)] == []
    assert not luhn_valid("4242424242424241")
