"""`pixelmeter doctor` says what keeps programs from being metered without code."""

from __future__ import annotations

from importlib import metadata

import pytest

from pixelmeter.reports.doctor import examine
from pixelmeter.reports.finding import Finding


def found(url: str) -> list[Finding]:
    """Return what is found of zero code."""
    return [finding for finding in examine(url) if finding.check in ("zero code", "variable")]


def test_nothing_is_said_where_nobody_asked_for_it(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIXELMETER_AUTO", "PIXELMETER_DISABLED"):
        monkeypatch.setenv(name, "")
    assert [] == found(sqlite_url)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PIXELMETER_AUTO": "1"}, "pixelmeter-auto is not installed"),
        ({"PIXELMETER_AUTO": "yes"}, "PIXELMETER_AUTO is 'yes', which does nothing"),
        ({"PIXELMETER_AUTO": "1", "PIXELMETER_DISABLED": "1"}, "no program is metered without code"),
    ],
)
def test_what_keeps_programs_from_being_metered_is_a_warning(
    variables: dict[str, str], said: str, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    [finding] = found(sqlite_url)
    assert ("zero code", "warning") == (finding.check, finding.state)
    assert said in finding.found


def test_a_package_that_is_there_is_named(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELMETER_AUTO", "1")
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.2" if name == "pixelmeter-auto" else version(name))
    [finding] = found(sqlite_url)
    assert ("ok", "pixelmeter-auto 1.2 meters each Python that is started") == (finding.state, finding.found)
