"""What makes `dashboards/`: rules, alerts and dashboards from one set of thresholds."""
