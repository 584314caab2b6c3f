"""What a stranger's scenario says: refused in one line, or fit to run. CI runs a share of the campaigns.

A scenario that `load` accepts must come to waits, a channel and a run of two frames without another error than
farlink's own, within `MOST_S` seconds and `MOST_BYTES` bytes; one that it refuses is refused in one short line.
"""

import copy
import json
import math
import resource
import string
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
import typer
import yaml
from PIL import Image

from link import timing
from link.channel.channel import Channel
from link.codecs import SYNTAXES
from link.config import Camera, Session
from link.errors import FarlinkError, PartialError, UsageError
from link.hops import MAX_HOPS, MAX_WINDOWS
from scenarios import cli, document, schema
from scenarios.commands.options import clean_errors
from scenarios.sweep.plan import parse_seeds, split
from sender.camera import check_source_name

MOST_S, MOST_BYTES, MOST_LETTERS = 2.0, 1 << 30, 1000
SEED = 20261124
LEAST = {"hops": [{"name": "a", "rate_bps": 500}]}


def refusal(text: str, tmp_path: Path, *settings: str) -> str:
    file = tmp_path / "mine.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UsageError) as caught:
        schema.load(str(file), settings)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert len(line) < MOST_LETTERS
    assert line.isprintable()
    return line


def scenario(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "camera": {}, "codec": {"name": "jpeg"}, "link": LEAST, **changes}


def load_tree(tree: Any, tmp_path: Path, *settings: str) -> schema.Scenario:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(tree, allow_unicode=True), "utf-8")
    return schema.load(str(file), settings)


# One reader of YAML

BAD_YAML = {
    "no int": ("a: !!int abc", "'abc' is no int"),
    "an empty int": ("a: !!int ''", "is no int"),
    "no bool": ("a: !!bool abc", "'abc' is no bool"),
    "no digits": ("a: 0x_", "is no number"),
    "4,400 digits": ("a: " + "9" * 4400, "a number of 4400 letters"),
    "binary": ("a: !!binary aGVsbG8=", "the tag !!binary is not read"),
    "a timestamp": ("a: !!timestamp 2026-11-20", "the tag !!timestamp"),
    "a set": ("!!set {a, b}", "the tag !!set"),
    "python": ("a: !!python/object/apply:os.system [ls]", "the tag !!python"),
    "a list as key": ("[a]: 1", "a key is a list"),
    "twice": ("a: 1\na: 2", "line 2: not valid YAML: the key 'a' stands twice"),
    "twice in a list": ("- {a: 1, a: 2}", "stands twice"),
    "deep": ("[" * 5000 + "]" * 5000, "groups within groups"),
    "deep blocks": ("- " * 5000 + "x", "groups within groups"),
    "deep aliases": (
        "a0: &a0 [[[[[[[[x]]]]]]]]\n"
        + "".join(f"a{n}: &a{n} [[[[[[[[*a{n - 1}]]]]]]]]\n" for n in range(1, 200)),
        "groups within groups",
    ),
    "an alias of itself": ("a: &a [*a]", "an alias stands within"),
    "no anchor": ("a: *nowhere", "undefined alias"),
    "NUL": ('a: "\\0"', "a NUL"),
    "half a pair": ('a: "\\ud800"', "half of a surrogate pair"),
    "beyond Unicode": ('a: "\\UFFFFFFFF"', "an escape"),
    "a control character": ("a: \x01", "the character 0x1"),
    "a tab": ("a:\n\tb: 1", "line 2"),
    "two documents": ("a: 1\n---\nb: 2", "single document"),
    "many values": ("[" + "1," * 100_000 + "]", "values, aliases written out"),
    "large": ("#" * (document.MAX_BYTES + 1), "over 262144"),
}


