"""CPU that `pixelmeter proxy` adds to a bare pass-through, beside what the meter adds inside a program.

    python benchmarks/proxy.py [--pace 0.05] [--rounds 8] [--calls 200] [--litellm VENV/bin/litellm]

All variants make the same calls to the same stand-in gateway, block by block in turn, so that noise hits each alike;
`--pace` rests that many seconds before each call. `bare aiohttp` is a pass-through of aiohttp's server and client
without anything else; `pixelmeter proxy` is the command. Of these it is the CPU of the proxy's process, all threads,
and each block waits until the ledger is written. `in the program` is what the meter adds to a httpx client in this
process, with Prometheus as the proxy has it. The ratio compares what the proxy adds to the pass-through with what
the meter adds in the program, in each round. `--litellm` names the command of a LiteLLM proxy that is installed in an
environment of its own; it runs without a database.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web
from prometheus_client import CollectorRegistry
from yarl import URL

import pixelmeter
from benchmarks.overhead import in_turn
from pixelmeter.testing import Gateway

_BODY = {"model": "meta/sam-3-1-image", "prompt": "a red fox in the snow", "size": "1024x1024", "n": 1}
_PATH = "/v1/images/generations"
_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host"}
_WRITTEN_SECONDS = 1.3


class Variant(NamedTuple):
    """One way to make the calls."""

    name: str
    block: Callable[[int, float], float]
    """Makes so many calls at a pace; returns the microseconds of CPU of each."""


def _bare(upstream: str, port: Any) -> None:
    """Be a pass-through that does nothing else."""

    async def run() -> None:
        session = ClientSession(
            auto_decompress=False,
            cookie_jar=DummyCookieJar(),
            connector=TCPConnector(limit=0),
            skip_auto_headers=["User-Agent", "Accept", "Accept-Encoding", "Content-Type"],
        )

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP]
            url = URL(upstream + request.raw_path, encoded=True)
            body = request.content if request.body_exists else None
            async with session.request(
                request.method, url, headers=headers, data=body, allow_redirects=False
            ) as answer:
                response = web.StreamResponse(status=answer.status, reason=answer.reason)
                for name, value in answer.headers.items():
                    if name.lower() not in _HOP:
                        response.headers.add(name, value)
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
                return response

        server = web.Server(handle, access_log=None)
        listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        port.send(listening.sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    asyncio.run(run())


@contextmanager
def _bare_proxy(upstream: str) -> Iterator[tuple[int, str]]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_bare, args=(upstream, there), daemon=True)
    process.start()
    try:
        port = here.recv()
        assert process.pid is not None
        yield process.pid, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.join()


@contextmanager
def _our_proxy(upstream: str, folder: str) -> Iterator[tuple[int, str]]:
    command = [sys.executable, "-m", "pixelmeter", "proxy", "--upstream", upstream, "--listen", "127.0.0.1:0"]
    command += ["--admin", "127.0.0.1:0", "--database-url", f"sqlite:///{folder}/proxy.db"]
    environment = os.environ | {"PIXELMETER_GATEWAYS": "127.0.0.1:*=aigateway"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            yield process.pid, process.stdout.readline().split()[-1]
        finally:
            process.kill()


@contextmanager
def _litellm_proxy(command: str, upstream: str, folder: str) -> Iterator[tuple[int, str]]:
    model: dict[str, Any] = {
        "model_name": _BODY["model"],
        "litellm_params": {"model": f"openai/{_BODY['model']}", "api_base": f"{upstream}/v1", "api_key": "x"},
    }
    config = Path(folder, "litellm.json")
    config.write_text(json.dumps({"model_list": [model]}))
    with tempfile.TemporaryFile() as log:
        port = _free_port()
        process = subprocess.Popen(
            [command, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)],
            stdout=log,
            stderr=log,
            # Its prices come with it, else it asks for newer ones first; and it serves everybody, as the others do.
            env=os.environ
            | {
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
            },
        )
        with process:
            try:
                root = f"http://127.0.0.1:{port}"
                while process.poll() is None:
                    try:
                        httpx.get(f"{root}/health/liveliness")
                        break
                    except httpx.TransportError:
                        time.sleep(0.2)
                if process.returncode is not None:
                    log.seek(0)
                    raise SystemExit(log.read().decode(errors="replace"))
                yield process.pid, root
            finally:
                process.kill()


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
    return port


def _cpu(process: int) -> float:
    """Return the microseconds of CPU that a process and its children have had, all threads."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        number = int(stat.parent.name)
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if process in (number, parent):
                for task in stat.parent.glob("task/*/schedstat"):
                    total += int(task.read_text().split()[0]) / 1e3
        except (OSError, IndexError):
            continue
    return total


