"""Captions of a closed grammar in a few bytes: what is where, how large, in what light and colour.

    Caption --sentence()--> "bright street, huge grey road across, small red car right" --parse()--> Caption
       |
       +-- walk(): scene, light, count, then for each noun of the scene in the order of its table:
                   is it there? how large? where? what colour?  --> choices --> range coder --> bytes

What a caption can say is listed in `SCENES` and the word lists: add a scene there, fit its tables with
`scenarios.training.grammar`, and it can be sent. A noun stands at most once in a caption, and the order of
the items is a function of the items, most important first: so order costs no bits, and a limit on the
words cuts what matters least.

Each choice is coded with a static integer table looked up by what was chosen before. All of them are in
one shipped file; both ends count alike on every machine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from link.bitstream.entropy import ONE, BitCoder, BitReader, BitWriter
from link.weights import read

TABLE = "grammar.safetensors"

SIZES = ("tiny", "small", "medium", "large", "huge")
SIZE_FROM = (0.0, 0.015, 0.05, 0.15, 0.35)
"""The least share of the picture that each size stands for."""
_PERCENT = (1, 3, 9, 24, 45)  # about the middle of each size
PLACES = ("left", "centre", "right", "sides", "across")
"""`sides` is left and right but not between; `across` is everywhere from left to right."""
COLOURS = (
    "black",
    "grey",
    "white",
    "red",
    "orange",
    "brown",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
)
LEVELS = ("dark", "dim", "bright", "glaring")
TINTS = ("neutral", "warm", "cool")
"""The light's colour; `neutral` is not spoken."""


@dataclass(frozen=True)
class Scene:
    """A kind of picture and what can be in it."""

    words: str
    """What a sentence calls it."""
    nouns: dict[str, float]
    """What can be in it, with how much more than its area each counts."""
    sized: bool = True
    """Whether items have a size and a place; else only a colour."""

    def rank(self, item: "Item") -> float:
        """Return how important *item* is: its area, weighted by what it is."""
        percent = _PERCENT[SIZES.index(item.size)] if self.sized else 1
        return self.nouns[item.noun] * percent


SCENES = {
    "street": Scene(
        "street",
        {
            "sky": 0.6,
            "building": 1.0,
            "pole": 1.0,
            "road": 0.8,
            "pavement": 1.0,
            "tree": 1.0,
            "sign": 2.0,
            "fence": 1.0,
            "car": 4.0,
            "pedestrian": 8.0,
            "cyclist": 8.0,
        },
    ),
    "card": Scene("test card", {"ground": 1.0}, sized=False),
    "picture": Scene("picture", {"top": 3.0, "middle": 2.0, "bottom": 1.0}, sized=False),
    "planet": Scene(
        "planet",
        {
            "sky": 0.6,
            "sand": 0.5,
            "bedrock": 1.5,
            "rock": 2.0,
            "track": 2.0,
            "lander": 6.0,
            "habitat": 6.0,
            "rover": 8.0,
            "flag": 8.0,
        },
    ),
}
"""The scenes by name. The place of a noun in its scene is its number on the wire and among the labels."""


SYNONYMS = {
    "sidewalk": "pavement",
    "vegetation": "tree",
    "traffic sign": "sign",
    "traffic light": "sign",
    "wall": "fence",
    "truck": "car",
    "bus": "car",
    "person": "pedestrian",
    "rider": "cyclist",
    "bicycle": "cyclist",
}
"""What others call what `SCENES` has a noun for."""


def find_noun(name: str, scene: str) -> str | None:
    """Return the noun of *scene* that free words such as `red cars` mean, None where it has none."""
    nouns = SCENES[scene].nouns
    words = name.lower().split()
    for word in (*reversed(words), *(" ".join(two) for two in reversed([*pairwise(words)]))):
        for form in (word, word.removesuffix("s"), word.removesuffix("es")):
            noun = SYNONYMS.get(form, form)
            if noun in nouns:
                return noun
    return None


@dataclass(frozen=True)
class Item:
    """One thing in the picture. *size* and *place* are empty in scenes that have none."""

    noun: str
    colour: str
    size: str = ""
    place: str = ""

    def phrase(self) -> str:
        """Return the item in words."""
        return " ".join(word for word in (self.size, self.colour, self.noun, self.place) if word)


