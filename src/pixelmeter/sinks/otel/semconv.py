"""Names of OpenTelemetry's conventions for generative AI, HTTP and servers, as of semantic-conventions-genai 2026-08.

Our own table, because those of `gen_ai.*` in opentelemetry-semantic-conventions are deprecated and lack the newer ones.
"""

from __future__ import annotations

OPERATION_NAME = "gen_ai.operation.name"
PROVIDER_NAME = "gen_ai.provider.name"
OUTPUT_TYPE = "gen_ai.output.type"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
CHOICE_COUNT = "gen_ai.request.choice.count"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
TEXT_INPUT_TOKENS = "gen_ai.usage.text.input_tokens"
IMAGE_INPUT_TOKENS = "gen_ai.usage.image.input_tokens"
TEXT_OUTPUT_TOKENS = "gen_ai.usage.text.output_tokens"
IMAGE_OUTPUT_TOKENS = "gen_ai.usage.image.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"
TOKEN_MODALITY = "gen_ai.token.modality"
ERROR_TYPE = "error.type"
EXCEPTION_TYPE = "exception.type"
STATUS_CODE = "http.response.status_code"
RESEND_COUNT = "http.request.resend_count"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"

COST_AMOUNT = "gen_ai.usage.cost.amount"
"""Proposed in open-telemetry/semantic-conventions-genai#443, like the two that follow; not merged."""
COST_CURRENCY = "gen_ai.usage.cost.currency"
COST_SOURCE = "gen_ai.usage.cost.source"
COST_OPENLIT = "gen_ai.usage.cost"
"""What openlit and LiteLLM write, in US dollars."""

GENERATE_CONTENT = "generate_content"
"""There is no operation for images; this one applies, with the output type `image`."""

TOKEN_BUCKETS = (
    1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864,
)  # fmt: skip
"""The boundaries that the conventions advise for token counts."""

_FLAVOURS = {"azure": "azure.ai.openai"}


def provider_of(gateway: str) -> str:
    """Return the provider, which names the protocol spoken: a gateway that is compatible with OpenAI is `openai`."""
    return _FLAVOURS.get(gateway, "openai")
