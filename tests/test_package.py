"""The wheel holds what a run needs, and the README's commands are there."""

import importlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_holds_presets_templates_and_traces(tmp_path):
    # In a copy: a build folder left in the checkout would put old files into the next wheel.
    copy = tmp_path / "farlink"
    for package in ("link", "sender", "receiver", "scenarios"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        ".",
    ]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("farlink-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("scenarios/presets", "scenarios/traces"):
        for path in (ROOT / folder).iterdir():
            assert f"{folder}/{path.name}" in names
    for path in ROOT.glob("scenarios/*.j2"):
        assert f"scenarios/{path.name}" in names
    for package in ("link", "sender", "receiver", "scenarios"):
        for path in (ROOT / package).rglob("*.py"):
            assert str(path.relative_to(ROOT)) in names
    assert not [name for name in names if name.startswith("tests/")]
    # It runs from the wheel alone, in a process that cannot see the checkout.
    code = f"import sys; sys.path.insert(0, {str(wheel)!r}); import scenarios.schema as s; print(s.__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ".whl" in done.stdout


def test_the_readme_has_both_commands():
    text = (ROOT / "README.md").read_text()
    for tag in ("run", "test"):
        after = text.split(f"<!-- {tag} -->\n", 1)[1]
        assert after.startswith("```sh\n")
        assert ".venv/bin/pip install" in after.split("```")[1]


@pytest.mark.slow
def test_the_readmes_python_runs(tmp_path, monkeypatch):
    text = (ROOT / "README.md").read_text()
    code = text.split("<!-- python -->\n```python\n", 1)[1].split("```", 1)[0]
    monkeypatch.setenv("FARLINK_CACHE", str(tmp_path / "cache"))
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    figures, columns, *rows = [line.split() for line in done.stdout.splitlines()]
    assert int(figures[0]) > 100 and float(figures[1]) > 15 and 0 < float(figures[2]) <= 1
    assert columns == ["frame", "latency_s", "psnr_db"]
    assert [row[1] for row in rows[:2]] == ["0", "1"]
    assert rows[2] == ["codec", "gsc", "webp"]
    assert [row[0] for row in rows[4:]] == ["650.0", "2020.0"]


@pytest.mark.parametrize("package", ["link", "sender", "receiver", "scenarios"])
def test_what_a_package_calls_public_is_there(package):
    words = importlib.import_module(package).__doc__ or ""
    names = [name for name in re.findall(r"`([\w.]+)`", words) if name.startswith(f"{package}.")]
    assert len(names) >= 3
    for name in names:
        module, _, attribute = name.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except AttributeError:
            found = importlib.import_module(name)
        assert found.__doc__, name


def test_the_readmes_scenario_is_valid(tmp_path):
    from scenarios import schema

    text = (ROOT / "README.md").read_text()
    (tmp_path / "mine.yaml").write_text(text.split("```yaml\n", 1)[1].split("```", 1)[0])
    assert schema.load(str(tmp_path / "mine.yaml")).name == "my-link"
