"""Files of workers are read while workers come and go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from pixelmeter.sinks.prometheus.workers import Workers


def test_a_file_that_a_worker_has_only_just_made_is_nothing_and_fails_nothing(tmp_path: Path) -> None:
    made: Any = MmapedDict
    values = made(str(tmp_path / "counter_1.db"))
    values.write_value(mmap_key("calls", "calls_total", [], [], "Calls."), 3.0, 0.0)
    values.close()
    (tmp_path / "counter_2.db").touch()
    registry = CollectorRegistry()
    Workers(registry, str(tmp_path))

    assert b"calls_total 3.0" in generate_latest(registry)


def test_a_file_that_goes_while_the_folder_is_read_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "gauge_livesum_3.db").symlink_to(tmp_path / "gone")
    registry = CollectorRegistry()
    Workers(registry, str(tmp_path))

    assert b"" == generate_latest(registry)
