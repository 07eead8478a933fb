"""Frames, whole and damaged."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.attempts.record import FIELDS, Attempt
from pixelmeter.spool.frames import INTENT, LARGEST_FRAME, OUTCOME, Scan, encode, scan
from tests.factories import make_attempt

ATTEMPTS = [make_attempt() for _ in range(3)]
FRAMES = [encode(OUTCOME, attempt) for attempt in ATTEMPTS]
FILE = b"".join(FRAMES)
BEFORE_LAST = len(FRAMES[0] + FRAMES[1])


def framed(payload: bytes) -> bytes:
    return struct.pack("<4sII", FILE[:4], len(payload), zlib.crc32(payload)) + payload


def attempts_in(found: Scan) -> list[Attempt]:
    return [frame.record for frame in found.frames if isinstance(frame.record, Attempt)]


def attempts(data: bytes, *, final: bool = True) -> list[Attempt]:
    return attempts_in(scan(data, 0, final=final))


@pytest.mark.parametrize("kind", [INTENT, OUTCOME])
def test_a_frame_gives_back_its_kind_and_its_attempt(kind: Any) -> None:
    attempt = make_attempt(tags='{"team":"größe"}', cost=None)

    found = scan(encode(kind, attempt), 0, final=True)

    assert [(kind, attempt)] == [(frame.kind, frame.record) for frame in found.frames]


@pytest.mark.parametrize(
    "outcome",
    ["success", "error", "timeout", "throttled", "rejected", "cancelled", "interrupted", "blocked", "pending"],
)
def test_an_attempt_is_given_back_however_it_ended(outcome: str) -> None:
    attempt = make_attempt(outcome=outcome)

    assert [attempt] == attempts(encode(OUTCOME, attempt))


def test_frames_end_where_the_next_begins_in_the_file() -> None:
    found = scan(FILE, 1000, final=False)

    assert [1000 + len(FRAMES[0]), 1000 + BEFORE_LAST, 1000 + len(FILE)] == [frame.end for frame in found.frames]


def test_a_file_cut_anywhere_in_its_last_frames_keeps_those_before_the_cut() -> None:
    ends = [0, len(FRAMES[0]), BEFORE_LAST, len(FILE)]
    for cut in range(len(FILE)):
        whole = sum(end <= cut for end in ends) - 1

        found = scan(FILE[:cut], 0, final=True)

        assert ATTEMPTS[:whole] == [frame.record for frame in found.frames]
        assert (cut, cut - ends[whole]) == (found.used, found.damaged)


def test_a_frame_that_is_still_being_written_is_left_for_the_next_scan() -> None:
    for cut in range(BEFORE_LAST + 1, len(FILE)):
        found = scan(FILE[:cut], 0, final=False)

        assert (2, BEFORE_LAST, 0) == (len(found.frames), found.used, found.damaged)


def test_a_frame_with_any_bit_flipped_is_damage_and_nothing_else() -> None:
    for bit in range(BEFORE_LAST * 8, len(FILE) * 8):
        flipped = bytearray(FILE)
        flipped[bit // 8] ^= 1 << bit % 8

        found = scan(bytes(flipped), 0, final=True)

        assert ATTEMPTS[:2] == [frame.record for frame in found.frames]
        assert len(FRAMES[2]) == found.damaged


@pytest.mark.parametrize("final", [True, False])
def test_a_torn_frame_does_not_take_the_later_ones_with_it(final: bool) -> None:
    for cut in range(1, len(FRAMES[1])):
        found = scan(FRAMES[0] + FRAMES[1][:cut] + FRAMES[2], 0, final=final)

        assert [ATTEMPTS[0], ATTEMPTS[2]] == [frame.record for frame in found.frames]
        assert cut == found.damaged


@pytest.mark.parametrize("final", [True, False])
def test_a_torn_frame_is_not_waited_for_once_a_shorter_one_is_behind_it(final: bool) -> None:
    torn = encode(OUTCOME, make_attempt(model="x" * 2000))[:100]

    found = scan(torn + FRAMES[0], 0, final=final)

    assert ATTEMPTS[:1] == [frame.record for frame in found.frames]
    assert (len(torn) + len(FRAMES[0]), len(torn)) == (found.used, found.damaged)


def test_a_length_that_lies_does_not_hide_the_later_frames() -> None:
    lying = FRAMES[0][:4] + struct.pack("<I", LARGEST_FRAME * 1000) + FRAMES[0][8:]

    assert ATTEMPTS[1:] == attempts(lying + FRAMES[1] + FRAMES[2], final=False)


def test_a_frame_of_another_format_version_is_counted_apart() -> None:
    found = scan(framed(msgspec.msgpack.encode((2, OUTCOME, ATTEMPTS[0]))) + FRAMES[1], 0, final=True)

    assert (ATTEMPTS[1:2], 1, 0) == ([frame.record for frame in found.frames], found.foreign, found.damaged)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"\x90",
        b"\x91" * 10_000,
        msgspec.msgpack.encode([1, 7, ATTEMPTS[0]]),
        msgspec.msgpack.encode([1, OUTCOME, []]),
        msgspec.msgpack.encode([1, OUTCOME, msgspec.structs.replace(ATTEMPTS[0], id="'; DROP TABLE")]),
        msgspec.msgpack.encode([1, OUTCOME, msgspec.structs.replace(ATTEMPTS[0], cost=2**63)]),
        msgspec.msgpack.encode([1, OUTCOME, ATTEMPTS[0]]).replace(b"success", b"suc\xffess"),
    ],
)
def test_a_payload_with_a_right_checksum_and_no_attempt_in_it_is_damage(payload: bytes) -> None:
    found = scan(framed(payload) + FRAMES[1], 0, final=True)

    assert (ATTEMPTS[1:2], 0) == ([frame.record for frame in found.frames], found.foreign)
    assert len(framed(payload)) == found.damaged


# A frame of 49 fields, as the code before schema 0003 wrote it.
_OLD = base64.b64decode(
    "9XB4bS8BAADdabwkkwEB3AAx2SQwMTljMDAwMC0wMDAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMDHZJDAxOWMwMDAwLTAwMDAtNzAwMC04MDAwLTAwMDAw"
    "MDAwMDAwMQHPAAZS5ou1IkCmb3BlbmFppGVkaXSrZ3B0LWltYWdlLTKrZ3B0LWltYWdlLTLAAgEBpGF1dG+pMTAyNHgxMDI0wKRoaWdoo3BuZwzNASzA"
    "wM0QQMDOABPWIMzIp3N1Y2Nlc3PAwKVyZXFfMc4AATiAzgB79ECmYmlsbGVkzgeV1WCmcHJpY2VkwMDOB5XVYMDA2SRvcGVuYWk6Z3B0LWltYWdlLTJA"
    "MjAyNi0wNC0yMSN0b2tlbnPAwgAAsXsidGVhbSI6Imdyb3d0aCJ9wKUwLjEuMM4AHoSAzQJX"
)


def test_a_frame_of_an_earlier_version_is_read_and_what_it_lacks_is_unknown() -> None:
    found = scan(_OLD + FRAMES[0], 0, final=True)

    assert (0, 0) == (found.damaged, found.foreign)
    old, new = attempts_in(found)
    assert ATTEMPTS[0] == new
    expected = ("openai", "gpt-image-2", 127_260_000, '{"team":"growth"}', "0.1.0", 2_000_000, 599)
    assert expected == (
        old.gateway, old.model, old.cost, old.tags, old.version, old.first_image, old.remaining_requests
    )  # fmt: skip
    assert {None} == {getattr(old, name) for name in FIELDS[49:]}


def test_an_attempt_of_a_later_version_with_more_fields_can_be_read() -> None:
    longer = [*msgspec.structs.astuple(ATTEMPTS[0]), "a new field"]

    assert ATTEMPTS[:1] == attempts(framed(msgspec.msgpack.encode((1, OUTCOME, longer))))


@pytest.mark.parametrize("field", ["operation", "outcome", "billing", "cost_source"])
def test_an_attempt_with_a_word_that_a_later_version_added_is_left_to_that_version(field: str) -> None:
    later = [getattr(ATTEMPTS[0], name) if name != field else "teleported" for name in FIELDS]
    found = scan(framed(msgspec.msgpack.encode((1, OUTCOME, [*later, "a new field"]))) + FRAMES[1], 0, final=True)

    assert (ATTEMPTS[1:2], 1, 0) == ([frame.record for frame in found.frames], found.foreign, found.damaged)


def test_an_attempt_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        encode(OUTCOME, make_attempt(model="x" * LARGEST_FRAME))


@given(st.binary(max_size=300), st.integers(0, len(FILE)), st.booleans())
def test_garbage_between_frames_never_raises_and_never_becomes_an_attempt(noise: bytes, at: int, final: bool) -> None:
    found = scan(FILE[:at] + noise + FILE[at:], 0, final=final)

    assert all(frame.record in ATTEMPTS for frame in found.frames)
    assert len(found.frames) >= (2 if final else 1)


@given(st.lists(st.integers(0, len(FILE)), max_size=8))
def test_a_file_that_grows_in_any_steps_gives_the_same_frames(steps: list[int]) -> None:
    used = damaged = 0
    frames: list[Attempt] = []
    for end in [*sorted(steps), len(FILE)]:
        found = scan(FILE[used:end], used, final=False)
        frames += attempts_in(found)
        used += found.used
        damaged += found.damaged

    assert (ATTEMPTS, len(FILE), 0) == (frames, used, damaged)
