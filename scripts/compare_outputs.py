"""Whether two checkouts write the same: ledger, spool, metrics, commands and exported files, byte for byte.

    .venv/bin/python -m scripts.compare_outputs OTHER_CHECKOUT

For changes that nobody is to notice. A fixed piece of work is done with each checkout, by the libraries of this
environment, with a clock and ids that are the same both times; then what it wrote is compared. Ends with 1 and names
what differs.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_WORK = r"""
import json, os, pathlib, sqlite3, subprocess, sys, time, uuid
import uuid_utils
NOW = 1_780_000_000 * 10**9
numbers = iter(range(1, 10**9))
def uuid7(*_):
    text = f"{NOW // 10**6 + (number := next(numbers)):012x}70008{number:015x}"
    return uuid.UUID(text)
uuid_utils.uuid7 = uuid7
real, monotonic = time.time_ns, time.clock_gettime_ns
time.time_ns = lambda: NOW
time.clock_gettime_ns = lambda clock: 10**15 if clock == time.CLOCK_MONOTONIC else monotonic(clock)
import httpx, pixelmeter
from prometheus_client import CollectorRegistry, generate_latest
from pixelmeter.testing import Gateway

def calls(client, url):
    def post(headers=None, **body):
        client.post(url + "/images/generations", headers=headers or {}, json=body)
    post(model="meta/sam-3-1-image", prompt="p", n=2)
    post(model="openai/gpt-image-1", prompt="p", size="1024x1024", quality="low")
    post(model="black-forest-labs/flux-2-klein-9b", prompt="p", size="512x768")
    post(model="unheard-of", prompt="p")
    post(prompt="p")
    post(model="meta/sam-3-1-image", prompt="p", headers={"x-aig-tag": "team-a"})
    with pixelmeter.tags(team="growth", customer="Ä"):
        post(model="meta/sam-3-1-image", prompt="p")
        with pixelmeter.call():
            post(model="meta/sam-3-1-image", prompt="p")
            post(model="meta/sam-3-1-image", prompt="p")
    client.post(url + "/images/edits", data={"model": "meta/sam-3-1-image", "prompt": "p"}, files={"image": b"png"})
    stream = {"model": "openai/gpt-image-1", "prompt": "p", "stream": True, "partial_images": 1}
    with client.stream("POST", url + "/images/generations", json=stream) as response:
        response.read()
    for status in (400, 401, 429, 500, 503):
        gateway.tell(status=status, times=1)
        post(model="meta/sam-3-1-image", prompt="p")
    try:
        client.post("http://127.0.0.1:9/v1/images/generations", json={"model": "meta/sam-3-1-image"})
    except httpx.HTTPError:
        pass

registry = CollectorRegistry()
with Gateway() as gateway:
    url = gateway.url
    hosts = {"127.0.0.1:*": "aigateway"}
    meter = pixelmeter.Meter("sqlite:///pixelmeter.db", gateways=hosts, registry=registry, tags={"app": "x"})
    with httpx.Client() as client:
        pixelmeter.instrument(client, meter)
        calls(client, url)
    assert meter.flush(60)
    out = pathlib.Path("out")
    out.mkdir()
    page = generate_latest(registry).decode()
    kept = [line for line in page.splitlines() if "ledger_write" not in line and "_created" not in line]
    (out / "metrics.txt").write_text("\n".join(kept))
    status = meter.status()
    assert meter.close(60)
    (out / "status.json").write_text(json.dumps({key: status[key] for key in ("waiting", "failures", "ledger_error")}))
    spooled = pixelmeter.Meter("postgresql://nobody@127.0.0.1:9/none", gateways=hosts, spool_dir="spool")
    with httpx.Client() as client:
        pixelmeter.instrument(client, spooled)
        calls(client, url)
    with open(out / "spool.bin", "wb") as file:
        for path in sorted(pathlib.Path("spool").rglob("*.spool")):
            file.write(path.name.encode() + b"\n" + path.read_bytes())
