"""Stories: a session of under three minutes with changes at given times and a card for each, as a file of YAML.

    name -> Story -> plan (a scenario with the story's settings)
    run time -> the card to show, and the changes that are due

A change of a story is one like any other: it is validated, it is in the journal, and the same session can be had again.
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from link.errors import UsageError
from link.fields import Model
from link.steering import describe
from scenarios import document, schema
from scenarios.schema import Scenario

MOST_S = 180.0
_NS = 1e9


class StoryStep(Model):
    """A card, and what is changed when it appears."""

    at_s: Annotated[float, Field(ge=0.0, lt=MOST_S)]
    """In seconds of the story: run time over its factor."""
    title: Annotated[str, Field(max_length=80)]
    text: Annotated[str, Field(max_length=400)]
    change: dict[str, Any] = Field(default_factory=dict)
    """Values by path, as `link.steering.lay` takes them."""


class Story(Model):
    """A story as its file has it."""

    title: Annotated[str, Field(max_length=80)]
    scenario: str
    """A preset."""
    factor: Annotated[float, Field(ge=1.0, le=3600.0)] = 1.0
    """Run seconds in a second."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings laid over the scenario, by dotted path."""
    ends_s: Annotated[float, Field(gt=0.0, le=MOST_S)]
    steps: Annotated[tuple[StoryStep, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _in_order(self) -> "Story":
        times = [step.at_s for step in self.steps]
        if times != sorted(times) or times[0] != 0.0 or times[-1] >= self.ends_s:
            raise ValueError("steps begin at 0, are in order, and end before ends_s")
        return self


def story_names() -> list[str]:
    """Return the names of the stories that come with farlink."""
    folder = resources.files("scenarios") / "stories"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def read_story(name: str) -> Story:
    """Return the story *name*, one of `story_names`. Raise UsageError where there is none of that name."""
    if name not in story_names():
        raise UsageError(f"no story is called {name!r}{schema.nearest(name, story_names())}")
    text = (resources.files("scenarios") / "stories" / f"{name}.yaml").read_text("utf-8")
    try:
        return Story.model_validate(document.parse(text, f"story {name}"))
    except ValidationError as error:
        raise UsageError(f"story {name}: {describe(error)}") from None


def plan_of(
    story: Story, settings: Sequence[str] = (), overrides: Mapping[str, Any] | None = None
) -> Scenario:
    """Return what *story* runs; *settings* and *overrides* are laid over it as `schema.load` does."""
    return schema.load(story.scenario, settings, {**story.settings, "live": True, **(overrides or {})})


class Teller:
    """Tells a story by the run's time, once. What it was asked for already it does not ask for again."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._told = 0
        self.ended = False

    def _at_s(self, run_ns: int) -> float:
        return run_ns / _NS / self._story.factor

    def take_due(self, run_ns: int) -> list[StoryStep]:
        """Return the steps whose time has come since the last call."""
        steps, first = self._story.steps, self._told
        while self._told < len(steps) and steps[self._told].at_s <= self._at_s(run_ns):
            self._told += 1
        return list(steps[first : self._told])

    def take_end(self, run_ns: int) -> bool:
        """Return whether the story has come to its end since the last call."""
        over = self._at_s(run_ns) >= self._story.ends_s and not self.ended
        self.ended = self.ended or over
        return over

    def tell(self, run_ns: int) -> dict[str, Any]:
        """Return the card of the last step whose time has come, and where the story is."""
        step = self._story.steps[self._told - 1] if self._told else None
        card = None if step is None else {"title": step.title, "text": step.text}
        at_s = round(min(self._at_s(run_ns), self._story.ends_s), 1)
        return {"card": card, "at_s": at_s, "ends_s": self._story.ends_s}
