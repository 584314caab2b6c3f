"""The test card: what moves, its seed, its frames, strips without seams."""

import itertools

import numpy as np
import pytest
from shots import camera, shots_of

import sender.camera.picture
import sender.camera.testcard
from sender.camera import open_source


@pytest.mark.parametrize("size", [(16, 16), (64, 48), (192, 256), (400, 100), (256, 192)])
def test_testcard_moves_and_repeats_itself(size):
    width, height = size
    first = shots_of("testcard", width=width, height=height, frames=5)
    again = shots_of("testcard", width=width, height=height, frames=5)
    assert [s.name for s in first] == [f"testcard#{k}" for k in range(5)]
    for k, shot in enumerate(first):
        assert shot.pixels.shape == (height, width, 3)
        assert shot.pts_ns is None
        assert np.array_equal(shot.pixels, again[k].pixels)
        if k:
            moved = (shot.pixels != first[k - 1].pixels).any(axis=2).mean()
            assert 0.005 < moved < 0.25  # things move, most stands still


def test_testcard_hand_ball_and_number_all_move():
    shots = shots_of("testcard", width=256, height=192, frames=20)
    for one, two in itertools.pairwise(shots):
        moved = (one.pixels != two.pixels).any(axis=2)
        assert moved[:66, 190:].any()  # the clock
        assert moved[100:135, 80:176].any()  # the number
        moved[:66, 190:] = moved[100:135, 80:176] = False
        assert moved.any()  # the ball


def test_testcard_depends_on_the_seed():
    one, two = (next(open_source(camera("testcard"), seed=seed)) for seed in (1, 2))
    assert (one.pixels != two.pixels).any(axis=2).mean() > 0.3


def test_testcard_has_30_frames_unless_told():
    assert len(shots_of("testcard", width=16, height=16)) == 30
    assert len(shots_of("testcard", width=16, height=16, frames=31)) == 31


def test_testcard_holds_what_it_promises():
    pixels = shots_of("testcard", width=256, height=192, frames=1)[0].pixels.astype(int)
    present = {tuple(colour) for colour in pixels.reshape(-1, 3).tolist()}
    on_off = itertools.product((0, 191), repeat=3)
    assert set(on_off) - {(0, 0, 0)} <= present  # the colour bars
    greys = {r for r, g, b in present if r == g == b}
    assert len(greys) > 100
    assert min(greys) < 8
    assert max(greys) > 247
    assert np.abs(np.diff(pixels[80:95], axis=1)).max() > 150  # the gratings
    assert pixels.mean(axis=(0, 1)).min() > 60  # neither dark nor of one colour
    assert pixels.mean(axis=(0, 1)).max() < 190


def test_testcard_drawn_in_strips_has_no_seams(monkeypatch):
    whole = shots_of("testcard", frames=1)[0].pixels
    monkeypatch.setattr(sender.camera.testcard, "STRIP_ROWS", 7)
    assert np.array_equal(shots_of("testcard", frames=1)[0].pixels, whole)
