"""The retrieval network: what it takes in place of a name, and how it is saved, loaded and shared."""

import copy
import json
import os
import pickle
import shutil
import stat

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from vireid import MUN, TwoStreamEmbedder, create_backbone
from vireid.losses import MUNLoss
from vireid.models import (
    BNNeck,
    DualBNNeck,
    GeneralizedMeanPool,
    IntermediateModalityNetwork,
    MaskPartPooling,
    PrototypePartPooling,
    TwoStreamBackbone,
    TwoStreamBaseline,
    create_agw,
)

SIZE = (64, 32)


class Stem(nn.Sequential):
    """First stages that know nothing of vireid or timm."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.BatchNorm2d(8), nn.ReLU())


class Trunk(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(12)

    def forward(self, feature_map):
        return self.norm(self.convolution(feature_map)).relu()


def own_backbone():
    return TwoStreamBackbone(Stem(), Trunk(), cut_channels=8, out_channels=12)


def created():
    return create_backbone("test_resnet", image_size=SIZE)


KINDS = {
    "name": lambda: "test_resnet",
    "created": created,
    "own halves": own_backbone,
    "pair": lambda: (Stem(), Trunk()),
    "embedder": lambda: TwoStreamEmbedder(created()),
    "own parts": lambda: TwoStreamEmbedder(
        own_backbone(),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.LayerNorm(12),
        preprocessing={"size": SIZE},
    ),
}
NETWORKS = {
    "MUN": MUN,
    "B": TwoStreamBaseline,
    "X": lambda *args, **options: IntermediateModalityNetwork(*args, maker="x", **options),
}


@pytest.fixture
def images():
    return torch.rand(2, 4, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def make(**options):
    torch.manual_seed(0)
    return TwoStreamEmbedder(created(), **options)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", KINDS)
def test_networks_take_any_backbone(kind, network, images):
    torch.manual_seed(0)
    backbone = KINDS[kind]()
    model = NETWORKS[network](5, backbone, image_size=SIZE)
    if kind in {"embedder", "own parts"}:
        assert model.embedder is backbone
    output = model(*images)
    weights = (
        {}
        if network != "B"
        else dict.fromkeys(("identity_consistency_weight", "identity_alignment_weight", "modality_alignment_weight"), 0)
    )
    loss = MUNLoss(model.embedding_dim, batch_size=4, iterations=9, **weights)
    loss(output, torch.tensor([0, 1, 0, 1])).total.backward()
    unused = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused
    model.eval()
    expected = nn.functional.normalize(model.embedder.neck(model(*images).infrared))
    torch.testing.assert_close(model.embed(images[1], "infrared"), expected)
    torch.testing.assert_close(model.embedder(images[1], "infrared"), expected)
    assert model.preprocessing["size"] == SIZE
    assert model.embedding_dim == (96 if kind in {"name", "created", "embedder"} else 12)


def test_the_name_and_the_backbone_of_that_name_are_one(images):
    torch.manual_seed(0)
    by_name = MUN(5, "test_resnet", image_size=SIZE).eval()
    torch.manual_seed(0)
    by_backbone = MUN(5, created()).eval()
    torch.testing.assert_close(by_backbone(*images).auxiliary, by_name(*images).auxiliary, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("backbone", "options", "error", "message"),
    [
        (
            created,
            {"image_size": (96, 48)},
            ValueError,
            r"image_size must be \(64, 32\), the size of the backbone, got",
        ),
        (created, {"pretrained": True}, ValueError, "pretrained must be False unless backbone is a name, got True"),
        (
            lambda: (Stem(), nn.Linear(2, 2)),
            {"image_size": SIZE},
            ValueError,
            "backbone must hold first stages that take images 1 3 64 32 alone, .*err",
        ),
        (
            lambda: (Stem(), nn.Flatten()),
            {"image_size": SIZE},
            ValueError,
            r"backbone \(shared_stages\) must return a map b c h w, got \(1, 1024\)",
        ),
        (lambda: (Stem(),), {}, TypeError, "backbone must be a timm name, a TwoStreamBackbone, a pair .* got 'tuple'"),
        (lambda: Stem()[0], {}, TypeError, "backbone must be a timm name, a TwoStreamBackbone, a pair .* got 'Conv2d'"),
    ],
)
def test_backbones_that_do_not_fit(backbone, options, error, message):
    with pytest.raises(error, match=message):
        TwoStreamBaseline(5, backbone(), **options)


def test_streams_of_your_own(images, tmp_path):
    torch.manual_seed(0)
    streams, shared = (Stem(), Stem()), nn.Conv2d(8, 12, 3)
    model = MUN(5, (streams, shared), image_size=SIZE).eval()
    assert model.embedder.backbone.visible_stages is streams[0]
    assert model.embedder.backbone.infrared_stages is streams[1]
    assert not torch.equal(model.embed(images[0], "visible"), model.embed(images[0], "infrared"))
    model.embedder.save_pretrained(tmp_path)
    loaded = TwoStreamEmbedder.from_pretrained(tmp_path, backbone=((Stem(), Stem()), nn.Conv2d(8, 12, 3)))
    for modality in ("visible", "infrared"):
        torch.testing.assert_close(loaded.embed(images[0], modality), model.embed(images[0], modality), rtol=0, atol=0)
    shared_stem = Stem()
    both = TwoStreamBackbone((shared_stem, shared_stem), shared, cut_channels=8, out_channels=12)
    assert both.infrared_stages is both.visible_stages  # one module twice is shared, and a single one is copied
    with pytest.raises(ValueError, match="backbone must have first stages that return maps of one shape, got"):
        MUN(5, ((Stem(), nn.Conv2d(3, 8, 1)), shared), image_size=SIZE)
    with pytest.raises(TypeError, match="backbone must be a timm name, .* got 'tuple'"):
        MUN(5, ((Stem(), "stem"), shared), image_size=SIZE)


def test_images_are_told_when_they_do_not_fit(images):
    embedder = make()
    other = (
        r"images must be of size \(height, width\) = \(64, 32\), got \(96, 48\). create_test_transform\(\*\*embedder"
    )
    with pytest.raises(ValueError, match=other):
        embedder.embed(torch.rand(1, 3, 96, 48), "visible")
    with pytest.raises(TypeError, match="images must be torch.float32 like the weights, got torch.float16"):
        embedder.embed(images[0].half(), "visible")
    with pytest.raises(ValueError, match="images must be on cpu like the weights, got device.type='meta'"):
        embedder.embed(images[0].to("meta"), "visible")
    with pytest.raises(TypeError, match="images must be floating point, got torch.uint8. Scale 8-bit"):
        embedder.embed(images[0].byte(), "visible")
    with pytest.raises(ValueError, match="modality must be one of 'visible', 'infrared', got 'auxiliary'"):
        embedder.embed(images[0], "auxiliary")
    with pytest.raises(ValueError, match="feature must be one of 'bn', 'pooled', got 'pool'. Did you mean 'pooled'"):
        embedder.embed(images[0], "visible", feature="pool")


def test_weights_bring_the_normalization_of_their_images(tmp_path):
    torch.save(timm.create_model("tf_efficientnet_lite0", num_classes=0).state_dict(), tmp_path / "weights.pth")
    untrained = create_backbone("tf_efficientnet_lite0", image_size=(64, 32))
    trained = create_backbone("tf_efficientnet_lite0", image_size=(64, 32), checkpoint=tmp_path / "weights.pth")
    assert TwoStreamEmbedder(untrained).preprocessing["mean"] == (0.485, 0.456, 0.406)
    assert TwoStreamEmbedder(trained).preprocessing == {"size": (64, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    given = {"size": (64, 32), "mean": (0.1,) * 3, "std": (0.2,) * 3}
    assert TwoStreamEmbedder(trained, preprocessing=given).preprocessing == given


def test_parts_of_the_embedding(images):
    embedder = make(pool=GeneralizedMeanPool(1), neck=nn.Identity()).eval()
    feature_map = embedder.backbone.shared_stages(embedder.backbone.first_stages(images[0], "visible"))
    expected = nn.functional.normalize(feature_map.clamp_min(1e-6).mean((2, 3)))
    torch.testing.assert_close(embedder.embed(images[0], "visible"), expected)
    torch.testing.assert_close(embedder.embed(images[0], "visible", feature="pooled"), expected)
    assert not torch.allclose(make().eval().embed(images[0], "visible"), expected)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies(images, clone):
    embedder = make().eval()
    torch.testing.assert_close(clone(embedder).embed(images[0], "visible"), embedder.embed(images[0], "visible"))


# Saving and loading


@pytest.mark.parametrize(
    ("create", "parts"),
    [
        (created, {}),
        (lambda: create_backbone("test_vit", image_size=SIZE, modality_specific_stages=2), {}),
        (
            lambda: create_backbone(
                "resnet18", modality_specific_stages=0, non_local=True, last_stride=2, image_size=SIZE
            ),
            {"pool": GeneralizedMeanPool(2.5, eps=1e-3), "neck": nn.Identity()},
        ),
        (created, {"pool": GeneralizedMeanPool(4, learnable=True)}),
        (created, {"pool": MaskPartPooling(96, parts=2)}),
        (created, {"pool": PrototypePartPooling(96, (4, 2), parts=2), "neck": DualBNNeck(288)}),
        (created, {"preprocessing": {"size": (96, 32), "mean": (0.5, 0.5, 0.5), "std": [0.1, 0.2, 0.3]}}),
    ],
)
def test_round_trip(tmp_path, create, parts):
    torch.manual_seed(0)
    embedder = TwoStreamEmbedder(create(), **parts)
    images = torch.rand(3, 3, *embedder.preprocessing["size"])
    TwoStreamBaseline(3, embedder)(images, images)  # moves the running statistics
    embedder.eval().save_pretrained(tmp_path / "a" / "b")
    loaded = TwoStreamEmbedder.from_pretrained(str(tmp_path / "a" / "b"))
    assert not loaded.training
    for modality in ("visible", "infrared"):
        expected = embedder.embed(images, modality)
        torch.testing.assert_close(loaded.embed(images, modality), expected, rtol=0, atol=0)
    assert loaded.preprocessing == embedder.preprocessing
    assert repr(loaded) == repr(embedder)
    files = sorted(path.name for path in (tmp_path / "a" / "b").iterdir())
    assert files == ["README.md", "config.json", "model.safetensors"]
    config = json.loads((tmp_path / "a" / "b" / "config.json").read_text())
    assert config["vireid"]
    assert config["backbone"] == embedder.backbone.config
    assert config["preprocessing"]["size"] == list(embedder.preprocessing["size"])


def test_each_modality_has_its_own_neck(images):
    torch.manual_seed(0)
    embedder = TwoStreamEmbedder(created(), neck=DualBNNeck(96))
    assert embedder.neck_of("visible") is embedder.neck.visible
    assert embedder.neck_of("infrared") is embedder.neck.infrared
    rows = torch.rand(5, 96) + 1, torch.rand(3, 96)
    normalised = embedder.normalize(*rows)
    for modality, row, found in zip(("visible", "infrared"), rows, normalised):
        torch.testing.assert_close(found, BNNeck(96)(row))
        torch.testing.assert_close(embedder.neck_of(modality).running_mean, 0.1 * row.mean(0))
    with torch.no_grad():
        embedder.neck.infrared.weight.fill_(2)
    embedder.eval()
    for modality in ("visible", "infrared"):
        pooled = embedder.embed(images[0], modality, feature="pooled")
        norm = embedder.pool(embedder.backbone.shared_stages(embedder.backbone.first_stages(images[0], modality)))
        expected = embedder.neck_of(modality)(pooled * norm.norm(dim=1, keepdim=True))
        torch.testing.assert_close(embedder.embed(images[0], modality), torch.nn.functional.normalize(expected))
    mean = embedder.neck(rows[0])
    torch.testing.assert_close(mean, (embedder.neck.visible(rows[0]) + embedder.neck.infrared(rows[0])) / 2)
    one = TwoStreamEmbedder(created())
    assert one.neck_of("visible") is one.neck_of("infrared") is one.neck
    torch.testing.assert_close(torch.cat(one.normalize(*rows)), BNNeck(96)(torch.cat(rows)))


def test_networks_train_an_embedder_with_two_necks(images):
    embedder = TwoStreamEmbedder(created(), neck=DualBNNeck(96))
    for network in (MUN(7, embedder), TwoStreamBaseline(7, embedder, generator="random")):
        before = embedder.neck.infrared.running_mean.clone()
        output = network(*images)
        expected = network.infrared_classifier(BNNeck(96)(output.infrared))
        torch.testing.assert_close(output.infrared_logits, expected, rtol=1e-4, atol=1e-4)
        assert not torch.equal(embedder.neck.infrared.running_mean, before)
    with pytest.raises(ValueError, match="auxiliary_statistics must be 'own' for an embedder with a neck for each"):
        MUN(7, embedder, auxiliary_statistics="shared")


def test_the_width_is_that_of_the_pool():
    embedder = TwoStreamEmbedder(created(), MaskPartPooling(96, parts=2))
    assert embedder.embedding_dim == embedder.neck.num_features == 288
    assert embedder.eval().embed(torch.rand(2, 3, *SIZE), "visible").shape == (2, 288)


def test_training_goes_on_from_a_trained_embedder(tmp_path, images):
    torch.manual_seed(0)
    model = create_agw(7, "test_resnet", image_size=SIZE).eval()
    model.embedder.save_pretrained(tmp_path)
    further = MUN(9, TwoStreamEmbedder.from_pretrained(tmp_path)).eval()
    torch.testing.assert_close(further(*images).visible, model(*images).visible, rtol=0, atol=0)


def test_parts_of_your_own_are_asked_for(tmp_path, images):
    torch.manual_seed(0)
    parts = {"pool": nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()), "neck": nn.LayerNorm(12)}
    embedder = TwoStreamEmbedder(own_backbone(), **parts, preprocessing={"size": SIZE}).eval()
    with torch.no_grad():
        embedder.neck.weight.uniform_()
    embedder.save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match="backbone must be given, got None. It was saved with one of your own: from_pre"
    ):
        TwoStreamEmbedder.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"neck must be given, got None. .* from_pretrained\(source, neck=…\)"):
        TwoStreamEmbedder.from_pretrained(tmp_path, backbone=own_backbone(), pool=parts["pool"])
    loaded = TwoStreamEmbedder.from_pretrained(
        tmp_path, backbone=own_backbone(), pool=parts["pool"], neck=nn.LayerNorm(12)
    )
    expected = embedder.embed(images[0], "visible")
    torch.testing.assert_close(loaded.embed(images[0], "visible"), expected, rtol=0, atol=0)
    wrong = TwoStreamBackbone(Stem(), nn.Conv2d(8, 12, 1), cut_channels=8, out_channels=12)
    with pytest.raises(
        ValueError, match="model.safetensors must hold the .* weights of this network, got .* that match"
    ):
        TwoStreamEmbedder.from_pretrained(tmp_path, backbone=wrong, pool=parts["pool"], neck=nn.LayerNorm(12))


def test_a_failed_write_keeps_the_earlier_checkpoint(tmp_path, images, monkeypatch):
    embedder = make().eval()
    embedder.save_pretrained(tmp_path)
    expected = embedder.embed(images[0], "visible")

    def full(*_args, **_options):
        raise OSError("No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with torch.no_grad():
        embedder.neck.weight.mul_(torch.linspace(1, 2, 96))
    with pytest.raises(OSError, match="No space left on device"):
        embedder.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    loaded = TwoStreamEmbedder.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded.embed(images[0], "visible"), expected, rtol=0, atol=0)


def test_weights_that_could_not_be_loaded_are_not_saved(tmp_path):
    embedder = make()
    with torch.no_grad():
        embedder.neck.weight[3] = float("inf")
    with pytest.raises(ValueError, match=r"model.safetensors\['neck.weight'\] must be finite, got"):
        embedder.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


def test_rights_are_those_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        make().save_pretrained(tmp_path)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}


def test_the_model_card_says_what_was_given(tmp_path):
    make().save_pretrained(tmp_path, data="SYSU-MM01, training split", licence="cc-by-nc-4.0", results="| mAP | 66.0 |")
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: vireid\n")
    for text in ("license: cc-by-nc-4.0", "test_resnet", "- Data: SYSU-MM01, tr", "| mAP | 66.0 |", '"size": [64, 32]'):
        assert text in card
    make().save_pretrained(tmp_path, licence="Research only:\nno redistribution")
    card = (tmp_path / "README.md").read_text()
    assert "license: other\n" in card
    assert "- Licence: Research only" in card
    assert "- Data: not stated" in card


class Evil:
    def __reduce__(self):
        return (open, ("executed", "w"))


def change_config(folder, part=None, **changes):
    config = json.loads((folder / "config.json").read_text())
    config.pop("vireid.checksum")
    (config if part is None else config[part]).update(changes)
    (folder / "config.json").write_text(json.dumps(config))


def change_weights(folder, change):
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    change(weights)
    safetensors.torch.save_file(weights, folder / "model.safetensors")


def flip_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "no config": (
        lambda f: (f / "config.json").unlink(),
        FileNotFoundError,
        "source must hold config.json, got .*save_pre",
    ),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        FileNotFoundError,
        "source must hold model.safetensors",
    ),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), ValueError, "be a JSON file, got"),
    "list": (lambda f: (f / "config.json").write_text("[]"), ValueError, "be a JSON file of a dictionary, got"),
    "nested": (lambda f: (f / "config.json").write_text("[" * 10**5), ValueError, "be a JSON file, got .*recursion"),
    "huge": (lambda f: (f / "config.json").write_text(" " * 2**25), ValueError, "be a JSON file of at most"),
    "other": (
        lambda f: (f / "config.json").write_text("{}"),
        ValueError,
        "config.json must be written by save_pretrained",
    ),
    "backbone": (lambda f: change_config(f, backbone=3), ValueError, r"config.json\['backbone'\] must be a dictionary"),
    "pool": (
        lambda f: change_config(f, pool="gem"),
        ValueError,
        r"config.json\['pool'\] must be a dictionary, got 'str'",
    ),
    "neck": (lambda f: change_config(f, neck="ln"), ValueError, r"config.json\['neck'\] must be one of 'bn', 'none'"),
    "pretrained": (
        lambda f: change_config(f, "backbone", pretrained=True),
        ValueError,
        "multiple values .*'pretrained'",
    ),
    "checkpoint": (lambda f: change_config(f, "backbone", checkpoint="x.pth"), ValueError, "multiple .*'checkpoint'"),
    "colour": (lambda f: change_config(f, "backbone", colour=1), ValueError, "unexpected keyword argument 'colour'"),
    "name": (
        lambda f: change_config(f, "backbone", name="resnet5O"),
        ValueError,
        "must be a timm model, got 'resnet5O'",
    ),
    "p": (lambda f: change_config(f, "pool", p=-1), ValueError, "p must be a finite number above 0, got -1"),
    "size": (
        lambda f: change_config(f, "backbone", image_size=[10**6, 10**6]),
        ValueError,
        "image_size must be at most 1024 pixels high and wide",
    ),
    "preprocessing": (
        lambda f: change_config(f, "preprocessing", size=[10**6, 10**6]),
        ValueError,
        r"preprocessing\['size'\] must be at most 4096 pixels high and wide",
    ),
    "large network": (
        lambda f: change_config(f, "backbone", name="vit_giant_patch14_dinov2", image_size=[70, 70]),
        ValueError,
        "model.safetensors must hold the .* weights of this network",
    ),
    "zeros": (
        lambda f: (f / "model.safetensors").write_bytes(b"\0" * 99),
        ValueError,
        "be a whole safetensors file, got",
    ),
    "pickle": (
        lambda f: (f / "model.safetensors").write_bytes(pickle.dumps(Evil())),
        ValueError,
        "be a whole safetensors file, got",
    ),
    "flip in the weights": (lambda f: flip_bit(f / "model.safetensors"), ValueError, "be an undamaged file, got"),
    "flip in the config": (lambda f: flip_bit(f / "config.json"), ValueError, "be an undamaged file, got"),
    "missing": (
        lambda f: change_weights(f, lambda w: w.pop("neck.weight")),
        ValueError,
        "hold the .* weights of this network, got .* that does not: .'neck.weight'",
    ),
    "shape": (
        lambda f: change_weights(f, lambda w: w.update({"neck.weight": torch.ones(7)})),
        ValueError,
        "hold the .* weights of this network, got .* that does not: .'neck.weight'",
    ),
    "NaN": (
        lambda f: change_weights(f, lambda w: w["neck.weight"][3].fill_(float("nan"))),
        ValueError,
        r"model.safetensors\['neck.weight'\] must be finite, got",
    ),
    "integers": (
        lambda f: change_weights(f, lambda w: w.update({"neck.weight": torch.ones(96, dtype=torch.int32)})),
        ValueError,
        r"\['neck.weight'\] must be like torch.float32, got torch.int32",
    ),
    "booleans": (
        lambda f: change_weights(f, lambda w: w.update({"neck.num_batches_tracked": torch.tensor(True)})),
        ValueError,
        r"\['neck.num_batches_tracked'\] must be like torch.int64, got torch.bool",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_and_foreign_checkpoints(tmp_path, monkeypatch, name):
    damage, error, message = DAMAGES[name]
    monkeypatch.chdir(tmp_path)
    make().save_pretrained(tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(error, match=message) as raised:
        TwoStreamEmbedder.from_pretrained(tmp_path / "model")
    assert str(raised.value).startswith("source must hold")
    assert not (tmp_path / "executed").exists()


def test_half_weights_are_loaded_into_the_network(tmp_path, images):
    embedder = make().eval()
    embedder.half().save_pretrained(tmp_path)
    loaded = TwoStreamEmbedder.from_pretrained(tmp_path)
    assert next(loaded.parameters()).dtype == torch.float32
    torch.testing.assert_close(loaded.embed(images[0], "visible"), embedder.float().embed(images[0], "visible"))


# The hub


def test_the_hub_is_asked_only_when_told(tmp_path, monkeypatch):
    asked = []

    def download(repository, **options):
        asked.append((repository, options["allow_patterns"]))
        if repository == "name/away":
            raise OSError("name/away is out of reach")
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    for mistyped in ("runs/bset", tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match="source must be a folder, got .* Write 'hub:name/model'"):
            TwoStreamEmbedder.from_pretrained(mistyped)
    with pytest.raises(ValueError, match="source must be of the form name/model, got '../../etc'"):
        TwoStreamEmbedder.from_pretrained("hub:../../etc")
    assert not asked
    with pytest.raises(
        FileNotFoundError, match=r"on the Hugging Face hub \(name/away is out of reach\), got 'hub:name"
    ):
        TwoStreamEmbedder.from_pretrained("hub:name/away")
    make().save_pretrained(tmp_path)
    assert TwoStreamEmbedder.from_pretrained("hub:name/model").embedding_dim == 96
    assert asked == [(name, ["config.json", "model.safetensors"]) for name in ("name/away", "name/model")]


def test_push_to_hub(tmp_path, monkeypatch, images):
    calls = []

    def upload(*, repo_id, folder_path, commit_message):
        calls.append(("upload", repo_id, commit_message))
        names = sorted(os.listdir(folder_path))
        assert names == ["README.md", "config.json", "model.safetensors"]
        for name in names:
            shutil.copy(os.path.join(folder_path, name), tmp_path)
        return f"address of {repo_id}"

    monkeypatch.setattr("huggingface_hub.create_repo", lambda name, **options: calls.append(("create", name, options)))
    monkeypatch.setattr("huggingface_hub.upload_folder", upload)
    embedder = make().eval()
    assert embedder.push_to_hub("name/model", private=True, licence="mit") == "address of name/model"
    assert calls[0] == ("create", "name/model", {"private": True, "exist_ok": True})
    assert "license: mit" in (tmp_path / "README.md").read_text()
    loaded = TwoStreamEmbedder.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded.embed(images[0], "visible"), embedder.embed(images[0], "visible"))
    with pytest.raises(ValueError, match="repository must be of the form name/model, got 'model'"):
        embedder.push_to_hub("model")
    assert len(calls) == 2


def test_wrong_parts():
    with pytest.raises(TypeError, match="backbone must be a TwoStreamBackbone, got 'str'"):
        TwoStreamEmbedder("resnet50")
    with pytest.raises(TypeError, match="pool must be a module, got 'str'"):
        make(pool="gem")
    with pytest.raises(ValueError, match=r"preprocessing must have size, mean and std, got \['size', 'means'\]"):
        make(preprocessing={"size": SIZE, "means": 0})
    with pytest.raises(ValueError, match=r"preprocessing\['std'\] must be positive, got \(0.1, 0.1, 0.0\)"):
        make(preprocessing={"size": SIZE, "std": (0.1, 0.1, 0)})
    assert isinstance(make().neck, BNNeck)


def test_a_checkpoint_of_an_embedder_is_told_apart_from_timms(tmp_path):
    TwoStreamEmbedder(create_backbone("test_resnet", image_size=(64, 32))).save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"^checkpoint must hold the weights of test_resnet, as timm .*from_pretrained"
    ):
        create_backbone("test_resnet", checkpoint=tmp_path / "model.safetensors")
