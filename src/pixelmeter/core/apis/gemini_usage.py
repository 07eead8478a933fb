"""What Gemini's `usageMetadata` says: tokens by modality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from pixelmeter.core.apis.usage import Usage, UsageReader, has_count
from pixelmeter.core.text import count

__all__ = ["gemini_usage_of"]

_KNOWN = frozenset(
    {
        "promptTokenCount",
        "promptTokensDetails",
        "toolUsePromptTokenCount",
        "toolUsePromptTokensDetails",
        "cachedContentTokenCount",
        "cacheTokensDetails",
        "candidatesTokenCount",
        "candidatesTokensDetails",
        "thoughtsTokenCount",
        "totalTokenCount",
    }
)


def gemini_usage_of(fields: Mapping[str, Any], *, input_images: int, images: bool) -> Usage:
    """Read Gemini's `usageMetadata`; `images` says whether the answer has any.

    Thoughts and what the details of the candidates leave out are text. The counts of prompt, tool results, candidates
    and thoughts are the total (google-genai 3.6.1, `GenerateContentResponseUsageMetadata`).
    """
    return _GeminiReader().read(fields, input_images, images=images)


class _Modalities(NamedTuple):
    text: int
    image: int
    other: int
    """Of audio, video and documents, for which no price is known."""


class _GeminiReader(UsageReader):
    def read(self, fields: Mapping[str, Any], input_images: int, *, images: bool) -> Usage:
        self._unknown(fields, _KNOWN)
        prompt, tool = self._count(fields, "promptTokenCount"), self._count(fields, "toolUsePromptTokenCount")
        made, thoughts = self._count(fields, "candidatesTokenCount"), self._count(fields, "thoughtsTokenCount")
        given = self._modalities(fields, "promptTokensDetails")
        # Where images went in, nobody knows how many of the tokens are theirs.
        text, image = (None if input_images else prompt, None) if given is None else (given.text, given.image)
        if given is not None:
            self._compare(given.text + given.image, prompt)
        results = self._modalities(fields, "toolUsePromptTokensDetails")
        if results is not None:
            self._compare(results.text + results.image, tool)
        tool_text, tool_image = (tool or 0, 0) if results is None else (results.text, results.image)
        if text is not None or prompt is None:
            text = (text or 0) + tool_text if tool_text else text
        elif tool_text:
            self._say("unparsed")
        image = (image or 0) + tool_image if tool_image else image
        split = self._modalities(fields, "cacheTokensDetails")
        if split is not None and split.other:
            self._say("unpriced_tokens")
        cached, cached_text, cached_image = self._cached(
            self._count(fields, "cachedContentTokenCount"),
            {} if split is None else {"text_tokens": split.text, "image_tokens": split.image},
            text,
            image,
        )
        answer = self._modalities(fields, "candidatesTokensDetails")
        output_text, output_image = self._candidates(made, answer, images=images)
        if made is None and answer is not None:
            made = answer.text + answer.image
        self._compare((prompt or 0) + (tool or 0) + (made or 0) + (thoughts or 0), self._total(fields))
        return Usage(
            input_text=self._sane(text),
            input_image=self._sane(image),
            cached=self._sane(cached),
            cached_text=self._sane(cached_text),
            cached_image=self._sane(cached_image),
            output_text=self._sane((output_text or 0) + thoughts if thoughts else output_text),
            output_image=self._sane(output_image),
            doubt=self._doubt,
        )

    def _candidates(
        self, total: int | None, details: _Modalities | None, *, images: bool
    ) -> tuple[int | None, int | None]:
        if details is None:
            if images and total:
                self._say("unparsed")
            return (None if images else total), None
        left = 0 if total is None else total - details.text - details.image - details.other
        if left < 0 or (left and images and not details.image):
            self._say("unparsed")
        return details.text + max(left, 0), details.image

    def _total(self, fields: Mapping[str, Any]) -> int | None:
        return self._count(fields, "totalTokenCount") or None

    def _modalities(self, fields: Mapping[str, Any], name: str) -> _Modalities | None:
        """Return a list of counts by modality; None where there is none. One without a modality is of text."""
        details: list[Any] | None = fields.get(name)
        if not isinstance(details, list):
            if has_count(details):
                self._say("unpriced_tokens")
            return None
        text = image = other = 0
        for each in details:
            if not isinstance(each, dict):
                self._say("unparsed")
                continue
            entry = cast("dict[str, Any]", each)
            tokens, modality = self._count(entry, "tokenCount") or 0, entry.get("modality")
            if modality in (None, "TEXT", "MODALITY_UNSPECIFIED"):
                text += tokens
            elif modality == "IMAGE":
                image += tokens
            elif tokens:
                other += tokens
                self._say("unpriced_tokens")
        return _Modalities(text, image, other) if details else None

    def _sane(self, tokens: int | None) -> int | None:
        """Return a sum of counts; None for one that no call has."""
        if tokens is not None and count(tokens) is None:
            self._say("unparsed")
            return None
        return tokens
