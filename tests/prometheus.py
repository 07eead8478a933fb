"""Real servers of Prometheus and Alertmanager, and a receiver of what they send, on free ports of loopback."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml

from tests.conftest import unavailable

__all__ = ["Alertmanager", "Prometheus", "Receiver", "eventually"]

T = TypeVar("T")

_PATIENCE = 30.0
_POLL = 0.1


def eventually(what: str, look: Callable[[], T | None], seconds: float = _PATIENCE) -> T:
    """Look until there is something (anything true), and return it; fail after that many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} seconds still not: {what}")
        time.sleep(_POLL)


class _Server:
    """A program with an HTTP address; stopped by its process id when the block ends."""

    def __init__(self, program: str, package: str, folder: Path, arguments: Sequence[str], port: int) -> None:
        path = shutil.which(program)
        if path is None:
            unavailable(f"{program} is not installed", f"apt-get install {package}")
        self.address = f"127.0.0.1:{port}"
        """Host and port."""
        self.url = f"http://{self.address}"
        self._log = folder / f"{program}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([str(path), *arguments], cwd=folder, stdout=log, stderr=log)
        try:
            eventually(f"{program} is ready", self._ready)
        except BaseException:
            self.stop()
            raise

    def get(self, path: str, **parameters: str) -> Any:
        """Return the JSON of a path; the parameters go into the query."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        with urllib.request.urlopen(f"{self.url}{path}{query}", timeout=_PATIENCE) as answer:
            return json.load(answer)

    def stop(self) -> None:
        """Stop the program, and wait until it has gone."""
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _ready(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(f"it ended at once: {self._log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=_PATIENCE) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False


class Prometheus(_Server):
    """A Prometheus that scrapes and evaluates once a second, with exemplars."""

    def __init__(
        self,
        folder: Path,
        jobs: Mapping[str, Sequence[str]],
        *,
        rules: Sequence[Path] = (),
        alertmanager: str | None = None,
    ) -> None:
        """`folder` is for its files; `jobs` has the targets (host and port) of each job; `alertmanager` is a target."""
        config: dict[str, Any] = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": list(targets)}]} for job, targets in jobs.items()
            ],
        }
        if alertmanager is not None:
            config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        port = _free_port()
        arguments = [
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=exemplar-storage",
            "--rules.alert.resend-delay=1s",
            "--log.level=warn",
        ]
        super().__init__("prometheus", "prometheus", folder, arguments, port)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series (`metric`, `value`) of an instant query."""
        result: list[dict[str, Any]] = self.get("/api/v1/query", query=expression)["data"]["result"]
        return result


class Alertmanager(_Server):
    """An Alertmanager of a cluster of one."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        """`folder` is for its files."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(dict(config)))
        port = _free_port()
        arguments = [
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            "--log.level=warn",
        ]
        super().__init__("prometheus-alertmanager", "prometheus-alertmanager", folder, arguments, port)


class Receiver:
    """Takes the webhooks of Alertmanager, and keeps the alerts that they bring."""

    def __init__(self) -> None:
        self._alerts: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with receiver._changed:
                    receiver._alerts += [alert | {"path": self.path} for alert in json.loads(body)["alerts"]]
                    receiver._changed.notify_all()
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def alerts(self) -> list[dict[str, Any]]:
        """Return what has arrived: Alertmanager's alerts, with the `path` that they were posted to."""
        with self._changed:
            return list(self._alerts)

    def wait(self, what: str, wanted: Callable[[dict[str, Any]], bool], seconds: float = _PATIENCE) -> dict[str, Any]:
        """Return the first alert that is wanted, now or when it arrives; fail after that many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: any(wanted(alert) for alert in self._alerts), seconds)
            for alert in self._alerts:
                if wanted(alert):
                    return alert
            raise AssertionError(f"after {seconds:g} seconds nothing came: {what}; but {self._alerts}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
