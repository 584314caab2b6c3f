"""What a picture shows as a whole and object by object: in the closed grammar, or in a vision language model's words.

pixels -> GrammarDescriber: the caption, and its items one by one ---------+
pixels -> FreeDescriber: a question, an answer of lines, read with care ---+-> Description
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from link.bitstream import grammar
from link.bitstream.grammar import SCENES, Caption
from link.codecs.objects import ObjectText, object_text
from link.errors import UsageError
from sender.captioner import Finder, Pixels, describe
from sender.vlm import trim

_ALL = 1 << 16
"""More words than a caption of the grammar has."""


@dataclass(frozen=True)
class Description:
    """What is said of a picture."""

    overall: str
    objects: tuple[ObjectText, ...]
    """The most important first."""


@dataclass(frozen=True)
class WordLimits:
    """How long texts may be, in words (the paper's l_all, l_n, l_d)."""

    overall: int
    name: int
    details: int


class Describer(Protocol):
    """Says what a picture and its objects are like."""

    def describe(self, pixels: Pixels, most: int) -> Description:
        """Return what *pixels* show, and at most *most* objects.

        Raise UsageError or OSError where who is asked gives no answer.
        """

    def strike(self, said: Description, imagined: Sequence[ObjectText]) -> Description:
        """Return *said* without the objects that are not in the picture."""

    def adjust(self, limits: WordLimits) -> None:
        """Keep to *limits* from the next picture on."""


class GrammarDescriber:
    """Describes in the closed grammar what *finder* finds: each item of the caption is an object."""

    def __init__(self, finder: Finder, limits: WordLimits) -> None:
        self._finder, self._limits = finder, limits

    def describe(self, pixels: Pixels, most: int) -> Description:
        """Return the caption, and every item that there is, whether or not the caption has room for it.

        Striking things come first: what the scene's table gives a weight for, whatever its area. A caption begins with
        the ground and the sky, which are no objects.
        """
        caption = describe(self._finder.segment(pixels), pixels, _ALL)
        weights = SCENES[caption.scene].nouns
        striking = sorted(caption.items, key=lambda item: -weights[item.noun])
        alone = (Caption(caption.scene, caption.level, caption.tint, (item,)) for item in striking)
        texts = (ObjectText(one.items[0].noun, one.sentence()) for one in alone)
        return Description(caption.cut(self._limits.overall).sentence(), tuple(texts) if most else ())

    def strike(self, said: Description, imagined: Sequence[ObjectText]) -> Description:
        """See `Describer.strike`."""
        if not imagined:
            return said
        caption, names = grammar.parse(said.overall), {item.name for item in imagined}
        kept = tuple(item for item in caption.items if item.noun not in names)
        shorter = Caption(caption.scene, caption.level, caption.tint, kept)
        return Description(shorter.sentence(), tuple(item for item in said.objects if item.name not in names))

    def adjust(self, limits: WordLimits) -> None:
        """See `Describer.adjust`."""
        self._limits = limits


@runtime_checkable
class Asked(Protocol):
    """Who answers questions about pictures, as `sender.vlm`'s captioners do."""

    def ask(self, pixels: Pixels, question: str, words: int) -> str:
        """Return the answer."""


class FreeDescriber:
    """Describes in free words what *asked* answers."""

    def __init__(self, asked: Asked, limits: WordLimits) -> None:
        self._asked, self._limits = asked, limits

    def describe(self, pixels: Pixels, most: int) -> Description:
        """See `Describer.describe`."""
        limits = self._limits
        words = limits.overall + most * (limits.name + limits.details)
        return read_answer(self._asked.ask(pixels, question(most, limits), words), most, limits)

    def strike(self, said: Description, imagined: Sequence[ObjectText]) -> Description:
        """See `Describer.strike`. The overall text stays: its sentences cannot be told apart by object."""
        return Description(said.overall, tuple(item for item in said.objects if item not in imagined))

    def adjust(self, limits: WordLimits) -> None:
        """See `Describer.adjust`."""
        self._limits = limits


def question(most: int, limits: WordLimits) -> str:
    """Return what a model is asked for up to *most* objects."""
    lines = [
        f"OVERALL: the whole picture in at most {limits.overall} words: scene, style, light, main objects"
    ]
    lines += [
        f"OBJECT: name of at most {limits.name} words | its shape, colour and texture in at most {limits.details} words"
    ] * most
    return (
        f"Describe this picture{f' and its {most} most striking objects' if most else ''}. Answer in exactly "
        f"{len(lines)} line{'s' if most else ''} of this form, and nothing else:\n" + "\n".join(lines)
    )


def read_answer(answer: str, most: int, limits: WordLimits) -> Description:
    """Return what *answer* says: lines that begin with OBJECT, name and details apart by a bar; the rest is overall.

    Numbers, dashes and asterisks before a line are passed over, words beyond *limits* cut. Raise UsageError for an
    answer that says nothing.
    """
    overall, texts = [], []
    for line in answer.splitlines():
        line = re.sub(r"^[\s\d.)*#-]*", "", line).replace("**", "")
        head, colon, rest = line.partition(":")
        word = head.strip().rstrip("0123456789 ").lower()
        if word == "object" and colon:
            name, _, details = rest.partition("|")
            if name := trim(name, limits.name):
                texts.append(object_text(name, trim(details, limits.details)))
        else:
            overall.append(rest if word == "overall" and colon else line)
    whole = trim(" ".join(overall), limits.overall)
    if not whole and not texts:
        raise UsageError("the answer describes nothing")
    return Description(whole, tuple({item.name.lower(): item for item in texts}.values())[:most])
