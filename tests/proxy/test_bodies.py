"""How much of a request's body is read before it is sent on."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from pixelmeter.proxy.bodies import ALWAYS_HELD, Body, Room
from pixelmeter.proxy.requests import Refused, read_head
from tests.proxy.upstream import GENEROUS

PATH = "/v1/images/generations"


def held_of(size: int, room: Room, *, is_all: bool) -> tuple[bool, int]:
    """Return whether all of a body is held of which so many bytes have come, and how much of it."""

    async def hold() -> tuple[bool, int]:
        loop = asyncio.get_running_loop()
        content = StreamReader(BaseProtocol(loop), 2**20, loop=loop)
        content.feed_data(b"a" * size)
        if is_all:
            content.feed_eof()
        request: web.BaseRequest = make_mocked_request("POST", PATH, payload=content)
        body = Body(request, read_head(PATH.encode(), []), limit=2**20, idle=GENEROUS, room=room)
        await body.hold()
        found = body.is_whole, len(body.held)
        body.let_go()
        return found

    return asyncio.run(hold())


def test_a_small_body_is_known_whatever_others_hold() -> None:
    room = Room(total=0)

    assert (True, 1000) == held_of(1000, room, is_all=True)
    assert 0 == room.left


def test_a_large_body_is_streamed_where_others_hold_all_there_is() -> None:
    assert (False, ALWAYS_HELD) == held_of(ALWAYS_HELD, Room(total=0), is_all=False)


def test_a_body_of_a_length_that_nobody_told_is_refused_above_the_limit() -> None:
    with pytest.raises(Refused, match="more than 1,048,576 bytes"):
        held_of(2**20 + 1, Room(), is_all=True)


def test_what_was_held_of_a_body_is_free_for_others_when_it_has_been_sent() -> None:
    room = Room()
    before = room.left

    assert (True, 100_000) == held_of(100_000, room, is_all=True)
    assert before == room.left