@dataclass(frozen=True)
class Caption:
    """What a picture shows. Raise `ValueError` for words or an order that the grammar does not have."""

    scene: str
    level: str
    """How bright the light is."""
    tint: str = TINTS[0]
    """What colour the light has."""
    items: tuple[Item, ...] = ()
    """Most important first, as `arrange()` returns them; no noun twice."""

    def __post_init__(self) -> None:
        """Check every word and the order."""
        _expect("scene", self.scene, tuple(SCENES))
        _expect("light", self.level, LEVELS)
        _expect("tint", self.tint, TINTS)
        scene = SCENES[self.scene]
        for item in self.items:
            _expect(f"noun in a {self.scene}", item.noun, tuple(scene.nouns))
            _expect("colour", item.colour, COLOURS)
            _expect("size", item.size, SIZES if scene.sized else ("",))
            _expect("place", item.place, PLACES if scene.sized else ("",))
        if len({item.noun for item in self.items}) < len(self.items):
            raise ValueError("expected each noun once in a caption")
        if self.items != arrange(self.scene, self.items):
            raise ValueError("expected the items of a caption most important first")

    def sentence(self) -> str:
        """Return the caption in words; `parse()` reads them back."""
        tint = "" if self.tint == TINTS[0] else f"{self.tint} "
        head = f"{self.level} {tint}{SCENES[self.scene].words}"
        return ", ".join([head, *(item.phrase() for item in self.items)])

    def words(self) -> int:
        """Return how many words the sentence has."""
        return len(self.sentence().split())

    def cut(self, words: int) -> "Caption":
        """Return the caption with at most *words* words: as many of its first items as fit, then less light.

        Light level and scene always stay: two words, three for a test card.
        """
        for kept in range(len(self.items), -1, -1):
            shorter = Caption(self.scene, self.level, self.tint, self.items[:kept])
            if shorter.words() <= words:
                return shorter
        return Caption(self.scene, self.level)


