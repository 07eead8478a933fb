"""A report that counts images, against the ledger: nothing of it settles anything."""

from __future__ import annotations

from pixelmeter.core.reconciling.images import ImageSum, image_sums
from pixelmeter.errors import ConfigError
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.statements import attempts_in, statements_of
from pixelmeter.reconcile.service import Report, Task
from pixelmeter.reconcile.sources import FileSource, Source
from pixelmeter.reconcile.sources.openai import OpenaiImages

__all__ = ["compared", "counts_images"]


def counts_images(source: Source) -> bool:
    """Return whether a report says how many images were made, and not what they cost."""
    if isinstance(source, FileSource):
        return source.has_images and not source.has_amounts
    return isinstance(source, OpenaiImages)


def compared(reader: LedgerReader, task: Task, report: Report, *, is_stored: bool) -> list[ImageSum]:
    """Return the images of each UTC day and model; ConfigError for a report that has no days."""
    source = task.source
    if source.grain == "month":
        raise ConfigError("images are compared by UTC day: a report of whole months has no days")
    reader.refresh()
    kept = {one.external_id: one for one in statements_of(reader, source.gateway, source.id, task.period)}
    if not is_stored:
        kept |= report.statements
    attempts = attempts_in(reader, source.gateway, task.period)
    return image_sums(kept.values(), attempts, period=task.period, now=task.clock.now(), lag=task.lag)
