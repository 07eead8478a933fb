"""What examples/proxy/ shows is valid, starts the proxy that there is, and leaves it time to end."""

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

from pixelmeter.cli import main

FOLDER = Path(__file__).parents[2] / "examples" / "proxy"
PAGE = (Path(__file__).parents[2] / "docs" / "proxy.md").read_text()
UNIT = FOLDER / "pixelmeter-proxy.service"


def parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """Return what the command makes of arguments; it fails for an option that does not exist."""
    above = main.make_context("pixelmeter", ["proxy"])
    command = main.get_command(above, "proxy")
    assert command is not None
    # Below the program, as ever: a command keeps the first help option that it is asked for.
    return dict(command.make_context("proxy", list(arguments), parent=above).params)


def unit() -> configparser.SectionProxy:
    reader = configparser.ConfigParser(interpolation=None, strict=False)
    reader.optionxform = str  # type: ignore[method-assign, assignment]
    reader.read(UNIT)
    return reader["Service"]


def deployment() -> Any:
    return yaml.safe_load((FOLDER / "deployment.yaml").read_text())


def compose() -> Any:
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())


def image() -> dict[str, str]:
    """Return the instructions of the Dockerfile, the last of each."""
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    return dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_the_manifest_is_one_that_kubernetes_takes(version: str) -> None:
    # Late: it takes longer to import than all else of a folder of tests, and each worker would.
    import kubernetes_validate

    kubernetes_validate.validate(deployment(), version, strict=True)
    wrong = deployment()
    wrong["spec"]["template"]["spec"]["initContainers"][0]["restartPolicies"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed; to provide it: apt-get install systemd")
    # Where the program would be installed there is none here.
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/pixelmeter/bin/pixelmeter", "/bin/true"))
    ended = subprocess.run([program, "verify", str(copy)], capture_output=True, text=True, timeout=60)
    assert "" == "".join(line for line in ended.stderr.splitlines(keepends=True) if UNIT.name in line)


def test_each_example_starts_a_proxy_that_there_is() -> None:
    [sidecar] = deployment()["spec"]["template"]["spec"]["initContainers"]
    started = {
        "unit": shlex.split(unit()["ExecStart"])[2:],
        "image": json.loads(image()["CMD"]),
        "compose": compose()["services"]["proxy"]["command"],
        "deployment": sidecar["args"],
    }
    assert ["pixelmeter", "proxy"] == json.loads(image()["ENTRYPOINT"])
    for name, arguments in started.items():
        assert ("https://api.aigateway.sh",) == parsed(arguments)["upstreams"], name


def test_each_example_leaves_running_calls_the_time_that_the_proxy_gives_them() -> None:
    stop = parsed(["--upstream", "https://x.example"])["stop_timeout"]
    given = [
        int(unit()["TimeoutStopSec"]),
        int(compose()["services"]["proxy"]["stop_grace_period"].removesuffix("s")),
        deployment()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"],
    ]
    assert [135] * 3 == given
    assert stop + 10 < 135


def test_the_program_asks_where_its_proxy_listens() -> None:
    pod = deployment()["spec"]["template"]["spec"]
    urls = [compose()["services"]["images"]["environment"]["OPENAI_BASE_URL"], pod["containers"][0]["env"][0]["value"]]
    assert ["http://127.0.0.1:8088/v1"] * 2 == urls
    assert [("127.0.0.1:8088,service=images",)] * 2 == [
        parsed(arguments)["listeners"]
        for arguments in (compose()["services"]["proxy"]["command"], pod["initContainers"][0]["args"])
    ]


def test_commands_of_the_page_are_those_that_there_are() -> None:
    shown = re.findall(r"^\$ pixelmeter proxy ((?:.*\\\n)*.*)$", PAGE, re.MULTILINE)
    assert len(shown) >= 4
    for arguments in shown:
        words = shlex.split(arguments.replace("\\\n", " "))
        assert parsed(words)["upstreams"], arguments


def test_the_page_names_every_option() -> None:
    command = main.get_command(main.make_context("pixelmeter", ["proxy"]), "proxy")
    assert command is not None
    options = {option for parameter in command.params for option in parameter.opts}
    assert set() == {option for option in options if option not in PAGE} - {"--database-url"}
