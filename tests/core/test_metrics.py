from __future__ import annotations

import re

import pytest

from pixelmeter.core.metrics import METRICS, Metric, metric


@pytest.mark.parametrize("one", METRICS, ids=lambda one: one.name)
def test_a_metric_is_named_as_prometheus_asks(one: Metric) -> None:
    assert re.fullmatch("pixelmeter_[a-z_]+", one.name)
    assert (one.kind == "counter") == one.name.endswith("_total")
    assert (one.kind == "histogram") == bool(one.buckets)
    assert one.help.endswith(".")


@pytest.mark.parametrize("one", METRICS, ids=lambda one: one.name)
def test_a_gauge_of_the_process_says_how_workers_become_one(one: Metric) -> None:
    assert (one.kind == "gauge" and "process" in one.origins) == (one.merge is not None)


def test_a_metric_is_found_by_its_name() -> None:
    assert "pixelmeter_images_total" == metric("pixelmeter_images_total").name
    with pytest.raises(KeyError):
        metric("pixelmeter_nothing")
