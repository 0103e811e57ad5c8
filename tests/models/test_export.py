"""Exported files: they do what PyTorch does, say what they are, and are refused when they are something else."""

import copy
import io
import json
import pickle
import re
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import nn

import vireid
from vireid import MUN, TwoStreamEmbedder, create_backbone
from vireid._files import CHECKSUM, UNSEALED, write_file
from vireid.data import create_test_transform
from vireid.evaluation import Calibration, LLCMProtocol, calibrate, evaluate, extract_embeddings
from vireid.models import ExportedEmbedder, ParityReport, TwoStreamBackbone, check_export, export, load_exported

SIZE = (64, 32)
FORMATS = ("onnx", "pt2")
METADATA = {"modality": "infrared", "size": [4, 2], "embedding_dim": 2, "precision": "float32"}


def make(name="test_resnet", **options):
    """An embedder in training mode whose two streams differ."""
    torch.manual_seed(0)
    embedder = TwoStreamEmbedder(create_backbone(name, image_size=SIZE), **options)
    with torch.no_grad():
        for parameter in embedder.backbone.infrared_stages.parameters():
            parameter.copy_(1.3 * parameter.flip(0))
    return embedder


def pixels(number, seed=0):
    return torch.randint(256, (number, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def embedder():
    return make()


@pytest.fixture(scope="module")
def files(embedder, tmp_path_factory):
    """One infrared file of each format, exported once for all tests."""
    folder = tmp_path_factory.mktemp("exported")
    calibration = {"threshold": 0.31, "false_accept_interval": (0.0, 0.002)}
    return {
        name: export(embedder, "infrared", folder / f"infrared.{name}", calibration=calibration) for name in FORMATS
    }


def load(report):
    return load_exported(report.path, trusted=True)


def expected(embedder, images, modality="infrared"):
    network = copy.deepcopy(embedder).eval()
    with torch.no_grad():
        return network.embed(create_test_transform(**network.preprocessing)(images), modality)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_does_what_pytorch_does(name, embedder, files):
    exported = load(files[name])
    for number in (1, 2, 7):  # the network was traced with 2
        images = pixels(number)
        torch.testing.assert_close(exported(images), expected(embedder, images), rtol=0, atol=1e-5)
    assert not torch.allclose(exported(images), expected(embedder, images, "visible"), atol=1e-2)
    report = check_export(exported, embedder, pixels(40))
    assert report.largest_difference < 1e-5
    assert report.smallest_cosine > 1 - 1e-6
    assert (report.rank1_agreement, report.ranking_agreement, report.images) == (1, 1, 40)


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ("test_vit", "pt2"),
        ("test_efficientnet", "pt2"),
        pytest.param("test_convnext", "pt2", marks=pytest.mark.slow),
        pytest.param("test_vit", "onnx", marks=pytest.mark.slow),
        pytest.param("test_efficientnet", "onnx", marks=pytest.mark.slow),
        pytest.param("test_convnext", "onnx", marks=pytest.mark.slow),
    ],
)
def test_networks_of_other_families(network, name, tmp_path):
    embedder = make(network)
    report = export(embedder, "infrared", tmp_path / f"x.{name}")
    report = check_export(load(report), embedder, pixels(20), batch_size=7)
    assert report.largest_difference < 1e-5
    assert (report.rank1_agreement, report.ranking_agreement) == (1, 1)


