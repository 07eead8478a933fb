"""A stand-in gateway to start, tell what to do, and ask what it billed, from Python."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from pixelmeter.testing.behaviour import Signature
from pixelmeter.testing.billing import read_log
from pixelmeter.testing.webhooks import Order

__all__ = ["Gateway"]

_PATIENCE = 15


class Gateway:
    """A stand-in gateway in a process of its own, on a free port of loopback, ready when the constructor returns.

        with Gateway() as gateway:
            gateway.tell(status=429, times=1)
            client = OpenAI(base_url=gateway.url, api_key="any")
            client.images.generate(model="meta/sam-3-1-image", prompt="a fox")
            assert [429, 200] == [attempt["status"] for attempt in gateway.billing()]

    `log` is the path of a file that keeps the billing log after the gateway has been closed. `seed` decides what the
    pictures show and which requests a `probability` hits. `port` is the port to listen on; 0 takes a free one. Raises
    RuntimeError where the process does not start.
    """

    def __init__(self, *, log: str | os.PathLike[str] | None = None, seed: int = 0, port: int = 0) -> None:
        # Not a TemporaryDirectory: that would delete it as well when a forked child of the caller exits.
        self._folder = tempfile.mkdtemp(prefix="pixelmeter-gateway-") if log is None else None
        self.log = Path(log) if log is not None else Path(self._folder or "", "billing.jsonl")
        """The billing log: one JSON line for each attempt that reached the gateway."""
        source = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "pixelmeter.testing.gateway", "--log", str(self.log)]
        self._process = subprocess.Popen(
            [*command, "--seed", str(seed), "--port", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise RuntimeError("the stand-in gateway did not start; what it printed to standard error says why")
        self.root: str = json.loads(line)["url"]
        """Where it listens: "http://127.0.0.1:PORT"."""
        self.pid = self._process.pid

    @property
    def url(self) -> str:
        """The base URL for an OpenAI client."""
        return f"{self.root}/v1"

    def tell(self, **rules: Any) -> None:
        """Add a rule for the answers to come, such as `tell(status=429, times=1)` or `tell(delay=2, probability=0.1)`.

        A rule has any fields of `pixelmeter.testing.behaviour.Behaviour`. `times` says how often it applies, `every` to
        which requests (3: each third), `probability` to which part of them, and `match` to which requests, by their
        path, model and so on; without a `path` in `match` it is for image requests only. Raises ValueError for a rule
        that makes no sense.
        """
        self._control("POST", "", rules)

    def reset(self) -> None:
        """Forget all rules and jobs, let held requests go on, and empty the billing log."""
        self._control("DELETE")

    def release(self) -> int:
        """Let every held request go on, and return how many there were."""
        return int(self._control("POST", "/release")["released"])

    def wait_held(self, count: int, seconds: float = 10) -> None:
        """Return when that many requests are held; raise TimeoutError when they are not after that many seconds."""
        self._wait("held", count, seconds)

    def wait_attempts(self, count: int, seconds: float = 10) -> None:
        """Return when that many attempts are in the billing log; raise TimeoutError after that many seconds."""
        self._wait("attempts", count, seconds)

    def billing(self) -> list[dict[str, Any]]:
        """Return the billing log, oldest first; the fields are those of `pixelmeter.testing.billing.Entry`."""
        if self._folder is not None and not self.log.exists():
            raise RuntimeError("the billing log went with the gateway: ask before it closes, or use Gateway(log=PATH)")
        return read_log(self.log)

    def billed_nano(self) -> int:
        """Return the nano-dollars that the billing log adds up to."""
        return sum(line["charged_nano"] for line in self.billing())

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Return the jobs by id: gateway, model, state, images, charged_nano, polls, submit (its request id), …"""
        return {job["job"]: job for job in self._control("GET", "/jobs")["jobs"]}

    def end_jobs(self, job: str | None = None) -> int:
        """End a job as it was told to, or all that are open, without a poll; return how many ended."""
        return int(self._control("POST", "/end" if job is None else f"/end?{urlencode({'job': job})}")["ended"])

    def post_webhook(self, url: str, job: str, *, secret: str | None = None, signature: Signature | None = None) -> int:
        """Have the events of a job posted to a URL, and return the status of the last answer; ends the job if need be.

        `secret` and `signature` are those of the job's behaviour where they are None; "aig" (aig-timestamp and
        aig-signature) and "gateway" (X-Gateway-Signature) are the forms of AIgateway. Raises ValueError when there is
        no such job, it never ends, or nobody answers.
        """
        given = {"url": url, "job": job, "secret": secret, "signature": signature}
        query = urlencode({name: value for name, value in given.items() if value is not None})
        return int(self._control("POST", f"/webhook?{query}")["answered"])

    def deliver(self, order: Order = "as_ended", *, patience: float = 60) -> int:
        """Post all events that are held (`webhook_held`), one after the other, and return how many those were."""
        return int(self._control("POST", f"/deliver?order={order}", patience=patience)["delivered"])

    def webhooks(self) -> list[dict[str, Any]]:
        """Return what has been posted, in that order: job, event, url, and the status of the answer or None."""
        return list(self._control("GET", "/webhooks")["webhooks"])

    def wait_webhooks(self, count: int, seconds: float = 10) -> None:
        """Return when that many events have been posted; raise TimeoutError after that many seconds."""
        self._wait("webhooks", count, seconds)

    def close(self) -> None:
        """Stop the gateway and wait until its process has gone."""
        process = self._process
        # It has nothing to finish: its log is written line by line.
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self, what: str, count: int, seconds: float) -> None:
        reached = self._control("GET", f"/wait?{what}={count}&seconds={seconds}", patience=seconds + _PATIENCE)
        if reached["status"] == 408:
            raise TimeoutError(f"{reached[what]} of {count} {what} after {seconds} seconds")

    def _control(self, method: str, path: str = "", body: object = None, patience: float = _PATIENCE) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self.root.removeprefix("http://"), timeout=patience)
        try:
            connection.request(method, f"/_control{path}", json.dumps(body) if body is not None else None)
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        finally:
            connection.close()
        if response.status not in (200, 408):
            raise ValueError(answer["error"])
        return answer | {"status": response.status}
