"""Fixtures shared by the tests."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Two cores: every process of a run keeps to one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

DATA = Path(__file__).parent / "data"


@pytest.fixture
def golden() -> Path:
    """The folder of golden bytes."""
    return DATA


@pytest.fixture
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The sweeps' cache of a test, which has one of its own."""
    from scenarios.sweep import cells

    place = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FARLINK_CACHE", str(place))
    cells.workbench.cache_clear()
    yield place / "sweeps"
    cells.workbench.cache_clear()
