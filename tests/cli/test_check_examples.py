"""What examples/check/ and docs/check.md show is valid, and asks for checks that there are."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from pixelmeter.cli import main
from pixelmeter.core.reporting.limits import Excess

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "check"
PAGE = (ROOT / "docs" / "check.md").read_text()
UNITS = [FOLDER / "pixelmeter-check.service", FOLDER / "pixelmeter-check.timer"]


def parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """Return what the command makes of arguments; it fails for an option that does not exist."""
    above = main.make_context("pixelmeter", ["check"])
    command = main.get_command(above, "check")
    assert command is not None
    return dict(command.make_context("check", list(arguments), parent=above).params)


def cronjob() -> Any:
    return yaml.safe_load((FOLDER / "cronjob.yaml").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_the_manifest_is_one_that_kubernetes_takes(version: str) -> None:
    # Late: it takes longer to import than all else of a folder of tests, and each worker would.
    import kubernetes_validate

    kubernetes_validate.validate(cronjob(), version, strict=True)
    wrong = cronjob()
    wrong["spec"]["jobTemplates"] = wrong["spec"].pop("jobTemplate")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong_with_the_units(unit: Path, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed; to provide it: apt-get install systemd")
    # Where the program would be installed there is none here, nor its user.
    for each in UNITS:
        text = each.read_text().replace("/opt/pixelmeter/bin/pixelmeter", "/bin/true")
        (tmp_path / each.name).write_text(text.replace("User=pixelmeter", "User=root"))
    ended = subprocess.run([program, "verify", str(tmp_path / unit.name)], capture_output=True, text=True, timeout=60)
    assert "" == "".join(line for line in ended.stderr.splitlines(keepends=True) if unit.name in line)


def test_each_example_asks_for_a_check_that_there_is() -> None:
    reader = [line for line in UNITS[0].read_text().splitlines() if line.startswith("ExecStart=")]
    asked = [parsed(shlex.split(line.replace("%%", "%"))[2:]) for line in reader]
    [container] = cronjob()["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    asked.append(parsed(container["args"]))
    assert ["pixelmeter", "check"] == container["command"]
    assert [50_000, None, 50_000] == [one["max_error_rate"] for one in asked]
    assert [False, True, True] == [one["budgets"] for one in asked]


def test_the_timer_starts_the_unit_that_there_is() -> None:
    timer = configparser.ConfigParser(interpolation=None)
    timer.read(UNITS[1])
    assert "*:0/5" == timer["Timer"]["OnCalendar"]
    assert UNITS[0].stem == UNITS[1].stem


def test_a_finding_is_not_looked_for_again_at_once() -> None:
    job = cronjob()["spec"]["jobTemplate"]["spec"]
    assert (0, "Never") == (job["backoffLimit"], job["template"]["spec"]["restartPolicy"])


def test_commands_of_the_page_are_those_that_there_are() -> None:
    shown = re.findall(r"^\$ pixelmeter check (.*)$", PAGE, re.MULTILINE)
    shown += [line.replace(r"\%", "%") for line in re.findall(r"^\*/5 .* pixelmeter check (.*)$", PAGE, re.MULTILINE)]
    assert len(shown) >= 4
    for arguments in shown:
        found = parsed(shlex.split(arguments))
        assert any(found[name] is not None for name in ("max_spend", "max_error_rate")), arguments


def test_the_page_names_every_option() -> None:
    command = main.get_command(main.make_context("pixelmeter", ["check"]), "check")
    assert command is not None
    options = {option for parameter in command.params for option in parameter.opts}
    assert set() == {option for option in options if option not in PAGE} - {"--database-url"}


def test_the_document_of_the_page_has_the_keys_that_there_are(tmp_path: Path) -> None:
    [shown] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    document = json.loads(shown)
    printed = CliRunner().invoke(
        main, ["check", "--max-spend", "1", "--format", "json", "--database-url", f"sqlite:///{tmp_path}/none.db"]
    )
    assert list(json.loads(printed.stdout)) == list(document)
    assert list(Excess._fields) == list(document["findings"][0])
