"""A FastAPI service that knows what each customer costs, also when SIGTERM ends it.

    export OPENAI_API_KEY=... OPENAI_BASE_URL=https://api.aigateway.sh/v1
    uvicorn --app-dir examples --workers 2 fastapi_app:app
    curl -X POST -H "x-customer: acme" "http://127.0.0.1:8000/images?prompt=a+fox"

Afterwards `pixelmeter report --by tag:customer` says what each customer cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Request
from openai import AsyncOpenAI

import pixelmeter


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    meter = pixelmeter.Meter()
    try:
        async with AsyncOpenAI() as client:
            app.state.client = pixelmeter.instrument(client, meter)
            yield
    finally:
        # uvicorn runs this at SIGTERM, and then ends the process without exit handlers.
        await asyncio.to_thread(meter.close, 20)


# Replace this header by the customer of your own authentication. It has to be an `async def`.
async def customer(x_customer: Annotated[str | None, Header()] = None) -> AsyncGenerator[None]:
    with pixelmeter.tags(customer=x_customer):
        yield


app = FastAPI(lifespan=lifespan, dependencies=[Depends(customer)])


@app.post("/images")
async def make(request: Request, prompt: str) -> list[str]:
    client: AsyncOpenAI = request.app.state.client
    with pixelmeter.tags(feature="images"):
        answer = await client.images.generate(model="meta/sam-3-1-image", prompt=prompt, response_format="url")
    return [image.url or "" for image in answer.data or []]
