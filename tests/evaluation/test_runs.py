import copy
import json

import pytest
import torch

from vireid.evaluation import (
    EmbeddingSet,
    LLCMProtocol,
    RetrievalResult,
    SYSUMM01Protocol,
    compare_runs,
    describe_run,
    format_runs,
)


@pytest.fixture
def run():
    """A record of a run whose two queries find 1 of 2 people at rank 1."""
    identities = torch.tensor([0, 1])
    visible = EmbeddingSet(torch.eye(2), identities, torch.tensor([1, 1]), "visible")
    infrared = EmbeddingSet(torch.tensor([[1.0, 0.0], [0.9, 0.1]]), identities, torch.tensor([2, 2]), "infrared")
    result = LLCMProtocol("infrared").evaluate(visible, infrared)
    options = {"fingerprint": "0f", "counts": {"training identities": 395, "test identities": 2}}
    settings = {"seed": 0, "size": (288, 144), "backbone": None, "optimizer": torch.optim.SGD}
    return describe_run({"night": result}, **options, settings=settings, command=["train.py", "--seed", "0"])


def changed(run, *path, value):
    other = part = copy.deepcopy(run)
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return other


def test_a_record_is_json_and_tells_data_versions_settings_and_protocol(run):
    assert json.loads(json.dumps(run)) == run
    assert run["data"] == {"fingerprint": "0f", "counts": {"training identities": 395, "test identities": 2}}
    assert run["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert run["settings"]["size"] == [288, 144]
    assert run["settings"]["backbone"] is None
    assert "SGD" in run["settings"]["optimizer"]
    assert run["command"] == ["train.py", "--seed", "0"]
    assert run["results"]["night"]["mean"]["rank-1"] == 0.5
    assert run["results"]["night"]["settings"]["query"] == "infrared"


def test_the_first_difference_is_the_likeliest_cause(run):
    assert compare_runs(run, copy.deepcopy(run)) == []
    other = changed(run, "results", "night", "mean", "rank-1", value=0.4)
    other = changed(other, "versions", "timm", value="0.9")
    other = changed(other, "settings", "seed", value=1)
    other = changed(other, "data", "counts", "training identities", value=367)
    found = compare_runs(run, other)
    assert found[0] == "data.counts.training identities: 395, 367"
    assert found[1] == "settings.seed: 0, 1"
    assert [line.partition(":")[0] for line in found[2:]] == ["versions.timm", "results.night.mean.rank-1"]
    assert compare_runs(changed(run, "settings", "extra", value=3), run) == ["settings.extra: 3, –"]
    assert compare_runs(run, changed(run, "command", value=["other"]))[0].startswith("command: ")


def test_single_trials_are_not_listed_but_a_setting_of_that_name_is(run):
    other = changed(run, "results", "night", "trials", "mAP", value=[0.0])
    assert compare_runs(run, other) == []
    assert compare_runs(changed(run, "settings", "trials", value=3), run) == ["settings.trials: 3, –"]


def test_a_table_has_a_row_for_every_result(run):
    lines = format_runs({"B": run, "MUN": changed(run, "settings", "seed", value=1)}).splitlines()
    assert lines[0].startswith("| run | result | rank-1 |")
    assert lines[1] == "|" + "---|" * (lines[0].count("|") - 1)
    assert lines[2].startswith("| B | night | 50.00 ± 0.00 |")
    assert lines[3].startswith("| MUN | night | 50.00 ± 0.00 |")


def test_other_data_and_protocols_are_refused(run):
    reranked = changed(run, "results", "night", "settings", "reranking", value="k-reciprocal")
    with pytest.raises(
        ValueError,
        match=r"runs\['b'\] must have the data and protocols of 'a', results.night.settings.reranking 'none', got",
    ):
        format_runs({"a": run, "b": reranked})
    with pytest.raises(ValueError, match=r"runs\['b'\] must have the data and protocols of 'a', data."):
        format_runs({"a": run, "b": changed(run, "data", "fingerprint", value="1f")})
    with pytest.raises(ValueError, match="results.day"):
        format_runs({"a": run, "b": changed(run, "results", "day", value=run["results"]["night"])})


def test_another_class_of_network_may_be_compared_and_another_way_to_embed_not(run):
    settings = ("results", "night", "settings", "feature")
    first, other, flipped = (
        changed(run, *settings, value=f) for f in ("MUN.embed", "DEEN.embed", "DEEN.embed, flip mean")
    )
    assert "| b | night |" in format_runs({"a": first, "b": other})
    with pytest.raises(ValueError, match="feature 'embed', got 'embed, flip mean'"):
        format_runs({"a": first, "b": flipped})


def test_refuses_what_is_no_record(run):
    with pytest.raises(ValueError, match="first must have the parts data, .* got 'a record without data'"):
        compare_runs({key: part for key, part in run.items() if key != "data"}, run)
    with pytest.raises(ValueError, match="results must hold a result"):
        describe_run({}, fingerprint="", counts={})
    with pytest.raises(TypeError, match=r"results\['a'\] must be a RetrievalResult"):
        describe_run({"a": SYSUMM01Protocol}, fingerprint="", counts={})


def test_a_command_is_a_list_of_words(run):
    result = RetrievalResult.from_dict(run["results"]["night"])
    with pytest.raises(TypeError, match="command must be a list of strings, got 'train.py'"):
        describe_run({"a": result}, fingerprint="", counts={}, command="train.py")
