"""What the receiving ends of SEDIC and SGGIC share: how a picture is drawn of what arrived, and shown."""

from typing import Any, Generic, Protocol, TypeVar

from link import transform
from link.bitstream import latent
from link.codecs import SYNTAXES, gsc, objects
from link.config import Codec, Session
from link.frame import Payload, Pixels, scale
from link.models import transform_folder
from link.transform import Size

Wish = TypeVar("Wish")
"""What a drawer is told."""
Drawer = TypeVar("Drawer", bound="WishDrawer")


class WishDrawer(Protocol):
    """Draws pictures in whole cells."""

    def generate(self, wishes: list[Any], /) -> list[Pixels]:
        """Return one picture for each of *wishes*."""


class ObjectwiseDecoder(Generic[Wish, Drawer]):
    """Draws at *coded* (width, height) and shows at *size*. Any section may be missing."""

    def __init__(
        self, codec: Codec, size: Size, coded: Size, tables: latent.LatentTables, generator: Drawer
    ) -> None:
        self._codec, self._size, self._coded = codec, size, coded
        self._tables, self._generator = tables, generator

    def decode(self, payload: Payload) -> Pixels | None:
        """Return the picture that the sections at hand steer to; None where none of them can be used."""
        wish = self.wish(payload)
        if wish is None:
            return None
        width, height = self._coded
        return scale(self._generator.generate([wish])[0][:height, :width], self._size)

    def wish(self, payload: Payload) -> Wish | None:
        """Return what the sections at hand tell the generator; None where none of them can be used."""
        raise NotImplementedError


def open_tables(session: Session) -> tuple[latent.LatentTables, Size, Size]:
    """Return the tables of the channels, and the sizes at which pictures are shown and drawn.

    Raise ModelMissingError where tables are not here.
    """
    folder = transform_folder(session)
    tables = gsc.load_tables(folder, transform.channels(folder))
    objects.load_text_tables(session.codec)
    size = (session.camera.width, session.camera.height)
    return tables, size, SYNTAXES[session.codec.name].coded_size(session)
