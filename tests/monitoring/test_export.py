"""What the scripts make is what dashboards/ has, and, for every threshold, what the command writes."""

from __future__ import annotations

import fnmatch
import re
import string
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelmeter import monitoring
from pixelmeter.core.metrics import DURATION_BUCKETS
from pixelmeter.errors import ConfigError
from pixelmeter.monitoring import PLACES, Thresholds, files, texts, write
from pixelmeter.monitoring.runbooks import alert_pages
from scripts.dashboards import export
from scripts.dashboards.places import places, to_json
from tests.effort import examples

DASHBOARDS = Path(__file__).parents[2] / "dashboards"
FILES = export.files(Thresholds())
AGAIN = "run `python -m scripts.make_dashboards`"
OF_URLS = st.sampled_from(string.ascii_letters + string.digits + ".~:/?#@!&()*+,;=%[]_-")
UNUSUAL_URL = "https://wiki.example:8443/a?b=1&c=%20@runbooks@[]*#!,"


@st.composite
def thresholds(draw: st.DrawFn) -> Thresholds:
    """Draw thresholds between their bounds, with all the digits that a float can have."""
    chosen: dict[str, Any] = {
        "latency_seconds": draw(st.sampled_from(DURATION_BUCKETS)),
        **{
            name: draw(st.sampled_from(["http://", "https://"])) + draw(st.text(OF_URLS, min_size=1, max_size=20))
            for name in ("page", "runbooks")
        },
    }
    for each in fields(Thresholds):
        if each.name not in chosen:
            above, below = each.metadata["above"], min(each.metadata["below"], 1e300)
            chosen[each.name] = draw(st.floats(above, below, exclude_min=True, exclude_max=True))
    return Thresholds(**chosen)


@pytest.mark.parametrize("name", FILES)
def test_the_file_in_the_repository_is_what_the_scripts_make(name: str) -> None:
    assert FILES[name] == (DASHBOARDS / name).read_text(), AGAIN


def test_nothing_else_is_among_them() -> None:
    found = {path.relative_to(DASHBOARDS).as_posix() for path in DASHBOARDS.rglob("*") if path.is_file()}
    assert set(FILES) == found


@pytest.mark.slow
def test_the_places_of_thresholds_are_those_that_the_scripts_find() -> None:
    assert to_json(places()) == PLACES.read_text(), AGAIN


@pytest.mark.slow
def test_every_text_that_depends_on_thresholds_stands_somewhere() -> None:
    assert set(texts(Thresholds())) == {place.name for found in places().values() for place in found}


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"objective": 0.9, "latency_seconds": 7.5, "latency_objective": 0.5, "minimum_requests": 3},
        {"objective": 0.99999, "latency_objective": 0.0123456789, "minimum_requests": 1_000_000},
        {"objective": 1e-9, "latency_seconds": 0.1, "throttled_ratio": 0.123456789, "moderation_ratio": 1 / 3},
        {"spend_spike_usd": 1e7, "spend_spike_ratio": 2, "image_cost_ratio": 1_000_000.5, "at_risk_usd": 1e-7},
        {"ledger_lag_seconds": 1_234_567.5, "price_age_days": 33.3},
        {"ledger_lag_seconds": 7, "price_age_days": 1, "latency_seconds": 30},
        {"runbooks": "https://wiki.example/a//"},
        {"runbooks": UNUSUAL_URL},
        {"page": "https://meter.example/a//"},
        {"page": UNUSUAL_URL},
    ],
    ids=str,
)
def test_what_is_exported_is_what_the_scripts_make_for_the_same_thresholds(chosen: Mapping[str, Any]) -> None:
    made = Thresholds(**chosen)

    assert export.files(made) | alert_pages() == files(made)
    assert [*FILES, *alert_pages()] == list(files(made))


@pytest.mark.slow
@given(thresholds())
@settings(max_examples=examples(25))
def test_whatever_the_thresholds_are_the_scripts_make_what_is_exported(chosen: Thresholds) -> None:
    assert export.files(chosen) | alert_pages() == files(chosen)


@pytest.mark.parametrize("text", ["# mine\n", "", None], ids=["another", "shorter", "missing"])
def test_a_file_that_is_not_as_it_was_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    write(tmp_path, FILES)
    damaged = tmp_path / "prometheus" / "alerts.yml"
    if text is None:
        damaged.unlink()
    else:
        damaged.write_text(text and text + damaged.read_text())
    monkeypatch.setattr(monitoring, "asset_dir", lambda _: tmp_path)

    with pytest.raises(ConfigError, match=r"prometheus/alerts\.yml is not as it came with pixelmeter"):
        files(Thresholds(objective=0.9))


def test_a_file_without_thresholds_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, FILES)
    (tmp_path / "docker-compose.yml").unlink()
    monkeypatch.setattr(monitoring, "asset_dir", lambda _: tmp_path)

    with pytest.raises(ConfigError, match=r"docker-compose\.yml is not as it came with pixelmeter"):
        files(Thresholds())


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


def test_the_first_file_to_read_names_every_other_one_that_is_exported() -> None:
    named = re.findall(r"^\| (.*?) \|", FILES["README.md"], re.MULTILINE)[1:]
    patterns = [pattern for cell in named for pattern in re.findall("`([^`]+)`", cell)]
    exported = [name for name in files(Thresholds()) if name != "README.md"]

    def covers(pattern: str, name: str) -> bool:
        return name.startswith(pattern) if pattern.endswith("/") else fnmatch.fnmatch(name, pattern)

    assert [] == [name for name in exported if not any(covers(pattern, name) for pattern in patterns)]
    assert [] == [pattern for pattern in patterns if not any(covers(pattern, name) for name in exported)]
