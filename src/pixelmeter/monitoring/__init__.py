"""Prometheus rules, alerts and dashboards, made from one set of thresholds and held to the catalogue of metrics."""
