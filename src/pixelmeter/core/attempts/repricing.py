"""A price that is found later: attempts that are in the ledger, priced by what their records keep.

What a record does not keep must not matter: where the steps, the cached tokens of each kind, the units that the gateway
counted or another model's work may decide the cost, the attempt stays as it is. The price is the plain one, as which
host of a gateway it was is not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from pixelmeter.core.apis.reader import ImageRequest, ImageResponse
from pixelmeter.core.apis.usage import Usage
from pixelmeter.core.attempts.again import asked_by, vendors_behind
from pixelmeter.core.attempts.billing import Reported, Tiers, fee_of, price_of, settle
from pixelmeter.core.attempts.jobs import JobEnd, Settler
from pixelmeter.core.attempts.record import MICROSECONDS_PER_DAY, Attempt
from pixelmeter.core.attempts.terms import Named, consumption_of
from pixelmeter.core.gateways.profile import Profile
from pixelmeter.core.gateways.profiles import Profiles
from pixelmeter.core.memo import Memo
from pixelmeter.core.pricing.book import REASONS, PriceBook
from pixelmeter.core.pricing.parts import Part

__all__ = ["BY_ESTIMATE", "FOUND_LATER", "Ended", "Repriced", "Repricer", "Stays"]

FOUND_LATER = tuple(
    reason for reason in REASONS if reason not in ("unpriced_tokens", "unpriced_usage", "regional_price")
)
"""The reasons for an unknown cost that a better price book can remove. Of the others it is not kept what is priced."""
BY_ESTIMATE = "price book"
"""Where an estimate comes from, which has no price id."""

Stays = str
"""Why an attempt stays as it is: a reason of the price book; `not_kept`, where its record has too little; `same_price`;
or `settled`, where it is none of the book's business."""

# No price depends on steps that has the same cost for all of these.
_STEPS = (1, 30, 1000)
_REMEMBERED = 4096
_MONEY = (
    "billing", "cost", "cost_source", "cost_reason", "token_cost", "image_cost", "price_id", "priced_parts", "fee",
    "at_risk",
)  # fmt: skip
_KEY = (
    "gateway", "operation", "model", "requested_model", "requested_images", "images", "input_images", "requested_size",
    "size", "requested_quality", "quality", "input_text_tokens", "input_image_tokens", "cached_input_tokens",
    "output_text_tokens", "output_image_tokens", "service_tier", "byok", "baseline_model",
)  # fmt: skip
_parts = msgspec.json.Decoder(list[Part]).decode


class Ended(NamedTuple):
    """The job of an attempt: the attempt as it was at the submit, and all that was heard of its end."""

    submitted: Attempt
    end: JobEnd


class Repriced(NamedTuple):
    """An attempt as it is by a price that was found later."""

    after: Attempt
    source: str
    """The price id, or BY_ESTIMATE."""