def _expect(what: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise ValueError(f"expected a {what} of {', '.join(known)}, got {word[:40]!r}")


def arrange(scene: str, items: tuple[Item, ...]) -> tuple[Item, ...]:
    """Return *items* most important first; equals stand in the order of the scene's table."""
    nouns = tuple(SCENES[scene].nouns)
    return tuple(sorted(items, key=lambda item: (-SCENES[scene].rank(item), nouns.index(item.noun))))


def vocabulary() -> tuple[str, ...]:
    """Return every word that a sentence can hold, in a fixed order."""
    known = [*LEVELS, *TINTS[1:], *SIZES, *COLOURS, *PLACES]
    for scene in SCENES.values():
        known += [word for phrase in (scene.words, *scene.nouns) for word in phrase.split()]
    return tuple(dict.fromkeys(known))


def parse(sentence: str) -> Caption:
    """Return the caption that `sentence()` made *sentence* of. Raise `ValueError` for any other text."""
    head, *phrases = sentence.split(", ")
    level, _, rest = head.partition(" ")
    first, _, after = rest.partition(" ")
    tint, spoken = (first, after) if first in TINTS[1:] else (TINTS[0], rest)
    name = next((name for name, scene in SCENES.items() if scene.words == spoken), spoken)
    sized = name in SCENES and SCENES[name].sized
    items = []
    for phrase in phrases:
        words = phrase.split(" ")
        if sized and len(words) >= 4:
            items.append(Item(" ".join(words[2:-1]), words[1], words[0], words[-1]))
        else:
            items.append(Item(" ".join(words[1:]), words[0]))
    caption = Caption(name, level, tint, tuple(items))
    if caption.sentence() != sentence:
        raise ValueError(f"expected a sentence of the grammar, got {sentence[:40]!r}")
    return caption


Choose = Callable[[str, tuple[int, ...], int], int]
"""A choice from the table *name* in a context: `choose(name, context, symbol)` returns the symbol chosen."""

ROOMS = 4


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of each table: its contexts, the one that tells most first, then its symbols."""
    shape_of: dict[str, tuple[int, ...]] = {"scene": (len(SCENES),)}
    for name, scene in SCENES.items():
        nouns = len(scene.nouns)
        shape_of |= {
            f"{name}/level": (len(LEVELS),),
            f"{name}/tint": (len(LEVELS), len(TINTS)),
            f"{name}/count": (nouns + 1,),
            f"{name}/present": (nouns, nouns + 1, 2, 2),
            f"{name}/colour": (nouns, len(COLOURS) + 1, len(LEVELS), len(COLOURS)),
        }
        if scene.sized:
            shape_of[f"{name}/size"] = (nouns, ROOMS, len(SIZES))
            shape_of[f"{name}/place"] = (nouns, len(SIZES), len(PLACES) + 1, len(PLACES))
    return shape_of


def walk(choose: Choose, caption: Caption) -> Caption:
    """Make every choice of a caption in turn and return the caption that was chosen.

    A writer chooses what *caption* says; a reader ignores it. The contexts of a noun: how many are still
    to come and whether the one before is there; of its size, the room left; of its place, its size and the
    place before; of its colour, the colour before and the light.
    """
    scenes = tuple(SCENES)
    name = scenes[choose("scene", (), scenes.index(caption.scene))]
    scene, given = SCENES[name], {item.noun: item for item in caption.items}
    level = choose(f"{name}/level", (), LEVELS.index(caption.level))
    tint = choose(f"{name}/tint", (level,), TINTS.index(caption.tint))
    left = choose(f"{name}/count", (), min(len(caption.items), len(scene.nouns)))
    items: list[Item] = []
    before, percent, place, colour = 1, 0, len(PLACES), len(COLOURS)
    for at, noun in enumerate(scene.nouns):
        item = given.get(noun)
        if left == 0:
            break
        if left < len(scene.nouns) - at:
            before = choose(f"{name}/present", (at, left, before), int(item is not None))
            if not before:
                continue
        left -= 1
        item = item or Item(noun, COLOURS[0], SIZES[0], PLACES[0])
        size_word = place_word = ""
        if scene.sized:
            room = min(percent // 20, ROOMS - 1)
            size = choose(f"{name}/size", (at, room), SIZES.index(item.size))
            place = choose(f"{name}/place", (at, size, place), PLACES.index(item.place))
            percent += _PERCENT[size]
            size_word, place_word = SIZES[size], PLACES[place]
        colour = choose(f"{name}/colour", (at, colour, level), COLOURS.index(item.colour))
        items.append(Item(noun, COLOURS[colour], size_word, place_word))
    return Caption(name, LEVELS[level], TINTS[tint], arrange(name, tuple(items)))


Tables = dict[str, Any]
"""Frequencies as nested lists, 1 or more each, by the names and in the shapes of `shapes()`."""


@cache
def tables() -> Tables:
    """Return the shipped tables, read once; raise `ValueError` if they are damaged or of another grammar."""
    arrays = read(TABLE)
    if {name: array.shape for name, array in arrays.items()} != shapes():
        raise ValueError(f"{TABLE} is not of this grammar: fit it with scenarios.training.grammar")
    return {name: array.tolist() for name, array in arrays.items()}


def _chooser(coder: BitCoder, shipped: Tables) -> Choose:
    """Return a choice coded as a row of bits: is it the first symbol, else the second, ..."""

    def choose(name: str, context: tuple[int, ...], symbol: int) -> int:
        frequencies = shipped[name]
        for index in context:
            frequencies = frequencies[index]
        rest = sum(frequencies)
        for at, frequency in enumerate(frequencies[:-1]):
            one = max(1, min(ONE - 1, frequency * ONE // rest))
            if coder.code(one, int(at == symbol)):
                return at
            rest -= frequency
        return len(frequencies) - 1

    return choose


def encode(caption: Caption, shipped: Tables | None = None) -> bytes:
    """Return *caption* in a few bytes, one at least."""
    writer = BitWriter()
    walk(_chooser(writer, shipped or tables()), caption)
    return writer.finish() or b"\0"


def decode(data: bytes, shipped: Tables | None = None) -> Caption:
    """Return the caption that `encode()` made *data* of; any other bytes give some caption or `ValueError`."""
    reader = BitReader(data)
    caption = walk(_chooser(reader, shipped or tables()), Caption("street", LEVELS[0]))
    reader.finish()
    return caption
