"""Who may read: a bearer token, a user with a password, or everybody who can connect."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
from pathlib import Path

from pixelmeter.errors import ConfigError

__all__ = ["Guard", "is_loopback", "read_guard"]

_LONGEST = 10_000


class Guard:
    """Lets in whoever sends the right `Authorization`; keeps only a digest of it."""

    def __init__(self, scheme: str, secret: str) -> None:
        """`scheme` is "bearer" with a token, or "basic" with `user:password`."""
        self._scheme = scheme
        self._digest = _digest(secret.encode())

    @property
    def challenge(self) -> str:
        """What to answer in `WWW-Authenticate`."""
        return _challenge(self._scheme)

    @property
    def challenge_of_browsers(self) -> str:
        """The same where browsers ask too, which know passwords and no tokens."""
        return ", ".join(map(_challenge, dict.fromkeys(("basic", self._scheme))))

    def lets_in(self, authorization: str, *, is_token_password: bool = False) -> bool:
        """Return whether a header's value is the right one; the time it takes does not tell how much matches.

        With `is_token_password` a token is taken as the password of any user too.
        """
        scheme, _, given = authorization.partition(" ")
        # Headers are read as Latin-1; this gives the bytes that were sent.
        presented = given.encode("latin-1").strip()
        wanted = self._scheme
        if scheme.lower() == "basic" and (wanted == "basic" or is_token_password):
            try:
                presented = base64.b64decode(presented, validate=True)
            except binascii.Error:
                presented = b""
            if wanted == "bearer":
                presented, wanted = presented.partition(b":")[2], "basic"
        return self.knows(presented) and scheme.lower() == wanted

    def knows(self, presented: bytes) -> bool:
        """Return whether this is the secret; the time it takes does not tell how much matches."""
        return hmac.compare_digest(_digest(presented), self._digest)


def read_guard(token_file: Path | None, basic_auth_file: Path | None) -> Guard | None:
    """Return the guard that a file asks for, None where there is no file; ConfigError for one that cannot be used."""
    if token_file is not None and basic_auth_file is not None:
        raise ConfigError("give a token file or a basic auth file, not both")
    if token_file is not None:
        token = _line(token_file)
        if len(token.split()) != 1:
            raise ConfigError(f"{token_file} must hold one token, without spaces")
        return Guard("bearer", token)
    if basic_auth_file is not None:
        pair = _line(basic_auth_file)
        user, _, password = pair.partition(":")
        if not user or not password:
            raise ConfigError(f"{basic_auth_file} must hold one line, user:password")
        return Guard("basic", pair)
    return None


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _challenge(scheme: str) -> str:
    return f'{scheme.capitalize()} realm="pixelmeter"'


def _line(path: Path) -> str:
    try:
        # A pipe is welcome here, as `--token-file <(command)` gives one.
        with path.open("rb") as file:
            text = file.read(_LONGEST + 1).decode("utf-8-sig").strip()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
    if len(text) > _LONGEST:
        raise ConfigError(f"{path} must hold one line of at most {_LONGEST:,} characters")
    if not text or "\n" in text:
        raise ConfigError(f"{path} must hold one line")
    return text


def _digest(secret: bytes) -> bytes:
    # Digests have one length, so the time of a comparison does not tell how long the secret is.
    return hashlib.sha256(secret).digest()
