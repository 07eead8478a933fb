"""Error bodies, by status and by gateway."""

from __future__ import annotations

from typing import Any

from pixelmeter.testing.body import document

__all__ = ["failure_text", "refusal_text"]

_AIGATEWAY = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "budget_exceeded",
    403: "scope_exceeded",
    404: "model_not_found",
    413: "payload_too_large",
    429: "rate_limit_error",
    502: "provider_error",
    503: "provider_error",
    504: "timeout_error",
}
_OPENAI = {429: "requests", 500: "server_error", 502: "server_error", 503: "server_error", 504: "server_error"}
_OPENAI_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
_MESSAGES = {
    401: "the API key is not valid",
    402: "cap reached",
    404: "no such model",
    413: "the request is larger than 25 MB",
    429: "too many requests",
    502: "the provider did not answer",
    503: "the provider is down",
    504: "the provider took too long",
}


def failure_text(dialect: str, status: int, kind: str | None, message: str | None = None) -> str:
    """Return the JSON of an error; `kind` replaces the type that the gateway uses for that status."""
    words = message or _MESSAGES.get(status, f"the stand-in gateway was told to answer {status}")
    if dialect == "aigateway":
        usual = _AIGATEWAY.get(status, "invalid_request_error" if status < 500 else "provider_error")
        return document({"error": {"message": words, "type": kind or usual, "code": status}})
    if dialect == "openrouter":
        return document(
            {"error": {"code": status, "message": words, "metadata": {"error_type": kind or "unspecified"}}}
        )
    if dialect == "azure":
        return document({"error": {"code": kind or str(status), "message": words}})
    usual = _OPENAI.get(status, "invalid_request_error")
    if dialect == "litellm":
        usual = "budget_exceeded" if status == 422 else usual
        return document({"error": {"message": words, "type": kind or usual, "param": None, "code": str(status)}})
    code = _OPENAI_CODES.get(status)
    return document({"error": {"message": words, "type": kind or usual, "param": None, "code": code}})


def refusal_text(dialect: str) -> str:
    """Return the JSON of a prompt that moderation refused, with status 400."""
    words = "Your request was rejected by the safety system."
    if dialect in ("aigateway", "litellm", "openrouter"):
        return failure_text(dialect, 400, None, f"upstream: moderation_blocked: {words}")
    error: dict[str, Any] = {"message": words, "type": "image_generation_user_error", "param": None}
    return document(
        {"error": error | {"code": "content_policy_violation" if dialect == "azure" else "moderation_blocked"}}
    )
