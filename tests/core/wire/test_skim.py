"""A skimmed document is the same document with its long strings cut."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.wire.skim import Skim
from pixelmeter.core.wire.sse import EventStream

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.text(alphabet='"\\\n/u', max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def _skim(document: bytes, cuts: list[int]) -> bytes | None:
    skim = Skim()
    edges = sorted({0, len(document), *(cut % (len(document) + 1) for cut in cuts)})
    for start, end in pairwise(edges):
        skim.feed(document[start:end])
    return skim.document()


@given(_JSON, st.booleans(), st.lists(st.integers(min_value=0), max_size=8))
def test_a_document_of_short_strings_comes_through_whatever_the_chunks(
    value: Any, ascii: bool, cuts: list[int]
) -> None:
    document = json.dumps(value, ensure_ascii=ascii).encode()
    assert document == _skim(document, cuts)


@pytest.mark.slow
@given(st.text(alphabet="abcXYZ019+/=", min_size=2049, max_size=9000), st.lists(st.integers(min_value=0), max_size=8))
def test_a_long_string_keeps_its_first_64_characters(image: str, cuts: list[int]) -> None:
    document = json.dumps({"data": [{"b64_json": image}], "usage": {"n": 1}}).encode()
    skimmed = _skim(document, cuts)
    assert skimmed is not None
    assert {"data": [{"b64_json": image[:64]}], "usage": {"n": 1}} == json.loads(skimmed)


@pytest.mark.slow
@given(st.text(alphabet='\\"\n\u20ac😀a', min_size=2100, max_size=4000), st.lists(st.integers(min_value=0), max_size=8))
def test_a_long_string_of_escapes_never_breaks_the_document(text: str, cuts: list[int]) -> None:
    document = json.dumps({"before": text, "after": 7}).encode()
    skimmed = _skim(document, cuts)
    assert skimmed is not None
    assert len(skimmed) < 200
    assert 7 == json.loads(skimmed)["after"]


def test_a_hundred_megabytes_of_image_leave_a_few_bytes() -> None:
    skim = Skim()
    skim.feed(b'{"data":[{"b64_json":"')
    chunk = b"QUJD" * 16384
    for _ in range(1600):
        skim.feed(chunk)
    skim.feed(b'"}]}')
    document = skim.document()
    assert document is not None
    assert 100 > len(document)


@pytest.mark.parametrize(
    ("reader", "start", "end"),
    [
        (Skim().feed, b'{"b64_json":"', b'"}'),
        (Skim().feed, b'{"text":"', b'\\n"}'),
        (EventStream(lambda _: None).feed, b'data: {"b64_json":"', b'"}\n\n'),
    ],
)
def test_a_body_that_comes_in_one_piece_is_not_copied(
    reader: Callable[[bytes], None], start: bytes, end: bytes
) -> None:
    body = start + b"A" * 8_000_000 + end
    tracemalloc.start()
    reader(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 400_000 > peak


def test_a_document_over_a_megabyte_without_its_strings_is_given_up() -> None:
    skim = Skim()
    for _ in range(300):
        skim.feed(b"[1,2,3]," * 1000)
    assert skim.document() is None


def test_a_document_of_a_megabyte_is_kept_and_one_of_a_byte_more_is_not() -> None:
    skim = Skim()
    skim.feed(b" " * 1_000_000)
    assert b" " * 1_000_000 == skim.document()
    skim.feed(b" ")
    assert skim.document() is None


@pytest.mark.parametrize("unit", [b"[1,2,3],", b'["a","b"],', b'"\\n' + b"x" * 70 + b'",', b" "])
def test_one_chunk_of_any_size_keeps_no_more_than_a_megabyte(unit: bytes) -> None:
    skim = Skim()
    skim.feed(unit * (40_000_000 // len(unit)))
    assert skim.document() is None
    assert 1_003_000 > len(skim._kept)