@pytest.mark.parametrize(("text", "expected"), BAD_YAML.values(), ids=list(BAD_YAML))
def test_bad_yaml_is_refused_in_one_line_in_a_file_and_in_an_option(
    text: str, expected: str, tmp_path: Path
) -> None:
    assert expected in refusal(text, tmp_path)
    if len(text) < 200_000:
        with pytest.raises(UsageError) as caught:
            schema.load("mars-relay", [f"title={text}"])
        assert expected.partition(": ")[2] or expected in str(caught.value)
        assert len(str(caught.value)) < MOST_LETTERS


@pytest.mark.parametrize("kind", ["aliases", "merges"])
def test_aliases_and_merges_are_counted_as_if_they_were_written_out(kind: str, tmp_path: Path) -> None:
    lines = ["a0: &a0 {x: 1}"]
    for number in range(1, 20):
        inner = ", ".join([f"*a{number - 1}"] * 9)
        lines.append(
            f"a{number}: &a{number} " + (f"[{inner}]" if kind == "aliases" else f"{{<<: [{inner}]}}")
        )
    started = time.thread_time()
    assert "values, aliases written out" in refusal("\n".join(lines), tmp_path)
    assert time.thread_time() - started < 1.0


def test_what_is_read_of_yaml() -> None:
    assert document.parse("", "x") is None
    assert document.parse("when: 2026-11-20", "x") == {"when": "2026-11-20"}
    assert document.parse("a: =", "x") == {"a": "="}
    assert document.parse("a: !!float 5\nb: !!str 5\nc: 0x10\nd: [yes, ~]", "x") == {
        "a": 5.0,
        "b": "5",
        "c": 16,
        "d": [True, None],
    }
    assert document.parse("b: &b {x: 1, y: 2}\na: {<<: *b, x: 3}", "x")["a"] == {"x": 3, "y": 2}
    # A mapping that is merged elsewhere before it is made itself repeats no key.
    nested = document.parse("p:\n  q: &d {<<: &e {x: 1}, x: 2}\nr: {<<: *d}", "x")
    assert nested == {"p": {"q": {"x": 2}}, "r": {"x": 2}}


def test_to_set_what_an_alias_stands_for_sets_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(
        "name: x\ncamera: {}\ncodec: {name: jpeg}\nlink:\n  hops:\n"
        "    - {name: a, rate_bps: 500, loss: &l {model: bernoulli, loss: 0.1}}\n"
        "    - {name: b, rate_bps: 500, loss: *l}\n"
    )
    plan = schema.load(str(file), ["link.hops.0.loss.loss=0.5"])
    assert [hop.loss.mean_loss for hop in plan.link.hops if hop.loss] == [0.5, 0.1]


