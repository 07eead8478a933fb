"""Have a LangChain model paint with OpenAI's image tool, each picture for a customer.

    pip install langchain-openai
    OPENAI_API_KEY=... python examples/langchain_images.py

Afterwards `pixelmeter report --by tag:customer` says what each customer cost: the picture, and the model that asked for
it.
"""

from __future__ import annotations

from langchain_openai import ChatOpenAI

import pixelmeter


def main() -> None:
    with pixelmeter.Meter() as meter:
        model = pixelmeter.instrument(ChatOpenAI(model="gpt-5", use_responses_api=True), meter)
        painter = model.bind_tools([{"type": "image_generation", "model": "gpt-image-1", "quality": "low"}])
        for customer in ("acme", "globex"):
            with pixelmeter.tags(customer=customer):
                answer = painter.invoke(f"Paint a banner for {customer}.")
            pictures = [block for block in answer.content_blocks if block["type"] == "image"]
            print(f"{customer}: {len(pictures)} pictures")


if __name__ == "__main__":
    main()
