"""The picture in the design, enforced: who imports whom, where sockets, offsets and clocks may be."""

import ast
import collections
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("link", "sender", "receiver", "scenarios")
MAY_IMPORT = {
    "link": {"link"},
    "sender": {"link", "sender"},
    "receiver": {"link", "receiver"},
    "scenarios": set(PACKAGES),
}
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        yield from imports_of(node)


def imports_of(node):
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        assert node.level == 0, f"{node.module}: relative import"
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def where(*tops):
    found = set()
    for path in FILES:
        if any(name.split(".")[0] in tops for name in imports(path)):
            found.add(str(path.relative_to(ROOT)))
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_the_picture_allows(package):
    for path in (ROOT / package).rglob("*.py"):
        tops = {name.split(".")[0] for name in imports(path)} & set(PACKAGES)
        assert tops <= MAY_IMPORT[package], path


def test_sockets_are_where_processes_meet():
    assert where("zmq") == {"link/relay.py", "link/peer.py", "link/keys.py", "link/watch.py"}
    page = {path for path in where("socket", "asyncio", "aiohttp") if path.startswith("scenarios/live/")}
    assert where("socket", "asyncio", "aiohttp") - page == {"link/watch.py", "scenarios/commands/live.py"}
    assert where("aiohttp") == {"scenarios/live/server.py", "scenarios/live/viewer_camera.py"}


def test_diffusers_is_where_the_parts_of_generators_are_loaded():
    found = {path for path in where("diffusers") if not path.startswith("scenarios/training/")}
    assert found == {"receiver/parts.py", "receiver/sd_parts.py"}  # a file for each generator


def test_the_link_computes_with_networks_in_one_place():
    """Either end may look at pictures; the link's own process never does, and starts without torch."""
    top = {
        str(path.relative_to(ROOT))
        for path in FILES
        if path.is_relative_to(ROOT / "link")
        and any(
            name.split(".")[0] in ("torch", "transformers")
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in imports_of(node)
        )
    }
    assert top and all(place.startswith("link/analysis/") for place in top)
    process = {module_of(path) for path in FILES if path.is_relative_to(ROOT / "link")}
    found, todo = set(), ["link.__main__"]
    while todo:
        name = todo.pop()
        if name in process and name not in found:
            found.add(name)
            path = next(path for path in FILES if module_of(path) == name)
            body = ast.parse(path.read_text()).body
            todo += [other for node in body for other in imports_of(node)]
    assert "link.relay" in found and not any(name.startswith("link.analysis") for name in found)


def test_offsets_are_in_one_place():
    found = {path for path in where("struct") if not path.startswith("link/bitstream/")}
    assert found == {"link/packet.py"}


def test_nothing_that_runs_what_it_reads():
    assert where("pickle", "shelve", "marshal", "dill") == set()
    for path in FILES:
        text = path.read_text()
        assert "yaml.load(" not in text, path
        assert "recv_pyobj" not in text, path


def test_the_clock_is_read_where_processes_are():
    readers = {
        "link/__main__.py",
        "link/relay.py",
        "link/peer.py",
        "sender/__main__.py",
        "receiver/__main__.py",
    }
    readers |= {"scenarios/run.py", "scenarios/processes.py"}
    readers |= {"scenarios/commands/train.py"}  # hands the clock to the training loop, which logs seconds
    readers |= {"scenarios/sweep/worker_process.py"}  # a process, which measures its cells
    assert where("time") <= readers


def test_randomness_is_an_argument():
    assert where("random") == set()
    for path in FILES:
        if path.name != "seeds.py":
            assert "default_rng(" not in path.read_text(), path


def test_cores_do_no_io():
    for name in (
        "sender/sender.py",
        "receiver/receiver.py",
        "link/conductor.py",
        "link/channel/channel.py",
        "link/channel/hop.py",
    ):
        tops = {module.split(".")[0] for module in imports(ROOT / name)}
        assert not tops & {"zmq", "os", "pathlib", "time", "subprocess", "PIL", "av", "torch"}, name


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_module_imports_itself_by_way_of_others():
    modules = {module_of(path): path for path in FILES}
    graph = {}
    for name, path in modules.items():
        found = {other for other in imports(path) if other in modules and other != name}
        # `from a import b` where a.b is a module: what is used is a.b, not the package around it.
        graph[name] = {other for other in found if not any(more.startswith(f"{other}.") for more in found)}
    order = graphlib.TopologicalSorter(graph)
    order.prepare()  # raises CycleError, which names the circle


def test_others_classes_read_folders_in_one_place():
    """`link.pretrained` alone calls `from_pretrained` of classes that are not farlink's own: it downloads nothing,
    runs no code of a folder, and leaves no weight at random."""
    own, calls = set(), []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and (
                any(
                    isinstance(item, ast.FunctionDef) and item.name == "from_pretrained" for item in node.body
                )
                or any(
                    isinstance(base, ast.Name) and base.id == "PyTorchModelHubMixin" for base in node.bases
                )
            ):
                own.add(node.name)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr == "from_pretrained":
                    calls.append((str(path.relative_to(ROOT)), ast.unparse(node.func.value)))
    assert own == {
        "AnalysisTransform", "DynDiff", "FcosDetector", "Parts", "Reanalysis", "SdParts", "Synthesis", "TextEncoder",
    }  # fmt: skip
    assert {path for path, name in calls if name not in own} == {"link/pretrained.py"}


def test_the_rooms_of_scenarios_are_those_of_the_design():
    rooms = "cheapest commands curves live models presets report results scoring sweep training traces truth".split()
    modules = "cli document drawing packet_file pages processes run schema words".split()
    tracked = {path for path in (ROOT / "scenarios").iterdir() if path.name not in ("__pycache__", "stories")}
    assert sorted(path.name for path in tracked if path.is_dir()) == sorted(rooms)
    assert (
        sorted(path.stem for path in tracked if path.suffix == ".py" and path.stem != "__init__") == modules
    )


def test_no_command_imports_the_command_line():
    for path in (ROOT / "scenarios" / "commands").glob("*.py"):
        assert "scenarios.cli" not in set(imports(path)), path


def test_modules_stay_small():
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 400, path


def test_the_top_level_is_the_designs():
    import subprocess

    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    tops = {line.split("/")[0] for line in done.stdout.splitlines()}
    allowed = {*PACKAGES, "tests", "pyproject.toml", "README.md", "LICENSE"}
    assert {top for top in tops if not top.startswith(".")} <= allowed


def test_a_class_name_stands_for_one_class():
    classes = collections.defaultdict(set)
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                classes[node.name].add(str(path.relative_to(ROOT)))
    assert {name: sorted(paths) for name, paths in classes.items() if len(paths) > 1} == {}
