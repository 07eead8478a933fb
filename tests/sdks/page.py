"""The table of docs/clients.md, from what `make sdks` has kept: `python -m tests.sdks.page` writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.sdks.programs import PROGRAMS
from tests.sdks.test_javascript import NPM

__all__ = ["PAGE", "RESULTS", "WRITE", "written"]

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
RESULTS = Path(__file__).with_name("results.json")

_BLOCK = re.compile(r"(<!-- sdks: .*? -->\n).*?(<!-- end of sdks -->)", re.DOTALL)

WRITE = {
    "openai": "`instrument(OpenAI(), meter)`, `AsyncOpenAI`, `AzureOpenAI`, also with an `http_client` of your own",
    "aigateway-py": "`instrument(AIgateway(), meter)`, `AsyncAIgateway`",
    "together": "`instrument(Together(), meter)`, `AsyncTogether`",
    "portkey-ai": "`instrument(Portkey(), meter)`, `AsyncPortkey`",
    "openrouter": "`instrument(OpenRouter(), meter)`, which is sync and async",
    "litellm": "`image_generation(..., client=instrument(OpenAI(), meter))`; or [zero code](#litellm)",
    "google-genai": "`instrument(genai.Client(), meter)`, which is sync and async",
    "fal-client": "`instrument(SyncClient(), meter)`, `AsyncClient`; for `fal_client.run`, `fal_client.sync_client`",
    "replicate": "`instrument(Client(), meter)`, sync and async; for `replicate.run`, `replicate.default_client`",
    "huggingface_hub": "`instrument(InferenceClient(), meter)`, `AsyncInferenceClient`",
    "langchain-openai": "`instrument(ChatOpenAI(), meter)`, before `bind_tools` or after",
    "openai-agents": "`instrument(OpenAIProvider(), meter)`, or the client for `set_default_openai_client`",
    "pydantic-ai": "`instrument(agent, meter)`, a model or a provider",
    "haystack-ai": "`instrument(OpenAIImageGenerator(), meter)`, or the pipeline",
    "boto3": '`instrument(boto3.client("bedrock-runtime"), meter)`',
    "requests": "`instrument(requests.Session(), meter)`; calls such as `requests.post` only with zero code",
    "urllib3": "`instrument(urllib3.PoolManager(), meter)`",
    "aiohttp": "`instrument(aiohttp.ClientSession(), meter)`",
    "httpx": "`instrument(httpx.Client(), meter)`, `AsyncClient`",
    "httpx2": "`instrument(httpx2.Client(), meter)`, `AsyncClient`",
    "npm openai": "`new OpenAI({ baseURL })`, the address of [the proxy](proxy.md)",
}


def written(page: str, results: dict[str, Any]) -> str:
    """Return the page with the table of these results."""
    return _BLOCK.sub(lambda found: found[1] + _table(results) + found[2], page)


def _table(results: dict[str, Any]) -> str:
    lines = [
        f"Run on {results['date']} with Python {results['python']}.",
        "",
        "| SDK | what to write | calls | HTTP library below | zero code | a refused call raises |",
        "|---|---|---|---|---|---|",
        *_rows(results["sdks"]),
    ]
    return "\n".join(lines) + "\n"


def _rows(sdks: dict[str, Any]) -> Iterator[str]:
    programs = [*PROGRAMS, *NPM]
    for sdk in dict.fromkeys(program.sdk for program in programs):
        result = sdks[sdk]
        of_sdk = [program for program in programs if program.sdk == sdk]
        colours = ", ".join(dict.fromkeys(program.colour for program in of_sdk))
        libraries = "; ".join(dict.fromkeys(program.library for program in of_sdk))
        # What a program in another language gets is the answer 402.
        asked = of_sdk if "budget" in result else []
        refused = " or ".join(dict.fromkeys(f"`{program.refused}`" for program in asked if program.in_place))
        works = [result.get("image_method"), result.get("without_a_line"), result.get("budget")]
        assert False not in works, f"{sdk}: a test failed"
        without = "yes" if result.get("without_a_line") else ""
        yield f"| {sdk} {result['version']} | {WRITE[sdk]} | {colours} | {libraries} | {without} | {refused} |"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(), json.loads(RESULTS.read_text())))
