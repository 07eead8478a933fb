"""Checks that an event of a webhook was signed with one of the secrets that are known, and when."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, cast

import msgspec

from pixelmeter.core.apis.reader import json_of
from pixelmeter.core.gateways.places import DocumentPath, values_at
from pixelmeter.core.gateways.webhooks import Scheme, Signature
from pixelmeter.core.wire.headers import Headers
from pixelmeter.errors import ConfigError, WebhookError

__all__ = ["Signed", "Verify", "check_time", "checked_secrets", "is_authentic", "keys_of", "signed_by"]

Verify = Callable[[bytes, bytes, bytes], bool]
"""Whether a public key of Ed25519 has made a signature of a message."""

_LONGEST_HEADER = 8192
_MOST_SIGNATURES = 16
_MOST_KEYS = 16
_KEY_BYTES = 32
_DIGITS = re.compile(rb"[0-9]{1,12}")
_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")
_PUBLIC_KEYS = DocumentPath("keys[].x"), DocumentPath("x")
"""Of a set of keys, and of one of them, as JWK has it."""
_BRIA = b"bria-webhook-signing-v1"
_PREFIX = "whsec_"


class Signed(NamedTuple):
    """What was signed, when, and the signatures of it."""

    message: bytes
    at: int
    """Unix time in seconds."""
    signatures: tuple[bytes, ...]


def signed_by(signature: Signature, headers: Headers, body: bytes) -> Signed:
    """Return what an event says was signed; WebhookError where a header is missing, or is not what it should be."""
    header = _header(headers, signature.header)
    if signature.scheme == "timestamped":
        parts = [part.strip().partition(b"=") for part in header.split(b",")]
        times = {value for name, _, value in parts if name == b"t"}
        time = times.pop() if len(times) == 1 else b""
        given = [value for name, _, value in parts if name == b"v1"]
    else:
        time = _header(headers, signature.timestamp or b"")
        given = _given(signature.scheme, header)
    if _DIGITS.fullmatch(time) is None:
        raise WebhookError(f"wrong signature: {_name(signature.timestamp or signature.header)} has no Unix time")
    first = [_header(headers, name) for name in signature.signed]
    if signature.scheme == "ed25519":
        message = b"\n".join([*first, time, hashlib.sha256(body).hexdigest().encode()])
    else:
        message = b".".join([*first, time, body])
    is_text = signature.scheme in ("standard_webhooks", "bria")
    decoded = map(_from_base64 if is_text else _from_hex, given[:_MOST_SIGNATURES])
    return Signed(message, int(time), tuple(found for found in decoded if found))


def _header(headers: Headers, name: bytes) -> bytes:
    value = headers.get(name, b"").strip()
    if not value:
        raise WebhookError(f"no signature: the header {_name(name)} is missing")
    # What is signed has one line a header, so that a header with two could pass for others.
    if len(value) > _LONGEST_HEADER or b"\n" in value or b"\r" in value:
        raise WebhookError(f"wrong signature: the header {_name(name)} does not have the expected form")
    return value


def _name(header: bytes) -> str:
    return header.decode("latin-1")


def _given(scheme: Scheme, header: bytes) -> list[bytes]:
    """Return the signatures of a header that are of the version that is known."""
    if scheme == "standard_webhooks":
        return [value for version, _, value in _split(header.split(), b",") if version == b"v1"]
    if scheme == "wavespeed":
        return [value for version, _, value in _split(header.split(), b",") if version == b"v3"]
    if scheme == "bria":
        return [value for version, _, value in _split(header.split(b","), b"=") if version == b"v1"]
    return [header]


def _split(parts: Iterable[bytes], separator: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    return (part.strip().partition(separator) for part in parts)


def _from_hex(text: bytes) -> bytes:
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError:
        return b""


def _from_base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text.translate(_STANDARD) + b"=" * (-len(text) % 4), validate=True)
    except ValueError:
        return b""


_STANDARD = bytes.maketrans(b"-_", b"+/")


def keys_of(scheme: Scheme, secret: str) -> tuple[bytes, ...]:
    """Return the keys that a secret stands for; none where it is not what this scheme takes."""
    text = secret.strip()
    if scheme == "ed25519":
        return tuple(_public_keys(text))[:_MOST_KEYS]
    plain = text.removeprefix(_PREFIX)
    if scheme == "standard_webhooks":
        key = _from_base64(plain.rstrip("=").encode("utf-8", "replace"))
    elif scheme == "wavespeed":
        key = plain.encode("utf-8", "replace")
    else:
        key = text.encode("utf-8", "replace")
    if not key:
        return ()
    return (hmac.digest(key, _BRIA, "sha256"),) if scheme == "bria" else (key,)


def _public_keys(text: str) -> Iterator[bytes]:
    if text.startswith("{"):
        for path in _PUBLIC_KEYS:
            for key in values_at(json_of(text.encode("utf-8", "replace")), path):
                if isinstance(key, str) and not key.startswith("{"):
                    yield from _public_keys(key)
        return
    key = bytes.fromhex(text) if _HEX_KEY.fullmatch(text) else _from_base64(text.rstrip("=").encode("utf-8", "replace"))
    if len(key) == _KEY_BYTES:
        yield key


def is_authentic(scheme: Scheme, signed: Signed, keys: Sequence[bytes], verify: Verify | None) -> bool:
    """Return whether one of the keys has made one of the signatures, in a time that tells nothing of either."""
    if scheme == "ed25519":
        return verify is not None and any(
            verify(key, given, signed.message) for key in keys for given in signed.signatures
        )
    found = False
    for key in keys:
        digest = hmac.digest(key, signed.message, "sha256")
        for given in signed.signatures:
            found |= hmac.compare_digest(digest, given)
    return found


def check_time(at: int, now: int, tolerance: int) -> None:
    """Raise WebhookError where an event was signed too long before or after now; all in seconds."""
    if not tolerance or abs(now - at) <= tolerance:
        return
    if at > now:
        raise WebhookError(f"signed {at - now} s in the future, {tolerance} s are allowed: is the clock right?")
    raise WebhookError(f"too old: signed {now - at} s ago, {tolerance} s are allowed: is the clock right?")


def checked_secrets(given: object, named: str) -> dict[str, tuple[str, ...]]:
    """Return the secrets of each profile; ConfigError, which says what was `named` so and shows none of them.

    Each is a text, several texts of which any may be right, or a set of keys as JSON has it.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f'{named} is a {type(given).__name__}: give a dict such as {{"aigateway": "..."}}')
    found: dict[str, tuple[str, ...]] = {}
    for at, (name, value) in enumerate(cast("Mapping[object, object]", given).items(), 1):
        several = cast("Sequence[object]", value) if isinstance(value, list | tuple) else (value,)
        texts = [_secret(each) for each in several]
        if not isinstance(name, str) or not name or not texts or not all(texts):
            raise ConfigError(
                f"{named}: entry {at} is no profile with a secret, or several, that are text and not empty"
            )
        found[name] = tuple(filter(None, texts))
    return found


def _secret(value: object) -> str | None:
    if isinstance(value, dict):
        # The public keys of a vendor, as it publishes them.
        return msgspec.json.encode(value).decode()
    return (value.strip() or None) if isinstance(value, str) else None
