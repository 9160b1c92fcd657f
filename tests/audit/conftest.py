"""One signing key for the session: making keys is not what these tests are about."""

from pathlib import Path

import pytest

from audit.note import Signer
from tests.audit.logs import new_signer


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return new_signer(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def log_directory(tmp_path: Path) -> Path:
    return tmp_path / "data" / "log"
