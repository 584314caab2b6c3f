"""The rendered world: pure, true to its geometry, alike from frame to frame, and never at an end."""

import math
import subprocess
import sys
from functools import cache
from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from link.config import Camera
from link.errors import UsageError
from link.seeds import generator
from sender.camera import open_source
from sender.camera.world.bodies import (
    BALL,
    BOX,
    CYLINDER,
    DOME,
    FIRST_ROCK,
    FRUSTUM,
    MODELS,
    PLAIN,
    PRISM,
    STONE,
    BodyPart,
    rotation,
    shapes,
)  # fmt: skip
from sender.camera.world.cast import CENTRE, GROUND, SKY, Ground, cast, shade
from sender.camera.world.drive import FOV_RAD, _boxes, _cameras, _parts
from sender.camera.world.placing import GAUGE_M, TRACK_WAVES, WHEEL_M, track_offset
from sender.camera.world.source import THEMES, World, parse
from sender.camera.world.terrain import PERIOD_M, _lit, tile, winding
from sender.camera.world.themes import TABLE
from sender.camera.world.view import CLASSES, THINGS

SMALL = (96, 72)


@cache
def drive(theme="mars", seed=3):
    return World(theme, seed)


@cache
def seen(theme, index, seed=3, size=SMALL):
    return drive(theme, seed).view(index, *size)


def test_a_view_is_a_function_of_its_arguments():
    first, again = seen("mars", 40), World("mars", 3).view(40, *SMALL)
    assert first.pixels.tobytes() == again.pixels.tobytes()
    assert first.depth_m.tobytes() == again.depth_m.tobytes()
    assert first.labels.tobytes() == again.labels.tobytes()
    assert (first.boxes, first.pose, first.caption) == (again.boxes, again.pose, again.caption)


def test_several_views_are_those_of_view():
    many = drive().views([41, 40], *SMALL)
    assert many[1].pixels.tobytes() == seen("mars", 40).pixels.tobytes()
    assert many[1].boxes == seen("mars", 40).boxes


def test_seeds_are_other_drives():
    other = World("mars", 4)
    assert other.view(0, *SMALL).pixels.tobytes() != seen("mars", 0).pixels.tobytes()
    assert other._drive._sun != drive()._drive._sun


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("index", [0, 87])
def test_truth_agrees_with_itself(theme, index):
    view = seen(theme, index)
    width, height = SMALL
    assert view.pixels.shape == (height, width, 3) and view.pixels.dtype == np.uint8
    assert view.depth_m.shape == view.labels.shape == (height, width)
    assert view.depth_m.dtype == np.float32 and view.labels.dtype == np.uint8
    assert view.labels.max() < len(CLASSES)
    assert (np.isfinite(view.depth_m) == (view.labels != 0)).all()
    assert (view.depth_m > 0.2).all()
    for box in view.boxes:
        assert box.kind in THINGS
        assert 0 <= box.left < box.right <= width and 0 <= box.top < box.bottom <= height
        inside = (slice(int(box.top), int(box.bottom)), slice(int(box.left), int(box.right)))
        kind = view.labels[inside] == CLASSES.index(box.kind)
        assert 0 < box.visible_px <= kind.sum()
        # tight: each side touches a pixel of the kind
        assert kind[0].any() and kind[-1].any() and kind[:, 0].any() and kind[:, -1].any()
        depth = view.depth_m[inside][kind]
        assert depth.min() <= box.depth_m <= depth.max()
        if box.visible_px == kind.sum():  # nothing else of its kind in the box
            assert box.depth_m == pytest.approx(float(np.median(depth)), rel=1e-6)


