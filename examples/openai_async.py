"""Make images at the same time with the async OpenAI SDK, each for a customer of its own.

    OPENAI_API_KEY=... OPENAI_BASE_URL=https://api.aigateway.sh/v1 python examples/openai_async.py

Afterwards `pixelmeter report --by tag:customer` says what each customer cost.
"""

from __future__ import annotations

import asyncio

from openai import AsyncOpenAI

import pixelmeter


async def picture_for(client: AsyncOpenAI, customer: str) -> int:
    with pixelmeter.tags(customer=customer):
        answer = await client.images.generate(model="meta/sam-3-1-image", prompt=f"a banner for {customer}")
    return len(answer.data or [])


async def main() -> None:
    async with pixelmeter.Meter() as meter, AsyncOpenAI() as client:
        pixelmeter.instrument(client, meter)
        made = await asyncio.gather(*(picture_for(client, customer) for customer in ("acme", "globex", "initech")))
    print(f"{sum(made)} images")


if __name__ == "__main__":
    asyncio.run(main())
