"""The benchmarks that are not run by hand often enough to be known to work."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(monkeypatch):
    """Run a benchmark in this process."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(ROOT / "benchmarks" / name), run_name="__main__")

    return run


def test_the_benchmark_of_a_gpu_takes_the_same_path_on_a_cpu(run, tmp_path, capsys):
    size = ("--backbone", "test_resnet", "--size", 96, 48, "--batch", 2, 2)
    run("gpu.py", "--device", "cpu", *size, "--seconds", 0, "--output", tmp_path / "gpu.json")
    figures = json.loads((tmp_path / "gpu.json").read_text())

    assert {(step["network"], step["precision"]) for step in figures["steps"]} == {
        (network, precision) for network in ("B", "MUN") for precision in ("float32", "bfloat16")
    }
    assert all(step["images_per_second"] > 0 and step["share_of_ceiling"] > 0 for step in figures["steps"])
    assert all(step["synchronisations"] is None for step in figures["steps"])  # which a CPU does not have
    assert figures["loader"]["images_per_second"].keys() == {"loader alone", "loader and MUN, bfloat16"}
    assert figures["evaluation"]["protocol_seconds"]["cpu"] > 0
    assert any("compiled" in row for row in figures["left_out"])
    assert figures["card"] in capsys.readouterr().out


def test_the_benchmark_of_a_gpu_names_what_its_time_does_not_allow(run, tmp_path):
    size = ("--backbone", "test_resnet", "--size", 96, 48, "--batch", 2, 2)
    run("gpu.py", "--device", "cpu", *size, "--seconds", 0, "--minutes", 0, "--output", tmp_path / "gpu.json")
    figures = json.loads((tmp_path / "gpu.json").read_text())
    assert figures["steps"] == []
    assert len(figures["left_out"]) == 13


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_step_on_a_gpu_never_waits_for_it(run, tmp_path):
    size = ("--backbone", "test_resnet", "--size", 96, 48, "--batch", 2, 2)
    run("gpu.py", *size, "--seconds", 0.1, "--output", tmp_path / "gpu.json")
    steps = json.loads((tmp_path / "gpu.json").read_text())["steps"]
    assert {s["precision"]: s["synchronisations"] for s in steps if s["precision"] != "float16"} == dict.fromkeys(
        ("float32", "tf32", "bfloat16"), 0
    )
