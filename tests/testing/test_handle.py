from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from pixelmeter.testing import Gateway


def test_a_closed_gateway_leaves_no_process_behind() -> None:
    with Gateway() as gateway:
        assert 200 == httpx.get(f"{gateway.url}/models").status_code
        pid = gateway.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    gateway.close()
    with pytest.raises(RuntimeError, match=r"use Gateway\(log=PATH\)"):
        gateway.billing()


def test_a_log_of_ones_own_outlives_the_gateway(tmp_path: Path) -> None:
    with Gateway(log=tmp_path / "billing.jsonl") as gateway:
        httpx.post(f"{gateway.url}/images/generations", json={"model": "meta/sam-3-1-image"})
    assert 10_000_000 == gateway.billed_nano()


def test_a_gateway_ends_when_its_standard_input_closes(tmp_path: Path) -> None:
    process = start(tmp_path / "billing.jsonl")
    assert process.stdin is not None
    process.stdin.close()
    assert 0 == process.wait(60)
    finish(process)


def test_a_port_that_is_taken_is_an_error_that_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Gateway() as gateway, pytest.raises(RuntimeError, match="did not start"):
        Gateway(log=tmp_path / "billing.jsonl", port=int(gateway.root.rpartition(":")[2]))
    assert "choose another --port" in capfd.readouterr().err


def test_a_reset_gateway_has_forgotten_everything(gateway: Gateway) -> None:
    gateway.tell(status=503)
    assert 503 == httpx.post(f"{gateway.url}/images/generations", json={}).status_code
    gateway.reset()
    assert [] == gateway.billing()
    assert 200 == httpx.post(f"{gateway.url}/images/generations", json={}).status_code


def test_a_request_that_breaks_off_after_a_reset_is_none_of_what_follows(gateway: Gateway) -> None:
    host, _, port = gateway.root.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/images/generations HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n"
        )
        assert b"100 Continue" in connection.recv(100)
        gateway.reset()
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(100):
            pass
    assert [] == gateway.billing()


def test_waiting_for_what_does_not_come_ends(gateway: Gateway) -> None:
    with pytest.raises(TimeoutError, match=r"0 of 1 held after 0\.01 seconds"):
        gateway.wait_held(1, seconds=0.01)


def start(log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pixelmeter.testing.gateway", "--log", str(log)]
    source = str(Path(__file__).parents[2] / "src")
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=os.environ | {"PYTHONPATH": source})


def finish(process: subprocess.Popen[bytes]) -> bytes:
    """Close the pipes of a process that has ended, and return what it wrote to standard error."""
    assert process.stderr is not None
    said = process.stderr.read()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    return said
