"""An example that runs everything at once with Docker Compose, from the folder that was exported."""

from __future__ import annotations

from scripts.dashboards.grafana.provisioning import DASHBOARDS

__all__ = ["compose"]

_COMPOSE = f"""\
# Made by `pixelmeter dashboards export`, as an example. Needs a file .env beside it that sets
# PIXELMETER_LEDGER_PASSWORD, PIXELMETER_LEDGER_READER_PASSWORD, PIXELMETER_PAGE_TOKEN and GRAFANA_ADMIN_PASSWORD.
name: pixelmeter

services:
  postgres:
    image: postgres:17
    environment:
      POSTGRES_USER: pixelmeter
      POSTGRES_DB: pixelmeter
      POSTGRES_PASSWORD: ${{PIXELMETER_LEDGER_PASSWORD:?}}
      PIXELMETER_LEDGER_READER_PASSWORD: ${{PIXELMETER_LEDGER_READER_PASSWORD:?}}
    ports:
      - 127.0.0.1:5432:5432
    volumes:
      - ledger:/var/lib/postgresql/data
      - ./postgres:/docker-entrypoint-initdb.d:ro
    healthcheck:
      test: [CMD, pg_isready, -U, pixelmeter, -d, pixelmeter]
      interval: 5s
      retries: 20
    restart: unless-stopped

  prometheus:
    image: prom/prometheus:v3.5.0
    command:
      - --config.file=/etc/prometheus/prometheus.yml
      - --storage.tsdb.path=/prometheus
      - --storage.tsdb.retention.time=90d
      - --enable-feature=exemplar-storage
    # Those of the services that share its network, too.
    ports:
      - 127.0.0.1:9090:9090
      - 127.0.0.1:9093:9093
    volumes:
      - prometheus:/prometheus
      - ./prometheus:/etc/prometheus:ro
    healthcheck:
      test: [CMD, wget, -qO-, "http://127.0.0.1:9090/-/ready"]
      interval: 5s
      retries: 20
    restart: unless-stopped

  # It listens to Prometheus alone: the two share a network, so that it needs no token.
  exporter:
    build: &pixelmeter
      dockerfile_inline: |
        FROM python:3.13-slim
        RUN pip install --no-cache-dir "pixelmeter[postgres,serve]"
    command: [pixelmeter, serve, --metrics, --host, 127.0.0.1, --port, "9469"]
    network_mode: service:prometheus
    environment:
      PIXELMETER_DATABASE_URL: postgresql://pixelmeter:${{PIXELMETER_LEDGER_PASSWORD:?}}@postgres:5432/pixelmeter
    depends_on:
      postgres:
        condition: service_healthy
      prometheus:
        condition: service_started
    healthcheck: &healthy
      test:
        - CMD
        - python
        - -c
        - import urllib.request; urllib.request.urlopen("http://127.0.0.1:9469/-/healthy", timeout=3)
      interval: 5s
      retries: 20
    restart: unless-stopped

  # The page, to which dashboards and alerts link; a browser asks for a password, which is the token.
  page:
    build: *pixelmeter
    command: [pixelmeter, serve, --host, 0.0.0.0, --port, "9469", --token-file, /run/secrets/page-token]
    environment:
      PIXELMETER_DATABASE_URL: postgresql://pixelmeter:${{PIXELMETER_LEDGER_PASSWORD:?}}@postgres:5432/pixelmeter
    secrets:
      - page-token
    ports:
      - 127.0.0.1:9469:9469
    depends_on:
      postgres:
        condition: service_healthy
    healthcheck: *healthy
    restart: unless-stopped

  alertmanager:
    image: prom/alertmanager:v0.28.1
    command: [--config.file=/etc/alertmanager/alertmanager.yml, --storage.path=/alertmanager]
    network_mode: service:prometheus
    volumes:
      - alertmanager:/alertmanager
      - ./alertmanager:/etc/alertmanager:ro
    depends_on:
      prometheus:
        condition: service_started
    healthcheck:
      test: [CMD, wget, -qO-, "http://127.0.0.1:9093/-/ready"]
      interval: 5s
      retries: 20
    restart: unless-stopped

  grafana:
    image: grafana/grafana:12.2.0
    environment:
      GF_SECURITY_ADMIN_PASSWORD: ${{GRAFANA_ADMIN_PASSWORD:?}}
      PIXELMETER_PROMETHEUS_URL: http://prometheus:9090
      PIXELMETER_LEDGER_ADDRESS: postgres:5432
      PIXELMETER_LEDGER_DATABASE: pixelmeter
      PIXELMETER_LEDGER_SSLMODE: disable
      PIXELMETER_LEDGER_READER: pixelmeter_reader
      PIXELMETER_LEDGER_READER_PASSWORD: ${{PIXELMETER_LEDGER_READER_PASSWORD:?}}
    ports:
      - 127.0.0.1:3000:3000
    volumes:
      - grafana:/var/lib/grafana
      - ./grafana:{DASHBOARDS}:ro
      - ./grafana/provisioning/datasources:/etc/grafana/provisioning/datasources:ro
      - ./grafana/provisioning/dashboards:/etc/grafana/provisioning/dashboards:ro
      # Grafana's own alerting, for those who take the service alertmanager and prometheus/alerts.yml out:
      # - ./grafana/alerting:/etc/grafana/provisioning/alerting:ro
    depends_on:
      postgres:
        condition: service_healthy
      prometheus:
        condition: service_healthy
    healthcheck:
      test: [CMD, wget, -qO-, "http://127.0.0.1:3000/api/health"]
      interval: 5s
      retries: 20
    restart: unless-stopped

secrets:
  page-token:
    environment: PIXELMETER_PAGE_TOKEN

volumes:
  alertmanager:
  grafana:
  ledger:
  prometheus:
"""

_READER = """\
# Made by `pixelmeter dashboards export`, as an example: a role for Grafana that may read the ledger and nothing else.
psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set ON_ERROR_STOP=1 \\
  --set password="$PIXELMETER_LEDGER_READER_PASSWORD" <<'SQL'
CREATE ROLE pixelmeter_reader LOGIN PASSWORD :'password';
GRANT pg_read_all_data TO pixelmeter_reader;
SQL
"""


def compose() -> dict[str, str]:
    """Return the text of each file by its path below the folder of dashboards."""
    return {"docker-compose.yml": _COMPOSE, "postgres/reader.sh": _READER}
