"""The Python blocks of every page run in their order, and its tables are those of the results kept beside it."""

import importlib
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vireid
from vireid import TwoStreamEmbedder
from vireid.data import SYSUMM01, generate_synthetic
from vireid.models import create_backbone

DOCS = Path(__file__).parent.parent / "docs"
NOT_RUN = "<!-- not run: "  # and why; in the line above a block
LIBRARIES = ("faiss", "qdrant_client", "lancedb")  # blocks that import one run where it is installed
PAGES = sorted(path.name for path in DOCS.glob("*.md") if "```python\n" in path.read_text(encoding="utf-8"))
BEFORE = {  # what the shell commands above a block have made
    "command-line.md": """
from vireid.cli import main
main("embed runs/train/best SYSU-MM01/cam3 --modality infrared -o night.safetensors --quiet".split())
""",
}


def blocks(page):
    """Python blocks of a page, in order, without those that a marker or a missing library excludes."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for found in re.finditer(r"^([^\n]*)\n+^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        missing = [name for name in LIBRARIES if f"import {name}" in found[2] or f"from {name}" in found[2]]
        if not found[1].startswith(NOT_RUN) and all(find_spec(name) for name in missing):
            yield found[2]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A folder with synthetic people, images of own cameras and networks."""
    folder = tmp_path_factory.mktemp("docs")
    root = generate_synthetic(
        folder / "SYSU-MM01", train_identities=5, test_identities=9, images_per_camera=2, size=(64, 32)
    )
    torch.manual_seed(0)
    for path, size in {"runs/train/best": (64, 32), "exp/best": (288, 144)}.items():
        TwoStreamEmbedder(create_backbone("test_resnet", image_size=size)).save_pretrained(folder / path)
    (folder / "data").mkdir()
    (folder / "data" / "synthetic-sysu-96x48").symlink_to(root)
    for record in SYSUMM01(root).train + SYSUMM01(root).test_visible + SYSUMM01(root).test_infrared:
        side = "thermal" if record.modality == "infrared" else "colour"
        camera = folder / "data" / "own-cameras" / side / f"camera-{record.camera}"
        camera.mkdir(parents=True, exist_ok=True)
        (camera / f"person-{record.identity}_{record.path.name}").symlink_to(record.path)
    Image.fromarray(np.full((64, 32), 30_000, np.uint16)).save(folder / "night.tiff")
    Image.new("RGB", (40, 90)).save(folder / "crop.png")
    return folder


@pytest.mark.parametrize("page", [pytest.param(p, marks=[pytest.mark.slow] * (p == "deploy.md")) for p in PAGES])
def test_python_blocks_run(page, workspace, monkeypatch, capsys):
    monkeypatch.chdir(workspace)
    torch.manual_seed(0)
    names = {}
    exec(BEFORE.get(page, ""), names)
    for block in blocks(page):
        exec(compile(block, page, "exec"), names)


def test_tables_are_those_of_their_results():
    command = [sys.executable, DOCS / "make_tables.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nRun python docs/make_tables.py."


def test_a_number_that_is_typed_by_hand_is_found(monkeypatch):
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    changed = readme.replace("| trained, all search | ", "| trained, all search | 1")
    monkeypatch.syspath_prepend(DOCS)
    assert importlib.import_module("make_tables").render(changed) == readme != changed


def test_the_reference_has_every_public_name_once(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    reference = importlib.import_module("make_reference")
    listed = [path for _title, _module, paths in reference.pages() for path in paths]
    public = {f"vireid.{p}.{n}" for p in reference.PACKAGES for n in importlib.import_module(f"vireid.{p}").__all__}
    assert len(listed) == len(set(listed))
    assert public <= set(listed)
    assert {"vireid.modality.Modality", "vireid.distances.pairwise_distances", "vireid.phases.Phases"} <= set(listed)


def test_citation_has_the_version_of_the_package():
    text = (DOCS.parent / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (\S+)$", text, re.MULTILINE)[1] == vireid.__version__


def test_few_blocks_are_not_run():
    reasons = [
        found[1]
        for page in DOCS.glob("*.md")
        for found in re.finditer(rf"{re.escape(NOT_RUN)}(.*?) -->", page.read_text(encoding="utf-8"))
    ]
    assert len(reasons) <= 8
    assert all(len(reason) > 10 for reason in reasons)


@pytest.mark.parametrize("page", ["quickstart", "own-cameras"])
def test_notebooks_are_executed_and_name_no_path_of_a_machine(page):
    text = (DOCS / "notebooks" / f"{page}.ipynb").read_text(encoding="utf-8")
    code = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in code for output in cell["outputs"]]
    assert len(code) >= 2
    assert all(cell["execution_count"] for cell in code)
    assert all(output["output_type"] != "error" for output in outputs)
    assert any("rank-1" in "".join(output.get("text", "")) for output in outputs)
    assert "/tmp/" not in text
