"""`pixelmeter dashboards export` writes what fits the thresholds of its options."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from click.testing import CliRunner, Result

from pixelmeter.cli import main
from pixelmeter.cli.dashboards import export
from pixelmeter.monitoring import Thresholds, files


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["dashboards", "export", *arguments])


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_without_options_it_writes_the_files_of_the_default_thresholds(tmp_path: Path) -> None:
    result = run(str(tmp_path))

    assert 0 == result.exit_code, result.output
    assert files(Thresholds()) == contents(tmp_path)
    assert [f"new        {tmp_path / name}" for name in files(Thresholds())] == result.stdout.splitlines()


def test_every_threshold_is_an_option_with_its_default() -> None:
    options = {each.name: each.default for each in export.params if each.name not in ("folder", "force")}

    assert {each.name: each.default for each in fields(Thresholds)} == options


def test_options_change_the_thresholds(tmp_path: Path) -> None:
    result = run(str(tmp_path), "--objective", "0.95", "--latency-seconds", "30", "--runbooks", "https://wiki.example")

    assert 0 == result.exit_code, result.output
    chosen = Thresholds(objective=0.95, latency_seconds=30.0, runbooks="https://wiki.example")
    assert files(chosen) == contents(tmp_path)
    assert files(chosen) != files(Thresholds())


def test_a_threshold_that_cannot_be_is_one_line_and_nothing_is_written(tmp_path: Path) -> None:
    result = run(str(tmp_path), "--latency-seconds", "61")

    assert 1 == result.exit_code
    assert 1 == len(result.stderr.splitlines())
    assert "Error: latency seconds is 61: it must be a bucket" in result.stderr
    assert {} == contents(tmp_path)


def test_files_with_another_text_are_replaced_only_by_force(tmp_path: Path) -> None:
    run(str(tmp_path))
    refused = run(str(tmp_path), "--objective", "0.9")
    assert 1 == refused.exit_code
    assert "prometheus/alerts.yml" in refused.stderr
    assert files(Thresholds()) == contents(tmp_path)

    forced = run(str(tmp_path), "--objective", "0.9", "--force")
    assert 0 == forced.exit_code
    assert files(Thresholds(objective=0.9)) == contents(tmp_path)
    assert f"changed    {tmp_path}/prometheus/alerts.yml" in forced.stdout
    assert f"unchanged  {tmp_path}/prometheus/prometheus.yml" in forced.stdout
