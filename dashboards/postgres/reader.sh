# Made by `pixelmeter dashboards export`, as an example: a role for Grafana that may read the ledger and nothing else.
psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set ON_ERROR_STOP=1 \
  --set password="$PIXELMETER_LEDGER_READER_PASSWORD" <<'SQL'
CREATE ROLE pixelmeter_reader LOGIN PASSWORD :'password';
GRANT pg_read_all_data TO pixelmeter_reader;
SQL
