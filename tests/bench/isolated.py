"""A picture decoded and looked at in the receiver's child process beside the same in this one: milliseconds and ratio."""

import argparse
import statistics
import time
from itertools import islice

from link.analysis.analyst import Analyst
from link.frame import Frame
from receiver.codecs import DECODERS
from receiver.isolated import Isolated
from scenarios import schema
from sender.camera import Shot, open_source
from sender.codecs import ENCODERS

CASES = (("jpeg2000", ""), ("gsc", ""), ("gsc", "analysis=[segmentation, depth, detection]"))


def main() -> None:
    """Print the table: the best of pictures that both draw in turn, the median of what one took more, and a start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=30)
    count = parser.parse_args().pictures
    print(
        f"{'codec':10}{'analysis':10}{'here':>10}{'child':>10}{'more':>10}{'median':>10}{'ratio':>8}{'start':>9}"
    )
    for codec, analysis in CASES:
        settings = [analysis] if analysis else []
        plan = schema.load(
            "mars-relay", settings, {"camera.source": "world:mars", "codec.name": codec}
        ).session()
        encoder, here = ENCODERS[codec](plan), DECODERS[codec](plan)
        looker = Analyst.from_session(plan)
        shots = [shot for shot in islice(open_source(plan.camera, seed=1), 2) if isinstance(shot, Shot)]
        payloads = [encoder.encode(Frame(at, 0, shot.pixels, "x")) for at, shot in enumerate(shots)]
        spent: dict[str, list[float]] = {"here": [], "child": []}
        started = time.perf_counter()
        with Isolated(time.perf_counter) as child:
            child.load(plan)
            start_s = time.perf_counter() - started
            for number in range(count + 2):
                payload = payloads[number % len(payloads)]
                shown = []
                for name, decoder, onlooker in (
                    ("here", here, looker),
                    ("child", child, child if looker else None),
                ):
                    began = time.perf_counter()
                    pixels = decoder.decode(payload)
                    assert pixels is not None
                    seen = None if onlooker is None else list(onlooker.look(pixels))
                    if number >= 2:  # the first ones are for caches
                        spent[name].append(time.perf_counter() - began)
                    shown.append((pixels.tobytes(), seen))
                assert shown[0] == shown[1], "the child draws another picture"
        ms = {name: min(times) * 1000 for name, times in spent.items()}
        more = statistics.median(b - a for a, b in zip(spent["here"], spent["child"], strict=True)) * 1000
        print(
            f"{codec:10}{'all' if analysis else 'none':10}{ms['here']:7.1f} ms{ms['child']:7.1f} ms{ms['child'] - ms['here']:7.1f} ms"
            f"{more:7.1f} ms{ms['child'] / ms['here']:8.3f}{start_s:7.1f} s"
        )


if __name__ == "__main__":
    main()
