"""A fleet that has jobs done while half of those who submit them are killed: `python -m tests.interop.job_fleet`.

Submitters, pollers and the receiver of webhooks are processes of their own, with one ledger and one spool folder. The
gateways end jobs by polls, by time, or when the fleet says so, and post webhooks twice and out of order.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import httpx

import pixelmeter
from pixelmeter.settings import Settings
from pixelmeter.testing import Gateway
from pixelmeter.upkeep import adopt
from tests.faults.support import PROCESSES
from tests.interop.job_plans import FleetJob, Plan, planned

__all__ = ["Outcome", "run_fleet"]

_PATIENCE = 120
_POLLS_OF_NO_END = 3
_PAUSE = 0.01


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What there is to compare when a fleet has come home; the ledger has all that dead processes left."""

    plan: Plan
    planned: dict[str, FleetJob]
    """By wish, which the gateway knows as `test_id`."""
    jobs: dict[str, dict[str, Any]]
    """What the gateways say of each job in the end, by wish."""
    billing: list[dict[str, Any]]
    """The billing logs of both gateways."""
    posts: list[dict[str, Any]]
    """All webhooks, in the order in which each gateway posted them."""
    taken: int
    """How many webhooks `Meter.webhook` took without raising."""
    refused: list[str]
    """What it raised otherwise."""
    seconds: float

    def summary(self) -> dict[str, Any]:
        """Return counts."""
        states = Counter(f"{job['gateway']} {job['state']}" for job in self.jobs.values())
        return {
            "seed": self.plan.seed,
            "jobs": len(self.jobs),
            "killed": sum(job.killed for job in self.planned.values()),
            "heard": sum(job.is_heard for job in self.planned.values()),
            "states": dict(sorted(states.items())),
            "charged_nano": sum(job["charged_nano"] for job in self.jobs.values()),
            "webhooks": len(self.posts),
            "webhooks_taken": self.taken,
            "webhooks_refused": dict(Counter(self.refused)),
            "seconds": round(self.seconds, 1),
        }


@dataclass(frozen=True)
class _Place:
    """What each process of the fleet is told."""

    plan: Plan
    roots: Mapping[str, str]
    """The URL of each vendor's gateway."""

    @property
    def notes(self) -> Path:
        """The file in which submitters write which job a wish has become."""
        return Path(self.plan.folder, "submitted")

    def meter(self) -> pixelmeter.Meter:
        """Return a meter of the fleet's ledger and spool."""
        gateways = {root.removeprefix("http://"): vendor for vendor, root in self.roots.items()}
        spool = str(Path(self.plan.folder, "spool"))
        return pixelmeter.Meter(self.plan.ledger, gateways=gateways, spool_dir=spool, **self.plan.meter_options)

    def submitted(self) -> dict[str, str]:
        """Return the job of each wish whose submit has been answered."""
        if not self.notes.exists():
            return {}
        lines = self.notes.read_text().split("\n")[:-1]
        return {wish: job for wish, _, job in (line.partition(" ") for line in lines)}