def test_halves_of_your_own_and_other_preprocessing(tmp_path):
    torch.manual_seed(0)
    backbone = TwoStreamBackbone(nn.Conv2d(3, 8, 3, 4), nn.Conv2d(8, 12, 3, 2), cut_channels=8, out_channels=12)
    preprocessing = {"size": SIZE, "mean": (0.1, 0.5, 0.3), "std": (0.4, 0.2, 0.9)}
    embedder = TwoStreamEmbedder(
        backbone, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.LayerNorm(12), preprocessing=preprocessing
    )
    for modality in ("visible", "infrared"):
        report = export(embedder, modality, tmp_path / f"{modality}.pt2")
        images = pixels(5)
        torch.testing.assert_close(load(report)(images), expected(embedder, images, modality), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_the_embedder_is_not_changed(name, files, embedder):
    untouched = make()
    assert embedder.training
    assert [module.training for module in embedder.modules()] == [module.training for module in untouched.modules()]
    for key, value in untouched.state_dict().items():
        assert torch.equal(value, embedder.state_dict()[key])
    assert all(parameter.grad is None for parameter in embedder.parameters())
    assert files[name].file_size == files[name].path.stat().st_size


def test_metadata_is_read_without_vireid(files):
    import onnx  # noqa: PLC0415

    model = onnx.load(files["onnx"].path)
    texts = {entry.key: entry.value for entry in model.metadata_props}
    metadata = json.loads(texts["vireid.json"])
    with zipfile.ZipFile(files["pt2"].path) as archive:
        (entry,) = (name for name in archive.namelist() if name.endswith("vireid.json"))
        assert json.loads(archive.read(entry)) == metadata
    assert metadata == load(files["onnx"]).metadata == load(files["pt2"]).metadata
    assert metadata["version"] == vireid.__version__
    assert metadata["modality"] == "infrared"
    assert metadata["size"] == list(SIZE)
    assert metadata["embedding_dim"] == 96
    assert metadata["precision"] == "float32"
    assert metadata["mean"] == pytest.approx((0.485, 0.456, 0.406))
    assert metadata["std"] == pytest.approx((0.229, 0.224, 0.225))
    assert metadata["calibration"] == {"threshold": 0.31, "false_accept_interval": [0.0, 0.002]}
    (images,), (embeddings,) = model.graph.input, model.graph.output
    assert (images.name, embeddings.name) == ("images", "embeddings")
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    dimensions = images.type.tensor_type.shape.dim
    assert [dimensions[0].dim_param, *(d.dim_value for d in dimensions[1:])] == ["batch", 3, *SIZE]


def test_files_hold_no_path_of_this_machine(files):
    contents = [files["onnx"].path.read_bytes()]
    with zipfile.ZipFile(files["pt2"].path) as archive:
        contents += [archive.read(name) for name in archive.namelist()]
    for content in contents:
        for folder in (Path(vireid.__file__).parent, Path(torch.__file__).parent.parent, Path.cwd()):
            assert str(folder).encode() not in content


@pytest.mark.parametrize("name", FORMATS)
def test_images_that_are_normalised_already_are_refused(name, files):
    exported = load(files[name])
    with pytest.raises(TypeError, match=r"images must be uint8, got torch.float32. The file normalises them itself"):
        exported(pixels(2) / 255)
    with pytest.raises(ValueError, match=r"images must be of size \(height, width\) = \(64, 32\), .*v2.Resize"):
        exported(pixels(2)[..., :16])
    with pytest.raises(ValueError, match=r"images must have shape \(b, 3, height, width\), got \(3, 64, 32\)"):
        exported(pixels(1)[0])
    with pytest.raises(ValueError, match="images must hold at least 1 image"):
        exported(pixels(0))
    with pytest.raises(ValueError, match="modality must be 'infrared', got 'visible'. Each modality has a file of its"):
        exported(pixels(2), "visible")


def test_the_runtimes_refuse_them_too(files):
    import onnxruntime  # noqa: PLC0415

    session = onnxruntime.InferenceSession(files["onnx"].path)
    with pytest.raises(Exception, match=r"expected: \(tensor\(uint8\)\)"):
        session.run(None, {"images": (pixels(2) / 255).numpy()})
    program = torch.export.load(files["pt2"].path).module()
    program(pixels(2))
    with pytest.raises((RuntimeError, AssertionError)):
        program(pixels(2) / 255)


@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_found(name, files, tmp_path):
    content = bytearray(files[name].path.read_bytes())
    content[len(content) // 2] ^= 1
    path = tmp_path / files[name].path.name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"path must be a whole file of export, got .*undamaged"):
        load_exported(path, trusted=True)
    path.write_bytes(b"other")
    with pytest.raises(ValueError, match=r"path must be a whole file of export, got .*checksum"):
        load_exported(path, trusted=True)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="path must be a file"):
        load_exported(path, trusted=True)


