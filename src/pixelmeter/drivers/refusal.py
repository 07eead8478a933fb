"""How a call that a check, a budget mostly, does not let go is refused: by an exception, or a response of our own."""

from __future__ import annotations

import sys
from datetime import timedelta
from functools import cache, partialmethod
from typing import Any, TypeVar

import msgspec

from pixelmeter.core.budgets.budget import Refusal
from pixelmeter.core.wire.headers import Headers
from pixelmeter.errors import CallRefused

__all__ = ["STATUS", "answer_of", "raised_to", "refusal_by", "refusal_of", "response_of"]

# Bases of what libraries raise that their clients neither try again nor hide: what they do try again are transport
# errors. Looked up, not imported: who has not loaded a library does not catch its errors.
_CAUGHT = (("httpx", "HTTPError"), ("httpx2", "HTTPError"), ("aiohttp", "ClientError"), ("openai", "OpenAIError"))
STATUS = 402

_Refused = TypeVar("_Refused", bound=CallRefused)


def refusal_of(client: object) -> Refusal | None:
    """Return what a client's callers can make sense of; None where only its requests tell.

    Clients of Stainless's making (OpenAI's first version, Together, Portkey) take whatever is raised below them for a
    broken connection, which they try again and then hide. Those of OpenAI since version 2 let errors of their own pass.
    aiobotocore is one more that hides and tries again what is raised below it.
    """
    kinds = [kind for kind in type(client).__mro__ if kind is not object]
    roots = {kind.__module__.partition(".")[0] for kind in kinds}
    if roots & {"portkey_ai", "aiobotocore"}:
        return "respond"
    if "openai" in roots:
        return _of_openai(str(getattr(sys.modules.get("openai"), "__version__", "")))
    return "respond" if any(kind.__module__.endswith("._base_client") for kind in kinds) else None


def refusal_by(headers: Headers) -> Refusal:
    """Return the same by a request, where an SDK was given a client or a transport of ours: they name themselves."""
    agent = (headers.get(b"user-agent") or b"").decode("latin-1")
    if headers.get(b"x-stainless-lang") is None:
        return "respond" if "botocore" in agent.lower() else "raise"
    name, _, version = agent.partition("/Python ")
    is_openai = name.endswith("OpenAI") and headers.get(b"x-portkey-package-version") is None
    return _of_openai(version) if is_openai else "respond"


def _of_openai(version: str) -> Refusal:
    return "respond" if version.startswith(("0.", "1.")) else "raise"


def raised_to(refused: _Refused, request: Any) -> _Refused:
    """Return the exception as one that those who use the loaded libraries catch."""
    found = (getattr(sys.modules.get(module), name, None) for module, name in _CAUGHT)
    kind = _kind((type(refused), *(base for base in found if isinstance(base, type))))
    raised: _Refused = kind(**refused.fields())
    if hasattr(kind, "request"):
        vars(raised)["_request"] = request
    return raised


@cache
def _kind(bases: tuple[type, ...]) -> Any:
    own = bases[0]
    told = {"__module__": own.__module__, "__doc__": own.__doc__, "__reduce__": partialmethod(_reduced, own)}
    return type(own.__name__, bases, told)


def _reduced(raised: CallRefused, own: type[CallRefused]) -> tuple[Any, ...]:
    # Without the request, whose headers and body are private.
    return _again, (own, raised.fields())


def _again(own: type[CallRefused], fields: dict[str, Any]) -> CallRefused:
    """Return a copy, which may be made in another process, as one that is caught there."""
    return raised_to(own(**fields), None)


def response_of(refused: CallRefused, request: Any, library_response: type[Any]) -> Any:
    """Return the response of httpx or httpx2 that says so."""
    headers, body = answer_of(refused)
    # A stream, as that of every response that was sent: callers may want to read it in chunks.
    stream = sys.modules[library_response.__module__.partition(".")[0]].ByteStream(body)
    response = library_response(STATUS, headers=headers, stream=stream, request=request)
    response.elapsed = timedelta(0)
    return response


def answer_of(refused: CallRefused) -> tuple[list[tuple[str, str]], bytes]:
    """Return headers and body of what AIgateway answers at a cap of its own, with 402, which no client tries again."""
    error = {"message": str(refused), "type": refused.error_type, "code": STATUS, **refused.details()}
    body = msgspec.json.encode({"error": error})
    length = str(len(body))
    return [("content-type", "application/json"), ("content-length", length), ("x-should-retry", "false")], body
