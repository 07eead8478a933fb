"""Who may connect, what operators see, and an end that loses nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import threading
from pathlib import Path

import httpx
import pytest
import trustme
from click.testing import CliRunner, Result

from pixelmeter.cli import main
from pixelmeter.testing import Gateway
from pixelmeter.upkeep import adopt
from tests.ledger.reading import stored
from tests.proxy.conftest import Pair
from tests.proxy.sidecar import accepts, connect, proxying, read_answer
from tests.proxy.test_metering import BODY, PATH, Calls, picture
from tests.proxy.upstream import GENEROUS, Arrived
from tests.sinks.exposition import Scrape
from tests.sinks.web.running import until

pytestmark = pytest.mark.slow


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["proxy", *arguments])


UP = ("--upstream", "https://api.aigateway.sh")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing option '--upstream'"),
        (("--upstream", "api.aigateway.sh"), "begins with https:// or http://"),
        (("--upstream", "ftp://api.aigateway.sh"), "begins with https:// or http://"),
        (("--upstream", "https://me:correct-horse@api.aigateway.sh"), "has a user or a password"),
        (("--upstream", "https://api.aigateway.sh/?key=correct-horse"), "more than a path behind its host"),
        (("--upstream", "https://api.aigateway.sh:99999"), "cannot be read"),
        (("--upstream", "/openrouter"), "write /path=https://host"),
        ((*UP, *UP), "two upstreams for all paths"),
        (
            ("--upstream", "/a=https://x.example", "--upstream", "/a/=https://y.example"),
            "two upstreams for the path /a",
        ),
        ((*UP, "--listen", "8088"), "write HOST:PORT"),
        ((*UP, "--listen", "::1:8088"), "in brackets"),
        ((*UP, "--listen", "127.0.0.1:0,team"), "KEY=VALUE"),
        ((*UP, "--listen", "0.0.0.0:8088"), "give --tls-cert, --tls-key and --token-file"),
        ((*UP, "--listen", "[::]:8088", "--tls-cert", "nobody.pem"), "give --tls-cert and --tls-key together"),
        ((*UP, "--admin", "0.0.0.0:8089"), "give --admin-token-file"),
        ((*UP, "--token-file", "nowhere"), "nowhere cannot be read"),
        ((*UP, "--tls-cert", "nowhere", "--tls-key", "nowhere"), "the certificate cannot be used"),
    ],
)
def test_what_cannot_be_served_is_refused_with_what_to_do(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)

    assert result.exit_code in (1, 2)
    assert said in result.output.replace("\n", " ")
    assert "correct-horse" not in result.output


def test_a_missing_library_is_said_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    assert 'pip install "pixelmeter[proxy]"' in run(*UP).output


def encrypting(folder: Path) -> tuple[ssl.SSLContext, list[str]]:
    """Return what trusts the proxy, and the options with which it listens on all addresses."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    for part in certificate.cert_chain_pems:
        part.write_to_path(str(folder / "chain.pem"), append=True)
    (folder / "token").write_text("open-sesame\n")
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    options = ["--tls-cert", str(folder / "chain.pem"), "--tls-key", str(folder / "key.pem")]
    return trusted, [*options, "--token-file", str(folder / "token"), "--listen", "0.0.0.0:0"]


def test_connections_that_do_not_agree_on_tls_take_neither_all_descriptors_nor_all_the_time(
    gateway: Gateway, sqlite_url: str, tmp_path: Path
) -> None:
    trusted, options = encrypting(tmp_path)
    headers = {"x-pixelmeter-token": "open-sesame"}
    with (
        proxying(gateway.root, url=sqlite_url, options=[*options, "--max-connections", "8"]) as sidecar,
        contextlib.ExitStack() as stack,
    ):
        root = sidecar.root.replace("0.0.0.0", "127.0.0.1")
        silent = [stack.enter_context(connect(root)) for _ in range(50)]
        # Those that are beyond what may be open are closed at once, and the others soon.
        for each in silent[32:]:
            assert is_closed(each)
        with httpx.Client(verify=trusted, timeout=GENEROUS) as client:
            for each in silent[:32]:
                each.close()
            until(lambda: is_answered(client, root, headers))
        assert (0, "") == sidecar.stop()


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(GENEROUS / 4)
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def is_answered(client: httpx.Client, root: str, headers: dict[str, str]) -> bool:
    try:
        return client.post(f"{root}{PATH}", json=BODY, headers=headers).status_code == 200
    except httpx.TransportError:
        return False


def test_clients_from_elsewhere_need_tls_and_a_token_and_operators_one_of_their_own(
    gateway: Gateway, sqlite_url: str, tmp_path: Path
) -> None:
    trusted, options = encrypting(tmp_path)
    (tmp_path / "operators").write_text("let-me-look\n")
    options += ["--admin", "0.0.0.0:0"]
    options += ["--admin-token-file", str(tmp_path / "operators")]
    with proxying(gateway.root, url=sqlite_url, options=options) as sidecar:
        root, admin = (each.replace("0.0.0.0", "127.0.0.1") for each in (sidecar.root, sidecar.admin))
        assert (root[:8], admin[:8]) == ("https://", "https://")
        with httpx.Client(verify=trusted, timeout=GENEROUS) as client:
            answers = [
                client.post(f"{root}{PATH}", json=BODY, headers=headers)
                for headers in (
                    {},
                    {"x-pixelmeter-token": "open-sesamE"},
                    {"authorization": "Bearer open-sesame"},
                    {"x-pixelmeter-token": "open-sesame"},
                )
            ]
            probes = [client.get(f"{admin}{path}").status_code for path in ("/healthz", "/readyz", "/metrics")]
            page = client.get(f"{admin}/metrics", headers={"authorization": "Bearer let-me-look"})
        with connect(root) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                assert b"200" not in plain.recv(65536)
        assert (0, "") == sidecar.stop()

    assert [401, 401, 401, 200] == [answer.status_code for answer in answers]
    assert [200, 200, 401] == probes
    assert 1 == Scrape(page.text).total("pixelmeter_requests_total")
    assert 1 == len(gateway.billing())
    assert "open-sesame" not in answers[0].text + Path(sqlite_url.removeprefix("sqlite:///")).read_text("latin-1")


