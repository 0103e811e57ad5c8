"""The benchmarks that are not run by hand often enough to be known to work."""

import argparse
import importlib
import json
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(monkeypatch):
    """Run a benchmark in this process."""

    monkeypatch.syspath_prepend(ROOT / "benchmarks")

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(ROOT / "benchmarks" / name), run_name="__main__")

    return run


@pytest.fixture
def record(monkeypatch):
    """The module that keeps figures, for which other programs take a hundredth of the processor."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    record = importlib.import_module("_record")
    monkeypatch.setattr(record, "_share_of_others", lambda before: 0.01)
    return record


SMALL = ("--backbone", "test_resnet", "--size", 96, 48, "--pairs", 2, "--repeats", 2)


def test_a_benchmark_keeps_its_figures_with_their_spread(run, record, tmp_path):
    run("training_step.py", *SMALL, "--json", tmp_path / "kept.json")
    run("training_step.py", "--busy", *SMALL, "--json", tmp_path / "kept.json")
    kept = json.loads((tmp_path / "kept.json").read_text())
    states = kept.pop(f"python benchmarks/training_step.py {' '.join(map(str, SMALL))}")
    assert not kept
    assert states.keys() == {"idle", "busy"}
    for entry in states.values():
        median, least, most = entry["figures"]["ratio"]["of time"]
        assert 0 < least <= median <= most  # two rounds may take the same time
        assert median == pytest.approx((least + most) / 2, rel=1e-3)
        assert entry["others"] == 0.01


def test_spinning_programs_end_with_a_benchmark_that_is_killed(record):
    start = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {record.SPIN!r}]); time.sleep(60)"
    benchmark = subprocess.Popen(
        [sys.executable, "-c", f"print('started', flush=True); {start}"], stdout=subprocess.PIPE
    )
    assert benchmark.stdout.readline() == b"started\n"
    time.sleep(1)
    benchmark.kill()
    benchmark.communicate(timeout=20)  # ends when the spinning program, which has the same output, does


def test_spread_is_median_least_and_most(record):
    assert record.spread([5.0, 1.0, 2.0]) == [2.0, 1.0, 5.0]
    assert record.ratio([6.0, 2.0, 8.0], [2.0, 2.0, 2.0]) == [3.0, 1.0, 4.0]


def test_figures_beside_other_programs_are_not_called_idle(run, record, tmp_path, monkeypatch):
    kept = []
    for share in (0.11, 0.09, 0.11):
        monkeypatch.setattr(record, "_share_of_others", lambda before, share=share: share)
        with record.measuring(argparse.Namespace(busy=False, json=tmp_path / "kept.json")) as figures:
            figures["row"] = {"measure": len(kept)}
        (states,) = json.loads((tmp_path / "kept.json").read_text()).values()
        kept.append({state: entry["figures"]["row"]["measure"] for state, entry in states.items()})
    assert kept == [{"shared": 0}, {"idle": 1}, {"idle": 1}]


def test_the_share_of_other_programs_is_without_the_own(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    record = importlib.import_module("_record")
    monkeypatch.setattr(record, "_processor_seconds", lambda: (120.0, 26.0, 15.0))  # all, used, of this process
    assert record._share_of_others((100.0, 20.0, 10.0)) == 0.05


def test_busy_programs_run_as_long_as_the_measurement(record):
    before = os.times().children_user
    with record.measuring(argparse.Namespace(busy=True, json=None)) as figures:
        time.sleep(0.3)
        figures["row"] = {"measure": 1.0}
    after = os.times().children_user  # of children that have ended
    assert after > before + 0.01


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