def test_files_that_are_no_text_are_refused_in_one_line(tmp_path: Path) -> None:
    for name, data, expected in (
        ("latin.yaml", b"title: caf\xe9\n", "not UTF-8: byte 10"),
        ("wide.yaml", "title: x".encode("utf-16"), "not UTF-8"),
        ("large.yaml", bytes(10 << 20), "over 262144 bytes"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UsageError, match=expected):
            schema.load(str(tmp_path / name))
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    for name in ("folder.yaml", "zero.yaml"):
        with pytest.raises(UsageError, match="not a file"):
            schema.load(str(tmp_path / name))
    for name in ("a\0b", "a\0b.yaml", "x" * 5000, "x" * 5000 + ".yaml", "y/" * 3000):
        with pytest.raises(UsageError) as caught:
            schema.load(name)
        assert len(str(caught.value)) < MOST_LETTERS


@pytest.mark.parametrize(
    "setting",
    ["link.hops.²=1", "link.hops." + "9" * 5000 + "=1", ".".join("a" * 5000) + "=1", "a" * 100_000, "=1", "camera." * 40 + "x=1"],
)  # fmt: skip
def test_a_bad_path_of_an_option_is_refused_in_one_short_line(setting: str) -> None:
    with pytest.raises(UsageError) as caught:
        schema.load("mars-relay", [setting])
    assert len(str(caught.value)) < MOST_LETTERS


def test_what_is_shown_of_a_value_is_short(tmp_path: Path) -> None:
    for tree in (
        scenario(seed="7" * 100_000),
        scenario(**{"k" * 100_000: 1}),
        scenario(codec={"name": "n" * 100_000}),
        scenario(link={**LEAST, "framing": "f" * 100_000}),
        scenario(camera={"source": "s" * 4000 + ":x"}),
        scenario(camera={"source": "world:" + "t" * 4000}),
        scenario(link={"hops": [{"name": "a", "rate_bps": 5, "loss": {"model": "m" * 100_000}}]}),
        scenario(link={"hops": [{"name": "a", "rate_bps": 5, "loss": {"model": "m\n\x1b[2J"}}]}),
        scenario(link={"hops": [{"name": "a", "trace": "m\n\x1b[2J"}]}),
        scenario(**{"k\n\x1b[2J": 1}),
        ["x" * 200_000],
    ):
        refusal(yaml.safe_dump(tree, width=1 << 20), tmp_path)


# What validate accepts, run can do


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"codec": {"name": "jpeg", "frame_bytes": 1e20}}, "codec.frame_bytes: a number of less than 20 digits was expected, not 1e+20"),
        ({"codec": {"name": "jpeg", "frame_bytes": 1 << 26}}, "a frame has at most 1024 packets, which carry"),
        ({"camera": {"period_s": 1e8, "frames": 100}}, "100 frames of camera.period_s"),
        ({"camera": {"width": 8192, "height": 8192}}, "8192x8192 is over 64000000 pixels"),
        ({"camera": {"frames": 10**30}}, "camera.frames"),
        ({"camera": {"period_s": 1e-300}}, "camera.period_s"),
        ({"camera": {"source": "webcam:abc"}}, "expected the number of a webcam"),
        ({"camera": {"source": "world:nowhere"}}, "unknown theme"),
        ({"camera": {"source": "nosuch:thing"}}, "unknown prefix"),
        ({"camera": {"source": "testcard:1"}}, "nothing may follow testcard"),
        ({"camera": {"source": "camvid:"}}, "expected camvid:DIR"),
        ({"camera": {"source": ""}}, "camera.source '': no such file"),
        ({"link": {"hops": [{"name": "a", "rate_bps": 1e300}]}}, "rate_bps"),
        ({"link": {"hops": [{"name": "a", "rate_bps": 1e-300}]}}, "rate_bps"),
        ({"link": {"hops": [{"name": f"h{n}", "rate_bps": 5} for n in range(1000)]}}, f"at most {MAX_HOPS}"),
        ({"link": {"hops": [{"name": f"h{n}", "rate_bps": 5, "delay_s": 1e8} for n in range(2)]}}, "add up to 2e+08 s"),
        (
            {"link": {
                "hops": [{"name": "a", "rate_bps": 0.01, "queue": {"limit_bytes": 65535}}], "mtu_bytes": 65535,
                "return": {"rate_bps": 1}, "repair": {"arq": True, "arq_rounds": 32},
            }},
            "link.deadline_s: ",
        ),
        ({"link": {"hops": [{"name": "a", "rate_bps": 0.001}], "deadline_s": 5}}, "a full queue of 1048576 bytes"),
        ({"link": {"hops": [{"name": "a", "rate_bps": 5, "outage": {"up_s": 1e-9, "down_s": 1e-9}}]}}, "outage.up_s"),
        (
            {"link": {"hops": [{"name": "a", "rate_bps": 5, "outage": {"windows_s": [[n, n + 0.5] for n in range(6000)]}}]}},
            f"at most {MAX_WINDOWS}",
        ),
        ({"link": {"hops": [{"name": "a", "rate_bps": 5, "jitter": {"scale_s": 1e8}}]}}, "jitter.scale_s"),
        (
            {"link": {"hops": [{"name": "a", "rate_bps": 5, "loss": {"model": "gilbert_elliott", "loss": 0.1, "mean_burst": 1e300}}]}},
            "mean_burst",
        ),
    ],
)  # fmt: skip
def test_what_no_run_could_do_is_refused_before_it(changes: Any, expected: str, tmp_path: Path) -> None:
    assert expected in refusal(yaml.safe_dump(scenario(**changes)), tmp_path)


