"""Traces of delivery opportunities: replayed as mahimahi does, read with their quantum, refused with their line."""

from pathlib import Path

import numpy as np
import pytest
from test_channel import MS, channel, drain

from link.channel.rate import Trace, TraceRate, read_trace
from link.errors import UsageError


def brute_trace(trace, offers):
    """Replay a trace opportunity by opportunity, as mahimahi's link_queue does."""
    queue = [[at, size, size, number] for number, (at, size) in enumerate(offers)]
    done, turn = {}, 0
    while queue:
        for ms in trace.times_ms:
            now, left = (turn * trace.period_ms + ms) * MS, trace.quantum_bytes
            while queue and left and queue[0][0] <= now:
                take = min(left, queue[0][2])
                left -= take
                queue[0][2] -= take
                if queue[0][2] == 0:
                    done[queue[0][3]] = now
                    queue.pop(0)
        turn += 1
    return done


def test_a_trace_is_replayed_as_mahimahi_does():
    trace = Trace((0, 3, 3, 10, 40, 41, 100), 60)
    rng = np.random.default_rng(2)
    offers = sorted(
        (int(at), int(size)) for at, size in zip(rng.integers(0, 3000 * MS, 80), rng.integers(1, 200, 80))
    )
    rate = TraceRate(trace)
    found = {number: rate.finish(at, size)[1] for number, (at, size) in enumerate(offers)}
    assert found == brute_trace(trace, offers)


def test_a_trace_file_is_read_with_its_quantum(tmp_path):
    path = tmp_path / "narrow"
    path.write_text("# quantum_bytes: 10\n100\n200\n200\n1000\n")
    trace = read_trace(path)
    assert (trace.times_ms, trace.quantum_bytes, trace.mean_bps) == ((100, 200, 200, 1000), 10, 320.0)
    link = channel({"trace": str(path)}, traces={"h0": trace})
    link.send(bytes(25), 0)
    assert drain(link)[0][0] == 200 * MS
    (tmp_path / "plain").write_text("1\n")
    assert read_trace(tmp_path / "plain").mean_bps == 1504 * 8000  # the man page calls it 12 Mbit/s


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "above 0"),
        ("0\n", "above 0"),
        ("5\n3\n", ":2: 3 ms is before"),
        ("5\nfive\n", ":2: a time"),
        ("1.5\n", ":1: a time"),
        ("1\n# quantum_bytes: 4\n", "before the first time"),
        ("# quantum_bytes: 0\n1\n", "from 1 to"),
        ("\n1\n", ":1: a time"),
        ("1\n" + "9" * 5000 + "\n", ":2: a time"),
        ("1\n100000000001\n", ":2: a time"),
        ("# quantum_bytes: " + "9" * 5000 + "\n1\n", ":1: quantum_bytes"),
        ("# quantum_bytes: 1000000001\n1\n", ":1: quantum_bytes"),
        ("\0\n", ":1: a time"),
        ("1\n" * 5_000_001, "over 5000000 lines"),
        ("\u00b2\n", "not a trace file"),
    ],
)
def test_a_bad_trace_is_named_with_its_line(tmp_path, text, message):
    path = tmp_path / "trace"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as error:
        read_trace(path)
    assert len(str(error.value)) < 300 + len(str(path))


@pytest.mark.parametrize("name", ["absent", "x" * 5000, "a/" * 3000, "a\0b", "/dev/zero", "."])
def test_what_is_no_file_is_no_trace(name):
    with pytest.raises(UsageError) as error:
        read_trace(Path(name))
    assert len(str(error.value)) < 400
