"""How an answer can be told to be: every knob of the stand-in gateway, with its meaning."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pixelmeter.testing.encodings import MissingEncoder, encoder
from pixelmeter.testing.shapes import is_list, is_object

__all__ = ["DEFAULT", "Behaviour", "BehaviourError", "Dialect", "check", "from_header"]

Dialect = Literal["aigateway", "openai", "azure", "litellm", "openrouter", "xai", "generic"]
Point = Literal["before_headers", "after_headers"]


class BehaviourError(ValueError):
    """A behaviour that does not exist, or a value that it cannot have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What one answer shall be like; the defaults are a healthy AIgateway.

    A point in the answer is "before_headers", "after_headers" or a number of body bytes as they travel (compressed).
    """

    gateway: Dialect | None = None
    """Whose headers and bodies to speak; None goes by the path: Azure, OpenRouter, else AIgateway."""
    status: int | None = None
    """Answer with this status; from 400 on with an error body, charged 0."""
    refusal: bool = False
    """Refuse the prompt (400), the way the gateway's moderation does."""
    body: Literal["html", "empty", "truncated"] | None = None
    """Replace the body, or cut off its last third ("truncated")."""
    body_text: str | None = None
    """Replace the body by this text, verbatim."""
    headers: dict[str, str | list[str] | None] = field(default_factory=dict[str, str | list[str] | None])
    """Set headers of the answer (a list: one header each; null: leave it out)."""
    cost_header: str | list[str] | Literal[False] | None = None
    """The cost header of the gateway, verbatim, several times for a list, absent for false. The charge stays."""
    charged: bool | None = None
    """Whether the attempt is charged; None: as a fair gateway would."""
    charge_nano: int | None = None
    """What is charged for a success, in nano-dollars, instead of the price list; the cost header says the same."""
    cached_percent: int | None = None
    """Bill as a cache hit at this share of the price."""
    images: int | None = None
    """Deliver this many images (and charge them), whatever was asked for; 0 gives `data: []`."""
    image_bytes: int = 0
    """Make every base64 text at least this many characters long: 64_000_000 for a large answer."""
    usage: bool = True
    """Whether the answer has the usage block that its gateway sends."""
    job: bool | None = None
    """Answer 202 with a job; None: only for black-forest-labs/flux-2-flex."""
    job_polls: int = 2
    """The poll, counted from 1, that finds the job ended; those before find it running."""
    job_end: Literal["completed", "failed", "failed_object"] = "completed"
    """How it ends; the two failures differ in the shape of `error`."""
    job_word: Literal["running", "processing"] = "running"
    job_not_modified: bool = False
    """Answer every second poll of a running job with 304, as for polls less than 3 s apart."""
    job_cost_header: bool = False
    """Send the cost header with the poll that finds the job completed."""
    stream_error: bool = False
    """End an event stream by an error event instead of the image; charged 0."""
    redirect: int | None = None
    """Redirect with this status to the same path, once a request."""
    challenge: Literal["basic", "digest"] | None = None
    """Answer 401 until the request has an Authorization of that scheme; any credentials will do."""
    by_tag_shape: Literal["list", "data"] = "list"
    """Which of its two shapes /v1/usage/by-tag has: a bare list with `tag`, or `data` with `label`."""
    informational: list[int] = field(default_factory=list[int])
    """Statuses (103 …) to send before the answer."""
    delay: float = 0
    """Seconds before the headers."""
    chunk: int | None = None
    """Send the body in pieces of this many bytes, each with a system call (and a chunk) of its own."""
    transfer: Literal["length", "chunked", "close"] | None = None
    """How the body's end is known; "close" answers in HTTP/1.0. None: chunked for streams and encodings."""
    length_error: int = 0
    """Add this to the true content-length; the connection closes after."""
    encoding: Literal["gzip", "deflate", "br", "zstd"] | None = None
    """Compress the body; br and zstd need the brotli and zstandard modules."""
    cut: Literal["before_read"] | Point | int | None = None
    """Close the connection at this point; before_read does so without reading the request's body, uncharged."""
    reset: bool = False
    """Cut by a TCP reset instead of an orderly end; before the headers unless `cut` says where."""
    hold: Point | int | None = None
    """Wait at this point until `POST /_control/release`."""
    trailers: dict[str, str] = field(default_factory=dict[str, str])
    """Headers after a chunked body."""
    garbage: str | None = None
    """Text to send after the answer has ended."""


DEFAULT = Behaviour()

_HINTS: dict[str, Any] = get_type_hints(Behaviour)
_NAMES = tuple(knob.name for knob in fields(Behaviour))


def check(given: dict[str, Any]) -> dict[str, Any]:
    """Return the behaviour as it came; raise BehaviourError with what is wrong and what would be right."""
    for name, value in given.items():
        if name not in _HINTS:
            raise BehaviourError(f"no behaviour is called {name!r}; there are: {', '.join(_NAMES)}")
        if not _fits(value, _HINTS[name]):
            raise BehaviourError(f"{name} cannot be {value!r}; it takes {_words(_HINTS[name])}")
    try:
        if given.get("encoding") is not None:
            encoder(given["encoding"])
    except MissingEncoder as error:
        raise BehaviourError(str(error)) from None
    return given


@lru_cache(maxsize=256)
def from_header(text: str, attempt: int) -> dict[str, Any]:
    """Return the behaviour that a request asks for in its x-test-behaviour header.

    A JSON object, or a list of them, one for each attempt of a call (by x-stainless-retry-count), the last one for
    all that follow. Raises BehaviourError.
    """
    try:
        asked: Any = json.loads(text)
    except ValueError as error:
        raise BehaviourError(f"the x-test-behaviour header is not JSON: {error}") from None
    if is_list(asked) and asked:
        asked = asked[min(attempt, len(asked) - 1)]
    if not is_object(asked):
        raise BehaviourError('the x-test-behaviour header must be a JSON object, as in {"status": 503}')
    return check(asked)


def _fits(value: Any, hint: Any) -> bool:
    origin, choices = get_origin(hint), get_args(hint)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in choices)
    if origin in (Union, UnionType):
        return any(_fits(value, choice) for choice in choices)
    if origin is dict:
        return is_object(value) and all(_fits(item, choices[1]) for item in value.values())
    if origin is list:
        return is_list(value) and all(_fits(item, choices[0]) for item in value)
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint


def _words(hint: Any) -> str:
    choices = get_args(hint)
    if get_origin(hint) is Literal:
        return " or ".join(json.dumps(choice) for choice in choices)
    if choices and get_origin(hint) not in (dict, list):
        return " or ".join(_words(choice) for choice in choices)
    return "null" if hint is NoneType else str(getattr(hint, "__name__", hint)) if not choices else str(hint)