def _proxied(name: str, process: int, root: str, settle: float) -> Variant:
    parts = urlsplit(root)
    body = json.dumps(_BODY)
    headers = {"content-type": "application/json", "authorization": "Bearer x"}

    def block(calls: int, pace: float) -> float:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=60)
        before = _cpu(process)
        for _ in range(calls):
            if pace:
                time.sleep(pace)
            connection.request("POST", _PATH, body, headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
        connection.close()
        time.sleep(settle)
        return (_cpu(process) - before) / calls

    return Variant(name, block)


def _in_program(name: str, client: httpx.Client, url: str, flush: Callable[[], object]) -> Variant:
    def block(calls: int, pace: float) -> float:
        before = time.process_time()
        for _ in range(calls):
            if pace:
                time.sleep(pace)
            client.post(url, json=_BODY).json()
        flush()
        return (time.process_time() - before) / calls * 1e6

    return Variant(name, block)


def _variants(options: argparse.Namespace, gateway: Gateway, folder: str, stack: ExitStack) -> Iterator[Variant]:
    yield _proxied("bare aiohttp", *stack.enter_context(_bare_proxy(gateway.root)), 0)
    yield _proxied("pixelmeter proxy", *stack.enter_context(_our_proxy(gateway.root, folder)), _WRITTEN_SECONDS)
    if options.litellm:
        yield _proxied("litellm proxy", *stack.enter_context(_litellm_proxy(options.litellm, gateway.root, folder)), 0)
    url = f"{gateway.root}{_PATH}"
    yield _in_program("plain program", stack.enter_context(httpx.Client()), url, lambda: None)
    meter = stack.enter_context(
        pixelmeter.Meter(
            f"sqlite:///{folder}/program.db", gateways={"127.0.0.1:*": "aigateway"}, registry=CollectorRegistry()
        )
    )
    metered = pixelmeter.instrument(stack.enter_context(httpx.Client()), meter)
    yield _in_program("metered program", metered, url, lambda: meter.flush(30))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pace", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--litellm", help="the command of LiteLLM's proxy")
    options = parser.parse_args()
    with Gateway() as gateway, tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        variants = list(_variants(options, gateway, folder, stack))
        for variant in variants:
            variant.block(50, 0)
        spent: dict[str, list[float]] = {variant.name: [] for variant in variants}
        for variant in in_turn(variants, options.rounds):
            spent[variant.name].append(variant.block(options.calls, options.pace))
    print(f"{options.rounds} rounds of {options.calls} calls, {options.pace:g} s before each; µs of CPU a call")
    for name, values in spent.items():
        print(f"{name:20} {statistics.median(values):8.0f}   {min(values):.0f}..{max(values):.0f}")
    rounds = list(zip(*spent.values(), strict=True))
    names = list(spent)
    of = {name: [each[names.index(name)] for each in rounds] for name in names}
    proxy = [ours - bare for ours, bare in zip(of["pixelmeter proxy"], of["bare aiohttp"], strict=True)]
    program = [metered - plain for metered, plain in zip(of["metered program"], of["plain program"], strict=True)]
    ratios = [one / other for one, other in zip(proxy, program, strict=True)]
    print(
        f"added by the proxy {statistics.median(proxy):.0f}, by the meter in a program {statistics.median(program):.0f}"
    )
    print(f"ratio {statistics.median(ratios):.2f}, {min(ratios):.2f}..{max(ratios):.2f}")
    if options.litellm:
        shares = [one / other for one, other in zip(of["pixelmeter proxy"], of["litellm proxy"], strict=True)]
        print(f"of LiteLLM's proxy {statistics.median(shares):.3f}")


if __name__ == "__main__":
    main()
