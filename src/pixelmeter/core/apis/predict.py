"""The reader of Imagen over `:predict`, as Vertex AI and the Gemini API have it."""

from __future__ import annotations

from pixelmeter.core.apis.answers import answer_of
from pixelmeter.core.apis.prediction_jobs import add_event
from pixelmeter.core.apis.reader import ImageRequest, ImageResponse, Reading
from pixelmeter.core.gateways.places import DocumentPath, RequestPlace, RequestPlaces, ResponsePlaces, values_at

__all__ = ["JOB", "REQUEST", "RESPONSE", "add_event", "response_of"]

REQUEST = RequestPlaces(
    model=(RequestPlace("path.model"),),
    images=(RequestPlace("body.parameters.sampleCount"),),
    size=(RequestPlace("body.parameters.sampleImageSize"),),
    input_images=(RequestPlace("body.instances[].image"), RequestPlace("body.instances[].referenceImages[]")),
)
RESPONSE = ResponsePlaces(
    items=(DocumentPath("predictions[]"),),
    image=(DocumentPath("bytesBase64Encoded"), DocumentPath("gcsUri")),
    error_type=(DocumentPath("error.status"), DocumentPath("error.type")),
    error_code=(DocumentPath("error.code"),),
)
JOB = None

_FILTERED = DocumentPath("predictions[].raiFilteredReason")


def response_of(document: bytes | None, request: ImageRequest, route: Reading) -> ImageResponse:
    """Read a whole body; where a filter took every image, that is its error: `rai_filtered`."""
    response = answer_of(document, request, route, texts=False)
    if not response.images and response.error_type is None and any(values_at(response.body, _FILTERED)):
        response.error_type = "rai_filtered"
    return response
