"""Make images with the OpenAI SDK, and print what they cost.

    OPENAI_API_KEY=... OPENAI_BASE_URL=https://api.aigateway.sh/v1 python examples/openai_sync.py

Afterwards `pixelmeter report` says the same of the ledger, pixelmeter.db (or PIXELMETER_DATABASE_URL).
"""

from __future__ import annotations

from openai import OpenAI

import pixelmeter


def main() -> None:
    with pixelmeter.Meter() as meter, OpenAI() as client:
        pixelmeter.instrument(client, meter)
        with pixelmeter.tags(team="growth", feature="hero"):
            answer = client.images.generate(model="meta/sam-3-1-image", prompt="a serene cyberpunk city at dusk", n=2)
        for image in answer.data or []:
            print(image.url or f"{len(image.b64_json or '')} characters of base64")


if __name__ == "__main__":
    main()