class Repricer:
    """Prices attempts again."""

    def __init__(self, profiles: Profiles, book: PriceBook) -> None:
        self._profiles = profiles
        self._book = book
        self._settler = Settler(profiles, book)
        self._known: Memo[tuple[object, ...], Tiers | str] = Memo(_REMEMBERED)

    def repriced(self, attempt: Attempt, ended: Ended | None = None, *, with_priced: bool = False) -> Repriced | Stays:
        """Return an attempt by the price book as it is now, or why it stays as it is.

        What is unknown gets a cost, and where its billing is unknown too an estimate; with `with_priced`, a cost by an
        older state of the book is replaced. What the gateway, a statement or a person said stays.
        """
        if attempt.cost is None and attempt.billing in ("unknown", "pending"):
            return self._estimated(attempt)
        is_unknown = attempt.cost is None and attempt.cost_reason in FOUND_LATER
        if not is_unknown and not (with_priced and attempt.cost is not None and attempt.cost_source == "priced"):
            return "settled"
        if ended is not None:
            return self._by_its_end(attempt, ended)
        tiers = self._tiers(attempt)
        if isinstance(tiers, str):
            return tiers
        if not is_unknown and not _is_same_bill(attempt.priced_parts, tiers.parts):
            return "not_kept"
        profile = self._profile(attempt)
        found = settle(
            attempt.outcome,
            sent=True,
            status=attempt.status,
            profile=profile,
            reported=Reported(attempt.reported_cost, attempt.reported_text),
            tiers=tiers,
            byok=attempt.byok,
        )
        if found.cost_source != "priced":
            return "settled"
        return _changed(
            attempt,
            msgspec.structs.replace(
                attempt,
                billing=found.billing,
                cost=found.cost,
                cost_source=found.cost_source,
                cost_reason=found.cost_reason,
                token_cost=tiers.token_cost,
                image_cost=tiers.image_cost,
                price_id=tiers.price_id,
                priced_parts=tiers.parts,
                fee=attempt.fee if attempt.byok else fee_of(found.cost, attempt.fee_rate),
            ),
        )

    def _by_its_end(self, attempt: Attempt, ended: Ended) -> Repriced | Stays:
        after = self._settler.ended(ended.submitted, ended.end)
        if after.cost is None or after.cost_source != "priced":
            return after.cost_reason or "settled"
        return _changed(attempt, msgspec.structs.replace(attempt, **{name: getattr(after, name) for name in _MONEY}))

    def _estimated(self, attempt: Attempt) -> Repriced | Stays:
        if attempt.at_risk is not None:
            return "settled"
        profile = self._profile(attempt)
        wanted = consumption_of(asked_by(attempt), ImageResponse(), images=attempt.requested_images)
        vendors = vendors_behind(profile)
        for model in _models(attempt, profile):
            found = self._book.estimate(
                wanted, gateway=attempt.gateway, model=model, at=attempt.started_at, vendors=vendors
            )
            if found is not None:
                return Repriced(msgspec.structs.replace(attempt, at_risk=found), BY_ESTIMATE)
        return "no_price"

    def _profile(self, attempt: Attempt) -> Profile:
        return self._profiles.named(attempt.gateway) or self._profiles.of_host(attempt.gateway)

    def _tiers(self, attempt: Attempt) -> Tiers | str:
        key = (attempt.started_at // MICROSECONDS_PER_DAY, *(getattr(attempt, name) for name in _KEY))
        found = self._known.get(key)
        return self._known.keep(key, self._priced(attempt)) if found is None else found

    def _priced(self, attempt: Attempt) -> Tiers | str:
        profile = self._profile(attempt)
        models = _models(attempt, profile)
        if not models:
            return "no_model"
        first, *others = (
            self._by_book(attempt, profile, models, request, usage) for request, usage in _possible(attempt)
        )
        if first.token_cost is None and first.image_cost is None:
            return first.reason
        is_open = any((one.token_cost, one.image_cost) != (first.token_cost, first.image_cost) for one in others)
        if is_open or attempt.operation == "response_image" or self._counts_units(attempt, profile, models):
            return "not_kept"
        return first

    def _by_book(
        self, attempt: Attempt, profile: Profile, models: tuple[str, ...], request: ImageRequest, usage: Usage
    ) -> Tiers:
        response = ImageResponse(
            readable=True,
            images=attempt.images,
            model=attempt.model,
            size=attempt.size,
            quality=attempt.quality,
            usage=usage,
        )
        named = Named(models, is_default=attempt.requested_model is None)
        return price_of(
            request,
            response,
            named,
            models,
            None,
            book=self._book,
            gateway=attempt.gateway,
            at=attempt.started_at,
            vendors=vendors_behind(profile),
            region=None,
        ).tiers

    def _counts_units(self, attempt: Attempt, profile: Profile, models: Sequence[str]) -> bool:
        """Return whether the gateway may have counted the units itself that the book has a price for."""
        if all(reader.unit.of_usd is not None for reader in profile.cost):
            return False
        vendors = vendors_behind(profile)
        return any(
            self._book.cost_of_units("1", gateway=attempt.gateway, model=model, at=attempt.started_at, vendors=vendors)
            for model in models
        )


def _models(attempt: Attempt, profile: Profile) -> tuple[str, ...]:
    """Return the names under which a price is looked up, the most certain first."""
    # Where the gateway chose the model, that is the one, whatever was asked for.
    is_chosen = attempt.baseline_model is not None or bool(profile.identity.model)
    names = (attempt.model,) if is_chosen else (attempt.model, attempt.requested_model)
    mapped = (profile.deployments.get(name, name) for name in names if name)
    return tuple(name for name in dict.fromkeys(mapped) if not profile.hides(name))


def _possible(attempt: Attempt) -> Iterator[tuple[ImageRequest, Usage]]:
    """Yield what may have been asked for and used, as far as the record leaves it open."""
    request = asked_by(attempt)
    text, image, cached = attempt.input_text_tokens, attempt.input_image_tokens, attempt.cached_input_tokens
    usage = Usage(
        input_text=text,
        input_image=image,
        cached=cached,
        cached_text=cached if not image else None,
        cached_image=cached if image and not text else None,
        output_text=attempt.output_text_tokens,
        output_image=attempt.output_image_tokens,
    )
    yield request, usage
    for steps in _STEPS:
        yield msgspec.structs.replace(request, steps=steps), usage
    if cached and text and image:
        yield request, msgspec.structs.replace(usage, cached_text=cached)
        yield request, msgspec.structs.replace(usage, cached_image=cached)


def _is_same_bill(before: str | None, after: str | None) -> bool:
    """Return whether two costs are of the same quantities of the same units, so that only prices differ."""
    if before is None or after is None:
        return False
    old, new = ([(part.of, part.unit, part.quantity) for part in _parts(parts)] for parts in (before, after))
    return old == new and not any(part.surcharge or part.of == "both" for part in _parts(before))


def _changed(before: Attempt, after: Attempt) -> Repriced | Stays:
    if before.cost == after.cost:
        return "same_price"
    return Repriced(after, after.price_id or BY_ESTIMATE)
