"""A session in Foxglove or Lichtblick while it goes on: `--foxglove [PORT]`, on this machine alone, to read alone.

Topics and schemas are the journal's (`link.journal`), times the run's own; pictures are JPEG. The server offers no
capability: nothing that a client says reaches the session. It asks nobody for a token, though, and looks at no Origin:
every program of this machine, and every web page that its user visits, can look on. Needs farlink[foxglove].
"""

import json
from typing import Any

from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.ImageAnnotations_pb2 import ImageAnnotations
from mcap_protobuf.schema import build_file_descriptor_set

from link.annotations import annotations, compressed_image
from link.errors import UsageError
from link.packet_rows import PacketRows, pack
from scenarios.live.sinks import Batch, Sink, picture_file, topic_of

DEFAULT_PORT = 8766
"""Beside the page's own, which is the one that Foxglove looks at by itself."""
_BACKLOG = 32  # messages that wait for a slow client; the oldest go
_AGAIN = 50  # the scenario is told with every so many batches, for who comes later


class FoxgloveSink(Sink):
    """Serves Foxglove's websocket protocol at *port* of the loopback address; 0: any that is free."""

    def __init__(self, port: int = DEFAULT_PORT) -> None:
        super().__init__()
        self._asked_port = port
        self._server: Any = None
        self._channels: dict[str, Any] = {}
        self._batches = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.port)

    def open(self) -> str:
        """See `Sink.open`."""
        try:
            import foxglove
        except ImportError:
            raise UsageError("--foxglove needs an extra: pip install 'farlink[foxglove]'") from None
        self._library = foxglove
        self._context = foxglove.Context()
        try:
            self._server = foxglove.start_server(
                name="farlink", host="127.0.0.1", port=self._asked_port, capabilities=[], context=self._context,
                message_backlog_size=_BACKLOG,
            )  # fmt: skip
        except Exception as error:  # the library's own
            raise UsageError(f"--foxglove {self._asked_port}: {error}") from None
        for topic in ("/scenario", "/events", "/sent", "/received", "/packets"):
            self._channel(topic)
        return f"Foxglove: ws://127.0.0.1:{self.port}"

    def close(self) -> None:
        """See `Sink.close`."""
        super().close()
        if self._server is not None:
            self._server.stop()

    def _channel(self, topic: str) -> Any:
        if topic not in self._channels:
            names = {"/scenario": "farlink.Scenario", "/events": "farlink.Event"}
            kind: Any = CompressedImage
            if topic in names:
                schema = self._library.Schema(
                    name=names[topic], encoding="jsonschema", data=b'{"type": "object"}'
                )
            else:
                kind = PacketRows if topic == "/packets" else kind
                kind = ImageAnnotations if topic.endswith("/detection") else kind
                described = build_file_descriptor_set(kind).SerializeToString()
                schema = self._library.Schema(
                    name=kind.DESCRIPTOR.full_name, encoding="protobuf", data=described
                )
            self._channels[topic] = self._library.Channel(
                topic,
                schema=schema,
                message_encoding="json" if topic in names else "protobuf",
                context=self._context,
            )
        return self._channels[topic]

    def publish(self, batch: Batch) -> None:
        """See `Sink.publish`."""
        if batch.fresh or self._batches % _AGAIN == 0:
            text = json.dumps(dict(batch.head), sort_keys=True).encode()
            self._channel("/scenario").log(text, log_time=batch.now_ns)
        self._batches += 1
        rows, data = batch.bytes_of_rows()
        if rows:
            self._channel("/packets").log(pack(rows, data), log_time=batch.now_ns)
        for event in batch.events:
            record = {"kind": event.kind, "time_ns": event.time_ns, "frame": event.frame, **event.fields}
            self._channel("/events").log(json.dumps(record, sort_keys=True).encode(), log_time=event.time_ns)
            if event.kind == "found" and "boxes" in event.fields:
                boxes = annotations(event.fields, event.time_ns)
                self._channel(topic_of(event)).log(boxes, log_time=event.time_ns)
        for topic, event in batch.pictures.items():
            form, shown = picture_file(topic, event.picture or b"")
            self._channel(topic).log(compressed_image(shown, form, event.time_ns), log_time=event.time_ns)
