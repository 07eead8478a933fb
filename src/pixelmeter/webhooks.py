"""Events that gateways post to a webhook: who has signed one, and what it says. No I/O, no lock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import islice
from typing import Any, NamedTuple, cast

import msgspec

from pixelmeter._version import __version__
from pixelmeter.core.attempts.events import event_of
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.core.attempts.record import Outcome
from pixelmeter.core.gateways.profile import Profile
from pixelmeter.core.gateways.profiles import Profiles
from pixelmeter.core.gateways.signatures import Signed, Verify, check_time, is_authentic, keys_of, signed_by
from pixelmeter.core.gateways.webhooks import Signature, Webhook
from pixelmeter.core.ports import Clock, Ids
from pixelmeter.core.wire.headers import Headers, by_name
from pixelmeter.errors import ConfigError, WebhookError

__all__ = ["Secret", "WebhookEvent", "WebhookHeaders", "Webhooks"]

WebhookHeaders = Mapping[str, str] | Mapping[bytes, bytes] | Iterable[tuple[str, str]] | Iterable[tuple[bytes, bytes]]
"""Headers as web frameworks have them, of any case."""
Secret = str | Sequence[str]
"""A secret, or several of which any may be right."""

_LARGEST = 1024 * 1024
_MOST_HEADERS = 1000
_MOST_SECRETS = 16
_REMEMBERED = 10_000
_MICROSECONDS = 1_000_000


class WebhookEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a webhook whose signature is right."""

    gateway: str
    """The id of the gateway's profile."""
    id: str
    """The gateway's id of the event; the SHA-256 of the body where it gives none."""
    type: str | None = None
    """Its type, such as `job.completed`; None where the gateway's events have none."""
    job_id: str | None = None
    """The job that it is about; None where it is about something else."""
    status: str | None = None
    """The gateway's word for how the job is doing."""
    outcome: Outcome | None = None
    """How the job has ended; None where it goes on, or there is none."""
    repeated: bool = False
    """Whether this process has taken it before: nothing is recorded again."""


class _Candidate(NamedTuple):
    profile: Profile
    signature: Signature