@pytest.mark.parametrize("name", FORMATS)
def test_a_sealed_file_of_something_else_is_told(name, tmp_path):
    path = tmp_path / f"x.{name}"
    write_file(path, lambda file: file.write_text(f"{CHECKSUM} {UNSEALED}") and None)
    with pytest.raises(ValueError, match="path must be a whole file of export, got"):
        load_exported(path, trusted=True)


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pt2_files_are_refused_unless_trusted(files, embedder, tmp_path):
    """A .pt2 file with a pickle that runs code."""
    mark, path = tmp_path / "executed", tmp_path / "x.pt2"
    buffer = io.BytesIO()
    with zipfile.ZipFile(files["pt2"].path) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            content = pickle.dumps(Attack(mark)) if "sample_inputs" in name else source.read(name)
            target.writestr(name, content)
        target.comment = f"{CHECKSUM} {UNSEALED}".encode()
    write_file(path, lambda file: file.write_bytes(buffer.getvalue()) and None)
    with pytest.raises(ValueError, match=r"path must be trusted, or end in .onnx, got .* can execute code in it."):
        load_exported(path)
    with pytest.raises(ValueError, match="exported must be trusted, or end in .onnx"):
        check_export(path, embedder, pixels(2))
    assert not mark.exists()


@pytest.mark.parametrize("name", FORMATS)
def test_float16(name, embedder, files, tmp_path):
    loud = copy.deepcopy(embedder)
    with torch.no_grad():
        convolution = [m for m in loud.backbone.shared_stages.modules() if isinstance(m, nn.BatchNorm2d)][-1]
        convolution.weight.mul_(300)  # values whose third power, in GeM pooling, exceeds float16
    report = export(loud, "infrared", tmp_path / f"x.{name}", precision="float16")
    assert report.file_size < 0.7 * files[name].file_size
    parity = check_export(load(report), loud, pixels(20))
    assert 1e-6 < parity.largest_difference < 1e-2
    assert parity.smallest_cosine > 0.999
    assert parity.precision == "float16"
    assert load(report)(pixels(2)).dtype == torch.float32


def test_int8(embedder, files, tmp_path):
    images = [(image, 0, 0) for image in pixels(40, seed=1)]
    report = export(embedder, "infrared", tmp_path / "x.onnx", precision="int8", images=images)
    assert report.file_size < 0.4 * files["onnx"].file_size
    parity = check_export(report.path, embedder, pixels(20))
    assert 1e-4 < parity.largest_difference < 0.1
    assert parity.smallest_cosine > 0.99
    assert load(report).metadata["calibration"] is None


