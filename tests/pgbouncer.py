"""A real PgBouncer in front of a PostgreSQL server, pooling by transaction; it comes with the operating system."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.postgres import PASSWORD, Server, Unavailable, free_port, ordinary_user

PROVIDE = "apt-get install pgbouncer"
_START_SECONDS = 60.0

# What it does not know of a client's first message it refuses, as it does by default.
_SETTINGS = """
[databases]
* = host=127.0.0.1 port={server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
"""


@contextlib.contextmanager
def pooled(server: Server, size: int) -> Iterator[int]:
    """Run one with so many server connections for each database; give its port. Its user and password are the server's.

    Unavailable says why it cannot be had.
    """
    program = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if program is None:
        raise Unavailable("pgbouncer is not installed")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="pixelmeter-pgbouncer-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        settings = _SETTINGS.format(server=server.port, port=port, folder=folder, size=size)
        for file, text in (("settings", settings), ("users", f'"postgres" "{PASSWORD}"\n')):
            (folder / file).write_text(text)
            (folder / file).chmod(0o644)
        with (folder / "log").open("w+") as log:
            process = subprocess.Popen(
                [program, str(folder / "settings")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **ordinary_user(),
            )
            try:
                if not _answers(process, port):
                    log.seek(0)
                    raise Unavailable(f"pgbouncer does not start: {log.read()[-500:]}")
                yield port
            finally:
                process.kill()
                process.wait()


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        time.sleep(0.02)
    return False
