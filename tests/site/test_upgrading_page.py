"""What docs/upgrading.md says of ledgers is so, command by command."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

import pixelmeter
from pixelmeter.cli import main
from pixelmeter.ledger import migrate
from pixelmeter.testing import Gateway
from tests.ledger.reading import stored
from tests.site.programs import DOCS
from tests.site.test_sink_page import picture

PAGE = (DOCS / "upgrading.md").read_text(encoding="utf-8")
STATUS, UPGRADE, DOCTOR, DOWNGRADE = re.findall(r"^ *\$ pixelmeter (.*)$", PAGE, re.MULTILINE)


def printed(command: str, url: str, *options: str) -> str:
    """Run a command of the page and return what it printed."""
    result = CliRunner().invoke(main, [*shlex.split(command), "--database-url", url, *options])
    assert 0 == result.exit_code, result.output
    return result.output


def test_its_states_are_those_that_the_command_says(new_url: str) -> None:
    said = [migrate.status(new_url).state]
    printed(UPGRADE, new_url)
    said.append(migrate.status(new_url).state)
    printed(DOWNGRADE, new_url, "--yes")
    assert "outdated" in printed(STATUS, new_url)
    said.append(migrate.status(new_url).state)
    assert {*said, "too new"} == set(re.findall(r"^   \| `([a-z ]+)` \|", PAGE, re.MULTILINE))


def test_a_program_goes_on_while_its_ledger_is_older_and_loses_nothing(
    new_url: str, gateway: Gateway, tmp_path: Path
) -> None:
    printed(UPGRADE, new_url)
    printed(DOWNGRADE, new_url, "--yes")
    spool = str(tmp_path / "spool")
    with pixelmeter.Meter(new_url, gateways={"127.0.0.1:*": "aigateway"}, spool_dir=spool) as meter:
        picture(gateway, meter)
        assert not meter.flush(1)
        assert "pixelmeter db upgrade" in str(meter.status()["ledger_error"])
        assert 1 == meter.status()["waiting"]
        printed(UPGRADE, new_url)
        assert meter.flush(60)
        assert 1 == len(stored(new_url))


def test_after_the_upgrade_doctor_finds_no_problem(new_url: str) -> None:
    printed(UPGRADE, new_url)
    assert "problem" not in printed(DOCTOR, new_url)