def test_a_calibration_must_be_of_the_network_that_is_exported(embedder, tmp_path):
    images = [(image, i // 2, 0) for i, image in enumerate(torch.rand(16, 3, *SIZE))]
    other = TwoStreamEmbedder(create_backbone("test_resnet", image_size=SIZE))
    found = {
        (name, flip, modality): calibrate(
            extract_embeddings(network, images, modality, flip=flip), false_accept_rate=0.3
        )
        for name, network in {"own": embedder, "other": other}.items()
        for flip in ("none", "mean")
        for modality in ("visible", "infrared")
    }
    path = tmp_path / "infrared.pt2"
    export(embedder, "infrared", path, calibration=found["own", "none", "infrared"])
    file = load_exported(path, trusted=True)
    assert Calibration.from_dict(file.metadata["calibration"]) == found["own", "none", "infrared"]
    assert file.network == found["own", "none", "infrared"].network
    assert extract_embeddings(file, [(pixels(1)[0], 0, 0)], "infrared").network == file.network
    for (name, flip, modality), message in {
        ("other", "none", "infrared"): f"be of the network with the weights '{file.network}', got '[0-9a-f]{{16}}'",
        ("own", "mean", "infrared"): "be of embeddings without options, .*, got 'TwoStreamEmbedder.embed, flip mean'",
        ("own", "none", "visible"): r"be for infrared images, got \['visible', 'visible'\]",
    }.items():
        with pytest.raises(ValueError, match=f"^calibration must {message}"):
            export(embedder, "infrared", tmp_path / "x.pt2", calibration=asdict(found[name, flip, modality]))
    assert not (tmp_path / "x.pt2").exists()


def test_what_int8_needs(embedder, tmp_path):
    with pytest.raises(ValueError, match="precision must be 'float32' or 'float16' for a .pt2 file, got 'int8'"):
        export(embedder, "infrared", tmp_path / "x.pt2", precision="int8", images=pixels(2))
    with pytest.raises(TypeError, match="images must be a sequence of uint8 images, got 'NoneType'"):
        export(embedder, "infrared", tmp_path / "x.onnx", precision="int8")
    with pytest.raises(ValueError, match="images must be None unless precision is 'int8'"):
        export(embedder, "infrared", tmp_path / "x.onnx", images=pixels(2))
    assert not list(tmp_path.iterdir())


def test_evaluation_takes_exported_files(embedder, files, tmp_path):
    report = export(embedder, "visible", tmp_path / "visible.pt2")
    exported = {"visible": load(report), "infrared": load(files["onnx"])}
    images = {
        "visible": [(image, i % 4, 1) for i, image in enumerate(pixels(12))],
        "infrared": [(image, i % 4, 2) for i, image in enumerate(pixels(12, seed=2))],
    }
    transform = create_test_transform(**embedder.preprocessing)
    normalised = {name: [(transform(image), *rest) for image, *rest in rows] for name, rows in images.items()}
    found = extract_embeddings(exported["infrared"], images["infrared"], "infrared", batch_size=5)
    theirs = extract_embeddings(embedder, normalised["infrared"], "infrared")
    torch.testing.assert_close(found.embeddings, theirs.embeddings, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="modality must be 'infrared', got 'visible'"):
        extract_embeddings(exported["infrared"], images["visible"], "visible")
    protocol = LLCMProtocol("infrared")
    ours = evaluate(lambda rows, modality: exported[modality](rows), images, {"x": protocol})["x"]
    assert str(ours) == str(evaluate(embedder, normalised, {"x": protocol})["x"])
    assert exported["infrared"].fingerprint() != exported["visible"].fingerprint()
    assert exported["infrared"].fingerprint() == load(files["onnx"]).fingerprint()


def test_another_network_is_told(embedder, files):
    other = copy.deepcopy(embedder)
    with torch.no_grad():
        other.backbone.infrared_stages.get_submodule("conv1")[0].weight.neg_()
    report = check_export(files["onnx"].path, other, pixels(40))
    assert report.largest_difference > 1e-2
    assert report.rank1_agreement < 1
    assert report.ranking_agreement < 0.5
    with pytest.raises(ValueError, match=r"embedder must be the exported one, of size \(64, 32\) and 96 values"):
        check_export(files["onnx"].path, TwoStreamEmbedder(create_backbone("test_resnet", image_size=(96, 48))), [])
    report = check_export(files["onnx"].path, embedder, pixels(2).repeat(3, 1, 1, 1))
    assert (report.rank1_agreement, report.ranking_agreement) == (1, 1)  # ties keep their order


class Fixed(nn.Module):
    """Return made-up embeddings, one for each brightness of an image."""

    def __init__(self, rows):
        super().__init__()
        self.rows = nn.functional.normalize(torch.tensor(rows))

    def __call__(self, images):
        return self.rows[images[:, 0, 0, 0].long()]


def by_hand(theirs, ours, gallery=None):
    """The report on images 0, 1, 2, … whose embeddings are given."""
    backbone = TwoStreamBackbone(nn.Conv2d(3, 2, 1), nn.Identity(), cut_channels=2, out_channels=2)
    embedder = TwoStreamEmbedder(backbone, preprocessing={"size": (4, 2), "mean": (0, 0, 0), "std": (1, 1, 1)})
    table = Fixed(theirs)
    embedder.embed = lambda images, modality: table(images * 255 + 0.5)
    images = torch.arange(len(theirs), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 2)
    exported = ExportedEmbedder(Path("x.onnx"), METADATA, Fixed(ours), "")
    return check_export(exported, embedder, images, gallery=gallery, batch_size=2)


def test_agreement_worked_by_hand():
    theirs = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]
    report = by_hand(theirs, theirs)
    assert (report.largest_difference, report.rank1_agreement, report.ranking_agreement) == (0, 1, 1)
    assert report.smallest_cosine == pytest.approx(1)
    # Image 0 turns to (0, 1): of the other two it now finds 2 before 1. Images 1 and 2 stay.
    report = by_hand(theirs, [[0.0, 1.0], *theirs[1:]])
    assert report.largest_difference == 1
    assert report.smallest_cosine == pytest.approx(0, abs=1e-6)
    assert report.rank1_agreement == pytest.approx(2 / 3)
    assert report.ranking_agreement == pytest.approx(2 / 3)
    # In a gallery, image 0 finds (1, 0), then (1, 1), then (-1, 0). At (0.6, 0.8) it finds (1, 1) first.
    gallery = torch.tensor([[1.0, 1.0], [2.0, 0.0], [-1.0, 0.0]])
    report = by_hand(theirs, [[0.6, 0.8], *theirs[1:]], gallery)
    assert report.rank1_agreement == pytest.approx(2 / 3)
    # The first row agrees, the order of the others does not: (1, 0) sees row 2, (0.99, -0.1), before row 0.
    gallery = torch.tensor([[0.9, 0.5], [1.0, 0.0], [0.9, -0.45]])
    report = by_hand(theirs, [[1.0, 0.05], *theirs[1:]], gallery)
    assert report.rank1_agreement == 1
    assert report.ranking_agreement == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="exported must return finite embeddings"):
        by_hand(theirs, [[float("nan"), 0.0], *theirs[1:]])


