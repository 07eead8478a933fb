"""What one attempt adds to the metrics."""

from __future__ import annotations

from pixelmeter.core.attempts.record import NANO_PER_USD, Attempt
from pixelmeter.core.labels import error_type, quality_label, size_label, tokens
from pixelmeter.sinks.prometheus.families import Exemplar, Families

__all__ = ["count"]


def count(attempt: Attempt, families: Families, exemplar: Exemplar) -> None:
    """Add an attempt that has ended; the exemplar goes to its duration and its cost."""
    gateway, model = families.names(
        attempt.gateway,
        attempt.operation,
        attempt.model,
        priced=attempt.price_id is not None or attempt.at_risk is not None,
    )
    call = (gateway, attempt.operation, model)
    child = families.child
    child("pixelmeter_requests_total", (*call, attempt.outcome, error_type(attempt))).inc()
    if attempt.attempt:
        child("pixelmeter_retries_total", call).inc()
    child("pixelmeter_request_duration_seconds", (*call, attempt.outcome)).observe(attempt.duration / 1e6, exemplar)
    if attempt.first_byte is not None:
        child("pixelmeter_time_to_first_byte_seconds", call).observe(attempt.first_byte / 1e6)
    if attempt.first_image is not None:
        child("pixelmeter_time_to_first_image_seconds", call).observe(attempt.first_image / 1e6)
    if attempt.remaining_requests is not None:
        child("pixelmeter_ratelimit_remaining", (gateway, "requests")).set(attempt.remaining_requests)
    if attempt.cost is None:
        child("pixelmeter_unknown_cost_requests_total", (*call, attempt.cost_reason or "")).inc()
    elif attempt.cost:
        child("pixelmeter_cost_usd_total", (*call, attempt.cost_source)).inc(attempt.cost / NANO_PER_USD, exemplar)
    if attempt.at_risk:
        child("pixelmeter_at_risk_usd_total", call).inc(attempt.at_risk / NANO_PER_USD)
    if attempt.images:
        child("pixelmeter_images_total", (*call, size_label(attempt), quality_label(attempt))).inc(attempt.images)
    for direction, modality, number in tokens(attempt):
        child("pixelmeter_tokens_total", (gateway, model, direction, modality)).inc(number)
