"""The live page for a while: nothing grows, ticks stay young, nobody complains. For longer: `tests/bench/live_soak.py`."""

import importlib
import os
import shutil
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")
SECONDS = float(os.environ.get("FARLINK_SOAK_S", "12"))
WARM_S = float(os.environ.get("FARLINK_SOAK_WARM_S", "6"))


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_nothing_grows_while_viewers_come_and_go(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "bench"))
    made = importlib.import_module("live_soak").soak(SECONDS, WARM_S, min(60.0, SECONDS / 3))
    print(vars(made))
    assert made.errors == [] and made.reloads >= 3
    assert made.ticks > 8.0 and made.age_p99_s < 0.25
    page_mb = 5.0 if WARM_S >= 60.0 else 10.0  # the rings of 300 frames are not full before
    for name, most_mb in (("page", page_mb), ("heap", 5.0), ("link", 20.0), ("receiver", 20.0)):
        assert made.growth_mb[name] < most_mb, name
    # One connection may be on its way out, and a pool's thread on its way in.
    assert all(-2 <= more <= 2 for more in made.descriptors.values()), made.descriptors
    assert all(-1 <= more <= 1 for more in made.threads.values()), made.threads