def _submit_all(place: _Place, jobs: list[FleetJob], done: Event, wait: bool) -> None:
    """Submit these jobs; then end, or wait to be killed."""
    meter = place.meter()
    notes = os.open(place.notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with pixelmeter.instrument(httpx.Client(), meter) as client:
        for job in jobs:
            headers = {"x-test-id": job.wish, "x-test-behaviour": json.dumps(job.behaviour)}
            with pixelmeter.tags(wish=job.wish):
                answer = client.post(place.roots[job.vendor] + _PATHS[job.vendor], json=_body(job), headers=headers)
            said = answer.raise_for_status().json()
            os.write(notes, f"{job.wish} {said.get('request_id') or said['id']}\n".encode())
        done.set()
        if wait:
            signal.pause()
    meter.close(_PATIENCE)


_PATHS = {"aigateway": "/v1/images/generations", "fal": "/fal-ai/flux/dev"}


def _body(job: FleetJob) -> dict[str, Any]:
    if job.vendor == "fal":
        return {"prompt": "fog", "num_images": job.images, "image_size": "square_hd"}
    return {"prompt": "fog", "model": "meta/sam-3-1-image", "n": job.images}


def _poll_all(place: _Place, jobs: list[FleetJob], finish: Event) -> None:
    """Follow jobs to their ends, whoever submitted them; return when `finish` is set and all have ended."""
    meter = place.meter()
    left = {job.wish: job for job in jobs}
    polls: Counter[str] = Counter()
    with pixelmeter.instrument(httpx.Client(), meter) as client:
        while left:
            last_round = finish.is_set()
            ids = place.submitted()
            for job in [job for wish, job in left.items() if wish in ids]:
                polls[job.wish] += 1
                has_no_end = job.behaviour["job_end"] == "never" and polls[job.wish] >= _POLLS_OF_NO_END
                if _poll(client, place.roots[job.vendor], job, ids[job.wish], first=polls[job.wish] == 1) or has_no_end:
                    del left[job.wish]
            if last_round and not left.keys() & ids.keys():
                break
            time.sleep(_PAUSE)
    meter.close(_PATIENCE)


def _poll(client: httpx.Client, root: str, job: FleetJob, identity: str, *, first: bool) -> bool:
    """Cancel a job where that is planned, or ask for its state; return whether it has ended."""
    if job.vendor == "aigateway":
        url = f"{root}/v1/jobs/{identity}"
        method = "DELETE" if job.cancelled and first else "GET"
        return client.request(method, url).json()["status"] in ("completed", "failed", "cancelled")
    url = f"{root}/fal-ai/flux/requests/{identity}"
    if job.cancelled and first:
        client.put(f"{url}/cancel")
    if client.get(f"{url}/status").json()["status"] != "COMPLETED":
        return False
    client.get(url)
    return True


def _receive(place: _Place, pipe: Connection) -> None:
    """Send the port over the pipe, hand webhooks to a meter until it says to end, and send what came of them."""
    meter = place.meter()
    take: Any = getattr(meter, "webhook", None)
    taken: list[None] = []
    refused: list[str] = []

    class _Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = 204
            try:
                take(dict(self.headers.items()), body)
                taken.append(None)
            except Exception as error:
                refused.append(f"{type(error).__name__}: {error}"[:200])
                status = 400
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        pipe.send(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        pipe.recv()
        server.shutdown()
        thread.join()
    meter.close(_PATIENCE)
    pipe.send((len(taken), refused))


def run_fleet(plan: Plan) -> Outcome:
    """Have the jobs of a plan done and return what became of them, once the ledger has all that was in the spool.

    Raises AssertionError where a process of the fleet fails.
    """
    started = time.monotonic()
    Path(plan.folder).mkdir(parents=True, exist_ok=True)
    logs = {vendor: Path(plan.folder, f"{vendor}.jsonl") for vendor in _PATHS}
    with (
        Gateway(log=logs["aigateway"], seed=plan.seed) as aigateway,
        Gateway(log=logs["fal"], seed=plan.seed) as fal,
    ):
        gateways = (aigateway, fal)
        place = _Place(plan, {"aigateway": aigateway.root, "fal": fal.root})
        ours, theirs = PROCESSES.Pipe()
        receiver = PROCESSES.Process(target=_receive, args=(place, theirs), daemon=True)
        receiver.start()
        jobs = planned(plan, f"http://127.0.0.1:{ours.recv()}/hook")
        finish = PROCESSES.Event()
        pollers = list(_pollers(place, jobs, finish))
        jobs = _submit(place, jobs)
        finish.set()
        _join(pollers)
        for gateway in gateways:
            gateway.end_jobs()
            gateway.deliver("shuffled", patience=_PATIENCE)
        expected = sum(job.behaviour["webhook_times"] for job in jobs if job.ends)
        _until(lambda: sum(len(gateway.webhooks()) for gateway in gateways) >= expected)
        ours.send(None)
        taken, refused = ours.recv()
        _join([receiver])
        facts = {job["test_id"]: job for gateway in gateways for job in gateway.jobs().values()}
        billing = [line for gateway in gateways for line in gateway.billing()]
        posts = [post for gateway in gateways for post in gateway.webhooks()]
    adopt(plan.ledger, Settings(spool_dir=str(Path(plan.folder, "spool"))))
    return Outcome(
        plan=plan,
        planned={job.wish: job for job in jobs},
        jobs=facts,
        billing=billing,
        posts=posts,
        taken=taken,
        refused=refused,
        seconds=time.monotonic() - started,
    )


def _pollers(place: _Place, jobs: list[FleetJob], finish: Event) -> Iterator[Any]:
    """Start the pollers; every fifth job is followed by two of them."""
    count = place.plan.pollers
    for number in range(count):
        mine = [
            job
            for index, job in enumerate(jobs)
            if job.polled and (index % count == number or (index % 5 == 0 and (index + 1) % count == number))
        ]
        poller = PROCESSES.Process(target=_poll_all, args=(place, mine, finish), daemon=True)
        poller.start()
        yield poller


def _submit(place: _Place, jobs: list[FleetJob]) -> list[FleetJob]:
    """Have all jobs submitted, some by processes that are killed then; return the jobs with whose were."""
    plan = place.plan
    source = random.Random(plan.seed + 1)
    batches = [jobs[start : start + plan.batch] for start in range(0, len(jobs), plan.batch)]
    doomed = set(source.sample(range(len(batches)), round(len(batches) * plan.killed)))
    submitted: list[FleetJob] = []
    for start in range(0, len(batches), plan.submitters):
        running = []
        for number in range(start, min(start + plan.submitters, len(batches))):
            done = PROCESSES.Event()
            process = PROCESSES.Process(
                target=_submit_all, args=(place, batches[number], done, number in doomed), daemon=True
            )
            process.start()
            running.append((number, process, done))
        for number, process, done in running:
            assert done.wait(_PATIENCE), f"the submitter {number} did not submit its jobs"
            if number in doomed:
                process.kill()
                process.join()
            submitted += [replace(job, killed=number in doomed) for job in batches[number]]
        _join([process for number, process, _ in running if number not in doomed])
    return submitted


def _join(processes: list[Any]) -> None:
    for process in processes:
        process.join(_PATIENCE)
        assert 0 == process.exitcode, f"{process.name} ended with {process.exitcode}"


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not true():
        assert time.monotonic() < deadline, "not all webhooks were posted"
        time.sleep(_PAUSE)


def main() -> None:
    """Run a fleet and print what became of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.interop.job_fleet", description=run_fleet.__doc__)
    parser.add_argument("--ledger", help="a database URL; by default a SQLite file in the folder")
    parser.add_argument("--folder", help="where spool and bills go; by default a new one")
    for name in ("jobs", "batch", "submitters", "pollers", "times", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Plan, name))
    parser.add_argument("--killed", type=float, default=Plan.killed)
    parser.add_argument("--meter-options", type=json.loads, default={}, help="a JSON object: more arguments of Meter")
    given = vars(parser.parse_args())
    given["folder"] = given["folder"] or tempfile.mkdtemp(prefix="pixelmeter-fleet-")
    given["ledger"] = given["ledger"] or f"sqlite:///{given['folder']}/ledger.db"
    sys.stdout.write(json.dumps(run_fleet(Plan(**given)).summary(), indent=2) + "\n")


if __name__ == "__main__":
    main()
