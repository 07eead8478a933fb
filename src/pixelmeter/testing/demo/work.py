"""What a small company asks an image gateway for in an hour, drawn by a seed: good calls, and every kind of trouble."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

__all__ = ["LATENCIES", "Call", "draw"]

Behaviour = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a program asks for in one call, and what happens to it."""

    operation: Literal["generate", "edit"] = "generate"
    fields: dict[str, Any]
    answers: tuple[Behaviour, ...]
    """How the gateway answers each attempt (`pixelmeter.testing.behaviour`); clients that do not retry repeat it."""
    tags: dict[str, str] = field(default_factory=dict[str, str])
    files: int = 0
    is_job: bool = False
    """The gateway answers with a job, which the client polls."""
    patience: float | None = None
    """Seconds until the client gives an attempt up; None leaves it to the client."""

    @property
    def is_streamed(self) -> bool:
        return bool(self.fields.get("stream"))

    @property
    def is_plain(self) -> bool:
        """Whether every client can make it, also one that cannot send headers of its own."""
        return self.answers == ({},) and not self.files and not self.is_job


LATENCIES = {
    "black-forest-labs/flux-1-schnell": 0.05,
    "black-forest-labs/flux-2-klein-4b": 0.08,
    "meta/sam-3-1-image": 0.11,
    "black-forest-labs/flux-2-klein-9b": 0.15,
    "bytedance/seedream-4.5": 0.21,
    "recraft/recraft-v3-text-to-image": 0.26,
    "bria/fibo-edit/edit": 0.30,
    "openai/gpt-image-2": 0.38,
}
"""Seconds that each model usually takes."""

_USUAL = ("auto/image", *LATENCIES)
_HOW_OFTEN = (3, 5, 4, 6, 5, 3, 2, 0, 0)
_OTHER_LATENCY = 0.09
_LONGEST = 0.6

_TEAMS = {
    "growth": ("hero", "newsletter", "social"),
    "catalog": ("packshot", "background", "thumbnail"),
    "design": ("moodboard", "storyboard"),
}
_PROMPTS = ("a red fox at dawn", "a serene cyberpunk city at dusk", "a ceramic cup on a linen cloth", "a paper boat")
_SOON: dict[str, str | list[str] | None] = {"retry-after-ms": "20"}
_THROTTLED: Behaviour = {"status": 429, "headers": _SOON, "delay": 0.01}


def draw(seed: int, calls: int) -> list[Call]:
    """Return that many calls: one of each kind as far as they go, then as often as the kinds come up."""
    random = Random(seed)
    kinds = list(_KINDS)
    drawn = kinds[:calls] + random.choices(kinds, list(_KINDS.values()), k=max(0, calls - len(kinds)))
    random.shuffle(drawn)
    return [kind(random) for kind in drawn]


def _call(
    random: Random,
    *answers: Behaviour,
    model: str | None = None,
    operation: Literal["generate", "edit"] = "generate",
    files: int = 0,
    is_job: bool = False,
    patience: float | None = None,
    **more: Any,
) -> Call:
    model = model or random.choices(_USUAL, _HOW_OFTEN)[0]
    team = random.choice(list(_TEAMS))
    fields: dict[str, Any] = {"model": model, "prompt": random.choice(_PROMPTS)}
    if "stream" not in more:
        fields["n"] = random.choices((1, 2, 4), (6, 2, 1))[0]
    usual = LATENCIES.get(model, _OTHER_LATENCY)
    return Call(
        operation=operation,
        fields=fields | more,
        answers=tuple({"delay": _seconds(random, usual)} | answer for answer in answers or ({},)),
        tags={"team": team, "feature": random.choice(_TEAMS[team])},
        files=files,
        is_job=is_job,
        patience=patience,
    )


def _plain(random: Random) -> Call:
    call = _call(random)
    return Call(fields=call.fields, answers=({},), tags=call.tags)


def _seconds(random: Random, usual: float) -> float:
    return round(min(usual * random.lognormvariate(0, 0.3), _LONGEST), 3)


def _down(status: int, *, charged: bool) -> Behaviour:
    return {"status": status, "charged": charged, "headers": _SOON}


_GPT = "openai/gpt-image-2"

_KINDS: dict[Callable[[Random], Call], int] = {
    _call: 80,
    _plain: 40,
    lambda random: _call(random, model=_GPT, size="1024x1024", quality=random.choice(("low", "medium"))): 9,
    lambda random: _call(random, {"encoding": "gzip"}, response_format="b64_json", size="512x512"): 6,
    lambda random: _call(random, model=_GPT, stream=True, partial_images=2, quality="low", size="1024x1024"): 4,
    lambda random: _call(random, model="bria/fibo-edit/edit", operation="edit", files=random.randint(1, 3)): 7,
    lambda random: _call(random, {"cost_header": False}, model="meta/sam-3-1-image"): 5,
    lambda random: _call(random, {"cost_header": False}, model="acme/studio-7"): 2,
    lambda random: _call(random, _THROTTLED, {}): 6,
    lambda random: _call(random, _THROTTLED, _THROTTLED, {}): 2,
    lambda random: _call(random, _down(503, charged=False), {}): 3,
    lambda random: _call(random, _down(502, charged=True), {}): 2,
    lambda random: _call(random, _down(504, charged=True), {}): 1,
    lambda random: _call(random, {"reset": True}, {}): 1,
    lambda random: _call(random, {"delay": 3}, {}, patience=1.5): 1,
    lambda random: _call(random, {"refusal": True}): 3,
    lambda random: _call(random, {"status": 404}, model="meta/sam-9-image"): 2,
    lambda random: _call(random, {"status": 402}): 1,
    lambda random: _call(random, model="black-forest-labs/flux-2-flex", is_job=True): 2,
}
"""Each kind of call, and how often it comes up."""