@pytest.mark.parametrize("theme", THEMES)
def test_sky_is_above_the_ground(theme):
    sky = seen(theme, 87).labels == 0
    highest = (np.arange(SMALL[1])[:, None] * sky).max()
    assert highest < 0.7 * SMALL[1]
    assert not sky[-1].any()
    # along a column, sky comes back below something else only around what stands in front of it
    ground = seen(theme, 87).labels == 1
    rows = np.arange(SMALL[1])[:, None]
    first_ground = np.where(ground.any(0), ground.argmax(0), SMALL[1])
    assert not (sky & (rows > first_ground[None, :])).any()


def test_depth_is_where_the_ray_meets_the_ground_and_not_later():
    """Against a march along each ray, on the heights themselves."""
    inner = drive()._drive
    pose, terrain = inner.pose(25, FOV_RAD), inner._terrain
    cameras = _cameras([pose], 0.5 * 72 / math.tan(FOV_RAD / 2), 96, 72, "cpu")
    ground = Ground(terrain, cameras, 7000.0)
    pixels = torch.arange(0, 96 * 72, 61)
    hits = cast(cameras, ground, _parts([], inner._shapes, "cpu"), pixels)
    on_ground = hits.part == GROUND
    assert 0.5 < on_ground.float().mean() < 0.95
    direction, depth = hits.direction[on_ground], hits.depth_m[on_ground]
    share = torch.linspace(0.02, 1.0, 600)
    for ray, end in zip(direction, depth, strict=True):
        t = end * share
        place = ray[None, :2] * t[:, None] + cameras.origin[0]
        detail = 2 if float(end * ray[:2].norm()) < 30.0 else 1
        gap = pose.z_m + ray[2] * t - terrain.height(place[:, 0], place[:, 1], detail)
        assert abs(float(gap[-1])) < 0.02 + 0.003 * float(end)
        assert float(gap[:-12].min()) > -(0.03 + 0.004 * float(end))
    # and what is sky meets nothing up to the reach
    for ray in hits.direction[hits.part == SKY][::9]:
        t = 1.02 ** torch.arange(0.0, 440.0)
        place = ray[None, :2] * t[:, None] + cameras.origin[0]
        gap = pose.z_m + ray[2] * t - terrain.height(place[:, 0], place[:, 1], 1)
        assert float((gap + 0.003 * t).min()) > -0.1


def test_depth_of_a_known_height_follows_from_geometry():
    """On the truth alone: ground of height h lies at t with z + t d_z = h, d from the pose that the view states."""
    view = seen("mars", 25, size=(128, 96))
    pose = view.pose
    turn = rotation(pose.yaw_rad, -pose.pitch_rad, pose.roll_rad)
    focal = 0.5 * 96 / math.tan(pose.fov_rad / 2)
    row, column = 84, 64
    ray = turn @ np.array([1.0, -(column + 0.5 - 64) / focal, -(row + 0.5 - 48) / focal])
    depth = float(view.depth_m[row, column])
    x, y = pose.x_m + ray[0] * depth, pose.y_m + ray[1] * depth
    height = drive()._drive._heights(np.array([x]), np.array([y]))[0]
    assert view.labels[row, column] in (1, 2, 4)
    assert depth == pytest.approx((height - pose.z_m) / ray[2], rel=0.02)


def test_boxes_against_a_loop():
    rng = generator(1, "boxes")
    things = rng.integers(-1, 6, (48, 64)).astype(np.int64)
    things[:, 40:] = -1
    things[10:20, 45:60] = 6
    labels = np.where(things < 0, 1, 3 + np.maximum(things, 0) % 5 + (np.maximum(things, 0) % 5 > 0)).astype(
        np.uint8
    )
    depth = rng.uniform(1, 50, things.shape).astype(np.float32)
    boxes = _boxes(things, labels, depth)
    assert len(boxes) == 7
    assert [box.visible_px for box in boxes] == sorted((box.visible_px for box in boxes), reverse=True)
    for number in range(7):
        rows, columns = np.nonzero(things == number)
        match = [
            box
            for box in boxes
            if (box.left, box.top) == (columns.min(), rows.min())
            and (box.right, box.bottom) == (columns.max() + 1, rows.max() + 1)
            and box.visible_px == len(rows)
        ]
        assert any(box.depth_m == pytest.approx(float(np.median(depth[rows, columns]))) for box in match)
    # 2.5 pixels at this size: smaller rocks have no box
    things[:], labels[:] = -1, 1
    things[0, 0:2], labels[0, 0:2] = 0, 3
    assert _boxes(things, labels, depth) == ()
    things[0, 2], labels[0, 2] = 0, 3
    assert len(_boxes(things, labels, depth)) == 1


