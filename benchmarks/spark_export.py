"""Spark reads an export in Parquet, and finds what DuckDB finds; run by hand, as it needs pyspark and Java."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.exports import fill

ROWS = 20_000


def main() -> None:
    """Print the totals by month, as both have them; fail where they differ."""
    try:
        sql: Any = importlib.import_module("pyspark.sql")
    except ImportError:
        print("pyspark is not here: pip install pyspark, apt install openjdk-17-jre-headless")
        return
    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        url, lake = f"sqlite:///{folder}/ledger.db", f"{folder}/lake/"
        fill(url, ROWS)
        command = [sys.executable, "-m", "pixelmeter", "export", "--format", "parquet", "--database-url", url, lake]
        subprocess.run(command, check=True)
        totals = "month, model, count(*) AS attempts, sum(cost_usd) AS cost, count(DISTINCT tags['team']) AS teams"
        with duckdb.connect() as connection:
            source = f"read_parquet('{lake}**/*.parquet', hive_partitioning = true, hive_types_autocast = false)"
            expected = connection.execute(f"SELECT {totals} FROM {source} GROUP BY ALL ORDER BY ALL").fetchall()
        spark = sql.SparkSession.builder.master("local[1]").config("spark.sql.session.timeZone", "UTC").getOrCreate()
        spark.read.parquet(lake).createOrReplaceTempView("attempts")
        asked = spark.sql(f"SELECT {totals} FROM attempts GROUP BY month, model ORDER BY month, model")
        found = [tuple(row) for row in asked.collect()]
        spark.stop()
    print(f"Spark: {len(found)} rows, {sum(row[2] for row in found)} attempts, {sum(row[3] for row in found)} USD")
    if found != expected:
        sys.exit("DuckDB has other totals")


if __name__ == "__main__":
    main()
