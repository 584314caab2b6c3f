import json
import os
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory
from toys import run, session

from link import journal
from link.errors import StorageError, UsageError
from link.events import Event, Fate
from link.journal import Journal, digest, read, recover

LINK = {"mtu_bytes": 128, "hops": [{"name": "air", "rate_bps": 2000, "delay_s": 1}]}


def write(path, frames=3):
    return run(session(LINK), path, frames)


def test_it_opens_with_the_standard_reader(tmp_path):
    write(tmp_path / "run.mcap")
    with (tmp_path / "run.mcap").open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        topics = {channel.topic: channel for channel in reader.get_summary().channels.values()}
        assert set(topics) == {"/scenario", "/events", "/sent", "/received", "/packets"}
        first = next(iter(reader.iter_messages(log_time_order=False)))
        assert first[1].topic == "/scenario"
        assert json.loads(first[2].data)["scenario"]["name"] == "toy"
        pictures = [item for item in reader.iter_decoded_messages(topics=["/received"])]
    assert [(picture.schema.name, picture.decoded_message.format) for picture in pictures] == [
        ("foxglove.CompressedImage", "png")
    ] * 3


def test_rows_come_back_as_they_went_in(tmp_path):
    rows = [(n, n, int(Fate.SENT), 0, 0, 0) for n in range(5000)] + [
        (6000, 3, int(Fate.CROSSED), -1, 5, 2**40)
    ]
    data = [bytes([n % 256]) * 3 for n in range(5000)]
    with Journal(tmp_path / "x.mcap", {"scenario": {}}) as book:
        book.packets(rows[:], data[:])
        book.event(Event("finished", 7000))
    found = read(tmp_path / "x.mcap")
    assert found.rows.tolist() == [list(row) for row in rows]
    assert found.data == dict(enumerate(data))
    assert found.complete


def test_every_cut_leaves_a_journal_that_can_be_read_and_mended(tmp_path):
    path = tmp_path / "run.mcap"
    write(path, 2)
    whole = path.read_bytes()
    before = read(path)
    cut = tmp_path / "cut.mcap"
    events = []
    for length in np.linspace(len(whole) - 1, 700, 60).astype(int):
        cut.write_bytes(whole[:length])
        try:
            found = read(cut)
        except UsageError:
            continue  # cut within the first record
        assert found.events == before.events[: len(found.events)]
        assert recover(cut)
        assert not recover(cut)
        mended = read(cut)
        assert mended.events == found.events
        assert mended.rows.tolist() == before.rows.tolist()[: len(mended.rows)]
        with cut.open("rb") as file:
            assert sum(1 for _ in make_reader(file).iter_messages(topics=["/events"])) == len(mended.events)
        events.append(len(found.events))
    assert events == sorted(events, reverse=True)
    assert max(events) > min(events)


def test_damage_in_the_middle_ends_the_journal_there(tmp_path):
    path = tmp_path / "run.mcap"
    write(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    found = read(path)
    assert 0 < len(found.events) < 12
    assert not found.complete


def test_what_is_no_journal_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"something else")
    for name in ("x", "absent"):
        with pytest.raises(UsageError):
            read(tmp_path / name)


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        Journal(tmp_path / "file" / "x.mcap", {})


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_keeps_what_was_written(small_disk):
    path = small_disk / "x.mcap"
    book = Journal(path, {"scenario": {}})
    kept = 0
    with pytest.raises(StorageError) as error:
        for number in range(10_000):
            book.event(Event("closed", number, number, {"noise": os.urandom(2000).hex()}))
            book.flush()
            kept = number
    assert error.value.exit_code == 74
    book.close()
    found = read(path)
    # The event at which the disk was full may be whole or gone; all before it are there.
    assert [event["frame"] for event in found.events] in (list(range(kept + 1)), list(range(kept + 2)))
    assert not recover(path), "the journal has its end already"
    assert not path.with_suffix(".reserve").exists()


def test_the_digest_is_of_the_bytes(tmp_path):
    write(tmp_path / "a.mcap")
    shutil.copy(tmp_path / "a.mcap", tmp_path / "b.mcap")
    assert digest(tmp_path / "a.mcap") == digest(tmp_path / "b.mcap")


def test_the_reserve_goes_when_the_journal_is_finished(tmp_path):
    book = Journal(tmp_path / "x.mcap", {"scenario": {}})
    assert journal._RESERVE_BYTES == (tmp_path / "x.reserve").stat().st_size
    book.close()
    book.close()
    assert [path.name for path in tmp_path.iterdir()] == ["x.mcap"]


def test_the_links_part_and_the_pictures_have_a_digest_each(tmp_path):
    runs = [write(tmp_path / f"{at}.mcap", 2) for at in range(2)]
    first = journal.digests(runs[0])
    assert journal.digests(runs[1]) == first
    assert set(first) == {"link", "pictures"}
    runs[1].pictures["received"][0] += b"."
    other = journal.digests(runs[1])
    assert other["link"] == first["link"]
    assert other["pictures"] != first["pictures"]
    found = replace(runs[0], events=[*runs[0].events, {"kind": "found", "frame": 0, "boxes": [0.1]}])
    assert journal.digests(found)["link"] == first["link"]
    assert journal.digests(found)["pictures"] != first["pictures"]
    for at in range(runs[0].rows.shape[1]):
        rows = runs[0].rows.copy()
        rows[1, at] += 1
        assert journal.digests(replace(runs[0], rows=rows))["link"] != first["link"]
    data = {**runs[0].data, 0: runs[0].data[0] + b"."}
    assert journal.digests(replace(runs[0], data=data))["link"] != first["link"]


def test_a_journal_that_is_being_written_is_left_alone(tmp_path):
    path = tmp_path / "run.mcap"
    with Journal(path, {"scenario": {}, "seed": 1}) as book:
        book.event(Event("captured", 0, 0, {"name": "x"}))
        book.flush()
        before = path.read_bytes()
        with pytest.raises(UsageError, match="a run is writing it"):
            recover(path)
        with pytest.raises(StorageError, match="another run is writing it"):
            Journal(path, {"scenario": {}, "seed": 2})
        assert path.read_bytes() == before and path.with_suffix(".reserve").is_file()
    assert read(path).head["seed"] == 1 and not recover(path)
