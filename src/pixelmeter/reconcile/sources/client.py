"""Asks a gateway for its usage: waits as long as it says, tries again where that helps, and takes no more than a
bounded answer."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import msgspec

from pixelmeter.core.ports import Clock
from pixelmeter.core.text import bounded
from pixelmeter.errors import ConfigError, SourceError
from pixelmeter.reconcile.sources.rows import text_at
from pixelmeter.system import SystemClock

if TYPE_CHECKING:
    import httpx

__all__ = ["Query", "UsageClient"]

Query = Sequence[tuple[str, str]]

_BODY_LIMIT = 64 * 1024 * 1024
_ERROR_LIMIT = 64 * 1024
_TRIES = 6
_LONGEST_WAIT = 300.0
"""Seconds; of longer ones the caller is told instead."""
_TIMEOUT = 60.0
"""Seconds without a byte."""
_PATIENCE = 600 * 1_000_000
"""Microseconds for an answer as a whole, however steadily it drips."""
_VALUE_LIMIT = 8_000_000
"""As many commas: a list of nothing but digits would take many times its size in memory."""
# 5xx of any number, and these.
_RETRIED = frozenset({408, 425, 429})
_WHAT_TO_DO = {
    401: "the key is not accepted: check it, and that it is one for reports (an admin or management key)",
    403: "the key may not read this report: it needs an admin or management key, or another permission",
    404: "there is no such report: check --base-url, and whether the gateway has it",
}
_HOST = re.compile(rb"[A-Za-z0-9._:-]+")
_CUT = "what it sends is no whole JSON document"


class UsageClient:
    """Reads reports of one gateway, from one address. The caller closes its `httpx.Client`.

    `pause` waits for seconds, and `told` hears of each wait before it begins.
    """

    def __init__(
        self,
        http: httpx.Client,
        base_url: str,
        key: str | None = None,
        *,
        clock: Clock | None = None,
        pause: Callable[[float], None] = time.sleep,
        told: Callable[[str], None] | None = None,
    ) -> None:
        import httpx as library

        self._library = library
        self._http = http
        self._clock = clock or SystemClock()
        self._pause = pause
        self._told = told
        if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
            # A library that refuses it as a header would show it.
            raise ConfigError("the key has a space or a character that no key has: was it copied whole?")
        self._key = key
        self._base = _base(base_url)

    @property
    def base_url(self) -> str:
        """Where it asks, without a user or a password."""
        return f"{self._base.scheme}://{self._base.netloc.decode('ascii')}{self._base.path.rstrip('/')}"

    def __repr__(self) -> str:
        return f"UsageClient({self.base_url!r})"

    def now(self) -> int:
        """Return the Unix time in microseconds."""
        return self._clock.now()

    def get(self, path: str, query: Query = (), *, missing: Collection[int] = ()) -> bytes | None:
        """Return the JSON document at a path of the gateway, as it came; None for a status in `missing`.

        Raises SourceError where it cannot be had, which says what to do.
        """
        wait, problem = 0.0, ""
        for tried in range(_TRIES):
            if tried:
                self._wait(wait, problem)
            try:
                status, headers, body = self._ask(path, query)
            except self._library.RequestError as error:
                wait, problem = 2.0**tried, f"the connection failed ({type(error).__name__})"
                continue
            if status == 200:
                if _is_document(body):
                    return body
                wait, problem = 2.0**tried, _CUT
            elif status in missing:
                return None
            elif status in _RETRIED or status >= 500:
                asked = self._retry_after(headers)
                wait, problem = asked if asked is not None else 2.0**tried, f"it answered {status}"
                if wait > _LONGEST_WAIT:
                    text = f"it answered {status} and asks to wait for {int(wait)} seconds: run this again then"
                    raise self._error(path, text)
            else:
                raise self._refused(path, status, body)
        raise self._error(path, f"{problem}, {_TRIES} times: run this again later")

    def _ask(self, path: str, query: Query) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"accept": "application/json", "accept-encoding": "gzip"}
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key}"
        url = self._base.copy_with(path=_joined(self._base.path, path))
        # What follows a redirect would take the key somewhere else.
        with self._http.stream(
            "GET", url, params=list(query), headers=headers, timeout=_TIMEOUT, follow_redirects=False
        ) as response:
            limit = _BODY_LIMIT if response.status_code == 200 else _ERROR_LIMIT
            body, values, begun = bytearray(), 0, self._clock.monotonic()
            for chunk in response.iter_bytes():
                body += chunk
                values += chunk.count(b",")
                if self._clock.monotonic() - begun > _PATIENCE:
                    raise self._library.ReadTimeout("the answer takes too long")
                if len(body) > limit or values > _VALUE_LIMIT:
                    if response.status_code == 200:
                        raise self._error(path, f"its answer is larger than {_BODY_LIMIT >> 20} MiB of usual rows")
                    break
            return response.status_code, response.headers, bytes(body)

    def _wait(self, seconds: float, problem: str) -> None:
        if self._told is not None:
            self._told(f"{self._base.host}: {problem}; next try in {seconds:.0f} s")
        self._pause(seconds)

    def _retry_after(self, headers: Mapping[str, str]) -> float | None:
        text = headers.get("retry-after", "").strip()
        if text.isascii() and text.isdecimal() and len(text) < 10:
            return float(text)
        try:
            when = parsedate_to_datetime(text)
        except (TypeError, ValueError, OverflowError):
            return None
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.fromtimestamp(self._clock.now() / 1_000_000, UTC)).total_seconds())

    def _refused(self, path: str, status: int, body: bytes) -> SourceError:
        said = _error_type(body)
        named = f" ({said})" if said and (self._key is None or self._key not in said) else ""
        if 300 <= status < 400:
            return self._error(path, f"it answered {status}, which leads elsewhere: give the right --base-url")
        return self._error(path, f"it answered {status}{named}: {_WHAT_TO_DO.get(status, 'the report is not given')}")

    def _error(self, path: str, text: str) -> SourceError:
        return SourceError(f"{self._base.host}{path}: {text}. What had been read before is kept")


def _base(text: str) -> httpx.URL:
    import httpx

    try:
        url = httpx.URL(text.strip())
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not _HOST.fullmatch(url.raw_host):
        raise ConfigError("--base-url is no address: write https://, the host and what comes before the report's path")
    if url.userinfo or url.query or url.fragment:
        raise ConfigError(
            "--base-url has a user, a password or a query: leave them out, keys come from the environment"
        )
    return url


def _joined(base: str, path: str) -> str:
    """Return a path below that of the base, where the end of the one may be the beginning of the other (`/v1`)."""
    base = base.rstrip("/")
    parts = path.split("/")
    for shared in range(len(parts), 1, -1):
        start = "/".join(parts[:shared])
        if base.endswith(start):
            return base + path[len(start) :]
    return base + path


def _is_document(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True


def _error_type(body: bytes) -> str | None:
    """Return the type or code of an error as gateways give it, never its message."""
    return bounded(text_at(body, "error.type"), 60) or bounded(text_at(body, "error.code"), 60)