def test_a_source_is_refused_in_the_same_words_by_its_name_and_when_it_is_opened(tmp_path: Path) -> None:
    from sender.camera import open_source

    for source in ("webcam:abc", "world:nowhere", "nosuch:thing", "testcard:1", "camvid:"):
        with pytest.raises(UsageError) as by_name:
            check_source_name(source)
        with pytest.raises(UsageError) as opened:
            open_source(Camera(source=source), seed=1)
        assert str(by_name.value) == str(opened.value)


# Random scenarios

SOURCES = (
    "testcard",
    "world:mars",
    "world:moon:7",
    "webcam:0",
    "world:",
    "camvid:/nowhere",
    "a/b.png",
    "x:y",
    "world:nowhere",
)
SHAPES = {
    "^[A-Za-z0-9][A-Za-z0-9._-]*$": "a1",
    "^[a-z0-9][a-z0-9_-]*$": "abcdefgh",
    "^[.x]+$": ".x",
}  # fmt: skip
STRANGE = (
    None,
    True,
    -1,
    0,
    1e308,
    "",
    "x",
    [],
    {},
    [[]],
    math.nan,
    math.inf,
    10**60,
    "9" * 5000,
    "\x7f",
    "1e3",
)


class Generator:
    """Draws scenarios from their own JSON Schema: values in range, at its ends, beyond, and of another kind."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._schema = schema.Scenario.model_json_schema(by_alias=True)
        self._wild = 0.0

    def tree(self) -> Any:
        self._wild = float(self._rng.choice([0.0, 0.0, 0.01, 0.05]))
        tree = self._draw(self._schema, "")
        if isinstance(tree, dict) and self._wild == 0.0:
            self._repair(tree)
        return tree

    def _repair(self, tree: dict[str, Any]) -> None:
        """Mend what a draw of each field by itself seldom gets right, so that more is accepted."""
        tree["camera"]["source"] = self._pick(SOURCES[:3])
        tree.pop("analysis", None)
        if self._chance(0.7):
            tree["profile"] = {}
        if tree["codec"].get("profile") == "flux":
            del tree["codec"]["profile"]
        if tree["camera"].get("width", 256) * tree["camera"].get("height", 192) > 64_000_000:
            tree["camera"]["height"] = 64
        link = tree["link"]
        self._leave_out(link, ("medium", "nodes", "lifetime_s"), 0.8)
        hops = link["hops"] = link["hops"][: int(self._rng.integers(1, 5))]
        if self._chance(0.7):
            link["mtu_bytes"] = int(self._rng.integers(30, 400))
        for number, hop in enumerate([*hops, link.get("return") or {}]):
            hop["name"] = f"h{number}"
            hop.pop("trace", None)
            hop["rate_bps"] = float(10 ** self._rng.uniform(-2, 9))
            # What is derived is not to be given, and physics seldom fit together by chance.
            self._leave_out(hop, ("budget_steps", "delay_knots_ns"), 1.0)
            self._leave_out(hop, ("budget", "delay", "contacts", "contacts_s", "between"), 0.9)
            if self._chance(0.8):
                hop["delay_s"] = float(10 ** self._rng.uniform(-3, 5))
            if self._chance(0.8):
                hop.pop("queue", None)
            if isinstance(outage := hop.get("outage"), dict):
                if self._chance(0.5):
                    outage.pop("windows_s", None)
                    outage |= {
                        "up_s": float(10 ** self._rng.uniform(-3, 5)),
                        "down_s": float(10 ** self._rng.uniform(-3, 5)),
                    }
                else:
                    outage.pop("up_s", None)
                    outage.pop("down_s", None)
                    edges = np.cumsum(
                        self._rng.uniform(0.001, 1e4, 2 * int(self._rng.integers(0, 9)))
                    ).tolist()
                    outage["windows_s"] = [list(pair) for pair in zip(edges[::2], edges[1::2], strict=True)]
            if isinstance(loss := hop.get("loss"), dict) and loss["model"] == "gilbert_elliott":
                loss.update(
                    loss_good=0.0,
                    loss_bad=1.0,
                    loss=float(self._rng.uniform(0, 0.9)),
                    mean_burst=float(10 ** self._rng.uniform(1, 8)),
                )
        if isinstance(link.get("return"), dict):
            for key in ("name", "retransmit"):
                link["return"].pop(key, None)

    def _leave_out(self, tree: dict[str, Any], keys: tuple[str, ...], share: float) -> None:
        for key in keys:
            if self._chance(share):
                tree.pop(key, None)

    def _chance(self, share: float) -> bool:
        return bool(self._rng.random() < share)

    def _pick(self, items: Any) -> Any:
        return items[int(self._rng.integers(len(items)))]

    def _draw(self, node: Any, key: str) -> Any:
        if self._chance(self._wild):
            return self._pick(STRANGE)
        while "$ref" in node:
            node = self._schema["$defs"][node["$ref"].rpartition("/")[2]]
        if choices := node.get("anyOf") or node.get("oneOf"):
            return self._draw(self._pick(choices), key)
        if "const" in node:
            return node["const"]
        if "enum" in node:
            return self._pick(node["enum"])
        kind = node.get("type")
        if kind == "object":
            required = node.get("required", ())
            fields = {
                name: self._draw(child, name)
                for name, child in node.get("properties", {}).items()
                if name in required or self._chance(0.4)
            }
            return {**fields, "strange": 1} if self._chance(self._wild / 4) else fields
        if kind == "array":
            if items := node.get("prefixItems"):
                return [self._draw(item, key) for item in items]
            count = int(self._rng.integers(node.get("minItems", 0), 4))
            return [self._draw(node["items"], key) for _ in range(count)]
        if kind == "string":
            return self._text(node, key)
        if kind in ("number", "integer"):
            return self._number(node, kind == "integer")
        return self._chance(0.5) if kind == "boolean" else None

    def _text(self, node: Any, key: str) -> str:
        if key == "source":
            return str(self._pick(SOURCES))
        if key == "name" and "pattern" not in node:
            return str(self._pick([*SYNTAXES, "gsc", "nosuch"]))
        letters = SHAPES.get(node.get("pattern", ""), string.printable)
        size = 1 + int(self._rng.integers(self._pick((4, 4, 4, 64))))
        return "".join(letters[int(at)] for at in self._rng.integers(len(letters), size=size))

    def _number(self, node: Any, whole: bool) -> float:
        low = node.get("minimum", node.get("exclusiveMinimum", -1e6))
        high = node.get("maximum", node.get("exclusiveMaximum", 1e6))
        way = self._rng.random()
        if way < 0.1:
            number = self._pick((low, high))
        elif way < 0.12:
            number = self._pick((low - 1, high + 1, low * 2, high * 2, -low))
        elif way < 0.5 and high > 0:
            # All magnitudes alike.
            number = 10 ** self._rng.uniform(math.log10(max(low, 1e-12)), math.log10(high))
        else:
            number = self._rng.uniform(low, min(high, max(low, 1) * 1000))
        return int(number) if whole else float(number)


def run_two_frames(plan: Session, path: Path) -> None:
    """Build all that a run of *plan* is made of but pictures, and run it with toys in place of the models."""
    waits = timing.times(plan, schema.traces(plan))
    assert waits.deadline_ns >= 0
    Channel(plan.link, plan.seed, schema.traces(plan))
    small = plan.camera.model_copy(update={"width": 64, "height": 48, "source": "testcard", "frames": None})
    codec = plan.codec.model_copy(update={"name": "jpeg"})
    # A hop that repeats does so up to tries x window times a packet.
    repeats = any(hop.retransmit for hop in plan.link.hops)
    size = min(plan.codec.frame_bytes or 1, 20_000)
    if repeats:
        size = min(size, 5 * timing.body_bytes(plan.link))
    sections = 1 + plan.seed % 9
    path.unlink(missing_ok=True)
    toys.run(
        plan.model_copy(update={"camera": small, "codec": codec}),
        path,
        2,
        encoder=toys.ToyEncoder(sections, max(1, size // sections)),
    )


def tried(work: Any) -> tuple[str, float]:
    """Return what became of *work* and the seconds it took; only farlink's own errors are caught."""
    started, said = time.thread_time(), "done"
    try:
        work()
    except FarlinkError as error:
        said = f"{type(error).__name__}: {error}"
    spent = time.thread_time() - started
    assert len(said.splitlines()) == 1, said
    assert len(said) < MOST_LETTERS, said
    return said, spent


