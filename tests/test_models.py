"""`farlink models`: what is fetched, what is kept of it, and what is said when it cannot be had. No network."""

import errno
import json
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from compressai.models import MeanScaleHyperprior

from link import transform
from link.errors import ModelMissingError, StorageError, UsageError
from scenarios.models import catalogue, lock
from scenarios.models import pull as models
from scenarios.models.catalogue import CATALOGUE

COMMIT = "c" * 40
FILES = {
    "flux/generator": (
        "transformer/config.json",
        "transformer/a.safetensors",
        "vae/config.json",
        "scheduler/s.json",
    ),
    "flux/captioner": ("config.json", "model.safetensors", "merges.txt"),
}


class Shop:
    """Gives small files in the place of models."""

    def __init__(self, fail=None):
        self.asked, self.fail = [], fail

    def newest(self, hub_id):
        self.asked.append(("newest", hub_id))
        return COMMIT

    def fetch(self, part, revision, folder):
        self.asked.append((part.source, revision))
        name = next(key for key, one in CATALOGUE.items() if one is part)
        for number, file in enumerate(FILES.get(name, ("config.json", part.files[-1].replace("*", "model")))):
            if number and self.fail is not None:
                raise self.fail
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{name} {file} at {revision}")
        (folder / ".cache").mkdir(exist_ok=True)
        (folder / ".cache" / "config.json").write_text("the hub's own notes")

    def checkpoint(self, name, file):
        self.asked.append((name, "checkpoint"))
        torch.manual_seed(0)
        state = MeanScaleHyperprior(8, 12).state_dict()
        # As in the published file: the names of CompressAI before 1.2.
        old = {re.sub(r"(matrices|biases|factors)\.(\d)", _old, key): value for key, value in state.items()}
        torch.save(old, file)


def _old(match):
    return {"matrices": "_matrix", "biases": "_bias", "factors": "_factor"}[match[1]] + match[2]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FARLINK_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(models, "SPARE_BYTES", 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 50))
    return tmp_path / "models"


def pull(name, shop=None):
    shop = shop or Shop()
    said = []
    return models.pull(name, shop, said.append), shop, said


def test_the_table_is_complete():
    folders = [part.folder for part in CATALOGUE.values()]
    assert len(set(folders)) == len(folders)
    for name, part in CATALOGUE.items():
        assert name.startswith("flux/")
        assert part.licence
        assert part.size_bytes > 1_000_000
        assert part.kind == "zoo" or part.revision is None or re.fullmatch("[0-9a-f]{40}", part.revision)
        assert not any(fnmatch("model" + ending, pattern) for ending in (".bin", ".pt", ".ckpt", ".py") for pattern in part.files)  # fmt: skip
    assert models.select_parts("flux") == [
        "flux/generator",
        "flux/controlnet",
        "flux/transform",
        "flux/captioner",
    ]
    assert models.select_parts("flux/preview") == ["flux/preview"]
    assert models.select_parts("flux/grounder") == ["flux/grounder/detector", "flux/grounder/masker"]
    with pytest.raises(UsageError, match="flux/lora-turbo"):
        models.select_parts("fluxx")


def test_most_revisions_are_pinned():
    free = {name for name, part in CATALOGUE.items() if part.revision is None}
    assert free == {
        "flux/controlnet", "flux/controlnet-upscaler", "flux/lora-hyper", "flux/lora-turbo", "flux/segmentation",
        "flux/detection-r101", "flux/grounder/detector", "flux/grounder/masker", "flux/mask-finder",
    }, "the lock file has these from the first pull on"  # fmt: skip
    revisions = [part.revision for part in CATALOGUE.values() if part.revision]
    assert len(set(revisions)) == len(revisions)


def test_the_files_needed_are_those_of_the_repositories():
    part = CATALOGUE["flux/generator"]
    wanted = (
        "transformer/diffusion_pytorch_model-00001-of-00003.safetensors",
        "transformer/diffusion_pytorch_model.safetensors.index.json",
        "text_encoder_2/config.json",
        "tokenizer/merges.txt",
        "tokenizer_2/spiece.model",
        "scheduler/scheduler_config.json",
    )
    for name in wanted:
        assert any(fnmatch(name, pattern) for pattern in part.files), name
    for name in ("flux1-dev.safetensors", "ae.safetensors", "dev_grid.jpg", "model_index.json"):
        assert not any(fnmatch(name, pattern) for pattern in part.files), name


