"""The reader of images in a plain document, which a profile describes as it does the answers of `prediction_jobs`."""

from __future__ import annotations

from pixelmeter.core.apis.prediction_jobs import JOB, REQUEST, RESPONSE, add_event, response_of

__all__ = ["JOB", "REQUEST", "RESPONSE", "add_event", "response_of"]
