"""What the package makes is what dashboards/ has, and what the command writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pixelmeter.errors import ConfigError
from pixelmeter.monitoring.export import files, write
from pixelmeter.monitoring.thresholds import Thresholds

DASHBOARDS = Path(__file__).parents[2] / "dashboards"
FILES = files(Thresholds())


@pytest.mark.parametrize("name", FILES)
def test_the_file_in_the_repository_is_what_the_package_makes(name: str) -> None:
    assert FILES[name] == (DASHBOARDS / name).read_text(), "run `python -m scripts.make_dashboards`"


def test_nothing_else_is_among_them() -> None:
    found = {path.relative_to(DASHBOARDS).as_posix() for path in DASHBOARDS.rglob("*") if path.is_file()}
    assert {*FILES, "README.md"} == found


def test_rules_are_yaml_that_a_person_can_read() -> None:
    text = FILES["prometheus/alerts.yml"]
    rule = yaml.safe_load(text)["groups"][0]["rules"][0]

    assert text.startswith("# Made by `pixelmeter dashboards export`")
    assert "    expr: |-\n      job_gateway:pixelmeter_request_errors:ratio_rate1h > 0.144\n      and\n" in text
    assert ["alert", "expr", "for", "labels", "annotations"] == list(rule)


def test_files_are_written_once_and_then_left_alone(tmp_path: Path) -> None:
    texts = {"a/b.yml": "one\n", "c.json": "zwölf\n"}
    assert {"a/b.yml": "new", "c.json": "new"} == write(tmp_path / "new", texts)
    assert {"a/b.yml": "unchanged", "c.json": "unchanged"} == write(tmp_path / "new", texts)
    assert ["one\n", "zwölf\n"] == [(tmp_path / "new" / name).read_text("utf-8") for name in texts]


def test_a_file_that_somebody_changed_is_kept_and_so_is_all_else(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("mine\n")
    with pytest.raises(ConfigError, match=r"files that would change \(mine\.yml\): --force"):
        write(tmp_path, {"first.yml": "ours\n", "mine.yml": "ours\n"})
    assert ["mine.yml"] == [path.name for path in tmp_path.iterdir()]
    assert "mine\n" == (tmp_path / "mine.yml").read_text()

    assert {"mine.yml": "changed"} == write(tmp_path, {"mine.yml": "ours\n"}, force=True)
    assert "ours\n" == (tmp_path / "mine.yml").read_text()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file.* cannot be written"):
        write(tmp_path / "file", {"a.yml": ""})
