"""Contact plans in ION's and HDTN's formats: both ways, and what would be misread is refused by its line."""

import json
from pathlib import Path

import pytest

from link.errors import UsageError
from link.plans.files import read_plan, write_plan
from link.plans.hdtn import read_hdtn, write_hdtn
from link.plans.ion import overlaps, read_ion, write_ion
from link.plans.plan import Contact, ContactPlan

PLANS = Path(__file__).parent.parent.parent / "shared" / "data" / "contact_plans"


def test_one_contact_in_both_forms():
    plan = read_ion("a contact +0 +30 3 4 125000\na range +0 +30 3 4 1\n", "x").plan
    assert plan == ContactPlan.of([(3, 4, 0, 30, 1e6, 1)])
    assert json.loads(write_hdtn(plan)[0])["contacts"] == [
        {
            "contact": 0,
            "source": 3,
            "dest": 4,
            "startTime": 0,
            "endTime": 30,
            "rateBitsPerSec": 1000000,
            "owlt": 1,
        }
    ]
    assert write_ion(plan)[0].splitlines()[1:] == ["a contact +0 +30 3 4 125000", "a range +0 +30 3 4 1"]


@pytest.mark.parametrize("name", ["cgrTutorial", "contactPlan", "contactPlanLcrd"])
def test_published_plans_come_back_from_ion(name, tmp_path):
    path = PLANS / f"{name}.json"
    if not path.exists():
        pytest.skip("no shared plans")
    plan = read_plan(path).plan
    text, lost = write_plan(plan, "ion")
    assert lost == ()
    (tmp_path / "plan.ionrc").write_text(text)
    again = read_plan(tmp_path / "plan.ionrc")
    assert again.plan == plan
    rows = json.loads(write_hdtn(again.plan)[0])["contacts"]
    assert rows == json.loads(path.read_text())["contacts"]


def test_overlaps_are_refused_by_name_and_merged_if_asked():
    path = PLANS / "10nodes.json"
    if not path.exists():
        pytest.skip("no shared plans")
    read = read_plan(path)
    # 368 rows, of which ION would not take 104: these six, and those that overlap.
    assert sum("ends before it starts" in note for note in read.notes) == len(read.notes) == 6
    assert len(overlaps(read.plan)) == 98
    with pytest.raises(UsageError, match=r"98 contacts overlap.*contact \d+ overlaps \d+, both \d+ to \d+"):
        write_ion(read.plan)
    text, lost = write_ion(read.plan, merge=True)
    assert any("united with another" in note for note in lost)
    again = read_ion(text, "x").plan
    assert overlaps(again) == []
    for pair in {(row.from_, row.to) for row in read.plan.contacts}:
        assert again.gaps_s(*pair, 1e5) == read.plan.gaps_s(*pair, 1e5)


def test_contacts_in_parallel_that_differ_are_not_merged():
    plan = ContactPlan.of([(1, 2, 0, 9, 800, 1), (1, 2, 5, 20, 1600, 1)])
    with pytest.raises(UsageError, match="overlap"):
        write_ion(plan, merge=True)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a contact +0 +30 3 4 0100", "line 3: bytes a second: ION takes 0100 for a number in base 8"),
        ("a contact +0 +30 3 4 1.9", "line 3: bytes a second: a whole number"),
        ("a range +0 +30 3 4 1.9", "line 3: light time: a whole number"),
        ("a contact 0 +30 3 4 100", "line 3: time: 0 makes it a hypothetical contact"),
        ("a contact -1 +30 3 4 100", "line 3: time: -1 makes it a registration"),
        ("a contact +010 +30 3 4 100", "line 3: time: ION takes 010"),
        ("a contact +0x10 +30 3 4 100", "line 3: time: a whole number"),
        ("a contact +0 2038/01/19-03:14:08 3 4 100", "line 3: time: .* is after 2038"),
        ("a contact +0 2026/02/30-00:00:00 3 4 100", "line 3: time: there is no 2026/02/30"),
        ("a contact +30 +30 3 4 100", "line 3: it ends before it starts"),
        ("a contact +0 +30 3 3 100", "line 3: from node 3 to itself"),
        ("a contact +0 +30 3 4 0", "line 3: a contact of 0 bytes"),
        ("a contact +0 +30 3 4", "line 3: `a contact START STOP FROM TO BYTES_PER_S` was expected"),
        ("a contact +5 +20 1 2 100", "line 3: it overlaps line 1 of the same pair, 1 to 2"),
        ("a range +5 +20 1 2 1", "line 3: it overlaps line 2 of the same pair"),
        ("a contact +0 +30 3 4 100", "line 3: no range says how far 3 and 4 are apart from \\+0"),
        ("d contact +9 1 2", "line 3: there is no such contact"),
        ("x y", "line 3: not a command"),
    ],
)
def test_what_ion_would_misread_is_refused_by_its_line(line, says):
    text = f"a contact +0 +10 1 2 100\na range +0 +10 1 2 1\n{line}\n"
    with pytest.raises(UsageError, match=f"x.ionrc, {says}"):
        read_ion(text, "x.ionrc")