def test_pull_fetches_pinned_commits_and_keeps_sums(home):
    folders, shop, said = pull("flux/generator")
    part = CATALOGUE["flux/generator"]
    assert folders == [home / "flux" / "generator"]
    assert shop.asked == [(part.source, part.revision)]
    assert "FLUX.1-dev non-commercial" in said[0]
    entry = json.loads((home / "flux" / "manifest.json").read_text())["flux/generator"]
    assert entry["complete"] is True
    assert entry["revision"] == part.revision
    assert sorted(entry["files"]) == sorted(FILES["flux/generator"])
    assert all(len(digest) == 64 for digest in entry["files"].values())
    assert pull("flux/generator")[1].asked == [], "nothing is fetched twice"


def test_a_commit_that_is_not_pinned_is_the_first_pulls(home):
    _, shop, _ = pull("flux/controlnet")
    source = CATALOGUE["flux/controlnet"].source
    assert shop.asked == [("newest", source), (source, COMMIT)]
    (home / CATALOGUE["flux/controlnet"].folder / "config.json").unlink()
    assert pull("flux/controlnet")[1].asked == [(source, COMMIT)], "asked for once"
    row = next(row for row in models.list_parts() if row["name"] == "flux/controlnet")
    assert (row["pinned"], row["revision"], row["here"]) == (False, COMMIT, True)


def test_a_pull_that_was_cut_short_goes_on(home):
    with pytest.raises(ModelMissingError):
        pull("flux/captioner", Shop(ModelMissingError("no network")))
    assert models.find_missing("flux") == models.select_parts("flux")
    assert models.verify("flux/captioner") == (
        0,
        ["flux/captioner: not complete; farlink models pull flux/captioner"],
    )
    pull("flux/captioner")
    assert "flux/captioner" not in models.find_missing("flux")


def test_the_transform_is_made_of_compressais_checkpoint(home, monkeypatch):
    with pytest.raises(ModelMissingError, match="instead of d504e8eb"):
        pull("flux/transform")
    assert not list((home / "flux" / "transform").glob("*.part"))
    digest = {}
    monkeypatch.setattr(models, "sha256", lambda path, own=models.sha256: own(path) if path.suffix != ".part" else digest.setdefault("sum", "d504e8eb" + own(path)))  # fmt: skip
    pull("flux/transform")
    folder = home / "flux" / "transform"
    assert transform.channels(folder) == 12
    torch.manual_seed(0)
    expected = MeanScaleHyperprior(8, 12).g_a.state_dict()
    found = transform.load(folder, "analysis").state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert sorted(path.name for path in folder.iterdir()) == [
        "analysis.safetensors", "config.json", "synthesis.safetensors",
    ]  # fmt: skip


def test_verify_names_each_file_that_changed(home):
    pull("flux/captioner")
    good, wrong = models.verify("flux/captioner")
    assert (good, wrong) == (3, [])
    folder = home / "flux" / "captioner"
    (folder / "merges.txt").unlink()
    (folder / "config.json").write_text("{}")
    good, wrong = models.verify("flux/captioner")
    assert good == 1
    assert len(wrong) == 2
    assert any("merges.txt: No such file" in line for line in wrong)
    assert any("config.json: SHA-256" in line for line in wrong)
    with pytest.raises(ModelMissingError, match="farlink models pull flux/preview"):
        models.verify("flux/preview")


def test_the_lock_file_says_what_was_pulled_and_what_is_to_be(home, tmp_path, monkeypatch):
    file = tmp_path / "mine" / "models.lock"
    models.pull("flux/controlnet", Shop(), lambda line: None, file)
    locked = json.loads(file.read_text())
    entry = json.loads((home / "flux" / "manifest.json").read_text())["flux/controlnet"]
    assert locked == {
        "flux/controlnet": {key: entry[key] for key in ("source", "revision", "licence", "files")}
    }
    assert (locked["flux/controlnet"]["revision"], len(locked["flux/controlnet"]["files"])) == (COMMIT, 2)
    pull("flux/preview")
    assert list(lock.read(home / "models.lock")) == ["flux/preview"], "the default is among the models"
    assert models.verify(None, file)[1] == []
    # Another machine, where a newer commit is out: the lock decides, and what comes must be what it says.
    monkeypatch.setenv("FARLINK_MODELS", str(tmp_path / "other"))
    with pytest.raises(ModelMissingError, match="flux/controlnet is not on this machine"):
        models.verify(None, file)
    shop = Shop()
    monkeypatch.setattr(shop, "newest", lambda hub_id: "d" * 40)
    models.pull("flux/controlnet", shop, lambda line: None, file)
    assert shop.asked == [(CATALOGUE["flux/controlnet"].source, COMMIT)]
    assert json.loads(file.read_text()) == locked
    changed = {"flux/controlnet": {**locked["flux/controlnet"], "revision": "e" * 40}}
    file.write_text(json.dumps(changed))
    good, wrong = models.verify("flux/controlnet", file)
    assert (good, len(wrong)) == (2, 1)
    assert "revision cccccccccccc instead of eeeeeeeeeeee" in wrong[0]
    with pytest.raises(ModelMissingError, match=r"config.json is not what .*models.lock says"):
        models.pull("flux/controlnet", Shop(), lambda line: None, file)


