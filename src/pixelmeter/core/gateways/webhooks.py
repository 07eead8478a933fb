"""How a gateway signs the events that it posts to a webhook, and where such an event says what. Pure data."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from pixelmeter.core.gateways.amounts import CostReader, HeaderName
from pixelmeter.core.gateways.places import DocumentPath, ResponsePlaces

__all__ = ["Scheme", "Signature", "Webhook"]

Scheme = Literal["timestamped", "hmac", "standard_webhooks", "bria", "wavespeed", "ed25519"]
"""Ways to sign; `core.gateways.signatures` knows how each is checked.

`timestamped`: one header with `t=SECONDS,v1=HEX`. `hmac`: a header with the time, one with hex. `standard_webhooks`:
the specification of that name. `bria`, `wavespeed`: as the vendor of that name does. All of them are an HMAC-SHA256
over headers, time and body with dots between. `ed25519`: over headers, time and the SHA-256 of the body, one a line.
"""


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One way in which a gateway signs."""

    scheme: Scheme
    header: HeaderName
    """The header with the signature, or several of them."""
    timestamp: HeaderName | None = None
    """The header with the Unix time in seconds; `timestamped` has it beside the signature."""
    signed: tuple[HeaderName, ...] = ()
    """Headers that are signed in front of the time; the first one is the event's id where its document has none."""
    tolerance: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 300
    """Seconds between that time and now, before or after; 0 takes an event of any age."""

    def __post_init__(self) -> None:
        if (self.timestamp is None) != (self.scheme == "timestamped"):
            raise ValueError(f"{self.scheme} takes {'no' if self.scheme == 'timestamped' else 'a header'} timestamp")


class Webhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The events of a gateway."""

    signature: tuple[Signature, ...]
    """Of which an event has one; the first whose header is there counts."""
    event_id: tuple[DocumentPath, ...] = ()
    type: tuple[DocumentPath, ...] = ()
    jobs: tuple[str, ...] = ()
    """Globs over the type of the events that are about jobs; without any all are, and those without a type always."""
    job_id: tuple[DocumentPath, ...] = ()
    """Where an event has the job; without any, job and status are where and as the gateway's answers have them."""
    status: tuple[DocumentPath, ...] = ()
    """Without any, every event about a job tells its end."""
    done: tuple[str, ...] = ()
    """Globs over the status of a job that has ended well, and likewise below; with any other one it goes on."""
    failed: tuple[str, ...] = ()
    cancelled: tuple[str, ...] = ()
    not_charged: tuple[str, ...] = ()
    """Of `failed` and `cancelled`, those of which the gateway says that they are not charged."""
    response: ResponsePlaces = ResponsePlaces()
    """Where it has what the job made, where that is not as in the gateway's answers."""
    cost: tuple[CostReader, ...] = ()
    """Where its body has the cost, in front of the readers of the profile."""

    def __post_init__(self) -> None:
        if not self.signature:
            raise ValueError("a webhook without a signature proves nothing")
        if len({signature.scheme == "ed25519" for signature in self.signature}) > 1:
            # Whoever knows the public key could sign with it as if it were a secret.
            raise ValueError("a webhook has signatures of ed25519 only, or none of it")
        if any(reader.header is not None for reader in self.cost):
            raise ValueError("the cost of an event stands in its body")
        if self.response.output_format or self.response.service_tier:
            raise ValueError("of an event neither output_format nor service_tier is kept")
