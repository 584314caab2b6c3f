"""How long it takes to measure and report a run of 25,500 packets: `python tests/bench/results.py [FOLDER]`.

The journal is made here, in FOLDER where one is given and kept there: 500 frames of 51 packets over two hops with
losses, repair packets and packets sent again. Pictures are too small for LPIPS, whose network would take most of the
time. The best of three is printed, in seconds of processor time.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from link import fragment, png
from link.events import Event, Fate
from link.journal import Journal
from link.packet import Kind, Packet, wrap
from link.seeds import generator
from scenarios import run as runs
from scenarios import schema

FRAMES, DATA, REPAIR, AGAIN = 500, 40, 8, 2
PACKETS = FRAMES * (DATA + REPAIR + AGAIN + 1)  # one more is the receipt
S = 1_000_000_000
SETTINGS = ("camera.source=testcard", f"camera.frames={FRAMES}", "camera.width=32", "camera.height=24",
            "camera.period_s=60", "codec.name=jpeg2000", "codec.frame_bytes=4000", "analysis=[]",
            "link.repair.fec=0.2", "link.repair.arq=true", "link.return={rate_bps: 16}")  # fmt: skip


def make(folder: Path) -> Path:
    """Write a journal of PACKETS packets into *folder*."""
    scenario = schema.load("mars-relay", SETTINGS)
    rng = generator(1, "bench")
    bodies = fragment.fragment([bytes(90)] * DATA, 100, 0)[:DATA]
    shots = [png.encode(rng.integers(0, 256, (24, 32, 3), np.uint8)) for _ in range(8)]
    number = 0
    with Journal(folder / "run.mcap", runs.head(scenario)) as book:

        def send(frame: int, item: Packet, at: int, back: bool) -> None:
            nonlocal number
            data = wrap(item.pack(0), "compact", number, feedback=back)
            hop = -1 if back else 0
            rows = [(at, number, Fate.SENT, hop, 0, 0)]
            lost = rng.random() < 0.05
            rows.append((at + S, number, Fate.CHANNEL_LOSS if lost else Fate.CROSSED, hop, S // 2, S // 2))
            if not lost:
                if not back:
                    rows.append((at + 2 * S, number, Fate.CROSSED, 1, 0, S // 4))
                rows.append((at + 2 * S, number, Fate.DELIVERED, hop, 0, 0))
            book.packets(
                [(int(a), int(b), int(c), int(d), int(e), int(f)) for a, b, c, d, e, f in rows], [data]
            )
            number += 1

        for frame in range(FRAMES):
            start = frame * 60 * S
            low = frame % (1 << 14)
            shot = shots[frame % 8]
            book.event(Event("captured", start, frame, {"name": f"f{frame}"}, shot))
            book.event(Event("encoded", start, frame, {"sections": [90] * DATA, "packets": DATA}))
            for at, body in enumerate(bodies):
                send(frame, Packet(Kind.DATA, low, at, body, last=at == DATA - 1), start + at, False)
            for at in range(REPAIR):
                send(frame, Packet(Kind.FEC, low, DATA + at, bytes(100)), start + DATA + at, False)
            send(frame, Packet(Kind.FEEDBACK, low, 0, b"\0\0\0"), start + 3 * S, True)
            for at in range(AGAIN):
                send(frame, Packet(Kind.DATA, low, at, bodies[at]), start + 4 * S + at, False)
            have = [True] * DATA
            book.event(
                Event("closed", start + 8 * S, frame, {"complete": True, "sections": have, "packets": DATA})
            )
            shown = shots[(frame + 1) % 8]
            book.event(Event("decoded", start + 8 * S, frame, {"complete": True}, shown))
        book.event(Event("finished", FRAMES * 60 * S))
    return folder


def main() -> None:
    """Print the seconds of the best of three."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "run.mcap").is_file():
            make(folder)
        spent = []
        for _ in range(3):
            started = time.process_time()
            figures = runs.measure(folder, None)
            spent.append(time.process_time() - started)
        sent = figures["packets"]["sent"] + figures["feedback"]["sent"]
        print(
            f"{sent:,} packets measured and reported in {min(spent):.2f} s of processor time ({', '.join(f'{s:.2f}' for s in spent)})"
        )


if __name__ == "__main__":
    main()