def test_every_class_appears_and_things_are_often_large():
    found, built = set(), []
    for theme in THEMES:
        for index in (0, 30, 60, 87):
            view = seen(theme, index)
            found |= set(np.unique(view.labels).tolist())
            built.append(max((box.visible_px for box in view.boxes if box.kind != "rock"), default=0))
    assert found == set(range(len(CLASSES)))
    assert np.mean([size > 14 for size in built]) >= 0.5  # 100 pixels at 256x192


@pytest.mark.parametrize("theme", THEMES)
def test_neighbours_are_alike(theme):
    here, next_, far = (seen(theme, index).pixels.astype(float) for index in (30, 31, 87))
    near_by = np.abs(next_ - here).mean()
    assert 0.0 < near_by < 0.75 * np.abs(far - here).mean()


def test_the_path_is_smooth_and_never_ends():
    inner = drive()._drive
    for start in (0, 6543, 1_000_000):
        poses = [inner.pose(start + step, FOV_RAD) for step in range(12)]
        steps = [math.hypot(b.x_m - a.x_m, b.y_m - a.y_m) for a, b in pairwise(poses)]
        assert 0.5 < min(steps) and max(steps) < 1.1
        assert max(abs(b.yaw_rad - a.yaw_rad) for a, b in pairwise(poses)) < 0.12
        assert max(abs(b.z_m - a.z_m) for a, b in pairwise(poses)) < 0.6
        for pose in poses:
            above = pose.z_m - inner._heights(np.array([pose.x_m]), np.array([pose.y_m]))[0]
            assert 1.2 < above < 2.3
    assert np.isfinite(seen("mars", 1_000_000).depth_m).any()


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (160, 20), (20, 90)])
def test_odd_sizes(size):
    view = drive().view(5, *size)
    assert view.pixels.shape == (size[1], size[0], 3)
    assert (np.isfinite(view.depth_m) == (view.labels != 0)).all()
    wide = 2 * math.atan(math.tan(view.pose.fov_rad / 2) * size[0] / size[1])
    assert wide < math.radians(100.5)


def test_themes_look_different():
    red, green, blue = np.stack([seen(theme, 30).pixels.reshape(-1, 3).mean(0) for theme in THEMES], 1)
    assert red[0] > 1.3 * blue[0]  # Mars is red
    assert abs(red[1] - blue[1]) < 0.15 * green[1]  # the Moon is grey
    assert blue[2] > 1.05 * red[2] and green[2] > red[2]  # the sea is blue and green
    assert (seen("moon", 30).pixels[seen("moon", 30).labels == 0] < 60).mean() > 0.9  # and its sky black


def test_captions_say_what_is_there():
    for theme in THEMES:
        for index in (0, 30, 87):
            view = seen(theme, index)
            assert 10 < len(view.caption) < 400 and "\n" not in view.caption
            for box in view.boxes[:1]:
                if box.kind != "rock":
                    assert box.kind in view.caption
            assert ("track" in view.caption) == bool((view.labels == 4).mean() > 0.004)


def test_shots_of_a_source():
    camera = Camera(source="world:mars", width=32, height=24, frames=2)
    shots = list(open_source(camera, seed=3))
    assert [shot.name for shot in shots] == ["world:mars:3#0", "world:mars:3#1"]
    assert (shots[1].pixels == drive().view(1, 32, 24).pixels).all()
    assert parse("moon", 7) == ("moon", 7) and parse("moon:12", 7) == ("moon", 12)