def test_dates_regions_comments_and_changes():
    read = read_ion(
        "# a plan\n^ 1\n@ 2026/11/20-00:00:00\nm horizon +0\na contact +60 2026/11/20-00:02:00 1 2 100 0.9\n"
        "a contact +200 +300 1 2 100\na contact +400 +500 1 2 100\nc contact +200 1 2 50\nd contact +400 1 2\n"
        "a range +0 +250 1 2 3\na range +250 +900 1 2 4\na contact +0 +10 2 1 7\n",
        "x",
    )
    assert read.zero == "2026-11-20T00:00:00Z"
    assert read.notes == ("line 5: confidence 0.9 is left out",)
    # A contact is cut where the range changes; a range of the lower number first holds for both ways.
    assert read.plan == ContactPlan.of(
        [(1, 2, 60, 120, 800, 3), (1, 2, 200, 250, 400, 3), (1, 2, 250, 300, 400, 4), (2, 1, 0, 10, 56, 3)]
    )
    text, _ = write_ion(read.plan, zero=read.zero)
    assert "@ 2026/11/20-00:00:00" in text
    assert read_ion(text, "x") == type(read)(read.plan, (), read.zero)


def test_a_range_of_the_higher_number_holds_one_way():
    text = "a contact +0 +9 1 2 100\na contact +0 +9 2 1 100\na range +0 +9 1 2 3\na range +0 +9 2 1 5\n"
    plan = read_ion(text, "x").plan
    assert [row.delay_s for row in plan.contacts] == [3, 5]
    assert read_ion(write_ion(plan)[0], "x").plan == plan


def test_fractions_are_rounded_to_what_the_plan_has_and_named():
    plan = ContactPlan.of([("rover", "earth", 0.25, 10.75, 1001, 1.5)])
    text, lost = write_ion(plan)
    assert text.splitlines()[1:] == [
        "# node 1: earth", "# node 2: rover", "a contact +1 +10 2 1 125", "a range +1 +10 2 1 2",
    ]  # fmt: skip
    assert [note.split(":")[0] for note in lost] == [
        "nodes have numbers, their names are a comment",
        *["contact 0"] * 4,
    ]
    text, lost = write_hdtn(plan)
    assert json.loads(text)["contacts"][0]["rateBitsPerSec"] == 1001
    assert len(lost) == 4


@pytest.mark.parametrize(
    ("row", "form", "says"),
    [
        ((1, 2, 0, 10, 7.9, 1), "ion", "contact 0, 1 to 2: under 8 bit/s"),
        ((1, 2, 0.5, 1.9, 80, 1), "ion", "contact 0, 1 to 2: over within a second"),
        ((1, 2, 0, 10, 0.5, 1), "hdtn", "contact 0, 1 to 2: under 1 bit/s"),
        ((1, 2, 0.1, 1.9, 80, 1), "hdtn", "contact 0, 1 to 2: over within a second"),
        ((1, 2, 0, 10, 80, 1), "csv", "ion or hdtn, not as csv"),
    ],
)
def test_what_a_format_cannot_say_is_an_error(row, form, says):
    with pytest.raises(UsageError, match=says):
        write_plan(ContactPlan.of([row]), form)


def test_what_hdtn_takes_for_something_is_named():
    rows = [
        {"source": 1, "dest": 2, "startTime": 0, "endTime": 9, "owlt": 1},
        {"source": 1, "dest": 3, "startTime": 0, "endTime": 9, "rate": 5},
    ]
    read = read_hdtn(rows, "x")
    assert [row.rate_bps for row in read.plan.contacts] == [1e9, 5e6]
    assert read.notes == (
        "contacts[0]: no rate: 1 Gbit/s, as HDTN takes it",
        "contacts[1]: no owlt: 0, as HDTN takes it",
    )
    for bad, says in (
        ({"startTime": 1.5}, "startTime"),
        ({"dest": 1}, "to itself"),
        ({"owlt": True}, "owlt"),
    ):
        with pytest.raises(UsageError, match=rf"x: contacts\[0\]: .*{says}"):
            read_hdtn([{**rows[0], **bad}], "x")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"contacts": 1}', "was expected"),
        ("{", "no JSON"),
        ('{"contacts": [{"from": "a", "to": "b"}]}', "start_s"),
    ],
)
def test_files_that_are_no_plans(text, says, tmp_path):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(UsageError, match=says):
        read_plan(tmp_path / "plan.json")


def test_own_rows_keep_their_decimals(tmp_path):
    row = {
        "from": "rover",
        "to": "orbiter",
        "start_s": 0.125,
        "end_s": 9.5,
        "rate_bps": 128000.5,
        "delay_s": 0.003,
    }
    (tmp_path / "plan.json").write_text(json.dumps({"contacts": [row]}))
    assert read_plan(tmp_path / "plan.json").plan == ContactPlan((Contact.model_validate(row),))