class Webhooks:
    """Takes the events of webhooks."""

    def __init__(
        self, profiles: Profiles, secrets: Mapping[str, Sequence[str]], clock: Clock, ids: Ids, named: str
    ) -> None:
        """Raise ConfigError, which says what the secrets are `named`, for one of a gateway without webhooks."""
        for at, name in enumerate(secrets, 1):
            if name not in profiles.webhook_ids:
                # Without its name, which may be a secret that was put in the wrong place.
                known = ", ".join(profiles.webhook_ids)
                raise ConfigError(f"{named}: entry {at} is for no gateway profile with webhooks; those are {known}")
        self._profiles = profiles
        self._secrets = {name: tuple(several) for name, several in secrets.items()}
        self._clock = clock
        self._ids = ids
        self._known: dict[tuple[str, ...], None] = {}
        self._known_before: dict[tuple[str, ...], None] = {}

    def __repr__(self) -> str:
        return f"Webhooks({', '.join(self._secrets)})"

    def take(
        self, headers: Any, body: object, gateway: object, secret: object, record: Callable[[JobEnd], None]
    ) -> WebhookEvent:
        """Return an event and record the end of a job that it tells; WebhookError says why it is not taken."""
        try:
            return self._take(headers, body, gateway, secret, record)
        except WebhookError:
            raise
        except Exception as error:
            # Its text may have something of the event.
            raise WebhookError(f"not readable: {type(error).__name__}") from None

    def _take(
        self, headers: Any, body: object, gateway: object, secret: object, record: Callable[[JobEnd], None]
    ) -> WebhookEvent:
        raw, found = _raw(body), by_name(_pairs(headers))
        now = self._clock.now()
        candidate, signed = self._signed(found, raw, gateway, _given(secret))
        profile, signature = candidate
        check_time(signed.at, now // _MICROSECONDS, signature.tolerance)
        event = event_of(raw, profile, at=now, id=self._ids.new(), version=__version__)
        if event is None:
            raise WebhookError("not JSON: the body is no JSON object; give it as it was received")
        event_id = event.id or _text(found, signature.signed[:1]) or sha256(raw).hexdigest()
        key = profile.id, event_id, event.type or "", event.status or ""
        repeated = self._is_known(key)
        if not repeated and event.end is not None:
            try:
                record(event.end)
            except Exception as error:
                raise WebhookError(
                    f"not recorded: {type(error).__name__}; answer with 500 and it is sent again"
                ) from None
        self._remember(key)
        return WebhookEvent(
            gateway=profile.id,
            id=event_id,
            type=event.type,
            job_id=event.job_id,
            status=event.status,
            outcome=None if event.end is None else event.end.outcome,
            repeated=repeated,
        )

    def _signed(
        self, headers: Headers, body: bytes, gateway: object, given: Sequence[str]
    ) -> tuple[_Candidate, Signed]:
        """Return whose event it is; several gateways have the same headers, and differ in their secrets."""
        problem: WebhookError | None = None
        without: list[str] = []
        for candidate in self._candidates(headers, gateway):
            profile, signature = candidate
            secrets = given or self._secrets.get(profile.id, ())
            if not secrets:
                without.append(profile.id)
                continue
            if given and gateway is None and signature.scheme != "ed25519" and _may_be_public(given):
                # Whoever knows a public key could sign with it as if it were a secret.
                problem = WebhookError("no gateway: this secret may be a public key; say whose it is with gateway=")
                continue
            try:
                signed = signed_by(signature, headers, body)
                keys = _keys(profile, signature, secrets)
                verify = _verifier(profile) if signature.scheme == "ed25519" else None
            except WebhookError as error:
                problem = problem or error
                continue
            if is_authentic(signature.scheme, signed, keys, verify):
                return candidate, signed
            problem = WebhookError(
                f"wrong signature: no secret of {profile.id} fits; give the body as it was received, and see that the "
                "secret is the one of this endpoint"
            )
        raise problem or WebhookError(
            f"no secret of {' or '.join(dict.fromkeys(without))}: give secret=, "
            f'Meter(webhook_secrets={{"{without[0]}": ...}}) or PIXELMETER_WEBHOOK_SECRETS={without[0]}=...'
        )

    def _candidates(self, headers: Headers, gateway: object) -> list[_Candidate]:
        """Return the gateways whose header with the signature is there, and how they sign."""
        profiles = self._profiles.with_webhooks if gateway is None else (self._named(gateway),)
        webhooks = [(profile, profile.webhook) for profile in profiles if profile.webhook is not None]
        found = [
            _Candidate(profile, signature)
            for profile, webhook in webhooks
            for signature in webhook.signature
            if signature.header in headers
        ]
        if not found:
            names = dict.fromkeys(_headers_of(webhook for _, webhook in webhooks))
            raise WebhookError(
                f"no signature: it has none of the headers {', '.join(names)}; give all headers as they were received"
            )
        return found

    def _named(self, gateway: object) -> Profile:
        profile = self._profiles.named(gateway) if isinstance(gateway, str) else None
        if profile is None or profile.webhook is None:
            known = ", ".join(self._profiles.webhook_ids)
            raise WebhookError(f"unknown gateway: gateway= is no profile with webhooks; those are {known}")
        return profile

    def _is_known(self, key: tuple[str, ...]) -> bool:
        return key in self._known or key in self._known_before

    def _remember(self, key: tuple[str, ...]) -> None:
        """Remember the latest events. Several threads may do so at once: what gets lost is heard of twice."""
        if len(self._known) >= _REMEMBERED:
            self._known_before, self._known = self._known, {}
        self._known[key] = None


def _headers_of(webhooks: Iterable[Webhook]) -> Iterator[str]:
    for webhook in webhooks:
        for signature in webhook.signature:
            yield signature.header.decode()


def _raw(body: object) -> bytes:
    if not isinstance(body, bytes | bytearray | memoryview):
        advice = "await request.body() of Starlette and FastAPI, request.get_data() of Flask"
        raise WebhookError(f"no bytes: the body is a {type(body).__name__}; give the bytes received: {advice}")
    view = memoryview(cast("bytes", body))
    if view.nbytes > _LARGEST:
        raise WebhookError(f"too large: bodies up to {_LARGEST} bytes are taken")
    return view.tobytes()


def _pairs(headers: Any) -> Iterator[tuple[bytes, bytes]]:
    """Yield the headers that are text or bytes; a web framework may have several of one name."""
    items: Any = getattr(headers, "items", None)
    try:
        given: Any = items() if callable(items) else headers
        found: Iterator[Any] = iter(given)
    except TypeError:
        raise WebhookError(f"no headers: a {type(headers).__name__} is given; give a mapping or pairs") from None
    for pair in islice(found, _MOST_HEADERS):
        if not isinstance(pair, tuple | list) or len(cast("Sequence[Any]", pair)) != 2:
            raise WebhookError("no headers: give a mapping or pairs of names and values")
        name, value = map(_encoded, cast("Sequence[object]", pair))
        if name is not None and value is not None:
            yield name, value


def _encoded(text: object) -> bytes | None:
    if isinstance(text, str):
        return text.encode("latin-1", "replace")
    return bytes(text) if isinstance(text, bytes | bytearray) else None


def _text(headers: Headers, names: Sequence[bytes]) -> str | None:
    return next((headers[name].decode("latin-1")[:200] for name in names if headers.get(name)), None)


def _given(secret: object) -> tuple[str, ...]:
    if secret is None:
        return ()
    several = cast("Sequence[object]", secret) if isinstance(secret, list | tuple) else (secret,)
    texts = [each for each in several[:_MOST_SECRETS] if isinstance(each, str) and each.strip()]
    if not texts or len(texts) < len(several):
        raise WebhookError(f"no secret: secret= takes a text that is not empty, or a list of up to {_MOST_SECRETS}")
    return tuple(texts)


def _may_be_public(secrets: Sequence[str]) -> bool:
    return any(keys_of("ed25519", secret) for secret in secrets)


def _keys(profile: Profile, signature: Signature, secrets: Sequence[str]) -> list[bytes]:
    keys = [key for secret in secrets[:_MOST_SECRETS] for key in keys_of(signature.scheme, secret)]
    if not keys:
        kind = {"ed25519": "a public key (32 bytes as base64 or hex, or JWKS)", "standard_webhooks": "base64"}
        raise WebhookError(f"no secret: that of {profile.id} is not {kind.get(signature.scheme, 'usable')}")
    return keys


def _verifier(profile: Profile) -> Verify:
    try:
        # Imported late: few need it, and it is not part of a plain installation.
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise WebhookError(
            f'{profile.id} signs with Ed25519, which needs cryptography: pip install "pixelmeter[webhooks]"'
        ) from None

    def verify(key: bytes, signature: bytes, message: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    return verify
