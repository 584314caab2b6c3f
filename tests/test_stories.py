"""Stories: files, times, and that each of their changes is one that its session takes."""

import pytest

from link.errors import UsageError
from link.steering import lay
from scenarios.live.own import Own
from scenarios.live.start import prepare
from scenarios.live.stories import MOST_S, Story, Teller, plan_of, read_story, story_names


def test_there_is_a_story_of_a_rover_a_robot_under_water_and_a_drone():
    assert story_names() == ["drone", "mars", "rov"]


@pytest.mark.parametrize("name", story_names())
def test_each_change_of_a_story_is_one_that_its_session_takes(name):
    story = read_story(name)
    session = prepare(plan_of(story)).session()
    assert session.live and story.ends_s < MOST_S
    altered = 0
    for step in story.steps:
        assert step.title and 40 < len(step.text) < 300
        if step.change:
            session, values = lay(session, step.change)
            altered += len(values)
            assert set(values) == set(step.change), "a change that changes nothing"
    assert altered >= 4


def test_steps_are_told_once_and_in_time():
    step = {"title": "x", "text": "y"}
    story = Story.model_validate(
        {
            "title": "t", "scenario": "mars-relay", "factor": 60, "ends_s": 100,
            "steps": [{**step, "at_s": 0}, {**step, "at_s": 10, "change": {"codec.steps": 2}}, {**step, "at_s": 20, "title": "z"}],
        }
    )  # fmt: skip
    teller = Teller(story)
    assert teller.tell(0)["card"] is None
    assert len(teller.take_due(0)) == 1 and not teller.take_due(9 * 60 * 10**9)
    assert [step.at_s for step in teller.take_due(25 * 60 * 10**9)] == [10, 20]
    assert teller.tell(25 * 60 * 10**9) == {
        "card": {"title": "z", "text": "y"},
        "at_s": 25.0,
        "ends_s": 100.0,
    }
    assert not teller.take_end(99 * 60 * 10**9)
    assert teller.take_end(100 * 60 * 10**9) and not teller.take_end(101 * 60 * 10**9)
    assert teller.tell(10**15)["at_s"] == 100.0


@pytest.mark.parametrize(
    "change",
    [{"ends_s": 200}, {"steps": []}, {"steps": [{"at_s": 3, "title": "", "text": ""}]}, {"factor": 0}],
)
def test_a_story_that_holds_not_together_is_refused(change):
    story = read_story("mars").model_dump()
    with pytest.raises(ValueError):
        Story.model_validate({**story, **change})


def test_names_that_are_on_no_list_are_refused():
    with pytest.raises(UsageError, match="did you mean 'mars'"):
        read_story("marz")
    own = Own.__new__(Own)
    own._plan = prepare(plan_of(read_story("mars")))
    assert own._chosen("codec", "webp")[0].codec.name == "webp"
    assert own._chosen("preset", "lunar-relay")[0].name == "lunar-relay"
    assert own._chosen("story", "rov")[1] is not None
    for what, name in (
        ("preset", "../mars"),
        ("codec", "x"),
        ("story", "/etc/passwd"),
        ("source", "world:mars"),
    ):
        with pytest.raises(UsageError):
            own._chosen(what, name)
