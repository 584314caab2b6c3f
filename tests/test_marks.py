"""Marks on the configuration's fields: each has one, and the lists that are made of them are right."""

import typing

from pydantic import BaseModel

from link.config import Camera, Codec, ProfileConfig, Session
from link.hops import HopConfig, Link, Repair
from link.marks import Affects, fields_marked, fields_unmarked, mark_of, values
from scenarios import schema
from scenarios.schema import Scenario
from scenarios.sweep import stamps


def models_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from models_in(part)


def bare(model, inherited=None):
    """Yield the fields that neither have a mark nor lie below one."""
    for name, field in model.model_fields.items():
        mark = mark_of(field) or inherited
        below = list(models_in(field.annotation))
        if mark is None and not below:
            yield f"{model.__name__}.{name}"
        for found in below:
            yield from bare(found, mark)


def test_every_field_of_the_configuration_is_marked():
    assert list(bare(Scenario)) == []
    # Below Session.profile, which is a machine's own, each field says what it has a say in.
    assert [name for name, field in ProfileConfig.model_fields.items() if mark_of(field) is None] == []


def test_a_field_without_a_mark_is_noticed():
    class Careless(BaseModel):
        speed: float = 1.0
        hop: HopConfig | None = None

    assert next(iter(bare(Careless))) == "Careless.speed"


def test_the_lists_that_are_made_of_the_marks():
    sender = {
        "frame_bytes",
        "unfit",
        "rate_control",
        "alpha",
        "beta",
        "task",
        "caption_words",
        "max_channels",
        "objects",
        "name_words",
        "object_words",
    }
    receiver = {"steps", "noise_seed", "guidance", "control_scale", "strength",
                "object_steps", "attention", "attention_ratio"}  # fmt: skip
    draws = {"generator", "adaptive"}  # what another one needs of the sender is in the models that are hashed
    assert fields_unmarked(Codec, Affects.SYNTAX) == sender | receiver | draws
    assert fields_unmarked(Codec, Affects.DECODING) == sender
    assert fields_unmarked(Codec, Affects.ENCODING) == receiver | draws
    assert fields_marked(ProfileConfig, Affects.PLACE) == {
        "bundle", "transform", "segmenter", "captioner", "grounder", "mask_finder", "dyndiff", "caption_model", "caption_url", "generator", "transformer",
        "controlnet", "vae", "text", "lora", "preview_vae", "rate_table", "segmentation", "depth", "detection",
    }  # fmt: skip
    assert fields_unmarked(ProfileConfig, Affects.RUNNING) - fields_marked(ProfileConfig, Affects.PLACE) == {
        "device",
        "dtype",
        "load_s",
        "memory_bytes",
        "picture_s",
    }
    assert fields_marked(Session, Affects.MACHINE) == {"profile"}
    assert fields_marked(Camera, Affects.FRAMES) == set(Camera.model_fields)
    assert fields_marked(Camera, Affects.SYNTAX) == {"width", "height"}, "as link.fingerprint hashes them"
    assert fields_marked(Link, Affects.SYNTAX) == {"framing"}
    assert fields_marked(Repair, Affects.SYNTAX) == set()


def test_values_of_a_mark_are_found_at_any_depth():
    session = schema.load("mars-relay", (), {"link.repair.fec": 0.25}).session()
    assert dict(values(session, Affects.PACKETS)) == {
        "link.framing": "compact",
        "link.mtu_bytes": session.link.mtu_bytes,
        "link.repair.fec": 0.25,
        "link.repair.protection": "equal",
    }
    assert dict(values(session, Affects.FRAMES))["seed"] == session.seed


def stamped(**changes):
    session = schema.load("mars-relay", (), changes).session()
    return stamps.shots(session), stamps.encoding(session), stamps.decoding(session)


def test_what_a_field_has_a_say_in_moves_its_key_and_no_other():
    shots, coding, decoding = stamped()
    assert stamped(**{"codec.steps": 3})[:2] == (shots, coding)
    assert stamped(**{"codec.steps": 3})[2] != decoding
    assert stamped(**{"codec.caption_words": 12})[1] != coding
    assert stamped(**{"codec.caption_words": 12})[2] == decoding
    assert stamped(**{"link.mtu_bytes": 64}) == (shots, coding, decoding), "gsc fills no packets"
    assert stamped(**{"profile.offload": True})[2] != decoding
    assert stamped(**{"link.repair.show_early": False}) == (shots, coding, decoding), "when, not what"
    assert stamped(**{"camera.fit": "pad"})[0] != shots
    webp = stamped(**{"codec.name": "webp"})
    assert stamped(**{"codec.name": "webp", "link.mtu_bytes": 64, "codec.frame_bytes": 900})[1] != webp[1]
    assert stamped(**{"codec.name": "webp", "codec.steps": 3})[1:] == webp[1:]
