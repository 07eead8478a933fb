"""What the tests of the exporter need beside pixelmeter."""

from __future__ import annotations

from tests.sinks.conftest import promtool

__all__ = ["promtool"]
