"""A price that is found later: attempts that are in the ledger, priced by what their records keep.

What a record does not keep must not matter: where the steps, the host, the vendor behind the gateway, the kind of the
cached tokens, the units that the gateway counted or another model's work may decide the cost, the attempt stays as it
is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from pixelmeter.core.apis.reader import ImageRequest, ImageResponse
from pixelmeter.core.apis.usage import Usage
from pixelmeter.core.attempts.again import asked_by
from pixelmeter.core.attempts.billing import Reported, Tiers, fee_of, price_of, settle
from pixelmeter.core.attempts.jobs import JobEnd, Settler
from pixelmeter.core.attempts.record import MICROSECONDS_PER_DAY, Attempt
from pixelmeter.core.attempts.terms import Named, consumption_of
from pixelmeter.core.gateways.profile import Profile, Region
from pixelmeter.core.gateways.profiles import Profiles
from pixelmeter.core.gateways.routes import routes_of
from pixelmeter.core.memo import Memo
from pixelmeter.core.pricing.book import REASONS, PriceBook
from pixelmeter.core.pricing.parts import Part

__all__ = ["BY_ESTIMATE", "FOUND_LATER", "Ended", "Repriced", "Repricer", "Stays"]

FOUND_LATER = tuple(
    reason for reason in REASONS if reason not in ("unpriced_tokens", "unpriced_usage", "unread_request")
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


class _Behind(NamedTuple):
    """What the routes of a gateway say of one operation."""

    vendors: tuple[tuple[str, ...], ...]
    """Whose prices hold, by route."""
    counts_units: bool
    """Whether it may say how many units of its price it billed."""


class _Case(NamedTuple):
    """One of the ways in which what a record does not keep may have been."""

    request: ImageRequest
    usage: Usage
    region: Region | None
    vendors: tuple[str, ...]


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

    def __init__(self, profiles: Profiles, book: PriceBook, host: str | None = None) -> None:
        """`host` is the one that the attempts of its gateway were sent to, where somebody says so."""
        self._profiles = profiles
        self._book = book
        self._host = host
        self._behind: dict[tuple[str, str], _Behind] = {}
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
        # What was priced says itself whether its host had another price.
        regions = self._regions(self._profile(attempt)) if is_unknown else (None,)
        tiers = self._tiers(attempt, regions)
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
        asked = asked_by(attempt)
        if asked.unread:
            return "unread_request"
        profile = self._profile(attempt)
        wanted = consumption_of(asked, ImageResponse(), images=attempt.requested_images)
        behind = self._behind_of(profile, attempt.operation).vendors
        if () in behind and len(behind) > 1:
            return "not_kept"
        found = [
            self._book.estimate(
                wanted, gateway=attempt.gateway, model=model, at=attempt.started_at, vendors=vendors, region=region
            )
            for model in _models(attempt, profile)
            for vendors in behind
            for region in self._regions(profile)
        ]
        most = max((each for each in found if each is not None), default=None)
        if most is None:
            return "no_price"
        return Repriced(msgspec.structs.replace(attempt, at_risk=most), BY_ESTIMATE)

    def _profile(self, attempt: Attempt) -> Profile:
        return self._profiles.of_gateway(attempt.gateway)

    def _tiers(self, attempt: Attempt, regions: tuple[Region | None, ...]) -> Tiers | str:
        day = attempt.started_at // MICROSECONDS_PER_DAY
        key = (day, len(regions), *(getattr(attempt, name) for name in _KEY))
        found = self._known.get(key)
        return self._known.keep(key, self._priced(attempt, regions)) if found is None else found

    def _priced(self, attempt: Attempt, regions: tuple[Region | None, ...]) -> Tiers | str:
        profile = self._profile(attempt)
        models = _models(attempt, profile)
        if not models:
            return "no_model"
        behind = self._behind_of(profile, attempt.operation)
        found = [(case, self._by_book(attempt, models, case)) for case in _cases(attempt, regions, behind.vendors)]
        # A vendor that does not have the model is not the one that made the image.
        possible = [
            (case, tiers) for case, tiers in found if _has_cost(tiers) or tiers.reason != "no_price" or not case.vendors
        ]
        first = next((tiers for _, tiers in possible if _has_cost(tiers)), None)
        if first is None:
            return possible[0][1].reason if possible else "no_price"
        if any(_bill(tiers) != _bill(first) for case, tiers in possible if case.region is regions[0]):
            return "not_kept"
        if any(_bill(tiers) != _bill(first) for _, tiers in possible):
            return "regional_price"
        if attempt.operation == "response_image":
            return "not_kept"
        return "not_kept" if behind.counts_units and self._has_unit_price(attempt, models, behind) else first

    def _by_book(self, attempt: Attempt, models: tuple[str, ...], case: _Case) -> Tiers:
        response = ImageResponse(
            readable=True,
            images=attempt.images,
            model=attempt.model,
            size=attempt.size,
            quality=attempt.quality,
            usage=case.usage,
        )
        return price_of(
            case.request,
            response,
            Named(models, is_default=attempt.requested_model is None),
            models,
            None,
            book=self._book,
            gateway=attempt.gateway,
            at=attempt.started_at,
            vendors=case.vendors,
            region=case.region,
        ).tiers

    def _has_unit_price(self, attempt: Attempt, models: tuple[str, ...], behind: _Behind) -> bool:
        return any(
            self._book.cost_of_units("1", gateway=attempt.gateway, model=model, at=attempt.started_at, vendors=vendors)
            for model in models
            for vendors in behind.vendors
        )

    def _regions(self, profile: Profile) -> tuple[Region | None, ...]:
        if self._host is not None and self._profiles.of_host(self._host).id == profile.id:
            return (profile.region_of(self._host),)
        return (None, *profile.region)

    def _behind_of(self, profile: Profile, operation: str) -> _Behind:
        found = self._behind.get((profile.id, operation))
        if found is None:
            routes = [one for one in routes_of(profile, self._profiles.named) if one.operation == operation]
            found = self._behind[profile.id, operation] = _Behind(
                tuple(dict.fromkeys(route.vendors for route in routes)) or (profile.pass_through,),
                any(reader.unit.of_usd is None for route in routes for reader in route.cost),
            )
        return found


def _models(attempt: Attempt, profile: Profile) -> tuple[str, ...]:
    """Return the names under which a price is looked up, the most certain first."""
    # Where the gateway chose the model, that is the one, whatever was asked for.
    is_chosen = attempt.baseline_model is not None or bool(profile.identity.model)
    names = (attempt.model,) if is_chosen else (attempt.model, attempt.requested_model)
    mapped = (profile.deployments.get(name, name) for name in names if name)
    return tuple(name for name in dict.fromkeys(mapped) if not profile.hides(name))


def _cases(
    attempt: Attempt, regions: tuple[Region | None, ...], behind: tuple[tuple[str, ...], ...]
) -> Iterator[_Case]:
    """Yield how the call may have been, as far as the record leaves it open: the most likely first."""
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
    for vendors in behind:
        likely = _Case(asked_by(attempt), usage, regions[0], vendors)
        yield likely
        for region in regions[1:]:
            yield likely._replace(region=region)
        for steps in _STEPS:
            yield likely._replace(request=msgspec.structs.replace(likely.request, steps=steps))
        if cached and text and image:
            yield likely._replace(usage=msgspec.structs.replace(usage, cached_text=cached))
            yield likely._replace(usage=msgspec.structs.replace(usage, cached_image=cached))


def _bill(tiers: Tiers) -> tuple[object, ...]:
    return tiers.token_cost, tiers.image_cost, tiers.price_id


def _has_cost(tiers: Tiers) -> bool:
    return tiers.token_cost is not None or tiers.image_cost is not None


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
