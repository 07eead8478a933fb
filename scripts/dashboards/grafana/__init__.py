"""Grafana: dashboards, provisioning and alerting as the files that Grafana reads."""

from __future__ import annotations

from scripts.dashboards.grafana.export import files

__all__ = ["files"]