def test_operators_see_health_readiness_and_metrics_on_a_port_of_their_own(pair: Pair) -> None:
    assert 200 == Calls(pair).post().status_code
    admin = pair.sidecar.admin
    found = {path: httpx.get(f"{admin}{path}") for path in ("/healthz", "/readyz", "/metrics", "/v1/models")}
    httpx.get(f"{pair.root}/metrics")

    assert [200, 200, 200, 404] == [answer.status_code for answer in found.values()]
    assert Scrape(found["/metrics"].text).total("pixelmeter_requests_total") >= 1
    assert "no-store" == found["/healthz"].headers["cache-control"]
    assert b"GET /metrics HTTP/1.1" == pair.upstream.wait_for().line


def test_listeners_have_tags_of_their_own_and_headers_win_over_them(gateway: Gateway, sqlite_url: str) -> None:
    options = ["--listen", "127.0.0.1:0,team=growth,feature=hero", "--listen", "127.0.0.1:0"]
    with proxying(gateway.root, url=sqlite_url, options=options, settings={"PIXELMETER_TAGS": "env=test"}) as sidecar:
        for root in sidecar.roots:
            httpx.post(f"{root}{PATH}", json=BODY, headers={"x-pixelmeter-tags": "feature=banner"}, timeout=GENEROUS)
        sidecar.stop()
    rows = sorted(stored(sqlite_url).values(), key=lambda row: row.id)

    assert [
        {"team": "growth", "feature": "banner", "env": "test"},
        {"feature": "banner", "env": "test"},
    ] == [json.loads(row.tags) for row in rows]


def test_a_call_under_way_at_sigterm_is_answered_and_recorded_and_nobody_else_is_let_in(
    pair: Pair, sqlite_url: str
) -> None:
    go_on = threading.Event()

    def answer(client: socket.socket, _: Arrived) -> None:
        client.sendall(picture()[:5000])
        assert go_on.wait(GENEROUS)
        client.sendall(picture()[5000:])

    pair.upstream.answer = answer
    with proxying(pair.upstream.root, url=sqlite_url) as sidecar:
        content = json.dumps(BODY).encode()
        with connect(sidecar.root) as client, connect(sidecar.root) as idle:
            head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            client.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
            pair.upstream.wait_for()
            sidecar.process.send_signal(signal.SIGTERM)
            # Closed at once, as it has asked nothing.
            assert b"" == idle.recv(1)
            until(lambda: not accepts(sidecar.root))
            assert 503 == httpx.get(f"{sidecar.admin}/readyz").status_code
            go_on.set()
            answered = read_answer(client)
            assert b"" == client.recv(1)
        _, errors = sidecar.process.communicate(timeout=GENEROUS)
    [row] = stored(sqlite_url).values()

    assert (200, True) == (answered.status, answered.is_whole)
    assert ("success", 40_000_000) == (row.outcome, row.cost)
    assert (0, "") == (sidecar.process.returncode, errors)


def test_a_call_that_does_not_end_in_time_is_cut_off_and_recorded(pair: Pair, sqlite_url: str) -> None:
    pair.upstream.answer = lambda client, arrived: client.recv(1)
    with proxying(pair.upstream.root, url=sqlite_url, options=["--stop-timeout", "0.2"]) as sidecar:
        content = json.dumps(BODY).encode()
        with connect(sidecar.root) as client:
            client.sendall(
                f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
            )
            assert pair.upstream.wait_for().is_whole.wait(GENEROUS)
            status, errors = sidecar.stop()
    [row] = stored(sqlite_url).values()

    assert (0, "") == (status, errors)
    assert ("cancelled", "proxy_stopped", "unknown") == (row.outcome, row.error_type, row.billing)


def test_workers_share_the_sockets_and_the_metrics_and_one_that_dies_is_followed_by_another(
    gateway: Gateway, sqlite_url: str
) -> None:
    with proxying(gateway.root, url=sqlite_url, options=["--workers", "2"]) as sidecar:
        assert 200 == httpx.get(f"{sidecar.admin}/readyz").status_code
        with httpx.Client(timeout=GENEROUS) as client:
            for _ in range(5):
                assert 200 == client.post(f"{sidecar.root}{PATH}", json=BODY).status_code
            before = workers(sidecar.process.pid)
            assert 2 == len(before)
            os.kill(before[0], signal.SIGKILL)
            until(lambda: len(set(workers(sidecar.process.pid)) - {before[0]}) == 2)
        for _ in range(5):
            with httpx.Client(timeout=GENEROUS) as client:
                assert 200 == client.post(f"{sidecar.root}{PATH}", json=BODY).status_code
        page = Scrape(httpx.get(f"{sidecar.admin}/metrics").text)
        status, errors = sidecar.stop()

    # What the killed worker had not written by then waits for whoever comes next.
    adopt(sqlite_url)
    assert 10 == page.total("pixelmeter_requests_total")
    assert (0, "a worker of the proxy has ended with status -9; another one begins\n") == (status, errors)
    assert 10 == len(stored(sqlite_url)) == len(gateway.billing())
    assert [] == workers(sidecar.process.pid)


def workers(parent: int) -> list[int]:
    """Return the processes that are workers of a proxy."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes()
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent and b"spawn_main" in command and fields[0] != "Z":
                found.append(int(folder.name))
    return found
