"""The openai SDK for Azure, and the module used as a client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

import pixelmeter
from pixelmeter.testing import Gateway
from tests.clients import settled
from tests.interop.conftest import Metered
from tests.interop.sdk import SAM, opened


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [openai.AzureOpenAI, openai.AsyncAzureOpenAI], ids=["sync", "async"])
async def test_a_deployment_of_azure_is_priced_as_the_model_it_runs(
    kind: Any, gateway: Gateway, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = (Path(pixelmeter.__file__).parent / "gateways" / "azure.toml").read_text()
    mine = tmp_path / "azure.toml"
    mine.write_text(profile + '\n[deployments]\nimg-prod = "gpt-image-2"\n')
    monkeypatch.setenv("PIXELMETER_PROFILES", str(mine))
    with pixelmeter.Meter(sqlite_url, gateways={"127.0.0.1:*": "azure"}) as meter:
        azure = kind(azure_endpoint=gateway.root, api_key="k", api_version="2025-04-01-preview")
        async with opened(pixelmeter.instrument(azure, meter)):
            ask = {"model": "img-prod", "prompt": "a red fox", "size": "1024x1024"}
            await settled(azure.images.generate(**ask, quality="low"))
            await settled(azure.images.edit(**ask, image=[b"one", b"two"], quality="high"))
        attempts = Metered(meter).attempts()
    bill = gateway.billing()
    assert "/openai/deployments/img-prod/images/generations" == bill[0]["path"]
    assert [(line["charged_nano"], f"apim-{line['request_id']}", line["operation"]) for line in bill] == [
        (attempt.cost, attempt.request_id, attempt.operation) for attempt in attempts
    ]
    assert [("azure", "img-prod", "gpt-image-2", 0), ("azure", "img-prod", "gpt-image-2", 2)] == [
        (attempt.gateway, attempt.requested_model, attempt.model, attempt.input_images) for attempt in attempts
    ]


@pytest.fixture
def module(gateway: Gateway) -> Iterator[Any]:
    """The module itself as a client, pointed at the gateway."""
    openai.api_key, openai.base_url = "sk-test", f"{gateway.url}/"
    try:
        yield openai
    finally:
        openai.api_key = openai.base_url = openai.http_client = None
        openai._reset_client()


def test_calls_on_the_module_are_metered_through_its_http_client(
    module: Any, gateway: Gateway, metered: Metered
) -> None:
    with openai.DefaultHttpxClient() as http_client:
        module.http_client = pixelmeter.instrument(http_client, metered.meter)
        module.images.generate(model=SAM, prompt="a fox", n=3)
    assert gateway.billed_nano() == metered.attempt().cost == 30_000_000
