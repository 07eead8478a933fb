"""The first file to read of what is exported."""

from __future__ import annotations

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.grafana.dashboard import MINIMUM_GRAFANA

__all__ = ["readme"]

_README = """\
# Monitoring for pixelmeter

Dashboards for Grafana, rules and alerts for Prometheus, and examples of what else they need. `pixelmeter dashboards
export` has made every file here. To change a threshold, run the command again with its options and `--force`: that
replaces files that you have edited, so keep your edits in copies.

| file | what it is |
|---|---|
| `prometheus/rules.yml` | recording rules; the alerts ask for what they keep |
| `prometheus/alerts.yml` | alerts |
| `prometheus/prometheus.yml` | an example: one scrape job, so that an incident is told once |
| `alertmanager/alertmanager.yml` | an example: routes by severity; the addresses of the receivers are placeholders |
| `grafana/pixelmeter-*.json` | four dashboards |
| `grafana/provisioning/` | an example: data sources and the folder of dashboards, with addresses from the environment |
| `grafana/alerting/` | the same alerts for Grafana's own alerting, for those who have no Alertmanager |
| `docker-compose.yml`, `postgres/` | an example that runs all of it on one machine |
| `alerts.md`, `runbooks/` | what each alert means, what to look at first, what to do |

## Prometheus and Alertmanager

1. Start the exporter where it reaches the ledger: `pixelmeter serve --metrics`.
2. Let Prometheus scrape it: copy the job of `prometheus/prometheus.yml` into your own file.
3. Copy `prometheus/rules.yml` and `prometheus/alerts.yml` beside that file, and name both under `rule_files`.
4. Check with `promtool check config prometheus.yml`, and reload Prometheus.
5. Copy the routes and the inhibition rule that you lack from `alertmanager/alertmanager.yml`.

Scrape the exporter *or* the programs that make calls, not both: they count the same calls, so each incident would be
told twice.

## Grafana

{minimum} or newer is needed. Import the dashboards under *Dashboards, New, Import*, or let Grafana read the folder (see
`grafana/provisioning/dashboards/pixelmeter.yml`). Choose your data sources at the top of each dashboard; *Cost* also
asks the ledger itself, by a PostgreSQL data source whose role may only read.

The dashboards can be edited. What you save over one of them is lost with the next import: save a copy under another
name.

## Links

Alerts and dashboards lead to the page of `pixelmeter serve` at {page}, and runbooks to
{runbooks}. Where others find that page elsewhere, export again with `--page URL`. To keep the runbooks in a wiki
of your own, copy `runbooks/` there and export with `--runbooks URL`.
"""


def readme(thresholds: Thresholds) -> dict[str, str]:
    """Return the text of the file by its path below the folder of dashboards."""
    text = _README.format(
        minimum=f"Grafana {MINIMUM_GRAFANA}", page=thresholds.page_url, runbooks=thresholds.runbooks_url
    )
    return {"README.md": text}
