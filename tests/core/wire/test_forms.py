"""The text fields of a form, out of its bytes."""

from __future__ import annotations

import tracemalloc
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.wire.forms import TEXT_LIMIT, Fields, multipart_fields, parameter, urlencoded_fields

TYPE = b"multipart/form-data; boundary=xyz"


def part(head: str, text: bytes = b"house", end: bytes = b"\r\n") -> bytes:
    return b"--xyz" + end + head.encode() + end + end + text + end


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--xyz--\r\n"


MODEL = part('Content-Disposition: form-data; name="model"')
IMAGE = part('Content-Disposition: form-data; name="image"; filename="a.png"', b"\x89PNG\r\n--xy\r\n")


def read(body: bytes, content_type: bytes = TYPE) -> Fields:
    return multipart_fields(body, content_type)


def test_texts_and_files_come_out_in_order() -> None:
    assert (("model", "house"), ("image", None)) == read(form(MODEL, IMAGE))
    assert (("image", None), ("model", "house")) == read(form(IMAGE, MODEL))


@pytest.mark.parametrize(
    "head",
    [
        'content-disposition:form-data;name="model"',
        "Content-Disposition: form-data; name=model",
        'CONTENT-DISPOSITION: FORM-DATA; NAME="model"',
        'Content-Type: text/plain\r\nContent-Disposition: form-data; name="model"',
        'Content-Disposition: form-data;\r\n name="model"',
        'Content-Disposition: form-data; size="1; name=\\"no\\""; name="model"',
    ],
)
def test_a_part_may_say_its_name_in_many_ways(head: str) -> None:
    assert (("model", "house"),) == read(form(part(head)))


@pytest.mark.parametrize(
    "head",
    [
        'Content-Disposition: form-data; name="image"; filename="a.png"',
        'Content-Disposition: form-data; name="image"; filename=""',
        "Content-Disposition: form-data; name=\"image\"; filename*=utf-8''a.png",
        'Content-Disposition: form-data; name="image"\r\nContent-Type: Image/PNG',
    ],
)
def test_a_file_has_no_text(head: str) -> None:
    assert (("image", None),) == read(form(part(head)))


@pytest.mark.parametrize(
    "content_type",
    [
        b'multipart/form-data; boundary="xyz"',
        b"Multipart/Form-Data; charset=utf-8; Boundary=xyz",
        b"multipart/form-data;boundary=xyz ",
        b'multipart/form-data; note="; boundary=no"; boundary=xyz; more=1',
    ],
)
def test_a_boundary_may_be_quoted_and_stand_anywhere(content_type: bytes) -> None:
    assert (("model", "house"),) == read(form(MODEL), content_type)


@pytest.mark.parametrize(
    "head",
    ["Content-Disposition: form-data", 'Content-Disposition: form-data; filename="a.png"', "Content-Type: a/b", ""],
)
def test_a_part_without_a_name_is_passed_over(head: str) -> None:
    assert (("model", "house"),) == read(form(part(head), MODEL))


def test_a_boundary_in_quotes_may_have_any_character() -> None:
    body = form(MODEL).replace(b"--xyz", b'--a b;"c')
    assert (("model", "house"),) == read(body, b'multipart/form-data; boundary="a b;\\"c"')


def test_lines_may_end_without_a_carriage_return() -> None:
    body = part('Content-Disposition: form-data; name="model"', end=b"\n")
    assert (("model", "house"),) == read(form(body))


def test_what_stands_before_the_first_part_is_passed_over() -> None:
    assert (("model", "house"),) == read(b"This is a form.\r\n" + form(MODEL))


@pytest.mark.parametrize(
    "body", [b"", b"--xyz", b"--xyz--", b"xyz", b"--xyz\r\n\r\n\r\n--xyz--", MODEL[:-9], b"--xyz\r\n" * 3]
)
def test_what_is_no_form_has_no_fields(body: bytes) -> None:
    assert () == read(body)


@pytest.mark.parametrize("content_type", [b"multipart/form-data", b"multipart/form-data; boundary=", b"", b";" * 9000])
def test_without_a_boundary_there_are_no_fields(content_type: bytes) -> None:
    assert () == read(form(MODEL), content_type)


def test_of_a_form_that_breaks_off_there_is_what_came_whole() -> None:
    assert (("model", "house"),) == read(form(MODEL, IMAGE)[:-20])


def test_a_long_text_is_cut_and_its_end_is_found() -> None:
    long = part('Content-Disposition: form-data; name="prompt"', b"x" * 100_000)
    assert (("prompt", "x" * TEXT_LIMIT), ("model", "house")) == read(form(long, MODEL))


def test_of_many_parts_the_first_thousand_are_read() -> None:
    assert 1000 == len(read(form(*[MODEL] * 1500)))


def test_nothing_of_a_file_is_copied() -> None:
    body = form(MODEL, IMAGE, part('Content-Disposition: form-data; name="image"; filename="b"', bytes(20_000_000)))
    tracemalloc.start()
    try:
        assert (("model", "house"), ("image", None), ("image", None)) == read(body)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=20)
NAME = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='"\\%'), min_size=1, max_size=9)


@given(st.dictionaries(NAME, TEXT, min_size=1, max_size=5), st.lists(st.binary(max_size=60), max_size=3))
def test_whatever_form_httpx_writes_is_read_back(data: dict[str, str], files: list[bytes]) -> None:
    request = httpx.Request(
        "POST", "http://x/", data=data, files=[("image", ("a", each)) for each in files] or {"image": ("a", b"")}
    )
    request.read()
    expected = (*data.items(), *[("image", None)] * max(len(files), 1))
    assert expected == multipart_fields(request.content, request.headers["content-type"].encode())


@given(st.lists(st.tuples(NAME, TEXT), max_size=6))
def test_whatever_is_urlencoded_is_read_back(pairs: list[tuple[str, str]]) -> None:
    assert tuple(pairs) == urlencoded_fields(urlencode(pairs).encode())


@given(st.binary(max_size=200))
def test_no_bytes_break_it(body: bytes) -> None:
    read(body + b"\r\n--xyz\r\n" + body)
    urlencoded_fields(body)
    parameter(body, b"boundary")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"model=house&n=2", (("model", "house"), ("n", "2"))),
        (b"model=a+b%2Fc", (("model", "a b/c"),)),
        (b"&&=&model&x==1&", (("", ""), ("x", "=1"))),
        (b"", ()),
        (b"model=%F0%9F%A6%8A", (("model", "\N{FOX FACE}"),)),
    ],
)
def test_an_urlencoded_form_is_read(body: bytes, fields: Fields) -> None:
    assert fields == urlencoded_fields(body)


def test_a_long_urlencoded_text_is_cut_and_its_end_is_found() -> None:
    body = b"image=" + b"A" * 1_000_000 + b"&model=house"
    assert (("image", "A" * TEXT_LIMIT), ("model", "house")) == urlencoded_fields(body)
