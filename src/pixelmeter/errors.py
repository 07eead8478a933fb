"""What pixelmeter raises; all but `CallRefused` only outside a caller's request.

PixelmeterError
 +-- ConfigError       a setting, a tag or a profile that cannot be used
 +-- PriceBookError    a price file that cannot be read
 +-- WebhookError      an event of a webhook that proves nothing
 +-- SourceError       a usage report of a gateway that cannot be read, or not to its end
 +-- ExportError       an export that cannot be written
 +-- CallRefused       a call that a check does not let go: the one error that is raised inside a caller's request
      +-- BudgetExceeded   a budget does not
 +-- LedgerError       the database
      +-- SchemaOutdated   it needs `pixelmeter db upgrade`
      +-- SchemaTooNew     it was made by a newer pixelmeter
      +-- RowRefused       it refuses the data of a write, however often that is tried
           +-- AttemptPruned   it is from before what has been pruned

PixelmeterWarning, which is warned of and not raised: a part of an object that cannot be metered.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

__all__ = [
    "AttemptPruned",
    "BudgetExceeded",
    "BudgetReason",
    "CallRefused",
    "ConfigError",
    "ExportError",
    "LedgerError",
    "PixelmeterError",
    "PixelmeterWarning",
    "PriceBookError",
    "RowRefused",
    "SchemaOutdated",
    "SchemaTooNew",
    "SourceError",
    "WebhookError",
]


BudgetReason = Literal["limit", "unpriced", "unavailable"]
"""Why a budget does not let a call go."""


class PixelmeterError(Exception):
    """Base of every error that pixelmeter raises."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class PixelmeterWarning(UserWarning):
    """A part of an object that was instrumented cannot be metered, such as calls over gRPC."""


class ConfigError(PixelmeterError):
    """A setting, an argument, a tag or a profile cannot be used."""


class PriceBookError(PixelmeterError):
    """A price file cannot be read."""


class WebhookError(PixelmeterError):
    """An event of a webhook is not taken: its signature is missing, wrong or too old, or it cannot be read."""


class SourceError(PixelmeterError):
    """A usage report cannot be read."""


class ExportError(PixelmeterError):
    """An export cannot be written."""


class CallRefused(PixelmeterError):
    """A call was not sent, because a check of `Intake.begin` does not let it go."""

    error_type = "call_refused"
    """What a response that says so has as the type of its error."""
    refuse: Literal["raise", "respond"] | None = None
    """Whether the check wants it raised or responded; None leaves it to the client."""

    def fields(self) -> dict[str, Any]:
        """Return what an equal one is made of, by name."""
        return {"message": str(self)}

    def details(self) -> dict[str, Any]:
        """Return what a response that says so has besides the message."""
        return {}


class BudgetExceeded(CallRefused):
    """A call was not sent, because a budget does not let it go. Amounts are exact US dollars.

    It is raised in place of a response, so code that handles errors of its HTTP library finds it: where those libraries
    are in use, it is an `httpx.HTTPError`, an `httpx2.HTTPError` and an `openai.OpenAIError` as well.
    """

    error_type = "budget_exceeded"

    def __init__(
        self,
        *,
        budget: str,
        reason: BudgetReason,
        limit: Decimal,
        spent: Decimal | None = None,
        reserved: Decimal | None = None,
        needed: Decimal | None = None,
        value: str = "",
        resets_at: datetime | None = None,
    ) -> None:
        self.budget = budget
        """The name of the budget."""
        self.value = value
        """The value of `each` whose budget is used up, such as the customer; "" for a budget without `each`."""
        self.reason: BudgetReason = reason
        """`limit`: it would go over; `unpriced`: its price is not known; `unavailable`: the ledger does not answer."""
        self.limit = limit
        """What may be spent."""
        self.spent = spent
        """What attempts have cost so far, with the amounts at risk; None where that is not known."""
        self.reserved = reserved
        """The most that calls under way can cost, and what processes may spend without asking the ledger again."""
        self.needed = needed
        """The most that the refused call can cost; None where nobody can say."""
        self.resets_at = resets_at
        """When the next day, week or month of the budget begins (UTC); None for a budget per "total"."""
        self.refuse: Literal["raise", "respond"] | None = None
        """Whether the budget wants it raised or responded; None leaves it to the client."""
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        of = f" of {self.value!r}" if self.value else ""
        budget = f"the budget {self.budget!r}{of} ({_usd(self.limit)})"
        until = f"; it resets at {self.resets_at:%Y-%m-%dT%H:%M:%SZ}" if self.resets_at is not None else ""
        if self.reason == "unpriced":
            return f"{budget} refuses calls whose price is not known{until}"
        if self.reason == "unavailable":
            return f"{budget} cannot be asked, because the ledger does not answer{until}"
        return (
            f"{budget} refuses this call: {_usd(self.spent)} spent, {_usd(self.reserved)} reserved, "
            f"and it may cost {_usd(self.needed)}{until}"
        )

    def fields(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return {name: getattr(self, name) for name in _FIELDS}

    def details(self) -> dict[str, Any]:
        """Return the attributes as a response has them: amounts are decimal texts."""
        return {
            "budget": self.budget,
            "value": self.value,
            "reason": self.reason,
            "limit_usd": _decimal(self.limit),
            "spent_usd": _decimal(self.spent),
            "reserved_usd": _decimal(self.reserved),
            "needed_usd": _decimal(self.needed),
            "resets_at": self.resets_at,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.fields(),)


_FIELDS = ("budget", "value", "reason", "limit", "spent", "reserved", "needed", "resets_at")


def _again(fields: dict[str, Any]) -> BudgetExceeded:
    return BudgetExceeded(**fields)


def _usd(amount: Decimal | None) -> str:
    return "an unknown amount" if amount is None else f"${amount:f}"


def _decimal(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"


class LedgerError(PixelmeterError):
    """The ledger database cannot be used."""


class SchemaOutdated(LedgerError):
    """The ledger was made by an older pixelmeter: run `pixelmeter db upgrade`."""


class SchemaTooNew(LedgerError):
    """The ledger was made by a newer pixelmeter: upgrade the package."""


class RowRefused(LedgerError):
    """The ledger refuses the data of a write, whatever the number of tries."""


class AttemptPruned(RowRefused):
    """Attempts began before `horizon` and have been pruned: those of a write may have been among them."""

    def __init__(self, text: str, horizon: int) -> None:
        """`horizon` is a Unix time in microseconds."""
        super().__init__(text)
        self.horizon = horizon
