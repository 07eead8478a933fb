"""Image calls of every kind, drawn by a seed, each with how its attempts must be recorded."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pixelmeter.core.attempts.record import Billing, CostSource, Operation, Outcome

__all__ = ["PROMPT", "Step", "Work", "workload"]

PROMPT = "a red fox at dawn"


@dataclass(frozen=True, slots=True)
class Step:
    """One attempt: how the gateway is told to answer it, and what the ledger must say of it beside the bill."""

    behaviour: dict[str, Any]
    outcome: Outcome
    billing: Billing
    source: CostSource = "none"
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What a program asks for in one call."""

    operation: Operation
    fields: dict[str, Any]
    steps: tuple[Step, ...]
    vendor: Literal["aigateway", "openai"] = "aigateway"
    files: int = 0
    id: str = ""

    @property
    def streamed(self) -> bool:
        return bool(self.fields.get("stream"))


def _reported(**behaviour: Any) -> Step:
    return Step(behaviour, "success", "billed", "reported")


def _priced(**behaviour: Any) -> Step:
    return Step(behaviour, "success", "billed", "priced")


def _refused(status: int, outcome: Outcome = "rejected") -> Step:
    behaviour = {"status": status, "headers": {"retry-after-ms": "1"}}
    return Step(behaviour, outcome, "not_billed", "none", "rejected")


def _broken(status: int = 503, outcome: Outcome = "error", *, charged: bool) -> Step:
    behaviour = {"status": status, "charged": charged, "headers": {"retry-after-ms": "1"}}
    return Step(behaviour, outcome, "unknown", "none", "outcome_unknown")


_MODELS = (
    "black-forest-labs/flux-1-schnell",
    "black-forest-labs/flux-2-klein-4b",
    "black-forest-labs/flux-2-klein-9b",
    "meta/sam-3-1-image",
    "meta/sam-3-image",
)
"""Models whose published price the gateway charges and the price book knows."""

_EDIT = "bria/fibo-edit/edit"
_JOB = "black-forest-labs/flux-2-flex"
_LINK = "http://localhost/fox.png"
_HIDDEN: dict[str, str | list[str] | None] = {"x-routing-selected": None}


def _generate(random: random.Random, *steps: Step, **fields: Any) -> Work:
    drawn = {"model": random.choice(_MODELS), "n": random.randint(1, 4)}
    return Work("generate", drawn | fields, steps)


def _openai(operation: Operation, *steps: Step, files: int = 0, **fields: Any) -> Work:
    told = tuple(
        Step({"gateway": "openai"} | step.behaviour, step.outcome, step.billing, step.source, step.reason)
        for step in steps
    )
    common = {"model": "gpt-image-2", "quality": "low", "size": "1024x1024"}
    return Work(operation, common | fields, told, vendor="openai", files=files)


_KINDS: tuple[Callable[[random.Random], Work], ...] = (
    lambda r: _generate(r, _reported(), response_format="url"),
    lambda r: _generate(r, _reported(), response_format="b64_json", size="512x512"),
    lambda r: _generate(r, _reported(encoding="gzip"), response_format="b64_json"),
    lambda r: _generate(r, _reported(chunk=r.randint(1, 999), transfer="chunked"), response_format="b64_json"),
    lambda r: _generate(r, _reported(cached_percent=10)),
    lambda r: _generate(r, _reported(images=1), n=4),
    lambda r: _generate(r, _reported(charge_nano=r.randrange(10, 10**9, 10))),
    lambda r: _generate(r, _reported(), model="auto/image"),
    lambda r: _generate(r, Step({"cost_header": False, "headers": _HIDDEN}, "success", "billed", "none",
                                "routed_model_hidden"), model="auto/image"),
    lambda r: _generate(r, _priced(cost_header=False)),
    lambda r: _generate(r, _priced(cost_header=["4", "4"])),
    lambda r: _generate(r, Step({"cost_header": False}, "success", "billed", "none", "no_price"), model="house/fox"),
    lambda r: _generate(r, Step({"cost_header": "0"}, "success", "unknown", "none", "reported_zero_unverified")),
    lambda r: _generate(r, Step({}, "pending", "pending", "none", "pending_job"), model=_JOB),
    lambda r: _generate(r, Step({"body": "truncated"}, "error", "billed", "reported")),
    lambda r: _generate(r, Step({"body": "html", "cost_header": False}, "error", "unknown", "none", "outcome_unknown")),
    lambda r: _generate(r, _refused(400)),
    lambda r: _generate(r, _refused(401)),
    lambda r: _generate(r, _refused(402)),
    lambda r: _generate(r, _refused(404)),
    lambda r: _generate(r, _refused(413)),
    lambda r: _generate(r, _refused(429, "throttled"), _reported()),
    lambda r: _generate(r, _broken(charged=False), _reported()),
    lambda r: _generate(r, _refused(429, "throttled"), _broken(charged=True), _priced(cost_header=False)),
    lambda r: _generate(r, _broken(charged=True), _broken(502, charged=False), _broken(504, "timeout", charged=True)),
    lambda r: Work("edit", {"model": _EDIT, "n": r.randint(1, 4), "image_url": _LINK}, (_reported(),)),
    lambda r: Work("edit", {"model": _EDIT, "n": r.randint(1, 4)}, (_reported(),), files=2),
    lambda r: Work("variation", {"model": r.choice(_MODELS), "n": r.randint(1, 4)}, (_reported(),), files=1),
    lambda r: _openai("generate", _priced(), n=r.randint(1, 4)),
    lambda r: _openai("generate", _priced(encoding="gzip", chunk=500), stream=True, partial_images=r.randint(0, 3)),
    lambda r: _openai("generate", Step({"stream_error": True}, "error", "unknown", "none", "outcome_unknown"),
                      stream=True, partial_images=1),
    lambda r: _openai("edit", _refused(429, "throttled"), _priced(), files=2, n=r.randint(1, 4)),
    lambda r: _openai("edit", _priced(), files=1, stream=True),
)  # fmt: skip


def workload(seed: int, rounds: int = 2) -> list[Work]:
    """Return every kind of call `rounds` times, each with values of its own, in a random order."""
    source = random.Random(seed)
    drawn = [kind(source) for kind in _KINDS for _ in range(rounds)]
    source.shuffle(drawn)
    return [
        Work(work.operation, work.fields, work.steps, work.vendor, work.files, id=f"{seed}-{number}")
        for number, work in enumerate(drawn)
    ]
