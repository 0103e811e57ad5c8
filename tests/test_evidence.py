"""The pages "Does it help?" and "What was tried" say what their runs say."""

import importlib
import json
import re
import shutil
import sys
from pathlib import Path
from statistics import fmean, stdev
from types import SimpleNamespace

import pytest
import torch

from vireid.models import save_training_state

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def evidence():
    before = [*sys.path]
    sys.path.insert(0, str(DOCS))
    try:
        return importlib.import_module("make_evidence")
    finally:
        sys.path[:] = before


def test_tables_are_those_of_the_runs(evidence):
    page = "".join(path.read_text(encoding="utf-8") for path in evidence.PAGES)
    assert evidence.render(page, evidence.read_runs()) == page
    assert {name for _, name, *_ in evidence.MARKERS.findall(page)} == evidence.TABLES.keys()
    changed = json.loads(json.dumps(evidence.read_runs()))
    for run in changed:
        evidence.last(run["results"])["rank-1"] += 1
    assert evidence.render(page, changed) != page


def test_every_run_says_what_it_is(evidence):
    runs = evidence.read_runs()
    keys = {"data", "trunk", "method", "settings", "seed", "iterations", "tool", "cpu_seconds", "command", "results"}
    for run in runs:
        assert keys <= set(run) <= keys | {"classifiers", "gap"}
        assert run["data"] in {"selection", "report", "report, corrupted"}
        assert run["tool"] in {"runx.py", "train.py", "clone", "corruption.py"}
        for result in run["results"].values():
            assert all(0 < result[key] <= 100 for key in evidence.KEYS)
        assert not [part for part in run["command"] if part.startswith("/")]
    assert len({json.dumps(run["command"]) for run in runs}) == len(runs)
    page = (DOCS / "what-was-tried.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- evidence attempts -->\n(.*?)<!-- end -->", page, re.DOTALL)[1]
    assert len(table.splitlines()) == len(runs) + 2


def test_interval_of_paired_differences(evidence):
    values = [3.0, 1.0, 2.5, 4.0, 2.0]
    reach = 2.78 * stdev(values) / 5**0.5
    expected = f"{fmean(values):+.2f} ({fmean(values) - reach:+.2f} to {fmean(values) + reach:+.2f})"
    results = {seed: {"250": {"mAP": 0.0}, "1000": {"mAP": 50 + value}} for seed, value in enumerate(values)}
    reference = {seed: {"1000": {"mAP": 50.0}} for seed in range(9)}
    assert evidence.difference(results, reference, "mAP") == expected
    assert evidence.difference(reference, {3: {"1000": {"mAP": 51.5}}}, "mAP") == "-1.50"


