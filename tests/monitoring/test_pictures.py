"""The pictures of the dashboards show the dashboards as they are."""

from __future__ import annotations

import json

import pytest

from pixelmeter.monitoring import Thresholds
from scripts.render.pictures import DRAWN, PICTURES, drawn_from
from tests.monitoring.exported import dashboards


def test_every_picture_was_drawn_from_the_panels_that_its_dashboard_has() -> None:
    assert drawn_from() == json.loads(DRAWN.read_text()), "run `make pictures`"
    assert [] == [name for name in drawn_from() if not (PICTURES / name).is_file()]


@pytest.mark.parametrize(
    ("part", "is_seen"), [("title", True), ("targets", True), ("gridPos", True), ("description", False)]
)
def test_a_change_that_can_be_seen_asks_for_a_new_picture(
    monkeypatch: pytest.MonkeyPatch, part: str, is_seen: bool
) -> None:
    before = drawn_from()
    changed = dashboards(Thresholds())
    changed[0]["panels"][1][part] = "another"
    monkeypatch.setattr("scripts.render.pictures.dashboards", lambda _: changed)

    assert is_seen == (before != drawn_from())