with sqlite3.connect("pixelmeter.db") as connection:
    (out / "ledger.sql").write_text("\n".join(sorted(connection.iterdump())))
time.time_ns = real
sys.stdout.flush()
os._exit(0)
"""

_COMMANDS = (
    *(
        ["report", "--since", "2026-05-01", "--until", "2026-07-01", *more]
        for more in (
            [],
            ["--by", "day,model"],
            ["--by", "tag:team", "--format", "json"],
            ["--by", "gateway,outcome", "--format", "csv"],
            ["--columns", "attempts,images,cost,cost_per_image,retry_cost,failure_cost,p95"],
            ["--tags", "--format", "json"],
        )
    ),
    ["report", "--by", "month", "--tz", "Europe/Berlin", "--since", "2026-05", "--until", "2026-07"],
    *(["calls", "--since", "2026-01-01", "--format", each] for each in ("table", "json", "csv")),
    ["prices", "list"],
    ["prices", "list", "--format", "csv"],
    ["prices", "show", "gpt-image-1", "--size", "1024x1024", "--at", "2026-06-01"],
    ["prices", "show", "meta/sam-3-1-image", "--format", "json", "--at", "2026-06-01"],
    ["db", "status"],
    ["db", "status", "--format", "json"],
    ["doctor", "--format", "json"],
    ["dashboards", "export", "dashboards"],
    ["dashboards", "export", "strict", "--objective", "0.999"],
    *([*name, "--help"] for name in ([], ["report"], ["calls"], ["prices"], ["prices", "show"], ["db"], ["serve"])),
    *([*name, "--help"] for name in (["dashboards"], ["dashboards", "export"], ["doctor"], ["demo"])),
)


def work(checkout: Path, folder: Path) -> None:
    """Do the work with a checkout; `folder` is where its programs run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIXELMETER_")}
    environment = {**kept, "PYTHONPATH": f"{checkout}/src{os.pathsep}{checkout}", "COLUMNS": "120", "NO_COLOR": "1"}
    environment |= {"XDG_STATE_HOME": f"{folder}/state", "TZ": "UTC", "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", _WORK], cwd=folder, env=environment, check=True)
    for number, command in enumerate(_COMMANDS):
        done = subprocess.run(
            [sys.executable, "-m", "pixelmeter", *command],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        name = f"{number:02} {' '.join(command)}".replace("/", "_")
        (folder / "out" / name).write_text(f"{done.returncode}\n{done.stdout}\n-- stderr\n{done.stderr}")
    for name in ("dashboards", "strict"):
        shutil.copytree(folder / name, folder / "out" / name)


def differing(found: filecmp.dircmp[str], place: str = "") -> list[str]:
    """Return what differs between two folders, and what only one of them has."""
    names = [f"{place}{name}" for name in (*found.left_only, *found.right_only, *found.funny_files)]
    _, unequal, errors = filecmp.cmpfiles(found.left, found.right, found.common_files, shallow=False)
    names += [f"{place}{name}" for name in (*unequal, *errors)]
    for name, below in found.subdirs.items():
        names += differing(below, f"{place}{name}/")
    return names


def main() -> None:
    """Compare this checkout with another one."""
    here, other = Path(__file__).resolve().parents[1], Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        results = []
        for number, checkout in enumerate((other, here)):
            # The same place both times, as paths are a part of what is written.
            place = Path(folder, "work")
            place.mkdir()
            work(checkout, place)
            results.append(Path(folder, str(number)))
            (place / "out").rename(results[-1])
            shutil.rmtree(place)
        names = differing(filecmp.dircmp(str(results[0]), str(results[1])))
        for name in names:
            sys.stdout.write(f"differs: {name}\n")
            subprocess.run(["diff", "-u", *(str(result / name) for result in results)], check=False)
        sys.stdout.write(f"{len(names)} of {sum(path.is_file() for path in results[0].rglob('*'))} outputs differ\n")
        sys.exit(bool(names))


if __name__ == "__main__":
    main()