def test_runs_of_the_ablation_are_taken_up(evidence, tmp_path):
    folder = tmp_path / "b" / "seed-3"
    folder.mkdir(parents=True)
    results = {"0": 0.125, "750": 0.5}
    metrics = {
        "arguments": {
            "method": "agw",
            "auxiliary": "inputs",
            "alignment": "None",
            "seed": "3",
            "data": evidence.REPORT,
            "backbone": "lite0",
        },
        "command": ["--method", "agw", "--output", "../runs/agw/seed-3"],
        "results": {i: {"all search": {"mean": {"rank-1": value, "mAP": value / 2}}} for i, value in results.items()},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    vectors = {"visible": torch.tensor([[1.0, 0.0], [0.0, 2.0]]), "infrared": torch.tensor([[3.0, 0.0], [1.0, 0.0]])}
    weights = {f"model.{modality}_classifier.weight": values for modality, values in vectors.items()}
    save_training_state(folder / "last.pt", {"plain": weights})
    (run,) = evidence.read_folder(tmp_path)
    assert run["classifiers"] == 0.5
    alone = "agw --auxiliary inputs --alignment 0 --identity-alignment 0"
    assert (run["method"], run["seed"], run["iterations"]) == (alone, 3, 750)
    assert run["results"]["750"] == {"rank-1": 50.0, "mAP": 25.0}
    save_training_state(
        folder / "last.pt", {"plain": {name.replace("model.", "model.mun."): row for name, row in weights.items()}}
    )
    (of_table_2,) = evidence.read_folder(tmp_path)
    assert of_table_2 == run  # the network of an intermediate modality holds MUN
    whole = tmp_path / "other" / "whole"
    shutil.copytree(tmp_path / "b", whole / "b")
    assert [run["trunk"], *(other["trunk"] for other in evidence.read_folder(whole))] == ["short", "whole"]
    measured = run | {"gap": {"visible to third": 0.1}, "results": {}}
    assert evidence.join([measured], [run, run | {"command": []}]) == [
        run | {"gap": measured["gap"]},
        run | {"command": []},
    ]
    plain = {**run, "method": "agw", "results": {"750": {"rank-1": 48.0, "mAP": 24.0}}}
    claims = evidence.claims([run, plain])
    assert "| AGW | `agw` | 3 | 48.00 | 24.00 | – | – |" in claims
    assert f"| AGW + Aux + L_idc | `{alone}` | 3 | 50.00 | 25.00 | +2.00 | +1.00 |" in claims
    aligned = {**run, "method": "agw --auxiliary inputs --alignment 1 --identity-alignment 2"}
    assert "| AGW |" not in evidence.summary([aligned, plain])
    alone = {**plain, "method": "agw --auxiliary direct --alignment 1 --identity-alignment 2"}
    alone["results"] = {"750": {"rank-1": 51.0, "mAP": 24.0}}
    summary = evidence.summary([aligned, plain, alone, {**plain, "seed": 4}])
    assert "| AGW | 3 | 48.00 | 50.00 | +2.00 | 51.00 | +3.00 |" in summary

    mean = {"rank-1": 0.25, "mAP": 0.125}
    found = {"../runs/agw/seed-3/last.pt": {"all search, corrupted": {"mean": mean, "trials": {"mAP": [0.1, 0.15]}}}}
    (tmp_path / "corruption.json").write_text(json.dumps(found))
    (corrupted,) = evidence.read_corrupted(tmp_path, [plain | {"command": []}, run])
    assert corrupted["results"] == {"750": {"rank-1": 25.0, "mAP": 12.5}}
    assert corrupted["command"] == ["runs/agw/seed-3/last.pt", "--draws", "2"]
    assert (corrupted["data"], corrupted["seed"]) == ("report, corrupted", 3)


def test_distances_of_a_person_s_centres(evidence, monkeypatch):
    for folder in ("examples", "docs"):
        monkeypatch.syspath_prepend(DOCS.parent / folder)
    measure_gap = importlib.import_module("measure_gap")
    monkeypatch.setattr(measure_gap, "PEOPLE", 2)
    monkeypatch.setattr(measure_gap, "IMAGES", 2)
    visible = torch.tensor([[3.0, 0.0], [0.0, 5.0], [1.0, 0.0], [1.0, 0.0]])  # centres (1/2, 1/2) and (1, 0)
    infrared = torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 4.0], [0.0, 1.0]])  # (0, 1) twice
    output = SimpleNamespace(visible=visible, infrared=infrared, auxiliary=-infrared)
    found = measure_gap.measure(lambda *images: output, [(None, None, None)])
    expected = ((2.5**0.5 + 2**0.5) / 2, 2, (0.5**0.5 + 2**0.5) / 2)
    assert [*found.values()] == pytest.approx(expected, abs=5e-4)
    assert [*found] == ["visible to third", "third to infrared", "visible to infrared"]

    kept = {"data": "report", "trunk": "short", "tool": "train.py", "iterations": 750, "seed": 1, "gap": found}
    runs = [
        kept | {"method": method, "results": {"750": {"rank-1": 50.0 + i, "mAP": 40.0}}}
        for i, method in enumerate(evidence.MODALITIES.values())
    ]
    output.auxiliary = None
    runs[-1]["gap"] = measure_gap.measure(lambda *images: output, [(None, None, None)])
    assert runs[-1]["gap"] == {"visible to infrared": found["visible to infrared"]}
    assert "| no third modality | 1 | – | – | 1.061 | +1.00 |" in evidence.third(runs)
    runs.append(runs[0] | {"seed": 2, "gap": found | {"third to infrared": 1.0}})  # on the other side
    assert "| visible map | 1, 2 | 1.249 | 1.749 | 1.061 | -5.00 |" in evidence.third(runs)