def test_a_lock_file_and_a_pin_that_disagree_are_told(home, tmp_path):
    file = tmp_path / "models.lock"
    old = {"source": "a/b", "revision": "f" * 40, "licence": "", "files": {}}
    file.write_text(json.dumps({"flux/preview": old}))
    with pytest.raises(ModelMissingError, match="flux/preview at ffffffffffff, but this farlink pins"):
        models.pull("flux/preview", Shop(), lambda line: None, file)
    (home).mkdir(parents=True)
    (home / "models.lock").write_text(file.read_text())
    pull("flux/preview")
    assert lock.read(home / "models.lock")["flux/preview"]["revision"] == CATALOGUE["flux/preview"].revision


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"a": 1}', '{"a": {"revision": 1, "files": {}}}', '{"a": {"revision": "b"}}']
)
def test_what_is_no_lock_file_is_told(home, tmp_path, text):
    file = tmp_path / "models.lock"
    file.write_text(text)
    for use in (lambda: models.verify(None, file), lambda: models.pull("flux/preview", Shop(), print, file)):
        with pytest.raises(UsageError, match="no usable lock file"):
            use()
    with pytest.raises(UsageError, match="no such lock file"):
        models.verify(None, tmp_path / "none")


@pytest.mark.parametrize("package", models.SHIPPED)
def test_every_card_names_the_licence_and_the_terms_of_the_data(package):
    card = (Path(models.__file__).parents[2] / package / "weights" / "README.md").read_text()
    licence = " ".join(card[card.index("**Licence**") :].split())[:120]
    assert "Apache-2.0" in licence or "BSD-3-Clause" in licence
    told = " ".join(card[card.index("**Terms of the data**") :].split())
    sets = {"CamVid", "imagenet-sample-images", "imageinwords", "SGGIC"}
    for name in sets:
        assert card.count(name) == 0 or name in told, f"{name} was learned from; under which terms?"


def test_what_comes_with_farlink_is_verified(home):
    good, wrong = models.verify(None)
    assert good >= 2
    assert wrong == []


def test_a_full_disk_is_told_before_and_during(home, monkeypatch):
    with pytest.raises(StorageError, match="the disk is full"):
        pull("flux/preview", Shop(OSError(errno.ENOSPC, "No space left on device")))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=20_000_000_000))
    with pytest.raises(StorageError, match=r"57\.\d GB needed, 20.0 GB free; set FARLINK_MODELS"):
        pull("flux")
    assert pull("flux/captioner")[0], "there is room for that one"


def test_a_manifest_that_is_none_is_told(home):
    (home / "flux").mkdir(parents=True)
    (home / "flux" / "manifest.json").write_text("{")
    with pytest.raises(ModelMissingError, match="delete it and pull again"):
        models.find_missing("flux")


def test_the_hubs_errors_become_one_line(monkeypatch):
    from huggingface_hub import constants, errors

    def gated():
        raise errors.GatedRepoError.__new__(errors.GatedRepoError)

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    def away():
        raise ConnectionError("Name or service not known\nmore")

    hub = models.ModelHub()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(ModelMissingError, match=r"a/b is gated.*accept its licence.*set HF_TOKEN"):
        hub._asked("a/b", gated)
    with pytest.raises(OSError, match="No space"):
        hub._asked("a/b", full)
    with pytest.raises(ModelMissingError, match=r"a/b could not be fetched \(Name or service not known\)"):
        hub._asked("a/b", away)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelMissingError, match="HF_HUB_OFFLINE is set"):
        hub._asked("a/b", away)


def test_the_commands(home, tmp_path):
    def farlink(*arguments):
        return subprocess.run(
            [sys.executable, "-P", "-c", "from scenarios.cli import main; main()", "models", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )

    pull("flux/captioner")
    listed = farlink()
    assert listed.returncode == 0
    assert all(name in listed.stdout for name in catalogue.CATALOGUE)
    assert "cc594898137f" in listed.stdout
    rows = json.loads(farlink("list", "--json").stdout)
    assert [row["name"] for row in rows if row["here"]] == ["flux/captioner"]
    assert farlink("verify").returncode == 0
    (home / "flux" / "captioner" / "merges.txt").write_text("other")
    done = farlink("verify")
    assert done.returncode == 4
    assert done.stderr.startswith("farlink: ")
    assert "merges.txt" in done.stderr
    done = farlink("pull", "nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.strip().splitlines()) == 1
