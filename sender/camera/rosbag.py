"""Pictures of a ROS 2 bag: `rosbag:DIR[:TOPIC]`, sqlite3 or MCAP, of the kinds Image and CompressedImage.

They have the times at which the bag says they were recorded. Messages are read by the standard definitions of
sensor_msgs: whatever definitions a bag brings along are not looked at. Needs farlink[rosbag].
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from link.config import Camera
from link.errors import UsageError
from link.terminal import printable, shorten
from sender.camera.picture import PictureError, Shot, Skipped, check_size, one_line, read_rgb
from sender.camera.timed import TimedPicture, timed_shots
from sender.camera.video import require_first

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_CHANNELS = {
    "rgb8": (0, 1, 2), "bgr8": (2, 1, 0), "rgba8": (0, 1, 2), "bgra8": (2, 1, 0), "mono8": (0, 0, 0),
    "8UC3": (2, 1, 0), "8UC4": (2, 1, 0), "8UC1": (0, 0, 0),
}  # fmt: skip
"""Where red, green and blue lie in a pixel, by encoding (sensor_msgs/image_encodings.hpp; OpenCV's are BGR)."""
_SIZES = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC3": 3, "8UC4": 4, "8UC1": 1}
_DEEP = ("mono16", "16UC1")


def check_bag(rest: str) -> None:
    """Raise UsageError where nothing follows `rosbag:`."""
    if not split_bag(rest)[0].name:
        raise UsageError(
            "camera.source 'rosbag': expected rosbag:DIR or rosbag:DIR:TOPIC, a bag and a topic of it"
        )


def split_bag(rest: str) -> tuple[Path, str | None]:
    """Return the bag's folder or file, and the topic where one is named."""
    folder, colon, topic = rest.rpartition(":")
    try:
        whole = not colon or Path(rest).exists()
    except OSError:
        whole = False
    return (Path(rest), None) if whole else (Path(folder), topic)


def open_rosbag(rest: str, camera: Camera, seed: int) -> Iterator[Shot | Skipped]:
    """Return the pictures of one topic of the bag *rest* names, in the order in which they were recorded.

    Raise UsageError where farlink[rosbag] is missing, there is no bag, or it has no such topic, or several with
    pictures and none is named, which are listed then.
    """
    del seed
    check_bag(rest)
    where = f"camera.source {shorten(repr('rosbag:' + rest))}"
    try:
        from rosbags.rosbag2 import Reader
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise UsageError(f"{where}: bags need an extra: pip install 'farlink[rosbag]'") from None
    path, topic = split_bag(rest)
    try:
        reader = Reader(path)
        reader.open()
    except FileNotFoundError:
        raise UsageError(
            f"{where}: no ROS 2 bag there (a folder with metadata.yaml, an .mcap or .db3)"
        ) from None
    except Exception as error:  # a damaged bag may raise anything
        raise UsageError(f"{where}: cannot read the bag: {one_line(error)}") from None
    try:
        chosen = _choose(reader, topic, where)
    except BaseException:
        reader.close()
        raise
    store = get_typestore(Stores.LATEST)
    return require_first(timed_shots(_pictures(reader, chosen, store, path.name), camera), where, "bag")


def _choose(reader: Any, topic: str | None, where: str) -> list[Any]:
    """Return the connections of the topic that is meant."""
    shown: dict[str, list[Any]] = {}
    for one in reader.connections:
        if one.msgtype in (IMAGE, COMPRESSED):
            shown.setdefault(one.topic, []).append(one)
    listed = shorten(", ".join(printable(name) for name in sorted(shown)), 300)
    if topic is not None:
        found = shown.get(topic) or shown.get(f"/{topic}")
        if found is None:
            has = f"those with pictures are {listed}" if shown else "it has none with pictures"
            raise UsageError(f"{where}: no pictures on this topic of the bag; {has}")
        return found
    if not shown:
        raise UsageError(f"{where}: no topic of the bag has pictures ({IMAGE} or {COMPRESSED})")
    if len(shown) > 1:
        raise UsageError(f"{where}: several topics have pictures; name one, as rosbag:DIR:TOPIC: {listed}")
    return next(iter(shown.values()))


def _pictures(reader: Any, chosen: list[Any], store: Any, name: str) -> Iterator[TimedPicture | Skipped]:
    number = 0
    try:
        for connection, time_ns, raw in reader.messages(chosen):
            label = f"{name}#{number}"
            yield TimedPicture(label, int(time_ns), partial(_load, store, connection.msgtype, raw))
            number += 1
    except Exception as error:  # as in open_rosbag
        yield Skipped(f"{name}#{number}", f"the bag is damaged there: {one_line(error)}")
    finally:
        reader.close()


def _load(store: Any, kind: str, raw: bytes) -> Image.Image:
    """Return the picture in a message. Raise PictureError where it is damaged, or of a kind that is not read."""
    try:
        message = store.deserialize_cdr(raw, kind)
    except Exception as error:  # as in open_rosbag
        raise PictureError(f"the message is damaged: {one_line(error)}") from None
    if kind == COMPRESSED:
        return read_rgb(bytes(message.data))[0]
    width, height, encoding = int(message.width), int(message.height), str(message.encoding)
    check_size(width, height)
    deep = encoding in _DEEP
    pixel = 2 if deep else _SIZES.get(encoding)
    if pixel is None:
        known = ", ".join([*_SIZES, *_DEEP])
        raise PictureError(f"pixels as {printable(encoding)[:40]!r}; {known} are read")
    step = int(message.step)
    if step < width * pixel or len(message.data) < step * height:
        raise PictureError(f"{len(message.data)} bytes for {height} lines of {step}, {width} pixels each")
    lines = np.frombuffer(message.data, np.uint8, step * height).reshape(height, step)[:, : width * pixel]
    cells = lines.reshape(height, width, pixel)
    if deep:  # the upper byte, as with other deep greys
        cells = cells[:, :, :1] if message.is_bigendian else cells[:, :, 1:]
        return Image.fromarray(np.ascontiguousarray(cells[:, :, [0, 0, 0]]))
    return Image.fromarray(np.ascontiguousarray(cells[:, :, list(_CHANNELS[encoding])]))
