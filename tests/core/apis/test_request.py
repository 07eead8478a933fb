"""What a request asks for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.apis.reader import ImageRequest
from pixelmeter.core.apis.requests import Asked, may_ask, request_of
from pixelmeter.core.wire.forms import multipart_fields
from pixelmeter.core.wire.skim import document_of
from pixelmeter.gateways import load_profiles
from tests.factories import asked_in, asked_in_form


def _json(**body: Any) -> ImageRequest:
    return asked_in(json.dumps(body).encode())


def test_the_fields_that_decide_a_price_are_read() -> None:
    ask = _json(model="m", prompt="secret", n=3, size="1024x1536", quality="high", output_format="webp", steps=8)
    assert ("m", 3, "1024x1536", "high", "webp", 8) == (
        ask.model,
        ask.images,
        ask.size,
        ask.quality,
        ask.output_format,
        ask.steps,
    )


def test_silence_means_one_image_of_no_named_model() -> None:
    ask = _json(prompt="p")
    assert (None, 1, None, None) == (ask.model, ask.images, ask.size, ask.quality)


def test_the_prompt_is_nowhere_in_what_is_kept() -> None:
    assert "secret" not in repr(_json(model="m", prompt="secret"))


def test_a_list_of_models_is_an_ordered_fallback() -> None:
    assert "a/b,c/d" == _json(model=["a/b", "c/d"]).model


def test_a_count_in_quotes_is_one() -> None:
    assert 2 == _json(model="m", n="2").images


@pytest.mark.parametrize("n", ["two", "-2", 0, -1, 1.5, None, 10**30, 10_001, [], {}])
def test_a_count_that_is_none_means_one(n: object) -> None:
    assert 1 == _json(model="m", n=n).images


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"x"', b'{"n":' + b"9" * 5000 + b"}", b"[" * 100_000]
)
def test_what_a_body_asks_for_that_is_no_json_object_is_unread(content: bytes) -> None:
    assert ImageRequest(unread=True) == asked_in(content)


@pytest.mark.parametrize(
    "more", [{"prompt": "a fox \ud83d"}, {"scale": float("nan")}, {"scale": float("-inf")}], ids=str
)
def test_json_that_only_loose_readers_take_is_read(more: dict[str, Any]) -> None:
    assert ImageRequest(model="m", images=2, steps=8) == _json(model="m", n=2.0, steps=8, **more)


def test_half_a_surrogate_pair_and_a_number_that_is_none_stand_in_no_field() -> None:
    assert ImageRequest(model="m?") == _json(model="m\ud83d", n=float("nan"), steps=float("inf"))


def test_of_loose_json_a_chat_is_known_for_one_that_asks_for_an_image() -> None:
    content = [{"type": "text", "text": "a fox \ud83d"}]
    body = {"model": "m", "modalities": ["image", "text"], "messages": [{"role": "user", "content": content}]}
    ask = request_of(_CHAT.route, Asked(_CHAT.parts, b"", {}, json.dumps(body).encode(), ()))
    assert ask is not None
    assert ("m", False) == (ask.model, ask.unread)


def test_an_image_inside_the_json_is_counted_and_not_kept() -> None:
    image = "data:image/png;base64," + "iVBORw0KGgo" * 100_000
    content = json.dumps({"model": "m", "image_url": image, "prompt": "p"}).encode()
    document = document_of(content)
    assert document is not None
    assert 500 > len(document)
    assert ImageRequest(model="m", input_images=1) == asked_in(document)
    assert 2 == _json(model="m", image=[image, image]).input_images


def test_numbers_that_are_equal_mean_the_same() -> None:
    assert [ImageRequest(model="m", images=2)] * 2 == [_json(model="m", n=n) for n in (2, 2.0)]
    assert [ImageRequest(model="m")] * 4 == [_json(model="m", n=n) for n in (1, True, 1.0, None)]


def test_a_form_is_read_by_its_fields() -> None:
    fields = [("model", "m"), ("n", "2"), ("image[]", None), ("image[]", None), ("mask", None), ("size", "512x512")]
    ask = asked_in_form(fields)
    assert ("m", 2, "512x512", 2) == (ask.model, ask.images, ask.size, ask.input_images)


def test_of_json_in_a_form_only_what_decides_the_price_is_kept() -> None:
    found = load_profiles({}).routes("POST", b"api.ideogram.ai", b"/remix")[0]
    fields = (("image_request", json.dumps({"prompt": "secret", "model": "V_2"})), ("image_file", None))
    ask = request_of(found.route, Asked(found.parts, b"", {}, None, fields))
    assert ask is not None
    assert ("V_2", 1, None) == (ask.model, ask.input_images, ask.size)
    assert "secret" not in repr(ask)


@pytest.mark.parametrize(("size", "unread"), [(4_000, False), (5_000, True)])
def test_json_in_a_form_that_is_cut_is_unread(size: int, unread: bool) -> None:
    found = load_profiles({}).routes("POST", b"api.ideogram.ai", b"/remix")[0]
    told = json.dumps({"prompt": "a" * size, "model": "V_2"}).encode()
    body = b'--x\r\ncontent-disposition: form-data; name="image_request"\r\n\r\n%b\r\n--x--\r\n' % told
    fields = multipart_fields(body, b"multipart/form-data; boundary=x")
    ask = request_of(found.route, Asked(found.parts, b"", {}, None, fields))
    assert ask is not None
    assert (None if unread else "V_2", unread) == (ask.model, ask.unread)


@pytest.mark.parametrize("n", ["", "-1", "1e3", "²", "9" * 41, "9" * 30])
def test_a_form_count_that_is_none_means_one(n: str) -> None:
    assert 1 == asked_in_form([("n", n)]).images


@given(st.binary(max_size=300))
def test_no_body_whatever_raises(content: bytes) -> None:
    asked_in(content)


_ASKED = ("provider_key_id", "quality", "stream", "x-odd name")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"provider_key_id": "k"}, ("provider_key_id",)),
        ({"stream": True, "quality": "low"}, ("quality", "stream")),
        ({"x-odd name": [1], "provider_key_id": {"id": 1}}, ("provider_key_id", "x-odd name")),
        ({"stream": False, "quality": None, "provider_key_id": ""}, ()),
        ({"other": 1}, ()),
    ],
)
def test_fields_that_a_profile_asks_about_are_named_where_they_have_a_value(
    body: dict[str, Any], named: tuple[str, ...]
) -> None:
    ask = asked_in(json.dumps(body | {"model": "m"}).encode(), _ASKED)
    form = {key: None if value is None else str(value).lower() for key, value in body.items()}
    assert ("m", named) == (ask.model, ask.named)
    assert named == asked_in_form([(key, value or "") for key, value in form.items()], _ASKED).named


def test_a_file_is_no_value_of_a_field() -> None:
    assert () == asked_in_form([("provider_key_id", None)], _ASKED).named


_CHAT = load_profiles({}).routes("POST", b"openrouter.ai", b"/api/v1/chat/completions")[0]
_LONG = "a fox " * 20_000


@pytest.mark.parametrize(
    ("body", "may"),
    [
        ({"messages": _LONG}, False),
        ({"messages": _LONG, "modalities": ["IMAGE"]}, True),
        ({"modalities": ["image"], "messages": _LONG}, True),
        ({"messages": _LONG, "model": "google/gemini-2.5-flash-image"}, True),
        ({"messages": _LONG, "model": "openai/gpt-5.2"}, False),
        ({"messages": "short"}, True),
    ],
)
def test_a_large_chat_is_searched_at_its_ends_and_a_small_one_is_read(body: dict[str, Any], may: bool) -> None:
    assert may == may_ask(_CHAT.route, _CHAT.parts, json.dumps(body).encode())


def test_where_the_path_tells_the_body_is_not_searched() -> None:
    found = load_profiles({}).routes(
        "POST", b"generativelanguage.googleapis.com", b"/v1beta/models/gemini-2.5-flash-image:generateContent"
    )
    assert any(may_ask(route, parts, json.dumps({"contents": _LONG}).encode()) for route, parts in found)
