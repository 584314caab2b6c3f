"""A camera at an address: `rtsp:`, `http:`, `https:` and `tcp:`, read through PyAV; the newest picture wins.

```
address -> a thread: open, decode, and again after a loss -> the newest still -> [when asked for] fit -> Shot
```

Whoever asks is given the newest picture that was not given yet, so nothing old waits behind a slow sender. It waits
for one at most `WAIT_S`; then it is told so, and the picture is left out. Nothing but the address that the user gave
is opened: playlists, which name others, are not read.
"""

import os
from collections.abc import Iterator
from fractions import Fraction
from threading import Condition, Thread

import av
from av.container import InputContainer
from av.error import FFmpegError

from link.config import Camera
from link.errors import UsageError
from link.terminal import shorten
from sender.camera.address import BROWSER_URL, check_address, check_browser, hide_password, host_of
from sender.camera.picture import PictureError, Shot, Skipped
from sender.camera.video import (
    CONTAINERS,
    Still,
    decode_frames,
    explain,
    make_shot,
    pixel_aspect,
    stamp_times,
    video_stream,
)

PROTOCOLS = {
    "rtsp": "rtsp,rtp,udp,tcp",
    "http": "http,tcp",
    "https": "https,tls,tcp",
    "tcp": "tcp",
}
"""The protocols of FFmpeg that an address of each kind may be read with."""
WAIT_S = 2.0
"""The longest that one who asks for a picture waits."""
OPEN_S = 10.0
"""The longest that opening an address takes, the first picture included."""
QUIET_S = 5.0
"""Without data for so long a stream counts as lost, and is opened anew."""
GIVE_UP = 30
"""Pictures in a row that did not come, after which the source has ended."""
_BREAKS_S = (0.1, 0.5, 1.0, 2.0)  # before it is opened again, longer each time


def open_stream(scheme: str, rest: str, camera: Camera, seed: int) -> Iterator[Shot | Skipped]:
    """Return the pictures of the camera at `SCHEME:REST`, without end; *scheme* is a key of `PROTOCOLS`.

    Raise UsageError where that is no address, or no picture comes within `OPEN_S`.
    """
    del seed  # a camera repeats nothing
    check_address(scheme, rest)
    url = f"{scheme}:{rest}"
    stream = Stream(url, f"{scheme}:{host_of(url)}", camera)
    if (problem := stream.await_first(OPEN_S)) is not None:
        stream.close()
        raise UsageError(f"camera.source {shorten(repr(hide_password(url)))}: no picture comes: {problem}")
    return stream


def open_browser(rest: str, camera: Camera, seed: int) -> Iterator[Shot | Skipped]:
    """Return the pictures of a viewer's camera, as `farlink live` has them; it is waited for without end.

    Raise UsageError where this is no sender of `farlink live`.
    """
    del seed
    check_browser(rest)
    url = os.environ.get(BROWSER_URL)
    if not url:
        raise UsageError("camera.source 'browser': a viewer's camera is for farlink live alone")
    return Stream(url, "browser", camera, give_up=None, missing="no viewer's camera is on")


class Stream(Iterator[Shot | Skipped]):
    """The pictures at *url*, which messages call *name*. *give_up*: see `GIVE_UP`; None: never.
    *missing* is what is said where none comes; None: why.

    A thread reads it from now on until it is closed, or its process ends.
    """

    def __init__(
        self,
        url: str,
        name: str,
        camera: Camera,
        give_up: int | None = GIVE_UP,
        missing: str | None = None,
    ) -> None:
        self._missing = missing
        self._url, self._name, self._camera, self._give_up = url, name, camera, give_up
        self._news = Condition()
        self._held: tuple[Still, Fraction] | None = None
        self._why = "nothing has come yet"
        self._count = 0
        self._missed = 0
        self._closed = False
        self.opened = 0
        """How often the address has been opened."""
        Thread(target=self._read, name=f"read {name}", daemon=True).start()

    def await_first(self, seconds: float) -> str | None:
        """Wait at most *seconds* for the first picture; return why there is none."""
        with self._news:
            self._news.wait_for(lambda: self._held is not None, seconds)
            return None if self._held is not None else self._why

    def __next__(self) -> Shot | Skipped:
        label = self.skip()
        with self._news:
            if not self._news.wait_for(lambda: self._held is not None or self._closed, WAIT_S):
                self._missed += 1
                if self._give_up is not None and self._missed >= self._give_up:
                    self._closed = True
                return Skipped(label, self._missing or f"no picture came: {self._why}")
            if self._held is None:
                raise StopIteration
            (still, aspect), self._held = self._held, None
        self._missed = 0
        return make_shot(Still(still.number, still.frame, still.time_s, label), self._camera, aspect)

    def skip(self) -> str:
        """See `sender.camera.picture.Skippable`: nothing waits that would have to be taken away."""
        self._count += 1
        return f"{self._name}#{self._count - 1}"

    def close(self) -> None:
        """Stop reading. Does nothing a second time."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    def _read(self) -> None:
        tries = 0
        begin_s = Fraction(0)  # times go on where they were before a loss
        while not self._closed:
            before_s = begin_s
            try:
                with self._open() as container:
                    begin_s = self._follow(container, begin_s)
                why = "the stream has ended"
            except (FFmpegError, PictureError, OSError, ValueError) as error:
                why = explain(error)
            tries = 0 if begin_s > before_s else tries + 1
            with self._news:
                self._why = why
                self._news.wait_for(lambda: self._closed, _BREAKS_S[min(tries, len(_BREAKS_S) - 1)])

    def _open(self) -> InputContainer:
        scheme = self._url.partition(":")[0]
        options = {
            "protocol_whitelist": PROTOCOLS[scheme],
            "format_whitelist": f"{CONTAINERS},rtsp,mpjpeg",
            "rtsp_transport": "tcp",
            "fflags": "nobuffer",
            "analyzeduration": "1000000",
        }
        self.opened += 1
        return av.open(self._url, options=options, timeout=(OPEN_S, QUIET_S))

    def _follow(self, container: InputContainer, begin_s: Fraction) -> Fraction:
        """Keep the newest still of *container* at hand until it ends; return the time of the last."""
        stream = video_stream(container)
        aspect = pixel_aspect(stream)
        last_s = begin_s
        for item in stamp_times(decode_frames(container, stream), self._name):
            if self._closed:
                break
            if isinstance(item, Skipped):
                self._why = item.reason
                continue
            last_s = begin_s + (item.time_s or 0)
            with self._news:
                self._held = Still(item.number, item.frame, last_s, item.label), aspect
                self._news.notify_all()
        return last_s