def grow_bytes(before: int) -> int:
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def random_scenarios(count: int, seed: int, tmp_path: Path) -> None:
    generator = Generator(np.random.default_rng(seed))
    ends: Counter[str] = Counter()
    slowest = 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        tree = generator.tree()
        try:
            text = yaml.safe_dump(tree, allow_unicode=True)
            file = tmp_path / "random.yaml"
            file.write_text(text, "utf-8")
            plans: list[schema.Scenario] = []
            end, spent = tried(lambda file=file, plans=plans: plans.append(schema.load(str(file))))
            if plans:
                again = schema.Scenario.model_validate(json.loads(plans[0].model_dump_json(by_alias=True)))
                assert again == plans[0]
                written = document.parse(schema.to_yaml(plans[0]), "scenario.yaml")
                assert schema.from_tree(written, "scenario.yaml") == plans[0], "it runs again to the same"
                session = plans[0].session()
                end, more = tried(lambda session=session: run_two_frames(session, tmp_path / "run.mcap"))
                spent += more
                end = "run " + end
            ends[end.partition(":")[0]] += 1
            slowest = max(slowest, spent)
            assert spent < MOST_S, end
        except Exception as error:
            error.add_note(f"seed {seed}, scenario {number}: {json.dumps(tree)[:20_000]}")
            raise
    grown = grow_bytes(before)
    print(f"seed {seed}: {count} scenarios, {dict(ends)}, slowest {slowest:.2f} s, {grown >> 20} MiB more")
    assert grown < MOST_BYTES
    assert ends["run done"] > count // 20


