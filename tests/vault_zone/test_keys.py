"""What any key provider promises, shown on the local one; and that a key file is used only where it may be (I9)."""

import json
from pathlib import Path

import pytest

from tests.requirement import requirement
from vault_zone.hazmat.keys import KeyRefused, LocalKeys

CONTEXT = ("sealing", "shop", "key_a")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A root key file of development."""
    path = tmp_path / "keys" / "root.key"
    LocalKeys.create(path, environment="development", key_id="root_a")
    return path


@requirement("2.2.2", "6.5.3")
def test_a_key_of_development_does_not_open_in_production(file: Path) -> None:
    with pytest.raises(KeyRefused) as refused:
        LocalKeys.open(file, environment="production")
    assert refused.value.code == "key_of_another_environment"


@requirement("3.6.1", "8.6.3")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o777])
def test_a_key_that_others_can_read_is_not_used(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(KeyRefused) as refused:
        LocalKeys.open(file, environment="development")
    assert refused.value.code == "key_file_readable_by_others"


def test_a_key_file_is_never_overwritten(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(FileExistsError):
        LocalKeys.create(file, environment="development", key_id="root_b")
    assert file.read_bytes() == before


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"key": "zz", "environment": "development", "id": "a"}', None])
def test_a_broken_or_missing_key_file_says_what_to_do_and_not_what_is_in_it(file: Path, content: str | None) -> None:
    key = json.loads(file.read_text(encoding="utf-8"))["key"]
    file.unlink() if content is None else file.write_text(content, encoding="utf-8")
    with pytest.raises(KeyRefused) as refused:
        LocalKeys.open(file, environment="development")
    assert refused.value.code in ("key_file_missing", "key_file_malformed")
    assert key not in str(refused.value)


def test_a_short_key_is_refused(file: Path) -> None:
    held = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**held, "key": held["key"][:32]}), encoding="utf-8")
    with pytest.raises(KeyRefused):
        LocalKeys.open(file, environment="development")


def test_a_provider_shows_no_key(file: Path) -> None:
    key = json.loads(file.read_text(encoding="utf-8"))["key"]
    provider = LocalKeys.open(file, environment="development")
    assert key not in repr(provider)
    assert bytes.fromhex(key) not in repr(provider).encode()
