"""What the report shows of a frame's sections: as they were sent, and which of them the receiver had."""

import io

import numpy as np
import pytest
import toys
from PIL import Image
from test_metrics import result_of

from link.bitstream import latent
from link.codecs import gsc
from link.codecs.gsc import Transmission
from link.config import Session
from link.seeds import generator
from scenarios.report import page as report
from scenarios.report import sections
from scenarios.results import traffic
from scenarios.scoring import pairs


class Encoder:
    """Sends the same caption and random maps in eight channels."""

    def __init__(self, codec):
        self._codec, self._tables = codec, latent.LatentTables.generic(32)

    def encode(self, frame):
        rng = generator(frame.number, "maps")
        maps = rng.integers(-2, 3, (8, 12, 16)).astype(np.int32)
        sent = Transmission("dark <b>street</b> & more", tuple(range(8)), maps)
        return gsc.write(self._codec, sent, self._tables, range(8))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of three frames in which every third packet is lost, with tables that adapt."""
    monkeypatch.setattr(gsc, "load_tables", lambda folder, channels: latent.LatentTables.generic(channels))
    hop = {"name": "hop", "rate_bps": 2000, "loss": {"model": "pattern", "pattern": "..x"}}
    plan = Session.model_validate(
        {
            "name": "toy",
            "camera": {"width": 256, "height": 192, "period_s": 60.0},
            "codec": {"name": "gsc", "caption": "vlm", "frame_bytes": 2000},
            "link": {"hops": [hop], "mtu_bytes": 100},
        }
    )
    return toys.run(plan, tmp_path / "run.mcap", 3, Encoder(plan.codec))


def test_sections_are_told_as_the_receiver_had_them(run):
    found = sections.sections(run, traffic.packets(run), range(3))
    had = {event["frame"]: event["sections"] for event in toys.kinds(run, "closed")}
    assert found.keys() == had.keys() == {0, 1, 2}
    lost_channels = 0
    for frame, made_of in found.items():
        assert made_of.caption == "dark <b>street</b> & more"
        assert made_of.caption_arrived == had[frame][0]
        assert made_of.sizes.keys() == {"caption", "channels"}
        assert made_of.sizes["channels"] > 8 * 20
        assert made_of.channels is not None
        with Image.open(io.BytesIO(made_of.channels)) as tiles:
            assert tiles.width > 8 * sections.TILE[0]
        lost_channels += sum(not ok for ok in had[frame][1:])
    assert lost_channels > 0, "the loss pattern must cost sections, or this test tells nothing"


def test_only_asked_frames_are_told(run):
    assert sections.sections(run, traffic.packets(run), [1]).keys() == {1}


def test_the_page_escapes_captions(run, tmp_path):
    page = report.write(result_of(run, pairs.score(run)), tmp_path).read_text()
    assert "dark &lt;b&gt;street" in page
    assert "<b>street</b>" not in page
    assert 'class="chan"' in page
    assert "3 pictures, 1 min apart," in page
    assert "as a caption and 8 latent channels each" in page
    assert 'data-sizes="{&#34;caption&#34;' in page
    assert 'kinds = [["caption", "caption"], ["ids", "which channels"], ["channels", "channels"]]' in page, (
        "in order"
    )


def test_classical_codecs_have_no_such_part(tmp_path):
    plan = toys.session({"hops": [{"name": "hop", "rate_bps": 2000}]})
    run = toys.run(plan, tmp_path / "run.mcap", 2)
    assert sections.sections(run, traffic.packets(run), range(2)) == {}
    assert 'id="made"' not in report.write(result_of(run, pairs.score(run)), tmp_path).read_text()
