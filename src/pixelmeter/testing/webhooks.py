"""The event that the gateway posts to its caller when a job has completed."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from urllib.parse import urlsplit

from pixelmeter.testing.body import document, number
from pixelmeter.testing.jobs import Job
from pixelmeter.testing.tariff import cents

__all__ = ["post_webhook"]

_PATIENCE = 10


async def post_webhook(url: str, job: Job, base: str, secret: str, signature: str) -> int:
    """Post the event and return the status of the answer; raise OSError or TimeoutError when nobody answers.

    `signature` "aig" signs with the two headers of the documentation, "gateway" with the one header of the SDKs; both
    are an HMAC-SHA256 over "TIMESTAMP.BODY".
    """
    now = int(time.time())
    link = f"{base}/v1/files/jobs/{job.id}/image.png"
    data: dict[str, object] = {"job_id": job.id, "model": job.model, "result_url": link}
    data |= {"usage": {"cost_cents": number(cents(job.price))}}
    body = document({"id": f"evt_{job.id}", "type": "job.completed", "created": now, "data": data})
    digest = hmac.new(secret.encode(), f"{now}.{body}".encode(), hashlib.sha256).hexdigest()
    signed = f"aig-timestamp: {now}\r\naig-signature: {digest}"
    if signature == "gateway":
        signed = f"X-Gateway-Signature: t={now},v1={digest}"
    target = urlsplit(url)
    request = (
        f"POST {target.path or '/'} HTTP/1.1\r\nhost: {target.netloc}\r\ncontent-type: application/json\r\n"
        f"{signed}\r\nconnection: close\r\ncontent-length: {len(body.encode())}\r\n\r\n{body}"
    )
    async with asyncio.timeout(_PATIENCE):
        reader, writer = await asyncio.open_connection(target.hostname, target.port or 80)
        try:
            writer.write(request.encode())
            await writer.drain()
            words = (await reader.readline()).split(b" ")
        finally:
            writer.close()
    if len(words) < 2 or not words[1].isdigit():
        raise ConnectionError("the receiver of the webhook did not answer in HTTP")
    return int(words[1])
