"""What Grafana reads: dashboards, provisioning and alerting, and a Compose file that runs it with all the rest."""
