"""Make an image and edit it with nothing but httpx, and keep the client's own limits, time-outs and retries.

    OPENAI_API_KEY=... OPENAI_BASE_URL=https://api.aigateway.sh/v1 python examples/bare_httpx.py

With httpx2 it is the same, from the import on.
"""

from __future__ import annotations

import os

import httpx

import pixelmeter


def main() -> None:
    base_url = os.environ.get("OPENAI_BASE_URL", "https://api.aigateway.sh/v1")
    key = os.environ.get("OPENAI_API_KEY", "")
    with (
        pixelmeter.Meter(tags={"program": "bare_httpx"}) as meter,
        httpx.Client(
            base_url=base_url,
            headers={"authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(10, read=120),
            transport=httpx.HTTPTransport(retries=2, limits=httpx.Limits(max_connections=4)),
        ) as client,
    ):
        pixelmeter.instrument(client, meter)
        made = client.post("/images/generations", json={"model": "meta/sam-3-1-image", "prompt": "a fox"})
        made.raise_for_status()
        link = made.json()["data"][0]["url"]
        change = {"model": "bria/fibo-edit/replace_object_by_text", "prompt": "put a hat on it", "image_url": link}
        edited = client.post("/images/edits", json=change)
        edited.raise_for_status()
        print(edited.json()["data"][0]["url"])


if __name__ == "__main__":
    main()
