"""What goes through the proxy, to the byte, with plain sockets on both sides."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time

import pytest

from tests.proxy.conftest import Pair
from tests.proxy.sidecar import ask, connect, read_answer
from tests.proxy.upstream import EMPTY, GENEROUS, Arrived, say

HOST = b"Host: gateway.example\r\n"


def test_path_headers_and_body_of_a_request_arrive_as_they_were_sent(pair: Pair) -> None:
    body = b'{"model": "x",  "prompt": "\xc3\xa4"}'
    sent = (
        b"X-One: 1\r\naUTHORIZATION: Bearer key\r\nX-Dup: q\r\nX-Dup: r\r\ncontent-type: application/json\r\n"
        b"X-Name: caf\xc3\xa9\r\nAccept-Encoding: gzip;q=0.5\r\nContent-Length: %d\r\n" % len(body)
    )
    answer = ask(pair.root, b"POST /a%2Fb//c/../d?x=1&y=%20&z HTTP/1.1\r\n" + HOST + sent + b"\r\n" + body)

    arrived = pair.upstream.wait_for()
    assert 200 == answer.status
    assert b"POST /a%2Fb//c/../d?x=1&y=%20&z HTTP/1.1" == arrived.line
    assert (b"Host", b"127.0.0.1:%d" % pair.upstream.port) == arrived.headers[0]
    assert sent == b"".join(b"%b: %b\r\n" % header for header in arrived.headers[1:])
    assert body == arrived.body


def test_head_and_body_of_an_answer_come_back_as_they_were_sent(pair: Pair) -> None:
    packed = gzip.compress(b'{"data": []}' * 50)
    head = (
        b"HTTP/1.1 200 Fine By Me\r\ncontent-TYPE: application/json\r\nContent-Encoding: gzip\r\nX-Dup: a\r\n"
        b"X-CaSe: v\xe9\r\nX-Dup: b\r\nSet-Cookie: a=b\r\nContent-Length: %d" % len(packed)
    )
    pair.upstream.answer = say(head + b"\r\n\r\n" + packed)

    answer = ask(pair.root, b"GET /gz HTTP/1.1\r\n" + HOST + b"\r\n")

    assert (head, packed) == (answer.head, answer.body)


def test_nothing_of_an_empty_request_is_added_or_made_up(pair: Pair) -> None:
    for path in (b"/x?", b"//evil.example/x", b"/?q"):
        ask(pair.root, b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    arrived = [pair.upstream.wait_for(number) for number in (1, 2, 3)]

    assert [b"GET /x? HTTP/1.1", b"GET //evil.example/x HTTP/1.1", b"GET /?q HTTP/1.1"] == [
        each.line for each in arrived
    ]
    assert [[b"Host"]] * 3 == [[name for name, _ in each.headers] for each in arrived]


@pytest.mark.parametrize("method", [b"HEAD", b"OPTIONS", b"DELETE", b"PUT", b"PATCH", b"TRACE"])
def test_every_method_and_path_goes_through(pair: Pair, method: bytes) -> None:
    pair.upstream.answer = say(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: x\r\n\r\n" + (b"" if method == b"HEAD" else b"{}")
    )
    answer = ask(pair.root, method + b" /v1/files/7 HTTP/1.1\r\n" + HOST + b"\r\n")

    assert (200, b"" if method == b"HEAD" else b"{}") == (answer.status, answer.body)
    assert (b"Content-Length", b"2") in answer.headers
    assert pair.upstream.wait_for().line.startswith(method + b" /v1/files/7 ")


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_that_has_no_body_leaves_the_connection_as_it_was(pair: Pair, status: bytes) -> None:
    pair.upstream.answer = say(b"HTTP/1.1 " + status + b"\r\nETag: x\r\n\r\n")
    with connect(pair.root) as client:
        for _ in range(2):
            client.sendall(b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n")
            answer = read_answer(client)
            assert (status, b"") == (answer.head.split(b"\r\n")[0][9:], answer.trailing)


def test_headers_of_one_connection_and_those_that_it_names_are_dropped_both_ways(pair: Pair) -> None:
    pair.upstream.answer = say(
        b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\nConnection: X-Hop, keep-alive\r\nX-End: 2\r\n"
        b"Proxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\n{}"
    )
    answer = ask(
        pair.root,
        b"GET /x HTTP/1.1\r\n"
        + HOST
        + b"Connection: keep-alive, X-Own\r\nX-Own: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
        b"Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nX-Other: 2\r\n\r\n",
    )

    assert [b"Host", b"X-Other"] == [name for name, _ in pair.upstream.wait_for().headers]
    assert [(b"X-End", b"2"), (b"Content-Length", b"2")] == answer.headers


def test_the_first_event_of_a_stream_is_there_before_the_second_is_sent(pair: Pair) -> None:
    go_on = threading.Event()

    def answer(client: socket.socket, _: Arrived) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.sendall(b"9\r\ndata: 0\n\n\r\n")
        assert go_on.wait(GENEROUS)
        client.sendall(b"9\r\ndata: 1\n\n\r\n0\r\n\r\n")

    pair.upstream.answer = answer
    with connect(pair.root) as client:
        client.sendall(b"GET /sse HTTP/1.1\r\n" + HOST + b"\r\n")
        received = b""
        while b"data: 0" not in received:
            received += client.recv(65536)
        assert b"data: 1" not in received
        go_on.set()
        while not received.endswith(b"0\r\n\r\n"):
            received += client.recv(65536)
    assert b"data: 1" in received


def test_the_head_of_an_answer_is_there_before_its_body(pair: Pair) -> None:
    go_on = threading.Event()

    def answer(client: socket.socket, _: Arrived) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        assert go_on.wait(GENEROUS)
        client.sendall(b"{}")

    pair.upstream.answer = answer
    with connect(pair.root) as client:
        client.sendall(b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n")
        received = b""
        while b"\r\n\r\n" not in received:
            received += client.recv(65536)
        go_on.set()
        while not received.endswith(b"{}"):
            received += client.recv(65536)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_upload_arrives_while_it_is_sent(pair: Pair, is_chunked: bool) -> None:
    framed = b"Transfer-Encoding: chunked\r\n" if is_chunked else b"Content-Length: 200000\r\n"
    half = b"a" * 100_000
    first, last = (
        (b"186a0\r\n" + half + b"\r\n", b"186a0\r\n" + half + b"\r\n0\r\n\r\n") if is_chunked else (half, half)
    )
    with connect(pair.root) as client:
        client.sendall(b"POST /upload HTTP/1.1\r\n" + HOST + framed + b"\r\n" + first)
        arrived = pair.upstream.wait_for()
        assert arrived.has_begun.wait(GENEROUS)
        assert not arrived.is_whole.is_set()
        client.sendall(last)
        assert 200 == read_answer(client).status
    names = [name for name, _ in arrived.headers]
    assert [b"Host", b"Transfer-Encoding" if is_chunked else b"Content-Length"] == names


def test_a_client_that_waits_for_it_is_told_to_send_its_body(pair: Pair) -> None:
    with connect(pair.root) as client:
        client.sendall(b"POST /e HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"{}")
        assert 200 == read_answer(client).status
    arrived = pair.upstream.wait_for()
    assert (b"{}", [b"Host", b"Content-Length"]) == (arrived.body, [name for name, _ in arrived.headers])


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_an_answer_that_is_cut_off_is_seen_as_cut_off(pair: Pair, framing: str) -> None:
    head = b"Transfer-Encoding: chunked" if framing == "chunked" else b"Content-Length: 100"

    def answer(client: socket.socket, _: Arrived) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n9\r\ndata: 0\n\n\r\n")
        client.shutdown(socket.SHUT_RDWR)

    pair.upstream.answer = answer
    found = ask(pair.root, b"GET /cut HTTP/1.1\r\n" + HOST + b"\r\n")

    assert not found.is_whole
    assert b"data: 0" in found.body


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("rest", [b"", b"zz\r\n"])
def test_an_answer_whose_chunks_break_off_is_not_taken_for_a_whole_one(pair: Pair, version: bytes, rest: bytes) -> None:
    has_first = threading.Event()

    def answer(client: socket.socket, _: Arrived) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        assert has_first.wait(GENEROUS)
        if rest:
            # What is no chunk, on a connection that stays open.
            client.sendall(rest)
        else:
            client.shutdown(socket.SHUT_RDWR)

    pair.upstream.answer = answer
    with connect(pair.root) as client:
        client.sendall(b"GET /cut HTTP/" + version + b"\r\n" + HOST + b"\r\n")
        received = b""
        while b"first" not in received:
            received += client.recv(65536)
        has_first.set()
        try:
            while piece := client.recv(65536):
                received += piece
            is_in_order = True
        except ConnectionResetError:
            is_in_order = False

    # HTTP/1.1 has its last chunk as a mark; in HTTP/1.0 there is only the end of the connection.
    assert not received.endswith(b"0\r\n\r\n")
    assert is_in_order is (version == b"1.1")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ],
)
def test_an_answer_that_would_not_be_the_same_behind_the_proxy_is_a_502(pair: Pair, answer: bytes) -> None:
    pair.upstream.answer = say(answer)
    assert 502 == ask(pair.root, b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n").status


def test_an_answer_that_ends_with_its_connection_ends_in_order(pair: Pair) -> None:
    def answer(client: socket.socket, _: Arrived) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it")
        client.shutdown(socket.SHUT_RDWR)

    pair.upstream.answer = answer
    newest = ask(pair.root, b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n")
    older = ask(pair.root, b"GET /x HTTP/1.0\r\n" + HOST + b"\r\n")

    assert (b"all of it", True) == (newest.body, newest.is_whole)
    assert [(b"Transfer-Encoding", b"chunked")] == newest.headers
    assert (b"all of it", [(b"Connection", b"close")]) == (older.body, older.headers)


def test_trailers_are_dropped_and_the_body_is_whole(pair: Pair) -> None:
    pair.upstream.answer = say(
        b"HTTP/1.1 200 OK\r\nTrailer: x-cost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx-cost: 1\r\n\r\n"
    )
    answer = ask(pair.root, b"GET /x HTTP/1.1\r\n" + HOST + b"TE: trailers\r\n\r\n")

    assert (b"{}", True, [(b"Transfer-Encoding", b"chunked")]) == (answer.body, answer.is_whole, answer.headers)


def test_a_redirect_is_the_clients_own_to_follow(pair: Pair) -> None:
    pair.upstream.answer = say(
        b"HTTP/1.1 307 Moved\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n"
    )
    answer = ask(pair.root, b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n{}")

    assert (307, 1) == (answer.status, len(pair.upstream.arrived))
    assert (b"Location", b"http://169.254.169.254/latest") in answer.headers


REFUSED = {
    "both lengths": (400, b"POST /x HTTP/1.1\r\n%bContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "two lengths": (400, b"POST /x HTTP/1.1\r\n%bContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "a signed length": (400, b"POST /x HTTP/1.1\r\n%bContent-Length: +2\r\n\r\n{}"),
    "another coding": (501, b"POST /x HTTP/1.1\r\n%bTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "an absolute URL": (400, b"GET http://169.254.169.254/latest HTTP/1.1\r\n%b\r\n"),
    "a URL without a scheme": (400, b"GET 169.254.169.254/latest HTTP/1.1\r\n%b\r\n"),
    "CONNECT": (400, b"CONNECT 169.254.169.254:443 HTTP/1.1\r\n%b\r\n"),
    "CONNECT with a path": (400, b"CONNECT /v1/images HTTP/1.1\r\n%b\r\n"),
    "a star": (400, b"OPTIONS * HTTP/1.1\r\n%b\r\n"),
    "a fragment": (400, b"GET /x#y HTTP/1.1\r\n%b\r\n"),
    "a bare line feed": (400, b"GET /x HTTP/1.1\r\nX-A: 1\n%b\r\n"),
    "line feeds only": (400, b"GET /x HTTP/1.1\nHost: x\n\n"),
    "a folded header": (400, b"GET /x HTTP/1.1\r\n%bX-A: 1\r\n 2\r\n\r\n"),
    "a space before the colon": (400, b"GET /x HTTP/1.1\r\n%bContent-Length : 2\r\n\r\n{}"),
    "a null": (400, b"GET /x HTTP/1.1\r\n%bX-A: 1\x002\r\n\r\n"),
    "no host": (400, b"GET /x HTTP/1.1\r\n\r\n"),
    "two hosts": (400, b"GET /x HTTP/1.1\r\n%bHost: other\r\n\r\n"),
    "a chunk of no size": (400, b"POST /x HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "a WebSocket": (501, b"GET /x HTTP/1.1\r\n%bConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    "HTTP/2": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "another expectation": (417, b"POST /x HTTP/1.1\r\n%bExpect: a miracle\r\nContent-Length: 2\r\n\r\n{}"),
    "a header of 100 kB": (431, b"GET /x HTTP/1.1\r\n%bX-Big: " + b"a" * 100_000 + b"\r\n\r\n"),
    "headers of 100 kB": (431, b"GET /x HTTP/1.1\r\n%b" + b"X-Big: %b\r\n".replace(b"%b", b"a" * 9000) * 11 + b"\r\n"),
    "two hundred headers": (431, b"GET /x HTTP/1.1\r\n%b" + b"X-A: b\r\n" * 200 + b"\r\n"),
    "a body that is too large": (413, b"POST /x HTTP/1.1\r\n%bContent-Length: 268435457\r\n\r\n"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_be_read_in_two_ways_is_refused_and_goes_nowhere(pair: Pair, case: str) -> None:
    status, request = REFUSED[case]
    answer = ask(pair.root, request.replace(b"%b", HOST))

    assert (status, []) == (answer.status, [each.line for each in pair.upstream.arrived if b"zz" not in request])
    assert b"169.254" not in answer.body
    if case != "a chunk of no size":
        assert "pixelmeter_proxy" == json.loads(answer.body)["error"]["type"]
    # It goes on to serve.
    assert 200 == ask(pair.root, b"GET /after HTTP/1.1\r\n" + HOST + b"\r\n").status


def test_a_client_that_offers_http2_over_a_plain_connection_goes_on_without(pair: Pair) -> None:
    answer = ask(
        pair.root,
        b"POST /x HTTP/1.1\r\n"
        + HOST
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n"
        b"Content-Length: 2\r\n\r\n{}",
    )
    arrived = pair.upstream.wait_for()
    assert (200, b"{}", [b"Host", b"Content-Length"]) == (answer.status, arrived.body, [n for n, _ in arrived.headers])


def test_several_requests_on_one_connection_are_answered_in_their_order(pair: Pair) -> None:
    def answer(client: socket.socket, arrived: Arrived) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + arrived.line.split(b" ")[1][-2:])

    pair.upstream.answer = answer
    with connect(pair.root) as client:
        client.sendall(b"".join(b"GET /%02d HTTP/1.1\r\n" % number + HOST + b"\r\n" for number in range(20)))
        received = b""
        while received.count(b"HTTP/1.1 200") < 20 or not received.endswith(b"19"):
            received += client.recv(65536)
    assert [b"%02d" % number for number in range(20)] == [part[-2:] for part in received.split(b"HTTP/1.1 200")[1:]]


def test_a_post_on_a_connection_that_the_upstream_has_closed_is_not_sent_again(pair: Pair) -> None:
    def answer(client: socket.socket, arrived: Arrived) -> None:
        if b"/first" in arrived.line:
            client.sendall(EMPTY)
        else:
            # As a server that had closed the connection when the request came: it was read, and nobody answers.
            client.shutdown(socket.SHUT_RDWR)

    pair.upstream.answer = answer
    assert 200 == ask(pair.root, b"GET /first HTTP/1.1\r\n" + HOST + b"\r\n").status
    first = pair.upstream.wait_for().connection
    failed = ask(pair.root, b"POST /paid HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n{}")

    assert (502, 2) == (failed.status, len(pair.upstream.arrived))
    assert first == pair.upstream.wait_for(2).connection
    assert b"ServerDisconnectedError" in failed.body


def test_connections_to_the_upstream_are_used_again(pair: Pair) -> None:
    for _ in range(5):
        ask(pair.root, b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n")
    assert 1 == len({each.connection for each in pair.upstream.arrived})


def test_an_idle_connection_to_the_upstream_is_closed_before_the_upstream_would(pair: Pair) -> None:
    ask(pair.root, b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n")
    begun = time.monotonic()
    pair.upstream.wait_closed(pair.upstream.wait_for().connection)
    # Servers close after five seconds or more; a busy machine may be late.
    assert time.monotonic() - begun < 20


def test_an_answer_that_the_client_of_no_image_call_does_not_want_is_closed(pair: Pair) -> None:
    def answer(client: socket.socket, arrived: Arrived) -> None:
        if b"/mid-body" in arrived.line:
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 1000)
        client.recv(1)
        raise ConnectionResetError

    pair.upstream.answer = answer
    for number, path in enumerate((b"/mid-body", b"/thinking"), start=1):
        with connect(pair.root) as client:
            client.sendall(b"POST " + path + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n{}")
            arrived = pair.upstream.wait_for(number)
            assert arrived.is_whole.wait(GENEROUS)
            if number == 1:
                assert client.recv(65536)
        pair.upstream.wait_closed(arrived.connection)


def test_a_prefix_is_cut_by_bytes_and_only_where_a_part_of_the_path_ends(pair: Pair) -> None:
    assert 200 == ask(pair.root, b"GET /gw/_control/jobs HTTP/1.1\r\n" + HOST + b"\r\n").status
    assert [] == pair.upstream.arrived
    for path in (b"/gwx", b"/%67w/x", b"/x/../gw/y", b"//gw/x"):
        ask(pair.root, b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert [b"/gwx", b"/%67w/x", b"/x/../gw/y", b"//gw/x"] == [
        each.line.split(b" ")[1] for each in pair.upstream.arrived
    ]
