"""Memory that a metered program takes beside one that is not: what is resident after fifty image calls over httpx."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

from pixelmeter.testing import Gateway

ROUNDS = 5
PROGRAM = """
import sys
import httpx
url, ledger = sys.argv[1:]
with httpx.Client(base_url=url) as client:
    if ledger:
        import pixelmeter
        meter = pixelmeter.Meter(ledger)
        pixelmeter.instrument(client, meter)
    for _ in range(50):
        client.post("/images/generations", json={"model": "meta/sam-3-1-image", "prompt": "a fox"})
    if ledger:
        assert meter.flush(60)
    with open("/proc/self/status") as status:
        print(next(line for line in status if line.startswith("VmRSS:")).split()[1])
"""


def mebibytes(url: str, *, metered: bool) -> float:
    """Return the median over fresh processes, each with a new ledger."""
    taken: list[int] = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", PROGRAM, url, f"sqlite:///{folder}/a.db" if metered else ""]
            environment = {**os.environ, "PIXELMETER_GATEWAYS": "127.0.0.1:*=aigateway"}
            done = subprocess.run(command, check=True, capture_output=True, env=environment)
            taken.append(int(done.stdout))
    return statistics.median(taken) / 1024


def main() -> None:
    with Gateway() as gateway:
        plain, metered = (mebibytes(gateway.url, metered=each) for each in (False, True))
    print(f"without a meter  {plain:6.1f} MiB")
    print(f"with a meter     {metered:6.1f} MiB")
    print(f"added            {metered - plain:6.1f} MiB")


if __name__ == "__main__":
    main()
