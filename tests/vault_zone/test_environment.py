"""The environment is locked down: what is not known to be needed goes, what must not be set is refused in production."""

import pytest

from tests.requirement import requirement
from vault_zone.environment import lock_environment, refused_variables
from vault_zone.settings import SettingsRefused

NEEDED = {
    "CORDON_ENVIRONMENT": "production",
    "PGPASSFILE": "x",
    "VAULT_ADDR": "x",
    "PATH": "x",
    "PYTHONUNBUFFERED": "1",
}
UNNEEDED = (
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "REQUESTS_CA_BUNDLE",
    "AWS_SECRET_ACCESS_KEY",
    "XCORDON_A",
    "PATHS",
)
DANGEROUS = (
    *("SSLKEYLOGFILE", "LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "GCONV_PATH", "MALLOC_TRACE", "OPENSSL_CONF"),
    *("PYTHONINSPECT", "PYTHONSTARTUP", "PYTHONBREAKPOINT", "PYTHONPATH", "PYTHONHOME", "PYTHONDEVMODE"),
    *("PYTHONASYNCIODEBUG", "PYTHONFAULTHANDLER", "PYTHONTRACEMALLOC", "PYTHONMALLOC", "GLIBC_TUNABLES"),
)


@requirement("2.2.6")
@pytest.mark.parametrize("name", DANGEROUS)
def test_production_does_not_start_with_a_variable_that_opens_the_process(name: str) -> None:
    environ = {**NEEDED, name: "the value"}
    with pytest.raises(SettingsRefused) as refused:
        lock_environment(environ, "production")
    assert len(refused.value.problems) == 1
    assert name in refused.value.problems[0]
    assert "the value" not in refused.value.problems[0]


@pytest.mark.parametrize("name", DANGEROUS)
def test_development_drops_it_and_starts(name: str) -> None:
    environ = {**NEEDED, name: "the value"}
    assert lock_environment(environ, "development") == (len(NEEDED), 1)
    assert environ == NEEDED


@requirement("2.2.6")
@pytest.mark.parametrize("environment", ["development", "production"])
def test_what_is_not_known_to_be_needed_is_dropped(environment: str) -> None:
    environ = {**NEEDED, **dict.fromkeys(UNNEEDED, "x")}
    kept = lock_environment(environ, environment)
    assert environ == NEEDED
    assert kept == (len(NEEDED), len(UNNEEDED))


def test_what_the_image_sets_is_neither_refused_nor_dropped() -> None:
    environ = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "CORDON_ENVIRONMENT": "production", "PATH": "x"}
    assert refused_variables(environ) == []
    assert lock_environment(environ, "production").dropped == 0
