"""The examples run as their users run them: as scripts, from another folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from vireid.data import generate_synthetic

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "small"
    return generate_synthetic(folder, train_identities=6, test_identities=4, images_per_camera=2, size=(64, 32))


def train(folder, *arguments):
    command = [sys.executable, str(ROOT / "examples" / "train.py"), "--workers", "0", "--size", "64", "32", *arguments]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    options = ["--root", str(small), "--iterations", "5", "--identities-per-batch", "3", "--images-per-identity", "2"]
    runs = [train(folder, *options, "--output", name) for name in ("first", "again")]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    return folder, runs


def test_training_writes_everything(trained):
    folder, runs = trained
    assert "4 unseen identities, chance rank-1 25.0 %" in runs[0].stdout
    metrics = json.loads((folder / "first" / "metrics.json").read_text())
    assert len(metrics["losses"]["total"]) == 5
    assert set(metrics["losses"]) == {
        "total",
        "identity",
        "triplet",
        "identity_consistency",
        "identity_alignment",
        "modality_alignment",
    }
    for result in ("untrained", "trained"):
        rank_1 = metrics[result]["mean"]["rank-1"]
        assert 0 < rank_1 <= 1
        assert f"{100 * rank_1:.2f} ± " in runs[0].stdout
    for picture in ("curves.png", "rankings.png"):
        with Image.open(folder / "first" / picture) as image:
            assert min(image.size) > 300
            assert len(image.convert("L").getcolors()) > 50  # not blank
    assert torch.load(folder / "first" / "model.pt", weights_only=True)


def test_same_seed_same_figures(trained):
    folder, _ = trained
    first, again = (json.loads((folder / name / "metrics.json").read_text()) for name in ("first", "again"))
    for part in ("untrained", "trained", "losses"):
        assert first[part] == again[part]


def test_damaged_image_is_told_before_any_work(small, tmp_path):
    shutil.copytree(small, tmp_path / "data")
    path = next((tmp_path / "data" / "cam4").rglob("*.jpg"))
    path.write_bytes(path.read_bytes()[:300])
    run = train(tmp_path, "--root", "data", "--identities-per-batch", "3")
    assert run.returncode == 1
    assert (
        "train.py: records must hold readable images, got '1 that are not'. path must be a readable image" in run.stderr
    )
    assert path.name in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--root", "nowhere"], "train.py: root must be the folder of SYSU-MM01, got 'nowhere'. Expected in nowhere:"),
        (["--identities-per-batch", "9"], "identities_per_batch must be at most 6, the identities seen in both"),
        (["--backbone", "resnet5O"], "backbone must be a timm model, got 'resnet5O'. Did you mean 'resnet50'"),
        (["--output", "/dev/null/x"], "Not a directory: '/dev/null/x'"),
    ],
)
def test_mistakes_are_told_before_any_work(small, tmp_path, arguments, message):
    run = train(tmp_path, "--root", str(small), "--identities-per-batch", "3", *arguments)
    assert run.returncode == 1
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("options", [[], ["--vireid"]])
def test_swapping_into_a_baseline(tmp_path, options):
    script = ROOT / "examples" / "swap_into_a_baseline.py"
    command = [sys.executable, str(script), "--steps", "2", *options]
    run = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("step ") == 2
    changed = sum(line.endswith("# vireid") for line in script.read_text().splitlines())
    assert f"{changed} lines" in (ROOT / "docs" / "swapping-in.md").read_text()


def test_readme_names_the_command_that_ci_runs():
    readme, script = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    assert "```sh test\n" in readme
    assert "sed -n '/^```sh test$/,/^```$/" in script