def test_reports_read_well(files):
    assert re.fullmatch(
        r".*infrared.onnx \(\d\.\d MB\): uint8 infrared images b×3×64×32 → b×96, float32", str(files["onnx"])
    )
    report = ParityReport(Path("x.onnx"), "infrared", "int8", 300, 0.0691, 0.989, 0.8725, 0.5)
    assert str(report) == (
        "x.onnx (int8) against PyTorch on 300 infrared images: largest difference 6.9e-02, "
        "smallest cosine 0.989000, same rank-1 87.25%, same ranking 50.00%. With int8, images of nearly equal "
        "similarity change places somewhere in most rankings; rank-1 and the results of a protocol tell whether "
        "that matters"
    )
    exact = ParityReport(Path("x.onnx"), "infrared", "float32", 300, 1e-7, 1.0, 1.0, 1.0)
    assert str(exact).endswith("same ranking 100.00%")
    assert repr(load(files["onnx"])).endswith("infrared.onnx', 'infrared', size=(64, 32))")


class Branching(nn.Module):
    def forward(self, embeddings):
        return embeddings if embeddings.sum() > 0 else -embeddings


class TwoFaced(nn.Module):
    def forward(self, embeddings):
        return embeddings.roll(1, 1) if torch.compiler.is_compiling() else embeddings


@pytest.mark.parametrize(
    ("neck", "message"),
    [
        (Branching, "embedder must be a network that torch can export, got an error"),
        (TwoFaced, "embedder must be a network whose exported embeddings are those of PyTorch, got 'a difference of"),
    ],
)
def test_networks_that_cannot_be_exported(neck, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export(make(neck=neck()), "infrared", tmp_path / "x.pt2")
    assert not list(tmp_path.iterdir())


def test_a_network_for_training_is_told(tmp_path):
    with pytest.raises(TypeError, match=r"embedder must be a TwoStreamEmbedder, such as model.embedder, got 'MUN'"):
        export(MUN(3, make()), "infrared", tmp_path / "x.onnx")


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_missing_libraries_are_named(library, embedder, files, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    message = rf"{library} must be installed for this: pip install 'vireid\[export\]'"
    with pytest.raises(ImportError, match=message):
        export(embedder, "infrared", tmp_path / "x.onnx")
    if library == "onnxruntime":
        with pytest.raises(ImportError, match=message):
            load_exported(files["onnx"].path)
