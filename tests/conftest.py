"""Fixtures shared by the tests."""

import os
import sys
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
