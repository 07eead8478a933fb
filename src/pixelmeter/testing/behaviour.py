"""Every way in which a test can change an answer of the stand-in gateway, and the rules that say when it applies."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pixelmeter.testing.bodies import MissingEncoder, encoder, is_list, is_object

__all__ = ["DEFAULT", "Behaviour", "BehaviourError", "Rules", "Signature", "check", "from_header"]

_Dialect = Literal["aigateway", "openai", "azure", "litellm", "openrouter", "xai", "generic"]
_Point = Literal["before_headers", "after_headers"]
Signature = Literal["usual", "aig", "gateway", "wrong", "none"]


class BehaviourError(ValueError):
    """A behaviour that does not exist, or a value that it cannot have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What an answer of the stand-in gateway is like; `Gateway.tell` takes these fields.

    The defaults are a healthy AIgateway.

    A point in the answer is "before_headers", "after_headers" or a number of body bytes as they travel (compressed).
    """

    gateway: _Dialect | None = None
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
    created: int | None = None
    """The Unix time in the answer; None: now."""
    image_bytes: int = 0
    """Make every base64 text at least this many characters long: 64_000_000 for a large answer."""
    usage: bool = True
    """Whether the answer has the usage block that its gateway sends."""
    job: bool | None = None
    """Answer with a job. None: AIgateway does so for black-forest-labs/flux-2-flex, fal at 127.0.0.1 (its queue) and
    not at localhost, Replicate unless the request prefers to wait, Black Forest Labs always."""
    job_again: bool = False
    """Answer a submit with the latest job of the gateway, as for a request that it has had before."""
    job_polls: int = 2
    """The poll, counted from 1, that finds the job ended; those before find it running."""
    job_seconds: float | None = None
    """The job ends that many seconds after its submit, if no poll has found it ended by then; None: by polls alone."""
    job_end: Literal["completed", "failed", "failed_object", "cancelled", "aborted", "never"] = "completed"
    """How it ends. The two failures differ in the shape of `error`; in the second, fal answers 422 and Black Forest
    Labs "Content Moderated". An aborted job had not begun."""
    job_cancel: Literal["stops", "too_late"] = "stops"
    """What a cancellation does that is accepted; too late, the job goes on to its end."""
    job_word: Literal["running", "processing"] = "running"
    """The word for a job that has begun."""
    job_not_modified: bool = False
    """Answer every second poll of a running job with 304, as for polls less than 3 s apart."""
    job_cost_header: bool = False
    """Send the cost header with the poll that finds the job completed."""
    webhook: str | None = None
    """Post the events of the job to this URL; None: where the request says."""
    webhook_times: int = 1
    """How often to post each of them; 0: never."""
    webhook_held: bool = False
    """Keep them until `POST /_control/deliver`, which says in which order they go out."""
    webhook_signature: Signature = "usual"
    """Sign with the headers of the gateway ("aig", "gateway": both forms of AIgateway), falsely, or not at all."""
    webhook_secret: str | None = None
    """The secret to sign with; None: the one that the gateway is known to have."""
    webhook_age: int = 0
    """Seconds by which the time that is signed lies back."""
    stream_error: bool = False
    """End an event stream by an error event instead of the image; charged 0."""
    redirect: int | None = None
    """Redirect with this status to the same path, once a request."""
    challenge: Literal["basic", "digest"] | None = None
    """Answer 401 until the request has an Authorization of that scheme; any credentials will do."""
    by_tag_shape: Literal["list", "data"] = "list"
    """Which of its two shapes /v1/usage/by-tag has: a bare list with `tag`, or `data` with `label`."""
    usage_duplicates: int = 0
    """List every so-many-th request twice in usage reports."""
    usage_missing: list[float] = field(default_factory=list[float])
    """Two Unix times in seconds: leave out of usage reports what came between them."""
    usage_percent: dict[str, int] = field(default_factory=dict[str, int])
    """Report of these models another price than was said at the request: this share of it, rounded down."""
    usage_lag: float = 0
    """Leave out of usage reports what is younger than this, in seconds."""
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
    cut: Literal["before_read"] | _Point | int | None = None
    """Close the connection at this point; before_read does so without reading the request's body, uncharged."""
    reset: bool = False
    """Cut by a TCP reset instead of an orderly end; before the headers unless `cut` says where."""
    hold: _Point | int | None = None
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


_CONDITIONS = ("times", "every", "probability", "match")
_MATCHES = ("model", "path", "method", "operation", "tag", "test_id", "retry_count")
_OF_THE_BODY = ("model", "operation")


@dataclass(slots=True)
class _Rule:
    given: dict[str, Any]
    match: dict[str, str]
    times: int | None
    every: int
    probability: float
    seen: int = 0


class Rules:
    """Rules in the order in which they were told; where several apply, the later ones override the earlier."""

    def __init__(self, seed: int) -> None:
        self._rules: list[_Rule] = []
        self._random = random.Random(seed)

    def tell(self, asked: dict[str, Any]) -> int:
        """Add a rule and return how many there are; raise BehaviourError when it makes no sense.

        Beside the behaviour it may have `times` (then it stops), `every` (each k-th request), `probability` (0 to 1)
        and `match` (shell patterns for model, path, method, operation, tag, test_id, retry_count).
        """
        given = check({name: value for name, value in asked.items() if name not in _CONDITIONS})
        match: Any = asked.get("match", {})
        if not is_object(match) or not all(name in _MATCHES for name in match):
            raise BehaviourError(f"match takes patterns for {', '.join(_MATCHES)}, not {match!r}")
        patterns = {name: str(pattern) for name, pattern in match.items()}
        if given.get("cut") == "before_read" and any(name in _OF_THE_BODY for name in patterns):
            raise BehaviourError("cut before_read cannot match model or operation: the body is not read; match path")
        times, every, probability = asked.get("times"), asked.get("every", 1), asked.get("probability", 1)
        if not (times is None or (type(times) is int and times > 0)) or type(every) is not int or every < 1:
            raise BehaviourError(f"times and every take whole numbers from 1, not {times!r} and {every!r}")
        if type(probability) not in (int, float) or not 0 <= probability <= 1:
            raise BehaviourError(f"probability takes a number from 0 to 1, not {probability!r}")
        self._rules.append(_Rule(given, patterns, times, every, probability))
        return len(self._rules)

    def apply(self, facts: dict[str, str], header: str | None, *, read: bool, image: bool) -> Behaviour:
        """Return the behaviour for a request with these facts.

        Rules without a path pattern are for image requests only. `read` is False before the body is read, when
        nothing but a cut before_read applies, and True after, when everything else does. Raises BehaviourError for a
        bad header.
        """
        if not self._rules and header is None:
            return DEFAULT
        merged: dict[str, Any] = {}
        for rule in self._rules:
            due = (rule.given.get("cut") != "before_read") is read and (image or "path" in rule.match)
            if due and self._applies(rule, facts):
                merged.update(rule.given)
        if header is not None:
            asked = from_header(header, int(facts["retry_count"]))
            if (asked.get("cut") != "before_read") is read:
                merged.update(asked)
        return Behaviour(**merged) if merged else DEFAULT

    def _applies(self, rule: _Rule, facts: dict[str, str]) -> bool:
        if rule.times == 0:
            return False
        if not all(fnmatchcase(facts.get(name, ""), pattern) for name, pattern in rule.match.items()):
            return False
        rule.seen += 1
        if rule.seen % rule.every:
            return False
        if rule.probability < 1 and self._random.random() >= rule.probability:
            return False
        if rule.times is not None:
            rule.times -= 1
        return True