def test_a_random_scenario_is_refused_or_runs(tmp_path: Path) -> None:
    random_scenarios(120, SEED, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
def test_many_random_scenarios_are_refused_or_run(tmp_path: Path) -> None:
    random_scenarios(6000, int(time.time()), tmp_path)


# Mutated files

SNIPPETS = (
    b"&a ", b"*a ", b"<<: *a\n", b"!!int ", b"!!set ", b"!!binary ", b"[", b"]", b"{", b"}", b": ", b"- ", b"? ", b"| ", b"> ",
    b"\t", b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"'", b'"', b'"\\ud800"', b"---\n", b"...\n", b"%YAML 1.1\n", b"#",
    b"2026-11-20", b"1e999", b".nan", b"-.inf", b"0x", b"0b_", b"1:2:3", b"~", b"yes", b"9" * 70, b"\r", b"\xc2\x85", b"\xe2\x80\xa8",
)  # fmt: skip


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Return *data* with a few bytes, pieces or whole lines changed, doubled, moved or replaced."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(found) + 1))
        way = rng.integers(7)
        if way == 0 and at < len(found):
            found[at] ^= 1 << int(rng.integers(8))
        elif way == 1:
            found[at : at + int(rng.integers(8))] = rng.bytes(int(rng.integers(8)))
        elif way == 2:
            found[at:at] = SNIPPETS[int(rng.integers(len(SNIPPETS)))]
        elif way == 3:
            to = at + int(rng.integers(40))
            found[at:at] = found[at:to] * int(rng.integers(1, 4))
        elif way == 4:
            del found[at : at + int(rng.integers(30))]
        else:
            lines = found.split(b"\n")
            one, other = rng.integers(len(lines), size=2).tolist()
            if way == 5:
                lines[one], lines[other] = lines[other], lines[one]
            else:
                lines.insert(one, b" " * int(rng.integers(4)) + lines[other].strip())
            found = bytearray(b"\n".join(lines))
    return bytes(found)


def mutate_tree(tree: Any, rng: np.random.Generator) -> Any:
    """Return a copy of *tree* in which a few places hold something strange, another part of it, or nothing."""
    tree = copy.deepcopy(tree)
    for _ in range(int(rng.integers(1, 4))):
        places: list[tuple[Any, Any]] = []
        groups = [tree]
        while groups:
            group = groups.pop()
            keys = list(group) if isinstance(group, dict) else range(len(group))
            places += [(group, key) for key in keys]
            groups += [group[key] for key in keys if isinstance(group[key], dict | list)]
        if not places:
            return tree
        group, key = places[int(rng.integers(len(places)))]
        other, place = places[int(rng.integers(len(places)))]
        way = rng.integers(7)
        if way == 0:
            del group[key]
        elif way == 1:
            group[key] = copy.deepcopy(other[place])
        elif way == 2:
            group[key] = [group[key]] * int(rng.integers(0, 4))
        elif way == 3 and isinstance(group, dict):
            group[("x", 1, None, "k\n", "\u202e", "hops", "loss")[int(rng.integers(7))]] = group[key]
        elif way == 4 and isinstance(group[key], int | float):
            group[key] = (
                float(group[key]) * float(10 ** rng.uniform(-9, 9)) * (-1 if rng.random() < 0.1 else 1)
            )
        elif way == 5 and isinstance(group[key], str):
            group[key] = (
                group[key] * int(rng.integers(0, 2000)) + ("", "\0", "\n", "\x1b[2J")[int(rng.integers(4))]
            )
        else:
            group[key] = copy.deepcopy(STRANGE[int(rng.integers(len(STRANGE)))])
    return tree


def mutated(files: int, trees: int, seed: int, tmp_path: Path) -> None:
    """Load *files* scenarios of changed bytes and *trees* of changed values: each is read or refused in one line."""
    rng = np.random.default_rng(seed)
    generator = Generator(rng)
    texts = [
        "\n".join(line for line in schema.source_text(name)[0].splitlines() if not line.startswith("#"))
        for name in ("mars-relay", "orbiter-pass", "hf-radio")
    ]
    texts += [
        yaml.safe_dump(scenario()),
        "{name: x, camera: {}, codec: {name: jpeg}, link: {hops: [{name: a, rate_bps: 5}]}}",
    ]
    texts += [yaml.safe_dump(generator.tree()) for _ in range(8)]
    bases = [text.encode("utf-8", "surrogatepass") for text in texts]
    # Of the drawn ones most are refused as they are, so the presets come more often.
    whole = [document.parse(text, "base") for text in texts[:5]] * 5 + [generator.tree() for _ in range(8)]
    whole = [tree for tree in whole if isinstance(tree, dict)]
    file = tmp_path / "mutated.yaml"
    ends: Counter[str] = Counter()
    slowest, total, before = 0.0, 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(files + trees):
        given: Any
        if number < files:
            given = mutate(bases[int(rng.integers(len(bases)))], rng)
            file.write_bytes(given)
            work = partial(schema.load, str(file))
        else:
            given = mutate_tree(whole[int(rng.integers(len(whole)))], rng)
            work = partial(schema.from_tree, given, "mutated")
        try:
            said, spent = tried(work)
            assert spent < MOST_S
        except Exception as error:
            error.add_note(f"seed {seed}, number {number}: {given!r}")
            raise
        ends[said.partition(":")[0]] += 1
        slowest, total = max(slowest, spent), total + spent
    grown = grow_bytes(before)
    print(
        f"seed {seed}: {files} files, {trees} trees, {dict(ends)}, {total:.0f} s, slowest {slowest:.2f} s, "
        f"{grown >> 20} MiB more"
    )
    assert grown < MOST_BYTES
    assert ends["done"] > (files + trees) // 100


def test_a_mutated_scenario_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    mutated(200, 2000, SEED, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
def test_many_mutated_scenarios_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    mutated(30_000, 300_000, int(time.time()), tmp_path)


# The commands


def command(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run `farlink` with *arguments*, which must end with one line and exit code 2; return the line."""
    monkeypatch.setattr(sys, "argv", ["farlink", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    lines = capsys.readouterr().err.splitlines()
    assert ended.value.code == UsageError.exit_code, lines
    assert len(lines) == 1
    assert len(lines[0]) < 2 * MOST_LETTERS
    assert lines[0].isprintable()
    return lines[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "FILE"],
        ["link", "FILE"],
        ["scenarios", "validate", "FILE"],
        ["sweep", "FILE", "--vary", "codec.channels=1", "--out", "OUT"],
        ["sweep", "mars-relay", "--list", "FILE", "--out", "OUT"],
        ["sweep", "mars-relay", "--vary", "title=TEXT", "--out", "OUT"],
        ["run", "--set", "title=TEXT"],
        ["link", "--set", "title=TEXT"],
        ["scenarios", "validate", "mars-relay", "--set", "title=TEXT"],
        ["encode", "PICTURE", "-o", "OUT", "--set", "title=TEXT"],
        ["train", "rate", "--scenario", "FILE", "--source", "testcard", "--out", "OUT"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("name", ["no int", "4,400 digits", "deep", "half a pair", "twice", "binary"])
def test_every_command_that_reads_yaml_refuses_it_in_one_line(
    arguments: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    text = BAD_YAML[name][0]
    value = "{" + text.replace("\n", ", ") + "}" if ": " in text else text
    (tmp_path / "mine.yaml").write_text(text)
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    places = {"FILE": "mine.yaml", "PICTURE": "a.png", "OUT": "out"}
    given = [
        str(tmp_path / places[item]) if item in places else item.replace("TEXT", value) for item in arguments
    ]
    assert "not valid YAML" in command(given, monkeypatch, capsys)
    assert not (tmp_path / "out").exists()


def test_the_line_of_an_error_is_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), clean_errors():
        raise UsageError("begin " + "x" * 100_000 + " end")
    line = capsys.readouterr().err
    assert len(line) < 2 * MOST_LETTERS + 100
    assert line.startswith("farlink: begin ")
    assert " end (100010 letters)" in line


def test_own_models_are_set_within_the_same_bounds() -> None:
    plan = schema.load("mars-relay").session()
    for setting in (
        "profile.device=" + "[" * 5000,
        "profile.device=!!int abc",
        "profile.transform=" + "x" * 5000,
    ):
        with pytest.raises(UsageError) as caught:
            schema.with_local_models(plan, [setting])
        assert len(str(caught.value)) < MOST_LETTERS


def test_seeds_and_values_of_a_sweep_are_bounded_before_they_are_made() -> None:
    started = time.thread_time()
    for text in ("99999999999", "9" * 5000, "-1", "1,,x"):
        with pytest.raises(UsageError, match="a count of at most 100000"):
            parse_seeds(text)
    assert len(split("1," * 60_000)) == 60_001
    assert time.thread_time() - started < 1.0


def test_a_camera_that_goes_on_for_ever_ends_the_run_before_the_clock_does(tmp_path: Path) -> None:
    plan = toys.session(LEAST, period_s=1e8)
    with pytest.raises(PartialError, match="camera frame 11 is due after 1e"):
        toys.run(plan, tmp_path / "run.mcap", 30)
