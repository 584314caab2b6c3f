"""Pictures, and boxes that were found in them, as the messages that Foxglove shows."""

from collections.abc import Mapping
from typing import Any

SHOWN = 0.3
"""The least score of a box that is drawn, where its model does not say one; the event beside it holds them all."""
SHOWN_FROM = "shown_from"
"""The field of a `found` event with the least score of a box that is drawn, as its model says."""
_COLOURS = ((0.9, 0.62, 0.0), (0.34, 0.71, 0.91), (0.0, 0.62, 0.45), (0.94, 0.89, 0.26), (0.8, 0.47, 0.65))
"""Okabe and Ito's palette, without its dark colours: red, green and blue from 0 to 1."""


def least_shown(fields: Mapping[str, Any]) -> float:
    """Return the least score of a box of a `found` event's *fields* that is drawn: its model's, else `SHOWN`."""
    told: Any = fields.get(SHOWN_FROM)
    return float(told) if type(told) in (int, float) and 0.0 <= told <= 1.0 else SHOWN


def annotations(fields: dict[str, Any], time_ns: int) -> bytes:
    """Return the message that draws the boxes of a `found` event's *fields*, the same bytes every time."""
    from foxglove_schemas_protobuf.ImageAnnotations_pb2 import ImageAnnotations
    from foxglove_schemas_protobuf.PointsAnnotation_pb2 import PointsAnnotation

    message = ImageAnnotations()
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    for (left, top, right, bottom), kind, score in zip(
        fields["boxes"], fields["kinds"], fields["scores"], strict=True
    ):
        if score < least_shown(fields):
            continue
        colour = _COLOURS[kind % len(_COLOURS)]
        box = message.points.add(type=PointsAnnotation.LINE_LOOP, thickness=2.0)
        words = message.texts.add(text=f"{fields['names'][kind]} {score:.2f}", font_size=10.0)
        for drawn, shade in ((box.outline_color, colour), (words.text_color, colour)):
            drawn.r, drawn.g, drawn.b, drawn.a = *shade, 1.0
        words.position.x, words.position.y = left, top
        for x, y in ((left, top), (right, top), (right, bottom), (left, bottom)):
            box.points.add(x=x, y=y)
        for stamped in (box, words):
            stamped.timestamp.seconds, stamped.timestamp.nanos = seconds, nanos
    return bytes(message.SerializeToString(deterministic=True))


def compressed_image(data: bytes, form: str, time_ns: int) -> bytes:
    """Return the foxglove.CompressedImage of a picture file *data*, whose *form* is `png` or `jpeg`."""
    from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage

    image = CompressedImage(frame_id="camera", format=form, data=data)
    image.timestamp.seconds, image.timestamp.nanos = divmod(time_ns, 1_000_000_000)
    return bytes(image.SerializeToString())