def test_a_drive_of_its_own_and_thirty_frames_unless_told(monkeypatch):
    made = []
    blank = type("View", (), {"pixels": np.zeros((24, 32, 3), np.uint8)})()
    monkeypatch.setattr(
        "sender.camera.world.source.World.__init__", lambda self, theme, seed: made.append((theme, seed))
    )
    monkeypatch.setattr("sender.camera.world.source.World.view", lambda self, index, width, height: blank)
    shots = list(islice(open_source(Camera(source="world:moon:12", width=32, height=24), seed=1), 100))
    assert len(shots) == 30 and shots[29].name == "world:moon:12#29"
    assert made == [("moon", 12)]


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("mras", "did you mean mars?"),
        ("", "expected one of mars, moon, seafloor"),
        ("mars:", "expected world:mars:7"),
        ("mars:x", "expected world:mars:7"),
        ("mars:-1", "expected world:mars:7"),
        ("mars:1:2", "expected world:mars:7"),
        ("mars:" + "9" * 30, "expected world:mars:7"),
        ("Moon", "did you mean moon?"),
    ],
)
def test_bad_sources(rest, words):
    with pytest.raises(UsageError) as caught:
        open_source(Camera(source=f"world:{rest}"), seed=1)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_bad_views():
    with pytest.raises(UsageError, match="expected one of"):
        World("venus", 1)
    with pytest.raises(UsageError, match="expected 0 or more"):
        drive().view(-1)
    with pytest.raises(UsageError, match="at least 16x16"):
        drive().view(0, 15, 64)


def test_the_tables_agree():
    assert tuple(TABLE) == THEMES
    assert set(MODELS) | {"rock"} == set(THINGS)
    assert set(THINGS) < set(CLASSES)


def test_naming_the_world_does_not_load_torch():
    code = "import sys, sender.camera.world.source; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rays_meet_shapes_where_points_are_inside():
    """The interval of each unit shape against points along the ray."""
    unit, rng = shapes(1), generator(2, "rays")
    kinds = (BOX, CYLINDER, BALL, DOME, PRISM, FRUSTUM, FIRST_ROCK, FIRST_ROCK + 7)
    turn = rotation(0.7, 0.3, -0.2) * np.array([0.8, 1.3, 0.6])
    parts = _parts(
        [(0, 0, 3, BodyPart(kind, np.zeros(3), turn, (1, 1, 1), (1, 1, 1), STONE)) for kind in kinds],
        unit,
        "cpu",
    )
    eye = rng.normal(size=(40, 3))
    eye = 6.0 * eye / np.linalg.norm(eye, axis=1, keepdims=True)
    ray = rng.uniform(-0.7, 0.7, (40, 3)) - eye
    t = np.linspace(0.0, 2.0, 4001)
    met = 0
    for number, kind in enumerate(kinds):
        which = torch.full((40,), number)
        enter, leave = parts.spans(
            which, torch.tensor(eye, dtype=torch.float32), torch.tensor(ray, dtype=torch.float32)
        )
        for k in range(40):
            p = (eye[k] + t[:, None] * ray[k]) @ np.linalg.inv(turn).T
            planes, (ax, az) = unit.planes[kind], unit.quadric[kind]
            inside = (p @ planes[:, :3].T <= planes[:, 3]).all(1)
            inside &= ax * (p[:, 0] ** 2 + p[:, 1] ** 2) + az * p[:, 2] ** 2 <= 1
            if not inside.any():
                assert float(leave[k] - enter[k]) < 2e-3
                continue
            met += 1
            assert float(enter[k]) == pytest.approx(t[inside][0], abs=1.5e-3)
            assert float(leave[k]) == pytest.approx(t[inside][-1], abs=1.5e-3)
    assert met > 100


