"""The reader of APIs whose answers a profile describes: prediction jobs, and images in a plain document.

Their requests name a model in the path or the body, and their answers have a job, or images as links or base64.
"""

from __future__ import annotations

from pixelmeter.core.apis.answers import answer_of
from pixelmeter.core.apis.reader import Event, ImageRequest, ImageResponse, Reading
from pixelmeter.core.gateways.places import DocumentPath, RequestPlace, RequestPlaces, ResponsePlaces

__all__ = ["JOB", "REQUEST", "RESPONSE", "add_event", "response_of"]

REQUEST = RequestPlaces(
    model=(RequestPlace("path.model"), RequestPlace("body.model")),
    images=(RequestPlace("body.n"), RequestPlace("body.num_images")),
    size=(RequestPlace("body.size"), RequestPlace("body.image_size")),
    width=(RequestPlace("body.width"),),
    height=(RequestPlace("body.height"),),
    quality=(RequestPlace("body.quality"),),
    steps=(RequestPlace("body.steps"), RequestPlace("body.num_inference_steps")),
    output_format=(RequestPlace("body.output_format"),),
    input_images=tuple(map(RequestPlace, ("body.image", "body.images", "body.image_url", "body.image_urls"))),
)
RESPONSE = ResponsePlaces(
    items=(DocumentPath("images[]"), DocumentPath("image"), DocumentPath("data[]")),
    image=tuple(map(DocumentPath, ("url", "b64_json", "base64"))),
    model=(DocumentPath("model"),),
    width=(DocumentPath("images[].width"), DocumentPath("width")),
    height=(DocumentPath("images[].height"), DocumentPath("height")),
    usage=(DocumentPath("usage"),),
    error_type=(DocumentPath("error.type"), DocumentPath("error.status")),
    error_code=(DocumentPath("error.code"),),
)
JOB = None
"""A profile says whether there are jobs, and how they look."""

response_of = answer_of


def add_event(response: ImageResponse, document: bytes, request: ImageRequest, route: Reading) -> Event | None:
    """Take an event that is a whole answer; the latest one counts."""
    found = answer_of(document, request, route)
    if not found.readable:
        return None
    for name in ImageResponse.__struct_fields__:
        setattr(response, name, getattr(found, name))
    return "complete" if response.images else None
