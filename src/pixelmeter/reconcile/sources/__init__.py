"""Where statements come from: usage reports of gateways, and files."""

from __future__ import annotations

from pixelmeter.reconcile.sources.aigateway import (
    AigatewayByTag,
    AigatewayRecent,
    AigatewaySubAccountDays,
    AigatewaySubAccounts,
)
from pixelmeter.reconcile.sources.client import UsageClient
from pixelmeter.reconcile.sources.cloudflare import CloudflareLogs
from pixelmeter.reconcile.sources.files import FileSource
from pixelmeter.reconcile.sources.litellm import LitellmSpendLogs
from pixelmeter.reconcile.sources.openai import OpenaiCosts, OpenaiImages
from pixelmeter.reconcile.sources.openrouter import OpenrouterActivity, OpenrouterGenerations
from pixelmeter.reconcile.sources.source import Page, Source

__all__ = ["SOURCES", "FileSource", "Page", "Source", "UsageClient", "sources_for"]

SOURCES: tuple[Source, ...] = (
    AigatewayRecent(),
    AigatewayByTag(),
    AigatewaySubAccounts(),
    AigatewaySubAccountDays(),
    OpenaiCosts(),
    OpenaiImages(),
    OpenrouterGenerations(),
    OpenrouterActivity(),
    LitellmSpendLogs(),
    CloudflareLogs(),
)
"""Every report that can be asked for; of a gateway, the one to be used unless another is named comes first."""


def sources_for(gateway: str) -> tuple[Source, ...]:
    """Return the reports of a gateway, the usual one first; none where it has no report that is known."""
    return tuple(source for source in SOURCES if source.gateway == gateway)