def test_a_box_stands_where_it_is_and_throws_its_shadow():
    """A cube of 1 m, 6 m ahead, sun from the left: seen at 5.5 m, dark on its right, light on its left."""
    inner = drive()._drive
    pose = inner.pose(0, FOV_RAD)
    ahead = np.array([math.cos(pose.yaw_rad), math.sin(pose.yaw_rad), 0.0])
    left = np.array([-ahead[1], ahead[0], 0.0])
    ground = inner._heights(np.array([pose.x_m + 6 * ahead[0]]), np.array([pose.y_m + 6 * ahead[1]]))[0]
    cube = BodyPart(
        BOX, 6 * ahead + [0, 0, ground + 0.5], rotation(pose.yaw_rad) * 0.5, (1, 1, 1), (1, 1, 1), PLAIN
    )
    parts = _parts([(0, 0, 6, cube)], inner._shapes, "cpu")
    cameras = _cameras([pose], 0.5 * 96 / math.tan(FOV_RAD / 2), 128, 96, "cpu")
    hits = cast(cameras, Ground(inner._terrain, cameras, 7000.0), parts, torch.arange(128 * 96), CENTRE)
    part = hits.part.view(96, 128)
    assert (part >= 0).sum() > 150
    flat = (hits.direction * hits.depth_m[:, None])[hits.part >= 0] @ torch.tensor(ahead, dtype=torch.float32)
    assert float(flat.min()) == pytest.approx(5.5, abs=0.02) and float(flat.max()) < 6.51
    sun = torch.tensor(0.8 * left + [0, 0, 0.6], dtype=torch.float32)
    eye = torch.tensor([0.0, 0.0, pose.z_m])
    points = eye + hits.direction * torch.where(torch.isinf(hits.depth_m), 0.0, hits.depth_m)[:, None]
    dark, closed = shade(cameras, parts, hits, points, sun, 90.0)
    assert ((dark >= 0) & (dark <= 1)).all() and ((closed >= 0) & (closed <= 1)).all()
    shadow = torch.nonzero(dark.view(96, 128) * (part == GROUND))
    columns = torch.nonzero(part >= 0)[:, 1]
    assert len(shadow) > 20
    assert shadow[:, 1].float().mean() > columns.float().mean()  # to the right of the cube
    assert shadow[:, 1].min() >= columns.min() - 1
    assert not dark.view(96, 128)[:, : int(columns.min()) - 1].any()


def test_more_rays_a_pixel_are_the_same_rays():
    inner = drive()._drive
    pose = inner.pose(30, FOV_RAD)
    cameras = _cameras([pose], 60.0, 64, 48, "cpu")
    parts = inner._parts([pose], 0.7, "cpu")
    ground = Ground(inner._terrain, cameras, 7000.0)
    pixels = torch.arange(1000, 3000, 3)
    both = cast(cameras, ground, parts, pixels, ((0.25, 0.5), (0.75, 0.5)))
    for turn, sample in enumerate(((0.25, 0.5), (0.75, 0.5))):
        alone = cast(cameras, ground, parts, pixels, (sample,))
        some = slice(turn * len(pixels), (turn + 1) * len(pixels))
        assert torch.equal(both.part[some], alone.part)
        assert torch.equal(both.depth_m[some], alone.depth_m)


def test_what_stands_there_is_the_same_from_everywhere():
    placing = drive()._drive._placing
    y = winding(np.array([100.0, 104.0]), drive()._drive._terrain.phases)[0]
    first = placing.rocks(100.0, y[0], 0.0, 0.6, [])
    second = placing.rocks(104.0, y[1], 0.1, 0.6, [])
    both = np.intersect1d(first.keys, second.keys)
    assert len(both) > 20 and len(np.unique(first.keys)) == len(first.keys)
    for key in both:
        a, b = np.flatnonzero(first.keys == key)[0], np.flatnonzero(second.keys == key)[0]
        assert (first.x[a], first.y[a], first.radius_m[a]) == (second.x[b], second.y[b], second.radius_m[b])
    assert placing.sites(500.0, 200.0)[3] in placing.sites(520.0, 200.0)
    assert placing.sites(500.0, 200.0) != placing.sites(500.0 + PERIOD_M, 200.0)


