"""Programs as users write them: each makes a client of an SDK, instruments it, and calls its own image method."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

__all__ = ["PROGRAMS", "SAM", "Program", "is_there"]

T = TypeVar("T")

SAM = "meta/sam-3-1-image"
"""A model of the stand-in gateway that costs 0.01 USD an image."""


class Instrument(Protocol):
    """`pixelmeter.instrument` with a meter; or nothing, where the process is metered without a line."""

    def __call__(self, client: T, /) -> T: ...


@dataclass(frozen=True)
class Program:
    """A way to make one call for images."""

    sdk: str
    """The name of the SDK in the registry of its language."""
    colour: Literal["sync", "async"]
    run: Callable[[str, Instrument], Any]
    """Makes the call at the server of this URL; a coroutine function where the program is async."""
    library: str
    """What sends, below the SDK."""
    profile: str = "aigateway"
    """The gateway that the server is taken for."""
    answer: tuple[str, str] | None = None
    """The recorded exchange that the server answers with; None for the stand-in gateway."""
    needs: tuple[str, ...] = ()
    """Modules that must be there."""
    variant: str = ""
    host: str = "127.0.0.1"
    """The name by which the program knows the server."""
    in_place: bool = True
    """Whether it instruments a client; else it is metered without a line only."""
    refused: str = "BudgetExceeded"
    """The name of the error that its caller gets for a call that a budget does not let go."""

    def __str__(self) -> str:
        return "-".join(filter(None, (self.sdk, self.variant, self.colour)))


PROGRAMS: list[Program] = []


def _program(**known: Any) -> Callable[[Callable[[str, Instrument], Any]], Callable[[str, Instrument], Any]]:
    def add(run: Callable[[str, Instrument], Any]) -> Callable[[str, Instrument], Any]:
        PROGRAMS.append(Program(run=run, **known))
        return run

    return add


def is_there(program: Program) -> bool:
    """Return whether all that a program needs is installed."""
    return all(importlib.util.find_spec(name) is not None for name in program.needs)


@contextmanager
def _replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


# openai


@_program(sdk="openai", colour="sync", library="httpx2", needs=("openai",))
def _openai(root: str, instrument: Instrument) -> None:
    from openai import OpenAI

    with instrument(OpenAI(base_url=f"{root}/v1", api_key="k")) as client:
        answer = client.images.generate(model=SAM, prompt="a fox", n=2)
        assert answer.data is not None
        assert 2 == len(answer.data)


@_program(sdk="openai", colour="async", library="httpx2", needs=("openai",))
async def _openai_async(root: str, instrument: Instrument) -> None:
    from openai import AsyncOpenAI

    async with instrument(AsyncOpenAI(base_url=f"{root}/v1", api_key="k")) as client:
        await client.images.generate(model=SAM, prompt="a fox")


@_program(sdk="openai", colour="sync", variant="given httpx", library="httpx", needs=("openai", "httpx"))
def _openai_httpx(root: str, instrument: Instrument) -> None:
    import httpx
    from openai import OpenAI

    given: Any = httpx.Client()
    with instrument(OpenAI(base_url=f"{root}/v1", api_key="k", http_client=given)) as client:
        client.images.generate(model=SAM, prompt="a fox")


@_program(
    sdk="openai", colour="async", variant="aiohttp", library="httpx2 over aiohttp", needs=("openai", "httpx_aiohttp")
)
async def _openai_aiohttp(root: str, instrument: Instrument) -> None:
    from openai import AsyncOpenAI, DefaultAioHttpClient

    client = AsyncOpenAI(base_url=f"{root}/v1", api_key="k", http_client=DefaultAioHttpClient())
    async with instrument(client):
        await client.images.generate(model=SAM, prompt="a fox")


# AIgateway


@_program(sdk="aigateway-py", colour="sync", library="httpx", needs=("aigateway",))
def _aigateway(root: str, instrument: Instrument) -> None:
    from aigateway import AIgateway

    client = instrument(AIgateway(api_key="sk-aig-k", base_url=root))
    client._request("POST", "/v1/images/generations", json={"model": SAM, "prompt": "a fox"})
    client.close()


@_program(sdk="aigateway-py", colour="async", library="httpx", needs=("aigateway",))
async def _aigateway_async(root: str, instrument: Instrument) -> None:
    from aigateway import AsyncAIgateway

    client = instrument(AsyncAIgateway(api_key="sk-aig-k", base_url=root))
    await client._request("POST", "/v1/images/generations", json={"model": SAM, "prompt": "a fox"})
    await client.close()


# Gateways and vendors with SDKs of Stainless's making


@_program(
    sdk="together",
    colour="sync",
    library="httpx",
    profile="together",
    answer=("together", "priced by the image"),
    needs=("together",),
    refused="APIStatusError",
)
def _together(root: str, instrument: Instrument) -> None:
    from together import Together

    with instrument(Together(api_key="k", base_url=f"{root}/v1")) as client:
        client.images.generate(model="black-forest-labs/FLUX.2-pro", prompt="a fox")


@_program(
    sdk="together",
    colour="async",
    library="httpx",
    profile="together",
    answer=("together", "priced by the image"),
    needs=("together",),
    refused="APIStatusError",
)
async def _together_async(root: str, instrument: Instrument) -> None:
    from together import AsyncTogether

    async with instrument(AsyncTogether(api_key="k", base_url=f"{root}/v1")) as client:
        await client.images.generate(model="black-forest-labs/FLUX.2-pro", prompt="a fox")


@_program(sdk="portkey-ai", colour="sync", library="httpx", needs=("portkey_ai",), refused="APIStatusError")
def _portkey(root: str, instrument: Instrument) -> None:
    from portkey_ai import Portkey

    client = instrument(Portkey(api_key="k", base_url=f"{root}/v1", provider="openai"))
    client.images.generate(model=SAM, prompt="a fox")


@_program(sdk="portkey-ai", colour="async", library="httpx", needs=("portkey_ai",), refused="APIStatusError")
async def _portkey_async(root: str, instrument: Instrument) -> None:
    from portkey_ai import AsyncPortkey

    client = instrument(AsyncPortkey(api_key="k", base_url=f"{root}/v1", provider="openai"))
    await client.images.generate(model=SAM, prompt="a fox")


_OPENROUTER = ("openrouter", "the images API, with its cost")


@_program(
    sdk="openrouter", colour="sync", library="httpx", profile="openrouter", answer=_OPENROUTER, needs=("openrouter",)
)
def _openrouter(root: str, instrument: Instrument) -> None:
    from openrouter import OpenRouter

    with instrument(OpenRouter(api_key="k", server_url=f"{root}/api/v1")) as client:
        client.images.generate(model="krea/krea-2-large", prompt="a fox")


@_program(
    sdk="openrouter", colour="async", library="httpx", profile="openrouter", answer=_OPENROUTER, needs=("openrouter",)
)
async def _openrouter_async(root: str, instrument: Instrument) -> None:
    from openrouter import OpenRouter

    async with instrument(OpenRouter(api_key="k", server_url=f"{root}/api/v1")) as client:
        await client.images.generate_async(model="krea/krea-2-large", prompt="a fox")


# LiteLLM


@_program(sdk="litellm", colour="sync", library="httpx2", needs=("litellm", "openai"), refused="InternalServerError")
def _litellm(root: str, instrument: Instrument) -> None:
    import litellm
    from openai import OpenAI

    client = instrument(OpenAI(base_url=f"{root}/v1", api_key="k"))
    litellm.image_generation(model=f"openai/{SAM}", prompt="a fox", client=client)


@_program(sdk="litellm", colour="async", library="httpx2", needs=("litellm", "openai"), refused="APIConnectionError")
async def _litellm_async(root: str, instrument: Instrument) -> None:
    import litellm
    from openai import AsyncOpenAI

    client = instrument(AsyncOpenAI(base_url=f"{root}/v1", api_key="k"))
    await litellm.aimage_generation(model=f"openai/{SAM}", prompt="a fox", client=client)


@_program(sdk="litellm", colour="sync", variant="its own client", library="httpx2", needs=("litellm",), in_place=False)
def _litellm_alone(root: str, _: Instrument) -> None:
    import litellm

    litellm.image_generation(model=f"openai/{SAM}", prompt="a fox", api_base=f"{root}/v1", api_key="k")


@_program(sdk="litellm", colour="async", variant="its own client", library="httpx2", needs=("litellm",), in_place=False)
async def _litellm_alone_async(root: str, _: Instrument) -> None:
    import litellm

    await litellm.aimage_generation(model=f"openai/{SAM}", prompt="a fox", api_base=f"{root}/v1", api_key="k")


# Google

_GEMINI = ("google", "generateContent, with tokens by modality")


@_program(
    sdk="google-genai", colour="sync", library="httpx2", profile="google", answer=_GEMINI, needs=("google.genai",)
)
def _genai(root: str, instrument: Instrument) -> None:
    from google import genai

    with instrument(genai.Client(api_key="k", http_options={"base_url": root})) as client:
        client.models.generate_content(model="gemini-2.5-flash-image", contents="a fox")


@_program(
    sdk="google-genai",
    colour="async",
    library="aiohttp where that is installed, else httpx2",
    profile="google",
    answer=_GEMINI,
    needs=("google.genai",),
)
async def _genai_async(root: str, instrument: Instrument) -> None:
    from google import genai

    client = instrument(genai.Client(api_key="k", http_options={"base_url": root}))
    async with client.aio as aio:
        await aio.models.generate_content(model="gemini-2.5-flash-image", contents="a fox")


@_program(
    sdk="google-genai",
    colour="async",
    variant="no aiohttp",
    library="aiohttp where that is installed, else httpx2",
    profile="google",
    answer=_GEMINI,
    needs=("google.genai",),
)
async def _genai_async_httpx2(root: str, instrument: Instrument) -> None:
    from google import genai
    from google.genai import _api_client

    # What the SDK notes at its import.
    with _replaced(_api_client, "has_aiohttp", False):
        client = instrument(genai.Client(api_key="k", http_options={"base_url": root}))
        async with client.aio as aio:
            await aio.models.generate_content(model="gemini-2.5-flash-image", contents="a fox")


# Vendors whose work may be jobs: fal, Replicate


@_program(sdk="fal-client", colour="sync", library="httpx", profile="fal", needs=("fal_client",), host="localhost")
def _fal(root: str, instrument: Instrument) -> None:
    import fal_client

    with _replaced(fal_client.client, "RUN_URL_FORMAT", f"{root}/"):
        client = instrument(fal_client.SyncClient(key="k"))
        answer = client.run("fal-ai/flux/dev", {"prompt": "a fox", "num_images": 3, "image_size": "square_hd"})
        assert 3 == len(answer["images"])
        client._client.close()


@_program(sdk="fal-client", colour="async", library="httpx", profile="fal", needs=("fal_client",), host="localhost")
async def _fal_async(root: str, instrument: Instrument) -> None:
    import fal_client

    with _replaced(fal_client.client, "RUN_URL_FORMAT", f"{root}/"):
        client = instrument(fal_client.AsyncClient(key="k"))
        await client.run("fal-ai/flux/dev", {"prompt": "a fox", "num_images": 3, "image_size": "square_hd"})
        await (await client._client).aclose()


@_program(sdk="replicate", colour="sync", library="httpx", profile="replicate", needs=("replicate",))
def _replicate(root: str, instrument: Instrument) -> None:
    from replicate.client import Client

    client = instrument(Client(api_token="k", base_url=root))
    client.run("black-forest-labs/flux-schnell", input={"prompt": "a fox", "num_outputs": 2})
    client._client.close()


@_program(sdk="replicate", colour="async", library="httpx", profile="replicate", needs=("replicate",))
async def _replicate_async(root: str, instrument: Instrument) -> None:
    from replicate.client import Client

    client = instrument(Client(api_token="k", base_url=root))
    await client.async_run("black-forest-labs/flux-schnell", input={"prompt": "a fox", "num_outputs": 2})
    await client._async_client.aclose()


# Hugging Face


@contextmanager
def _huggingface_at(root: str) -> Iterator[None]:
    """Point its router at a server, and tell of a model what its hub would be asked for."""
    from huggingface_hub import constants
    from huggingface_hub.hf_api import InferenceProviderMapping
    from huggingface_hub.inference._providers import _common

    model = "black-forest-labs/FLUX.2-pro"
    mapping = InferenceProviderMapping(
        provider="together", hf_model_id=model, providerId=model, status="live", task="text-to-image"
    )
    with (
        _replaced(constants, "INFERENCE_PROXY_TEMPLATE", f"{root}/{{provider}}"),
        _replaced(_common, "HARDCODED_MODEL_INFERENCE_MAPPING", {"together": {model: mapping}}),
    ):
        yield


_HUGGINGFACE = ("huggingface", "Together behind it")


@_program(
    sdk="huggingface_hub",
    colour="sync",
    library="httpx2",
    profile="huggingface",
    answer=_HUGGINGFACE,
    needs=("huggingface_hub", "PIL"),
)
def _huggingface(root: str, instrument: Instrument) -> None:
    from huggingface_hub import InferenceClient, set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    # What an earlier program has put there.
    set_client_factory(default_client_factory)
    with _huggingface_at(root):
        client = instrument(InferenceClient(provider="together", api_key="hf_k"))
        client.text_to_image("a fox", model="black-forest-labs/FLUX.2-pro")


@_program(
    sdk="huggingface_hub",
    colour="async",
    library="httpx2",
    profile="huggingface",
    answer=_HUGGINGFACE,
    needs=("huggingface_hub", "PIL"),
)
async def _huggingface_async(root: str, instrument: Instrument) -> None:
    from huggingface_hub import AsyncInferenceClient

    with _huggingface_at(root):
        async with instrument(AsyncInferenceClient(provider="together", api_key="hf_k")) as client:
            await client.text_to_image("a fox", model="black-forest-labs/FLUX.2-pro")


# Frameworks, which send to OpenAI's Responses API

_TOOL = {"type": "image_generation", "model": "gpt-image-1", "size": "1024x1024", "quality": "low"}
_RESPONSES = ("openai-responses", "an image tool: two models and two bills")


@_program(
    sdk="langchain-openai",
    colour="sync",
    library="httpx2",
    profile="openai",
    answer=_RESPONSES,
    needs=("langchain_openai",),
)
def _langchain(root: str, instrument: Instrument) -> None:
    from langchain_openai import ChatOpenAI

    llm = instrument(ChatOpenAI(model="gpt-5", base_url=f"{root}/v1", api_key="k", use_responses_api=True))
    llm.bind_tools([_TOOL]).invoke("a fox")


@_program(
    sdk="langchain-openai",
    colour="async",
    library="httpx2",
    profile="openai",
    answer=_RESPONSES,
    needs=("langchain_openai",),
)
async def _langchain_async(root: str, instrument: Instrument) -> None:
    from langchain_openai import ChatOpenAI

    llm = instrument(ChatOpenAI(model="gpt-5", base_url=f"{root}/v1", api_key="k", use_responses_api=True))
    await llm.bind_tools([_TOOL]).ainvoke("a fox")


@_program(sdk="openai-agents", colour="async", library="httpx2", profile="openai", answer=_RESPONSES, needs=("agents",))
async def _agents(root: str, instrument: Instrument) -> None:
    from agents import Agent, ImageGenerationTool, OpenAIProvider, RunConfig, Runner
    from agents.models import openai_provider

    # All providers share one, which stays with the event loop of an earlier program.
    openai_provider._http_client = None
    provider = instrument(OpenAIProvider(base_url=f"{root}/v1", api_key="k"))
    agent = Agent(name="painter", model="gpt-5", tools=[ImageGenerationTool(tool_config=_TOOL)])
    await Runner.run(agent, "a fox", run_config=RunConfig(model_provider=provider, tracing_disabled=True))


@_program(
    sdk="pydantic-ai",
    colour="async",
    library="httpx2",
    profile="openai",
    answer=_RESPONSES,
    needs=("pydantic_ai.models.openai",),
    refused="ModelQuotaExceededError",
)
async def _pydantic_ai(root: str, instrument: Instrument) -> None:
    from pydantic_ai import Agent, BinaryImage, ImageGenerationTool
    from pydantic_ai.capabilities import NativeTool
    from pydantic_ai.models.openai import OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=f"{root}/v1", api_key="k")
    wanted: Any = {"openai": {"model": "gpt-image-1", "size": "1024x1024", "quality": "low"}}
    tool = ImageGenerationTool(provider_settings=wanted)
    agent: Any = Agent(
        OpenAIResponsesModel("gpt-5", provider=provider), capabilities=[NativeTool(tool)], output_type=BinaryImage
    )
    async with instrument(agent):
        await agent.run("a fox")


@_program(sdk="haystack-ai", colour="sync", library="httpx2", needs=("haystack",))
def _haystack(root: str, instrument: Instrument) -> None:
    from haystack.components.generators import OpenAIImageGenerator
    from haystack.utils import Secret

    painter = instrument(OpenAIImageGenerator(model=SAM, api_key=Secret.from_token("k"), api_base_url=f"{root}/v1"))
    painter.run(prompt="a fox")


@_program(sdk="haystack-ai", colour="async", library="httpx2", needs=("haystack",))
async def _haystack_async(root: str, instrument: Instrument) -> None:
    from haystack.components.generators import OpenAIImageGenerator
    from haystack.utils import Secret

    painter = instrument(OpenAIImageGenerator(model=SAM, api_key=Secret.from_token("k"), api_base_url=f"{root}/v1"))
    await painter.run_async(prompt="a fox")


# What sends with other libraries


@_program(
    sdk="boto3",
    colour="sync",
    library="urllib3",
    profile="bedrock",
    answer=("bedrock", "Nova Canvas, two images"),
    needs=("boto3",),
    refused="ClientError",
)
def _bedrock(root: str, instrument: Instrument) -> None:
    import json

    import boto3

    asked = {
        "taskType": "TEXT_IMAGE",
        "textToImageParams": {"text": "a fox"},
        "imageGenerationConfig": {"numberOfImages": 2, "width": 1024, "height": 1024, "quality": "standard"},
    }
    known = {"region_name": "us-east-1", "aws_access_key_id": "k", "aws_secret_access_key": "k"}
    client = instrument(boto3.client("bedrock-runtime", endpoint_url=root, **known))
    answer = client.invoke_model(modelId="amazon.nova-canvas-v1:0", body=json.dumps(asked))
    assert 2 == len(json.loads(answer["body"].read())["images"])
    client.close()


@_program(sdk="requests", colour="sync", library="urllib3", needs=("requests"))
def _requests(root: str, instrument: Instrument) -> None:
    import requests

    with instrument(requests.Session()) as session:
        session.post(f"{root}/v1/images/generations", json={"model": SAM, "prompt": "a fox"}).raise_for_status()


@_program(sdk="urllib3", colour="sync", library="urllib3", needs=("urllib3"))
def _urllib3(root: str, instrument: Instrument) -> None:
    import urllib3

    with instrument(urllib3.PoolManager()) as pool:
        pool.request("POST", f"{root}/v1/images/generations", json={"model": SAM, "prompt": "a fox"})


@_program(sdk="aiohttp", colour="async", library="aiohttp", needs=("aiohttp",))
async def _aiohttp(root: str, instrument: Instrument) -> None:
    import aiohttp

    async with instrument(aiohttp.ClientSession()) as session:
        asked = {"model": SAM, "prompt": "a fox"}
        async with session.post(f"{root}/v1/images/generations", json=asked) as answer:
            await answer.json()


@_program(sdk="httpx", colour="sync", library="httpx", needs=("httpx",))
def _httpx(root: str, instrument: Instrument) -> None:
    import httpx

    with instrument(httpx.Client()) as client:
        client.post(f"{root}/v1/images/generations", json={"model": SAM, "prompt": "a fox"})


@_program(sdk="httpx2", colour="async", library="httpx2", needs=("httpx2",))
async def _httpx2(root: str, instrument: Instrument) -> None:
    import httpx2

    async with instrument(httpx2.AsyncClient()) as client:
        await client.post(f"{root}/v1/images/generations", json={"model": SAM, "prompt": "a fox"})
