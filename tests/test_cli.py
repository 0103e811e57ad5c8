"""The command line does what the public functions do, answers mistakes in one line, and imports nothing for help."""

import dataclasses
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open

import vireid
from vireid import TwoStreamEmbedder, create_backbone
from vireid.cli import main
from vireid.data import PersonImages, create_dataset, create_test_transform, generate_synthetic
from vireid.evaluation import (
    Calibration,
    GalleryIndex,
    OwnProtocol,
    calibrate,
    create_protocols,
    evaluate,
    extract_embeddings,
)

COMMANDS = ("check", "synthesize", "evaluate", "compare", "embed", "search", "calibrate", "export")
PATTERN = r"cam(?P<camera>\d)/(?P<identity>\d+)/"
FOLDERS = ["--visible", "cam[1245]", "--infrared", "cam[36]", "--pattern", PATTERN]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with a data set `people` and a network `network`, in which commands run."""
    folder = tmp_path_factory.mktemp("user")
    generate_synthetic(folder / "people", train_identities=3, test_identities=6, images_per_camera=2, size=(64, 32))
    torch.manual_seed(0)
    TwoStreamEmbedder(create_backbone("test_resnet", image_size=(64, 32))).save_pretrained(folder / "network")
    return folder


@pytest.fixture
def vireid_(here, monkeypatch, capsys):
    """A function that runs a command in this process: its code, output and errors."""
    monkeypatch.chdir(here)

    def run(*arguments):
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse
            code = end.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def embedded(here):
    """The embeddings of the test images, made by the public functions."""
    network = TwoStreamEmbedder.from_pretrained(here / "network")
    images = create_dataset("sysu", here / "people").test_images(create_test_transform(**network.preprocessing))
    return {modality.value: extract_embeddings(network, images[modality], modality) for modality in images}


def run(*arguments, **options):
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "vireid", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


# Help and mistakes


@pytest.mark.parametrize(
    "words",
    [[], ["--help"], ["--version"], ["serch"], *([name, "--help"] for name in COMMANDS), ["embed", "--bach", "2"]],
)
def test_help_and_typos_take_less_than_a_second_and_no_torch(words):
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
    code += "from vireid.cli import main; sys.exit(main())"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert not {"torch", "numpy", "timm", "torchvision", "PIL", "matplotlib", "tqdm"} & set(done.stderr.split())
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
    assert (done.returncode == 0) == bool({"--help", "--version"} & set(words))


def test_python_m_vireid_is_the_command():
    assert run("--version").stdout == f"vireid {vireid.__version__}\n"
    assert re.findall(r"^    (\w+)", run("--help").stdout, re.MULTILINE) == list(COMMANDS)


def test_a_mistyped_command_is_answered_with_the_likeliest(vireid_):
    code, output, error = vireid_("serch", "a", "b")
    names = ", ".join(COMMANDS)
    assert (code, output) == (2, "")
    assert error == f"vireid: COMMAND must be one of {names}, got 'serch'. Did you mean search?\n"


EMBED = ["embed", "network", "people/cam1", "--modality", "visible", "-o", "x.safetensors"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["embed"], "the following arguments are required: NETWORK, IMAGES, --modality, -o/--output."),
        ([*EMBED, "--bach-size", "3"], "options must be those .*, got '--bach-size'. .* --batch-size?"),
        ([*EMBED, "--batch-size", "0"], "--batch-size must be an integer of at least 1, got '0'."),
        ([*EMBED, "--batch-size", "2.5"], "--batch-size must be an integer of at least 1, got '2.5'."),
        ([*EMBED, "--modality", "visibel"], "--modality must be .*, got 'visibel'. Did you mean visible?"),
        ([*EMBED, "--output", "x.npz"], "--output must end in .safetensors, got 'x.npz'."),
        ([*EMBED, "--device", "gpu"], "--device must be a device of this machine, got 'gpu': .*."),
        (["search", "a", "b", "--threshold", "nan"], "--threshold must be a number .*, got 'nan'."),
        (["search", "a", "b", "-k", "0"], "-k must be an integer of at least 1, got '0'."),
        (["search", "a", "b", "c"], "options must be .*, got 'c'. .* Quote the glob."),
        (["search", "a", "b", "--threshold", "1", "--calibration", "c"], ".*not allowed with.*"),
        (["evaluate", "network"], "--root must be given, or --visible and --infrared."),
        (["evaluate", "network", "--root", "."], "--dataset must be given: '.' has the split files .*"),
        (["evaluate", "network", "--root", "people", "--shots", "10"], "--shots must be 1 for .*"),
        (["evaluate", "network", "--root", "people", "--trial", "1"], "--trial must be left at .*"),
        (["evaluate", "network", "--root", "people", "--exclude", "none"], "--exclude must be left out.*"),
        (["evaluate", "network", *FOLDERS, "--root", "people", "--shots", "2"], "--shots must be left.*"),
        (["check", "--visible", "people/cam1"], "--infrared must be given for images in folders, got None."),
        (["evaluate", "network", *FOLDERS, "--root", "people", "--exclude", "same location"], "--locations must .*"),
        (["evaluate", "network", *FOLDERS, "--root", "people", "--locations", "1=a"], "--locations must be given .*"),
        (["evaluate", "network", "--root", "people", "--locations", "1=a"], "--locations must be left out for 's.*"),
        (
            ["evaluate", "network", *FOLDERS, "--root", "people", "--exclude", "same location", "--locations", "9=a"],
            "--locations must be CAMERA=LOCATION with one of the cameras 1, 2, 3, 4, 5, 6, got '9=a'.",
        ),
        (["calibrate", "hub:a/b", "--root", "people"], "--output must be given unless .*"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line_and_code_2(vireid_, words, message):
    code, output, error = vireid_(*words)
    last = error.splitlines()[-1]  # after warnings
    assert re.fullmatch(f"vireid {words[0]}: {message}".replace("?", r"\?"), last), error
    assert (code, output) == (2, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "nowhere"], "ROOT must be a folder or a table, got 'nowhere'."),
        (["embed", "none", *EMBED[2:]], "NETWORK must be a folder, got 'none'. Write 'hub:.*"),
        (["embed", "network", "none.jpg", *EMBED[3:]], "IMAGES must be images, .*, the first: .'none.jpg'.."),
        (["embed", "network", "people/exp", *EMBED[3:]], "IMAGES must name an image, got none in people/exp."),
        ([*EMBED, "-o", "/proc/x.safetensors"], "--output must be a file that can be written, .*"),
        (["search", "none", "none"], "GALLERY must be a file, got 'none'."),
        (["search", "network/model.safetensors", "x"], "GALLERY must be a file of vireid embed, got .*"),
        (["search", "people/exp/test_id.txt", "x"], "GALLERY must be a whole safetensors file, got .*"),
    ],
)  # fmt: skip
def test_unusable_data_is_one_line_and_code_1(vireid_, words, message):
    code, output, error = vireid_(*words)
    assert re.fullmatch(f"vireid {words[0]}: {message}\n", error), error
    assert (code, output) == (1, "")


def test_a_defect_keeps_its_traceback(vireid_, monkeypatch):
    monkeypatch.setattr("vireid.data.check_dataset", lambda dataset: dataset + 1)
    with pytest.raises(TypeError, match="unsupported operand"):
        vireid_("check", "people")


def test_no_command_prints_the_help_and_fails(vireid_):
    code, output, _ = vireid_()
    assert code == 2
    assert output.startswith("usage: vireid")


def test_waiting_threads_sleep_unless_the_user_decides(vireid_, monkeypatch):
    for before, after in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        if before:
            monkeypatch.setenv("OMP_WAIT_POLICY", before)
        vireid_("check", "nowhere")
        assert os.environ["OMP_WAIT_POLICY"] == after


# Interruptions and bars


@pytest.mark.parametrize(("workers", "images"), [(1, 1), pytest.param(2, 150, marks=pytest.mark.slow)])
def test_interruption_is_quiet(tmp_path, workers, images):
    command = [sys.executable, "-m", "vireid", "synthesize", str(tmp_path / "people"), "--workers", str(workers)]
    command += ["--size", "96", "48"]
    options = {"stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    restore = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # the background of a shell ignores it
    process = subprocess.Popen(command, preexec_fn=restore, **options)  # noqa: PLW1509
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob(".people.*/people/cam1/*/*.jpg"))) < images and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    try:
        _, error = process.communicate(timeout=20)
    except subprocess.TimeoutExpired:  # a first press can be lost in the instant when a worker starts
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_is_no_error(here):
    command = [sys.executable, "-m", "vireid", "check", "people"]
    process = subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert (process.stderr.read(), process.wait(timeout=60)) == ("", 0)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("words", "counted"),
    [
        (["check", "people"], ["images: 100%.*108/108"]),
        (EMBED, ["visible images: 100%.*18/18"]),
        (["evaluate", "network", "--root", "people"], ["visible images: 100%", "infrared images: ", "protocols: 100%"]),
        (["calibrate", "network", "--root", "people", "--false-accept-rate", "0.1"], ["images: 100%", "steps: 100%"]),
    ],
)  # fmt: skip
def test_bars_on_a_terminal_only(vireid_, monkeypatch, words, counted):
    assert vireid_(*words)[::2] == (0, "")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert vireid_(*words)[0] == 0
    shown = terminal.getvalue()
    assert all(re.search(pattern, shown) for pattern in counted), shown
    for change in ("quiet", "without tqdm"):
        monkeypatch.setattr(sys, "stderr", terminal := Terminal())
        if change == "without tqdm":
            monkeypatch.setitem(sys.modules, "tqdm", None)
        assert vireid_(*words, *(["--quiet"] if change == "quiet" else []))[0] == 0
        assert terminal.getvalue() == ""


# Commands


def test_check_counts_and_finds_damaged_images(vireid_, here, tmp_path):
    code, output, _ = vireid_("check", "people")
    assert code == 0
    assert "test identities                    6         96  ←" in output
    assert "108 of 108 images can be read.\n" in output
    shutil.copytree(here / "people", tmp_path / "people")
    damaged = tmp_path / "people" / "cam3" / "0005" / "0002.jpg"
    damaged.write_bytes(damaged.read_bytes()[:300])
    code, output, _ = vireid_("check", tmp_path / "people", "--json")
    report = json.loads(output)
    assert (code, report["images"], report["complete"], len(report["damaged"])) == (1, 108, False, 1)
    assert str(damaged) in report["damaged"][0]
    assert report["fingerprint"] == create_dataset("sysu", tmp_path / "people").fingerprint()
    assert report["counts"]["training identities"] == 3


def test_check_reads_your_own_folders_and_tables(vireid_, here, tmp_path):
    code, output, _ = vireid_("check", "people", *FOLDERS, "--test-share", "0.34")
    assert code == 0
    assert re.search(r"training identities +6\n", output)
    code, output, error = vireid_("check", "people", *FOLDERS[:4], "--pattern", "camera(?P<camera>.)")
    assert (code, output) == (2, "")
    assert "--pattern must match the path of every image" in error
    assert "cam1/0001/0001.jpg" in error
    lines = [
        f"{path},{'infrared' if path.parts[-3] in {'cam3', 'cam6'} else 'visible'},{path.parts[-2]}"
        for path in sorted((here / "people").glob("cam*/*/*.jpg"))
    ]
    table = tmp_path / "people.csv"
    table.write_text("\n".join(["path,modality,identity", *(line for line in lines if "cam3" not in line)]))
    code, output, _ = vireid_("check", table)
    assert code == 0
    assert "90 of 90" in output
    lines = [line for line in lines if not re.search("infrared,000[123]", line)]
    table.write_text("\n".join(["path,modality,identity", *lines]))
    assert "\ntest people in visible images only: 3 (1, 2, 3)\n" in vireid_("check", table)[1]
    assert json.loads(vireid_("check", table, "--json")[1])["remarks"][0].startswith(
        "test people in visible images only: 3"
    )
    (here / "people" / "notes.doc").touch()
    code, _, error = vireid_("check", "people", "--visible", ".", "--infrared", "cam[36]", "--pattern", PATTERN)
    (here / "people" / "notes.doc").unlink()
    assert error.splitlines()[0].startswith("vireid check: warning: visible holds files that are not named as images")
    assert code == 2  # the two share images


def test_check_reads_folders_of_nobody_in_particular(vireid_):
    code, output, _ = vireid_("check", "people", *FOLDERS[:4])
    assert code == 0
    assert re.search(r"unlabelled images +108\n", output)
    assert "108 of 108 images can be read." in output
    code, _, error = vireid_("evaluate", "network", "--root", "people", *FOLDERS[:4])
    assert code == 1
    assert error.startswith(
        "vireid evaluate: records must show people who are known, got '108 unlabelled images'. A pattern"
    )


def test_synthesize_writes_what_generate_synthetic_writes(vireid_, tmp_path):
    options = {"train_identities": 2, "test_identities": 1, "images_per_camera": 1, "seed": 3, "difficulty": 0.2}
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    code, output, _ = vireid_("synthesize", tmp_path / "a", "--layout", "llcm", "--size", "32", "16", *words)
    assert (code, output) == (0, f"{tmp_path / 'a'}\n")
    generate_synthetic(tmp_path / "b", "llcm", size=(32, 16), **options)
    ours, theirs = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "a", tmp_path / "b")
    )
    assert ours == theirs
    code, _, error = vireid_("synthesize", tmp_path / "a")
    assert code == 1
    assert error.startswith("vireid synthesize: ROOT must be a new or an empty folder, got")


@pytest.mark.slow
def test_evaluate_gives_the_results_of_evaluate(vireid_, here, embedded, tmp_path):
    dataset = create_dataset("sysu", here / "people")
    network = TwoStreamEmbedder.from_pretrained(here / "network")
    images = dataset.test_images(create_test_transform(**network.preprocessing))
    protocols = create_protocols("sysu", gallery="official", shots=2, permutations=dataset.gallery_permutations())
    expected = evaluate(network, images, protocols, flip="mean")
    words = ["evaluate", "network", "--root", "people", "--gallery", "official", "--shots", "2", "--flip", "mean"]
    code, output, _ = vireid_(*words, "--json", "--picture", tmp_path / "new" / "ranks.png")
    assert code == 0
    assert json.loads(output) == json.loads(json.dumps({name: result.to_dict() for name, result in expected.items()}))
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["ranks-indoor-search.png", "ranks.png"]
    assert all(Image.open(path).height > 300 for path in (tmp_path / "new").iterdir())

    words = ["evaluate", "network", "--root", "people", *FOLDERS, "--test-share", "1", "--exclude"]
    code, output, error = vireid_(*words, "same camera", "--picture", tmp_path / "own" / "ranks.png")
    assert code == 0
    assert output.startswith("infrared → visible, all images but those of the same camera, image-level CMC\n")
    assert (
        "\ntested on 9 people, 36 infrared queries (0 skipped: no match), 72 visible queries (0 skipped: no match)\n"
        in output
    )
    assert output.endswith(f"{tmp_path / 'own' / 'ranks-visible-infrared.png'}: visible → infrared\n")
    assert "warning: The network does not say what it was trained on: nothing tells whether it knows people" in error
    assert "--exclude 'same camera' excludes nothing: no visible camera has the camera of an infrared one." in error


@pytest.mark.parametrize(
    ("way", "name"), [("k-reciprocal", "k-reciprocal re-ranking"), ("affinity", "affinity inference")]
)
def test_evaluate_names_the_reranking(vireid_, way, name):
    words = ["evaluate", "network", "--root", "people", "--reranking", way, "--distance"]
    code, output, _ = vireid_(*words, "cosine")
    assert code == 0
    assert f"SYSU-MM01 all search, single-shot, agw galleries × 10, {name} (k1 = " in output
    if way == "affinity":
        code, _, error = vireid_(*words, "euclidean")
        assert code == 2
        assert "--distance must be 'cosine' for affinity inference, got 'euclidean'." in error


def test_locations_change_what_a_query_may_find(vireid_, here, embedded):
    words = ["evaluate", "network", "--root", "people", *FOLDERS, "--test-share", "1", "--json"]
    places = ["--exclude", "same location", "--locations", "2=hall", "3=hall"]
    code, output, error = vireid_(*words, *places)
    assert code == 0
    assert "excludes nothing" not in error
    ours = json.loads(output)["infrared → visible"]
    assert ours["settings"]["locations"] == "{2: 2, 3: 2}"
    network = TwoStreamEmbedder.from_pretrained(here / "network")
    records = vireid.data.read_folders(root=here / "people", visible="cam[1245]", infrared="cam[36]", pattern=PATTERN)
    images = vireid.data.split_identities(records, test=1).test_images(create_test_transform(**network.preprocessing))
    sets = [extract_embeddings(network, images[modality], modality) for modality in images]
    theirs = OwnProtocol("infrared", exclude="same location", locations={3: 2}).evaluate(*sets)
    assert ours["mean"] == pytest.approx({name: mean for name, (mean, _) in theirs.summary().items()})
    assert ours["mean"] != json.loads(vireid_(*words)[1])["infrared → visible"]["mean"]


def test_evaluate_tests_nobody_whom_the_network_was_trained_on(vireid_, here, tmp_path):
    """The notes of examples/train.py stand in for the options, and are compared with them."""
    source = vireid.data.DataSource(
        "folder", str(here / "people"), visible="cam[1245]", infrared="cam[36]", pattern=PATTERN, split_seed=5
    )
    notes = {**dataclasses.asdict(source), "exclude": "none", "fingerprint": source.open().fingerprint(), "epoch": 3}
    shutil.copytree(here / "network", tmp_path / "best")
    (tmp_path / "best" / "training.json").write_text(json.dumps(notes))
    code, output, error = vireid_("evaluate", tmp_path / "best", "--json")
    assert (code, error) == (0, "")
    words = ["evaluate", "network", "--root", "people", *FOLDERS, "--split-seed", "5", "--json"]
    assert json.loads(output) == json.loads(vireid_(*words)[1])
    assert output == vireid_("evaluate", tmp_path / "best", "--root", "people", "--json")[1]
    code, _, error = vireid_("calibrate", tmp_path / "best", "--false-accept-rate", "0.3")
    assert code == 0
    for command in ("evaluate", "calibrate"):
        for words, message in {
            ("--split-seed", "4"): "--split-seed must be that of the training, 5, got 4. Another division tests people",
            ("--test-share", "1"): "--test-share must be that of the training, 0.5, got 1.0. Another division tests",
            (*FOLDERS, "--root", "people", "--split-seed", "0"): "--split-seed must be that of the training, 5, got 0.",
            (
                "--root",
                "people",
                "--dataset",
                "sysu",
            ): "--root must hold images for the test that the network was not trained on, got ",
        }.items():
            code, output, error = vireid_(command, tmp_path / "best", *words)
            assert (code, output) == (2, "")
            assert error.startswith(f"vireid {command}: {message}")


def test_a_table_of_the_training_s_people_is_divided_like_the_training(vireid_, here, tmp_path):
    source = vireid.data.DataSource(
        "folder", str(here / "people"), visible="cam[1245]", infrared="cam[36]", pattern=PATTERN, split_seed=5
    )
    shutil.copytree(here / "network", tmp_path / "run" / "best")
    training = source.describe_training(source.open())
    (tmp_path / "run" / "best" / "training.json").write_text(json.dumps(training))
    lines = [f"{r.path},{r.modality.value},{r.path.parent.name}" for r in source.read()]
    table = tmp_path / "people.csv"
    table.write_text("\n".join(["path,modality,identity", *lines]))
    code, output, error = vireid_("evaluate", tmp_path / "run" / "best", "--root", table)
    assert code == 0
    assert "\ntested on 4 people, " in output
    assert "only their names tell whether it knows people of" in error
    shutil.copytree(here / "people", tmp_path / "copy")
    table.write_text(table.read_text().replace(str(here / "people"), "copy"))
    code, output, error = vireid_("evaluate", tmp_path / "run" / "best", "--root", table, "--test-share", "1")
    assert (code, output) == (2, "")
    assert "--root must hold people for the test whom the network was not trained on, got '5 with names of" in error
    code, _, error = vireid_("evaluate", tmp_path / "run")
    best = str(tmp_path / "run" / "best")
    rule = f"NETWORK must be a network, got {str(tmp_path / 'run')!r}, which is none; {best!r} is one."
    assert (code, error) == (2, f"vireid evaluate: {rule}\n")


def test_images_of_the_other_modality_are_warned_of(vireid_, here, tmp_path):
    swapped = ["--visible", "cam[36]", "--infrared", "cam[1245]", "--pattern", PATTERN, "--root", "people"]
    words = ["embed", "network", "people/cam1", "--modality", "infrared", "-o", tmp_path / "x.safetensors"]
    for command, kinds in {
        ("check", "people", *swapped[:-2]): ("visible images looked at are gray", "infrared images .* are in colour"),
        ("evaluate", "network", *swapped): ("visible images looked at are gray", "infrared images .* are in colour"),
        tuple(words): ("18 of 18 infrared images looked at are in colour, the first: people/cam1/0001/0001.jpg. Are",),
    }.items():
        code, _, error = vireid_(*command)
        assert code == 0
        assert all(re.search(f"warning: .*{kind}", error) for kind in kinds), error


def test_figures_of_a_calibration_name_its_modalities(vireid_, monkeypatch, tmp_path):
    figures = {}
    monkeypatch.setattr("vireid.cli._save_figure", lambda path, figure: figures.update({path.stem: figure.axes[0]}))
    words = ["calibrate", "network", "--root", "people", "--false-accept-rate", "0.3", "-o", tmp_path / "x.json"]
    for within, title in (([], "visible and infrared"), (["--within", "infrared"], "infrared")):
        assert vireid_(*words, *within, "--histogram", "pairs.png", "--det", "det.png")[0] == 0
        assert figures["pairs"].get_title() == f"{title} test images"
        assert [text.get_text() for text in figures["det"].get_legend().get_texts()] == [f"{title} test images"]


def test_a_calibration_that_is_none_is_named_alone(vireid_, files):
    code, _, error = vireid_("search", *files, "--calibration", "network/config.json")
    rule = "--calibration must be a file of Calibration.save, got 'network/config.json'."
    assert (code, error) == (2, f"vireid search: {rule}\n")


def test_evaluate_follows_the_identities_of_your_own_people(vireid_, here, embedded, tmp_path):
    people = "|".join(f"{identity:04d}" for identity in sorted(set(embedded["visible"].identities.tolist())))
    pattern = rf"cam(?P<camera>\d)/(?:(?P<identity>{people})|\d+)/"
    code, output, _ = vireid_(
        "evaluate", "network", "--root", "people", *FOLDERS[:4], "--pattern", pattern, "--test-share", "1", "--json"
    )
    assert code == 0
    ours = json.loads(output)["infrared → visible"]["mean"]
    theirs = OwnProtocol("infrared").evaluate(embedded["infrared"], embedded["visible"]).summary()
    assert ours == pytest.approx({name: mean for name, (mean, _) in theirs.items()})


def test_compare_names_the_first_difference_and_refuses_other_protocols(vireid_, here, tmp_path):
    words = ["evaluate", "network", "--root", "people"]
    for name, options in {"a": [], "b": ["--batch-size", "4"], "c": ["--distance", "euclidean"]}.items():
        assert vireid_(*words, *options, "-o", tmp_path / f"{name}.json")[0] == 0
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["data"]["fingerprint"] == create_dataset("sysu", here / "people").fingerprint()
    assert record["settings"]["batch_size"] == 128
    files = [tmp_path / f"{name}.json" for name in "abc"]
    code, output, _ = vireid_("compare", *files[:2])
    assert (code, output.splitlines()[0]) == (0, "first difference: settings.batch_size: 128, 4")
    assert vireid_("compare", files[0], files[0])[1] == "no difference\n"
    assert json.loads(vireid_("compare", *files[:2], "--json")[1])[0] == "settings.batch_size: 128, 4"
    code, table, _ = vireid_("compare", "--table", *files[:2])
    assert code == 0
    assert table.count("all search") == 2
    code, _, error = vireid_("compare", "--table", *files)
    assert code == 1
    assert "must have the data and protocols of" in error
    code, _, error = vireid_("compare", files[0])
    assert (code, error) == (2, "vireid compare: RUN must be two unless --table is given, got 1.\n")
    (tmp_path / "broken.json").write_text("{")
    for name in ("broken.json", "missing.json"):
        code, _, error = vireid_("compare", files[0], tmp_path / name)
        assert code == 1
        assert error.startswith("vireid compare: RUN must be folders or files of run.json, got ")


def read(path):
    with safe_open(path, "pt") as file:
        return file.get_tensor("embeddings"), json.loads(file.get_tensor("names").numpy().tobytes()), file.metadata()


def test_embed_takes_folders_files_and_lists(vireid_, here, embedded, tmp_path, monkeypatch):
    paths = [str(record.path.relative_to(here)) for record in create_dataset("sysu", here / "people").test_infrared]
    (tmp_path / "list.txt").write_text("\n".join(paths) + "\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(paths)))
    for name, images in {"list": [tmp_path / "list.txt"], "stdin": ["-"], "files": paths}.items():
        output = tmp_path / f"{name}.safetensors"
        code, said, _ = vireid_(
            "embed", "network", *images, "--modality", "infrared", "-o", output, "--batch-size", "128"
        )
        assert (code, said) == (0, f"{output}: {len(paths)} embeddings of 96 values\n")
        embeddings, names, metadata = read(output)
        assert torch.equal(embeddings, embedded["infrared"].embeddings)
        assert names == paths
        assert (metadata["modality"], metadata["feature"]) == ("infrared", embedded["infrared"].feature)
    (here / "people" / "cam3" / ".hidden.jpg").touch()
    assert (
        vireid_("embed", "network", "people/cam3", "--modality", "infrared", "-o", output, "--flip", "concatenate")[0]
        == 0
    )
    (here / "people" / "cam3" / ".hidden.jpg").unlink()
    embeddings, names, _ = read(output)
    assert embeddings.shape == (18, 192)
    assert names == sorted(str(path.relative_to(here)) for path in (here / "people" / "cam3").glob("*/*.jpg"))


@pytest.fixture
def files(vireid_, tmp_path):
    """Files of the visible and the infrared test images of three people."""
    written = []
    for modality, cameras in (("visible", "12"), ("infrared", "36")):
        folders = [f"people/cam{camera}/000{identity}" for camera in cameras for identity in (4, 5, 6)]
        written.append(tmp_path / f"{modality}.safetensors")
        assert vireid_("embed", "network", *folders, "--modality", modality, "-o", written[-1])[0] == 0
    return written


def test_search_finds_what_the_index_finds(vireid_, files, tmp_path):
    (rows, names, _), (queries, query_names, _) = map(read, files)
    index = GalleryIndex(96)
    index.add(rows, names=names)
    expected = index.search(queries, 3)
    limit = expected.distances[:, 1].median().item()
    code, output, _ = vireid_("search", *files, "-k", "3", "--json", "--threshold", limit)
    found = json.loads(output)
    assert code == 0
    assert [answer["query"] for answer in found] == query_names
    for i, answer in enumerate(found):
        near = expected.distances[i] <= limit
        assert [row["row"] for row in answer["found"]] == expected.rows[i][near].tolist()
        assert [row["name"] for row in answer["found"]] == [names[j] for j in expected.rows[i][near]]
        assert [row["distance"] for row in answer["found"]] == expected.distances[i][near].tolist()
    assert {len(answer["found"]) for answer in found} > {0} or len({len(answer["found"]) for answer in found}) > 1

    code, output, _ = vireid_("search", *files, "-k", "3", "--threshold", "0", "--picture", tmp_path / "found.png")
    assert code == 0
    assert output.count("nobody in the gallery") == len(queries)
    assert output.endswith(f"\nnobody for {len(queries)} of {len(queries)} queries\n")
    assert "nobody" not in vireid_("search", *files)[1]
    assert Image.open(tmp_path / "found.png").height > 300
    index.save(tmp_path / "index.safetensors")
    code, again, _ = vireid_("search", tmp_path / "index.safetensors", files[1], "-k", "3", "--threshold", limit)
    assert (code, again) == (0, vireid_("search", *files, "-k", "3", "--threshold", limit)[1])


def test_search_refuses_another_network_and_another_calibration(vireid_, here, files, tmp_path):
    torch.manual_seed(1)
    TwoStreamEmbedder(create_backbone("test_resnet", image_size=(64, 32))).save_pretrained(tmp_path / "other")
    words = ["people/cam3", "--modality", "infrared", "-o", tmp_path / "x.safetensors"]
    assert vireid_("embed", tmp_path / "other", *words)[0] == 0
    code, _, error = vireid_("search", files[0], tmp_path / "x.safetensors")
    assert code == 1
    ours, theirs = (read(path)[2]["network"] for path in (files[0], tmp_path / "x.safetensors"))
    assert (
        error == f"vireid search: QUERIES must be embedded by the network of the gallery, '{ours}', got '{theirs}'.\n"
    )
    assert vireid_("embed", "network", *words, "--flip", "mean")[0] == 0
    code, _, error = vireid_("search", files[0], tmp_path / "x.safetensors")
    assert code == 1
    rule = "QUERIES must be embedded by the options of the gallery, 'TwoStreamEmbedder.embed', got 'TwoStreamEmbedder."
    assert error == f"vireid search: {rule}embed, flip mean'.\n"

    words = ["calibrate", "network", "--root", "people", "--false-accept-rate", "0.2", "-o"]
    assert vireid_(*words, tmp_path / "both.json")[0] == 0
    assert vireid_(*words, tmp_path / "one.json", "--within", "visible")[0] == 0
    assert vireid_(*words, tmp_path / "far.json", "--distance", "euclidean")[0] == 0
    threshold = Calibration.load(tmp_path / "both.json").threshold
    found = vireid_("search", *files, "--calibration", tmp_path / "both.json")
    assert found == vireid_("search", *files, "--threshold", threshold)
    assert vireid_(*words, tmp_path / "flip.json", "--flip", "mean")[0] == 0
    words[1] = tmp_path / "other"
    assert vireid_(*words, tmp_path / "foreign.json")[0] == 0
    for name, rule in {
        "one": "be for images that are 'infrared and visible', got 'visible'",
        "far": "be for the distance 'cosine', got 'euclidean'",
        "flip": "be of embeddings made by 'TwoStreamEmbedder.embed', got 'TwoStreamEmbedder.embed, flip mean'",
        "foreign": f"be of the network with the weights '{ours}', got '{theirs}'",
    }.items():
        code, _, error = vireid_("search", *files, "--calibration", tmp_path / f"{name}.json")
        assert code == 2
        assert error.startswith(f"vireid search: --calibration must {rule}. Calibrate it again")
    words = ["export", "network", "--modality", "infrared", "-o", tmp_path / "x.pt2", "--calibration"]
    for name in ("flip", "foreign"):
        code, _, error = vireid_(*words, tmp_path / f"{name}.json")
        assert code == 2
        assert error.startswith("vireid export: --calibration must be of ")
    assert vireid_(*words, tmp_path / "both.json")[0] == 0
    code, _, error = vireid_("search", *files, "--calibration", tmp_path / "x.pt2")
    assert code == 2
    assert error.startswith("vireid search: --calibration must be a folder, a .json or an .onnx file, got ")


def test_calibrate_saves_the_calibration_next_to_the_network(vireid_, here, embedded, tmp_path):
    expected = calibrate(embedded["visible"], embedded["infrared"], false_accept_rate=0.1)
    words = ["calibrate", "network", "--root", "people", "--false-accept-rate", "0.1"]
    code, output, _ = vireid_(*words, "--histogram", tmp_path / "pairs.png", "--det", tmp_path / "det.png")
    saved = here / "network" / "calibration.json"
    assert (code, output) == (0, f"{expected}\nsaved as {Path('network', 'calibration.json')}\n")
    assert Calibration.load(saved) == expected
    saved.unlink()
    assert all(Image.open(tmp_path / f"{name}.png").height > 300 for name in ("pairs", "det"))
    code, _, error = vireid_(*words, "--exclude", "same camera")
    assert error == (
        "vireid calibrate: warning: --exclude 'same camera' excludes nothing: "
        "no visible camera has the camera of an infrared one.\n"
    )
    code, output, error = vireid_(*words, "--within", "infrared", "--exclude", "same camera", "--json")
    assert error == ""
    within = calibrate(embedded["infrared"], false_accept_rate=0.1, exclude="same camera")
    assert json.loads(output)["threshold"] == within.threshold
    assert Calibration.load(here / "network" / "calibration-infrared.json") == within
    (here / "network" / "calibration-infrared.json").unlink()
    code, _, error = vireid_(*words[:-1], "0.002")
    assert code == 0
    assert re.search("vireid calibrate: warning: The threshold rejects .* a search with it finds hardly anybody", error)
    saved.unlink()
    code, _, error = vireid_(*words[:-1], "1e-7")
    assert code == 2
    assert error.startswith("vireid calibrate: --false-accept-rate must be at least")


def test_export_compares_with_pytorch_and_the_file_embeds(vireid_, here, embedded, tmp_path):
    path = tmp_path / "infrared.pt2"
    words = ["export", "network", "--modality", "infrared", "-o", path, "--images", "people/cam3", "--json"]
    code, output, _ = vireid_(*words)
    report, parity = json.loads(output)
    assert code == 0
    assert (report["path"], report["modality"], parity["images"], parity["ranking_agreement"]) == (
        str(path),
        "infrared",
        18,
        1,
    )
    words = ["embed", path, "people/cam3", "--modality", "infrared", "-o", tmp_path / "x.safetensors"]
    code, _, error = vireid_(*words)
    assert (code, error) == (2, "vireid embed: --trusted must be given for a .pt2 file, which can execute code.\n")
    assert vireid_(*words, "--trusted")[0] == 0
    embeddings, names, metadata = read(tmp_path / "x.safetensors")
    network = TwoStreamEmbedder.from_pretrained(here / "network")
    records = [vireid.data.Record(here / name, 0, 0, "infrared") for name in names]
    images = PersonImages(records, create_test_transform(**network.preprocessing))
    torch.testing.assert_close(embeddings, extract_embeddings(network, images, "infrared").embeddings)
    assert metadata["network"] == extract_embeddings(network, images, "infrared").network != ""


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_export_to_onnx(vireid_, tmp_path, precision):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = tmp_path / "visible.onnx"
    words = [
        "export",
        "network",
        "--modality",
        "visible",
        "-o",
        path,
        "--precision",
        precision,
        "--images",
        "people/cam1",
    ]
    code, output, error = vireid_(*words)
    assert code == 0, error
    assert len(output.splitlines()) == 2
    assert f"on {18 if precision == 'float32' else 9} visible images" in output
    assert vireid_("embed", path, "people/cam1", "--modality", "visible", "-o", tmp_path / "x.safetensors")[0] == 0
    words = ["search", tmp_path / "x.safetensors", tmp_path / "x.safetensors", "--calibration"]
    code, _, error = vireid_(*words, path)
    assert code == 2
    assert error.startswith(f"vireid search: --calibration must hold a calibration, got '{path}', exported without")
    within = ["--false-accept-rate", "0.2", "--within", "visible", "-o", tmp_path / "within.json"]
    assert vireid_("calibrate", "network", "--root", "people", *within)[0] == 0
    command = ["export", "network", "--modality", "visible", "-o", path, "--calibration", tmp_path / "within.json"]
    code, _, error = vireid_(*command, "--precision", precision, "--images", "people/cam1")
    assert code == 0
    assert ("warning: The calibration is of float32 embeddings" in error) == (precision == "int8")
    assert vireid_(*words, path) == vireid_(*words, tmp_path / "within.json")