def test_rocks_keep_off_path_tracks_and_sites():
    inner = drive()._drive
    phases, track_phases = inner._terrain.phases, inner._terrain.track_phases
    for x in (0.0, 333.0, 900.0):
        y, slope = winding(np.array([x]), phases)
        sites = [(site, 3.0) for site in inner._placing.sites(x, 120.0)]
        rocks = inner._placing.rocks(x, float(y[0]), math.atan(slope[0]), 0.6, sites)
        path, lean = winding(rocks.x, phases)
        assert (np.abs(rocks.y - path) / np.hypot(1, lean) > 1.0 + rocks.radius_m - 1e-9).all()
        for number in range(len(TRACK_WAVES)):
            offset, turn = track_offset(rocks.x, number, track_phases)
            across = np.abs(rocks.y - path - offset) / np.hypot(1, lean + turn)
            assert (np.abs(across - GAUGE_M) > WHEEL_M).all()
        for site, free in sites:
            assert (np.hypot(rocks.x - site.x, rocks.y - site.y) > free).all()


def test_a_tile_repeats_and_blends():
    values = generator(1, "tile").normal(size=(8, 8)).astype(np.float32)
    map_ = tile(0.5, values, 2 * values)
    place = (torch.arange(8) + 0.5) * 0.5
    y, x = (part.reshape(-1) for part in torch.meshgrid(place, place, indexing="ij"))
    sampled = map_.sample(x, y)
    assert np.allclose(sampled[:, 0].numpy().reshape(8, 8), values, atol=1e-5)
    assert torch.allclose(sampled[:, 1], 2 * sampled[:, 0])
    assert torch.allclose(map_.sample(x + 12.0, y - 8.0), sampled, atol=1e-5)
    middle = map_.sample(torch.tensor([0.5]), torch.tensor([0.25]))
    assert float(middle[0, 0]) == pytest.approx(float(values[0, :2].mean()), abs=1e-5)
    coarse = map_.sample(torch.tensor([0.5]), torch.tensor([0.5]), torch.tensor([1.0]))
    assert float(coarse[0, 0]) == pytest.approx(float(values[:2, :2].mean()), abs=0.01)
    between = map_.sample(torch.tensor([0.5]), torch.tensor([0.5]), torch.tensor([0.0]))
    assert float(between[0, 0]) == pytest.approx(float(values[:2, :2].mean()), abs=1e-5)


def test_the_ground_shades_itself_as_a_march_finds():
    """A ridge, sun from the west at 30 degrees: dark to the east of it as far as it is high times cot 30."""
    height = np.zeros((64, 64), np.float32)
    height[:, 28:31] = 4.0
    lit = _lit(height, 1.0, (-math.cos(math.radians(30)), 0.0, 0.5))
    reach = 4.0 / math.tan(math.radians(30))  # 6.9 cells
    edge = 30.5 + reach
    assert (lit[:, 32 : int(edge) - 1] < 0.02).all() and (lit[:, int(edge) + 3 : 60] > 0.98).all()
    assert (lit[:, 5:31] > 0.98).all()


@pytest.mark.gpu
def test_a_gpu_renders_the_same_world():
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    indices = [0, 30, 60]
    views = drive().views(indices, *SMALL, device="cuda")
    for index, view in zip(indices, views, strict=True):
        cpu = seen("mars", index)
        assert (view.labels == cpu.labels).mean() > 0.99
        assert np.abs(view.pixels.astype(float) - cpu.pixels).mean() < 2.0
