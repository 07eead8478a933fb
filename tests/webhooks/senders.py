"""Events as gateways post them, signed as they sign."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pixelmeter.system import SystemClock

TIME = 1_767_225_600
AIG_SECRET = "aig_whsec_test_0123456789"
AIG_BODY = (
    b'{"id":"evt_01","type":"job.completed","created":1767225600,"data":{"job_id":"job_01",'
    b'"model":"meta/sam-3-1-image","result_url":"https://media.aigateway.sh/fake/1.png","usage":{"cost_cents":4}}}'
)
AIG_HEX = "4a8c2a534c3c5fb050cc7b62f141b18f7466f1ea3927972fcc0f67388d64eadb"
KEY = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PREDICTION = (
    b'{"id":"pred_1","status":"succeeded","output":["https://replicate.delivery/x/out.png"],'
    b'"metrics":{"predict_time":1.5}}'
)
FAL_BODY = (
    b'{"request_id":"req_1","gateway_request_id":"req_1","status":"OK","payload":{"images":'
    b'[{"url":"https://v3.fal.media/files/x.png","width":1024,"height":1024}]}}'
)
FAL_HEX = (
    "60aef48668ba754b2a218e265eaf2082d79c03285cdce59fdafa1648f56ccb0c"
    "20976f63923d29e5a053c4402151304149cc8471548dc70673321b6ba2945607"
)
BRIA_BODY = b'{"request_id":"r1","status":"COMPLETED","result":{"image_url":"https://x/y.png","seed":1}}'
IDEOGRAM_BODY = (
    b'{"generation_id":"g_1","created":"2026-01-01T00:00:00Z","data":[{"url":"https://ideogram.ai/1.png",'
    b'"resolution":"2048x2048","seed":1,"is_image_safe":true}]}'
)
WAVESPEED_BODY = (
    b'{"id":"task_1","model":"wavespeed-ai/flux-dev","outputs":["https://x/1.png"],"status":"completed","error":""}'
)
_PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = _PRIVATE.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
X = base64.urlsafe_b64encode(PUBLIC).decode().rstrip("=")
OTHER_X = base64.urlsafe_b64encode(bytes(32)).decode().rstrip("=")
SECRETS = {
    "aigateway": AIG_SECRET,
    "replicate": f"whsec_{KEY}",
    "fal": X,
    "ideogram": X,
    "bria": "bria_test_token",
    "wavespeed": "whsec_9f3kLq",
}

Headers = dict[str, str]


def digest(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def aig(body: bytes, at: int = TIME, secret: str = AIG_SECRET) -> Headers:
    signed = digest(secret.encode(), f"{at}.".encode() + body).hex()
    return {"X-Gateway-Signature": f"t={at},v1={signed}"}


def aig_docs(body: bytes, at: int = TIME) -> Headers:
    signed = digest(AIG_SECRET.encode(), f"{at}.".encode() + body).hex()
    return {"aig-timestamp": str(at), "aig-signature": signed}


def standard(body: bytes, at: int = TIME, id: str = "wh_01") -> Headers:
    signed = base64.b64encode(digest(base64.b64decode(KEY), f"{id}.{at}.".encode() + body)).decode()
    return {"webhook-id": id, "webhook-timestamp": str(at), "webhook-signature": f"v1,{signed}"}


def ed25519(vendor: str, first: str, job: str, body: bytes, at: int) -> Headers:
    message = "\n".join([job, "user_1", str(at), hashlib.sha256(body).hexdigest()]).encode()
    name = f"X-{vendor}-Webhook"
    return {
        f"{name}-{first}": job,
        f"{name}-User-Id": "user_1",
        f"{name}-Timestamp": str(at),
        f"{name}-Signature": _PRIVATE.sign(message).hex(),
    }


def fal(body: bytes, at: int = TIME) -> Headers:
    return ed25519("Fal", "Request-Id", "req_1", body, at)


def ideogram(body: bytes, at: int = TIME) -> Headers:
    return ed25519("Ideogram", "Generation-Id", "g_1", body, at) | {"X-Ideogram-Webhook-Key-Id": "k1"}


def bria(body: bytes, at: int = TIME) -> Headers:
    key = digest(b"bria_test_token", b"bria-webhook-signing-v1")
    signed = base64.b64encode(digest(key, f"r1.{at}.".encode() + body)).decode()
    return {"Bria-Webhook-Id": "r1", "Bria-Webhook-Timestamp": str(at), "Bria-Webhook-Signature": f"v1={signed}"}


def wavespeed(body: bytes, at: int = TIME) -> Headers:
    signed = digest(b"9f3kLq", f"w1.{at}.".encode() + body).hex()
    return {"webhook-id": "w1", "webhook-timestamp": str(at), "webhook-signature": f"v3,{signed}"}


# By the gateway: an event, and how it signs.
EVENTS: dict[str, tuple[str, bytes, Callable[..., Headers]]] = {
    "aigateway": ("aigateway", AIG_BODY, aig),
    "aigateway, as its page has it": ("aigateway", AIG_BODY, aig_docs),
    "replicate": ("replicate", PREDICTION, standard),
    "fal": ("fal", FAL_BODY, fal),
    "ideogram": ("ideogram", IDEOGRAM_BODY, ideogram),
    "bria": ("bria", BRIA_BODY, bria),
    "wavespeed": ("wavespeed", WAVESPEED_BODY, wavespeed),
}
EACH = pytest.mark.parametrize(("gateway", "body", "sign"), EVENTS.values(), ids=EVENTS)


def set_clock(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    monkeypatch.setattr(SystemClock, "now", lambda _: seconds * 1_000_000)
