"""In CI a skipped test is a part that was not tested, and fails the run. Elsewhere it is only listed.

One skip is permitted: what needs somebody's account at a processor, which no machine of ours has (docs/connectors.md).
"""

import os

import pytest

NO_ACCOUNT = "needs an account at the processor: "
_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Notes every skip, with its reason."""
    if report.skipped and isinstance(report.longrepr, tuple) and NO_ACCOUNT not in report.longrepr[2]:
        _skipped.append(f"{report.nodeid}: {report.longrepr[2]}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turns a green run with skips red, in CI."""
    if os.environ.get("CI") == "true" and _skipped and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says why a green-looking run is red."""
    if os.environ.get("CI") == "true" and _skipped:
        terminalreporter.section("skipped in CI, where everything must run", red=True)
        for line in _skipped:
            terminalreporter.write_line(line)
