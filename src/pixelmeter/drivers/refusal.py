"""How a call that a budget does not let go is refused: by an exception, or by a response that no gateway has sent."""

from __future__ import annotations

import sys
from datetime import timedelta
from functools import cache
from typing import Any

import msgspec

from pixelmeter.core.budgets.budget import Refusal
from pixelmeter.errors import BudgetExceeded

__all__ = ["raised_to", "refusal_of", "response_of"]

# Bases of what libraries raise that their clients neither try again nor hide: what they do try again are transport
# errors. Looked up, not imported: who has not loaded a library does not catch its errors.
_CAUGHT = (("httpx", "HTTPError"), ("httpx2", "HTTPError"), ("openai", "OpenAIError"))
_STATUS = 402


def refusal_of(client: object) -> Refusal:
    """Return what a client's callers can make sense of.

    Clients of Stainless's making (OpenAI's first version, Together, Portkey) take whatever is raised below them for a
    broken connection, which they try again and then hide. Those of OpenAI since version 2 let errors of their own pass.
    """
    kinds = [kind for kind in type(client).__mro__ if kind is not object]
    roots = {kind.__module__.partition(".")[0] for kind in kinds}
    if "portkey_ai" in roots:
        return "respond"
    if "openai" in roots:
        version = str(getattr(sys.modules.get("openai"), "__version__", ""))
        return "respond" if version.startswith(("0.", "1.")) else "raise"
    return "respond" if any(kind.__module__.endswith("._base_client") for kind in kinds) else "raise"


def raised_to(exceeded: BudgetExceeded, request: Any) -> BudgetExceeded:
    """Return the exception as one that those who use the loaded libraries catch."""
    found = (getattr(sys.modules.get(module), name, None) for module, name in _CAUGHT)
    bases = tuple(base for base in found if isinstance(base, type))
    kind = _kind(bases)
    raised: BudgetExceeded = kind(**exceeded.fields())
    if hasattr(kind, "request"):
        vars(raised)["_request"] = request
    return raised


@cache
def _kind(bases: tuple[type, ...]) -> Any:
    kind = type(BudgetExceeded.__name__, (BudgetExceeded, *bases), {"__module__": BudgetExceeded.__module__})
    kind.__doc__ = BudgetExceeded.__doc__
    return kind


def response_of(exceeded: BudgetExceeded, request: Any, library_response: type[Any]) -> Any:
    """Return the response that AIgateway gives at a cap of its own: 402, which no client tries again."""
    error = {
        "message": str(exceeded),
        "type": "budget_exceeded",
        "code": _STATUS,
        "budget": exceeded.budget,
        "value": exceeded.value,
        "reason": exceeded.reason,
        "limit_usd": _text(exceeded.limit),
        "spent_usd": _text(exceeded.spent),
        "reserved_usd": _text(exceeded.reserved),
        "needed_usd": _text(exceeded.needed),
        "resets_at": exceeded.resets_at,
    }
    response = library_response(
        _STATUS,
        headers={"content-type": "application/json", "x-should-retry": "false"},
        content=msgspec.json.encode({"error": error}),
        request=request,
    )
    response.elapsed = timedelta(0)
    return response


def _text(amount: object) -> str | None:
    return None if amount is None else f"{amount:f}"
