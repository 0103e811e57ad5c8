import json
import pickle
import time
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from tests.fake_cuda import run_on_fake_cuda
from vireid.models import ModalityAlleviation, NonLocalBlock, TwoStreamBackbone, create_backbone

SMALL = {"image_size": (96, 48)}


def randomised(module):
    """Normalisation weights away from zero, where timm starts the last one of every residual branch."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
    return module


FAMILIES = {  # the smallest variants, and whether their last stride can be 1
    "test_resnet": True,
    "resnet18": True,
    "resnet26d": True,
    "resnext26ts": True,
    "resnetv2_18": True,
    "test_convnext": True,
    "test_efficientnet": True,
    "mobilenetv3_small_050": True,
    "mobilenetv4_conv_small_035": True,
    "regnetx_002": True,
    "densenet121": False,
    "hrnet_w18_small": False,
    "edgenext_xx_small": False,
    "swin_tiny_patch4_window7_224": False,
    "legacy_seresnet18": True,
    "pvt_v2_b0": True,
    "test_mambaout": True,
    "test_vit": True,
    "test_vit3": True,
    "eva02_tiny_patch14_224": True,
}


SMALLER = {  # further arguments of timm, where the smallest variant is large: fewer blocks and channels
    "swin_tiny_patch4_window7_224": {"embed_dim": 24, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 2, 2]},
    "densenet121": {"growth_rate": 8, "block_config": [2, 3, 3, 2]},
}


def create(name, **options):
    return create_backbone(name, timm_options=SMALLER.get(name), **options)


def timm_network(name, size):
    for options in ({"img_size": size}, {}):
        try:
            return randomised(timm.create_model(name, num_classes=0, **options, **SMALLER.get(name, {}))).eval()
        except TypeError:
            continue
    raise AssertionError(name)


def as_map(features, channels, grid):
    """What a timm network gives, as b c h w: of tokens those of the patches, of b h w c the transpose."""
    if features.ndim == 3:
        return features[:, -grid[0] * grid[1] :].transpose(1, 2).unflatten(2, grid)
    return features if features.shape[1] == channels else features.permute(0, 3, 1, 2)


@pytest.mark.parametrize("size", [(288, 144), (256, 128)], ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_families_equal_the_timm_network(name, size, tmp_path):
    if name.startswith("hrnet") and size == (288, 144):  # which timm's own cannot take
        message = r"image_size must suit hrnet_w18_small \(.*\), got \(288, 144\). image_size=\(256, 128\) suits it."
        with pytest.raises(ValueError, match=message):
            create_backbone(name, image_size=size)
        return
    network = timm_network(name, size)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    stages = 0 if name.startswith(("test_vit", "eva")) else 1  # where class tokens join makes a difference later on
    options = {"modality_specific_stages": stages, "checkpoint": tmp_path / "weights.pth", "image_size": size}
    backbone = create(name, last_stride=2, **options).eval()
    images = torch.randn(2, 3, *size)
    patch = 14 if name.startswith("eva") else 16
    with torch.no_grad():
        grid = (size[0] // patch, size[1] // patch)
        expected = as_map(network.forward_features(images), backbone.out_channels, grid)
        for last_map in backbone(images, images):
            torch.testing.assert_close(last_map, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_families_train_with_the_default_stride(name):
    size = (252, 126) if name.startswith("eva") else (256, 128)
    backbone = randomised(create(name, image_size=size))
    visible_map, infrared_map = backbone(*torch.rand(2, 2, 3, *size))
    grid = ((18, 9) if name.startswith("eva") else (16, 8)) if FAMILIES[name] else (8, 4)
    assert visible_map.shape == infrared_map.shape == (2, backbone.out_channels, *grid)
    assert backbone.config["last_stride"] == (1 if FAMILIES[name] else 2)
    cut_map = backbone.first_stages(torch.rand(2, 3, *size), "visible")
    assert cut_map.shape[1] == backbone.cut_channels
    assert cut_map.shape[2] == 2 * cut_map.shape[3]
    (visible_map.square().sum() + infrared_map.sum()).backward()
    assert [key for key, value in backbone.named_parameters() if value.requires_grad and value.grad is None] == []


@pytest.mark.parametrize("name", [name for name, removable in FAMILIES.items() if not removable])
def test_families_without_a_last_stride_to_remove(name):
    with pytest.raises(ValueError, match=f"last_stride must be 2 for {name}, whose last stage reduces otherwise"):
        create(name, image_size=(256, 128), last_stride=1)
    torch.manual_seed(0)
    backbone = create(name, image_size=(256, 128))
    torch.manual_seed(0)
    weights = create(name, image_size=(256, 128), last_stride=2).state_dict()
    assert all(torch.equal(weights[key], value) for key, value in backbone.state_dict().items())
    images = torch.rand(1, 3, 256, 128)  # the attempt at stride 1 left nothing behind
    whole = timm_network(name, (256, 128)).forward_features(images)
    assert backbone.eval()(images, images)[0].numel() == whole.numel()


@pytest.mark.parametrize(
    ("name", "last_module", "grid"),
    [
        ("test_resnet", "layer3", (6, 4)),
        ("test_convnext", "stages.1", (12, 8)),
        ("test_mambaout", "stages.2", (6, 4)),
        ("tf_efficientnet_lite0", "blocks.5.0.bn1", (6, 4)),
    ],
)
def test_trunk_that_ends_early(name, last_module, grid, tmp_path):
    network = timm_network(name, (96, 64))
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    weights = {"checkpoint": tmp_path / "weights.pth", "image_size": (96, 64)}
    backbone = create_backbone(name, last_module=last_module, **weights).eval()
    kept = []
    network.get_submodule(last_module).register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    images = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        network(images)
        expected = as_map(kept[0], backbone.out_channels, grid)
        for last_map in backbone(images, images):
            assert last_map.shape[2:] == grid
            torch.testing.assert_close(last_map, expected, rtol=1e-3, atol=1e-3)
    whole = create_backbone(name, **weights)
    assert sum(p.numel() for p in backbone.parameters()) < sum(p.numel() for p in whole.parameters())


def test_trunk_cannot_end_elsewhere():
    with pytest.raises(ValueError, match="last_module must come after the cut behind layer1, got 'layer1'"):
        create_backbone("test_resnet", last_module="layer1", **SMALL)
    with pytest.raises(ValueError, match="last_module must be a module of test_resnet, such as 'layer1', 'layer2'"):
        create_backbone("test_resnet", last_module="layer9", **SMALL)
    with pytest.raises(ValueError, match="last_module must return one map, got 'blocks.1'"):
        create_backbone("test_vit", last_module="blocks.1", **SMALL)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"modality_specific_stages": 0},
        {"non_local": True},
        {"non_local": {4: 1}},
        {"last_module": "third", "non_local": {2: 1}},
        {"style_gates": 2, "non_local": {4: 1}},
        {"last_module": "third", "style_gates": 1, "single_stream": True},
    ],
)
@pytest.mark.parametrize("name", ["test_resnet", "test_mambaout", "edgenext_xx_small"])
def test_config_rebuilds_the_architecture(name, options):
    third = "layer3" if name == "test_resnet" else "stages.2"
    options = {key: third if value == "third" else value for key, value in options.items()}
    backbone = create_backbone(name, image_size=(96, 64), **options)
    config = json.loads(json.dumps(backbone.config))
    again = create_backbone(**config)
    again.load_state_dict(backbone.state_dict())
    assert again.config == backbone.config
    assert f"name='{name}'" in repr(again)
    images = torch.rand(2, 3, 96, 64)
    torch.testing.assert_close(again.eval()(images, images), backbone.eval()(images, images), rtol=0, atol=0)


def test_halves_of_your_own():
    backbone = TwoStreamBackbone(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1), cut_channels=4, out_channels=6)
    assert backbone.config is None
    visible_map, infrared_map = backbone(torch.rand(2, 3, 8, 4), torch.rand(3, 3, 8, 4))
    assert visible_map.shape == (2, 6, 8, 4)
    assert infrared_map.shape == (3, 6, 8, 4)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_mambaout", "test_vit"])
def test_devices(name):
    backbone = create_backbone(name, **SMALL).eval()
    visible_map, _ = run_on_fake_cuda(backbone, *torch.rand(2, 2, 3, 96, 48))
    assert visible_map.shape[:2] == (2, backbone.out_channels)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_non_local_blocks_of_agw(name):
    backbone = create_backbone(name, modality_specific_stages=0, non_local=True, **SMALL)
    number = {"resnet18": {"layer2": (0, 1), "layer3": (0, 1)}, "resnet50": {"layer2": (2, 3), "layer3": (3, 4, 5)}}[
        name
    ]
    places = [f"shared_stages.network.{layer}.{block}.1" for layer in number for block in number[layer]]
    blocks = {key: module for key, module in backbone.named_modules() if isinstance(module, NonLocalBlock)}
    assert list(blocks) == places
    width = {"resnet18": 64, "resnet50": 256}[name]
    assert [block.value.in_channels for block in blocks.values()] == [
        width * (2 if "layer2" in place else 4) for place in places
    ]


@pytest.mark.parametrize("name", ["test_convnext", "test_mambaout", "test_efficientnet", "densenet121"])
def test_non_local_blocks_in_other_families(name):
    torch.manual_seed(0)
    plain = create_backbone(name, image_size=(96, 64)).eval()
    torch.manual_seed(0)
    backbone = create_backbone(name, image_size=(96, 64), non_local={1: 1, 2: 1, 3: 5}).eval()
    images = torch.rand(2, 3, 96, 64)
    expected = plain(images, images)[0]
    torch.testing.assert_close(backbone(images, images)[0], expected)  # the blocks start as the identity
    blocks = [module for module in backbone.visible_stages.modules() if isinstance(module, NonLocalBlock)]
    assert len(blocks) == 1
    with torch.no_grad():
        blocks[0].project[1].weight.fill_(1)
    changed, unchanged = backbone(images, images)
    assert not torch.allclose(changed, expected)
    torch.testing.assert_close(unchanged, expected)
    backbone.train()(images, images)[0].sum().backward()
    assert blocks[0].value.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("test_resnet", ["network.layer3.1", "network.layer4.1"]),
        ("test_convnext", ["network.stages.2.1", "network.stages.3.1"]),
        ("swin_tiny_patch4_window7_224", ["1.network.layers.2.2", "1.network.layers.3.2"]),  # maps b h w c
    ],
)
def test_style_gates_end_the_last_stages(name, places):
    torch.manual_seed(0)
    plain = create(name, image_size=(96, 64)).eval()
    torch.manual_seed(0)
    backbone = create(name, image_size=(96, 64), style_gates=2).eval()
    gates = {key: module for key, module in backbone.named_modules() if isinstance(module, ModalityAlleviation)}
    assert list(gates) == [f"shared_stages.{place}" for place in places]
    images = torch.rand(2, 3, 96, 64)
    maps = []
    for gate in gates.values():
        gate.register_forward_hook(lambda _module, inputs, _output: maps.append(inputs[0]))
        gate.register_forward_hook(lambda _module, inputs, _output: inputs[0])  # the network without gates
    torch.testing.assert_close(backbone(images, images)[0], plain(images, images)[0])
    assert [gate.channels for gate in gates.values()] == [feature_map.shape[1] for feature_map in maps]


def test_style_gates_of_a_shorter_trunk():
    backbone = create_backbone("resnet18", style_gates=2, last_module="layer4.0", **SMALL)
    gates = [key for key, module in backbone.named_modules() if isinstance(module, ModalityAlleviation)]
    assert gates == ["shared_stages.layer2.1", "shared_stages.layer3.1"]


def test_single_stream_normalises_both_modalities_as_one_batch():
    torch.manual_seed(0)
    backbone = create_backbone("test_resnet", single_stream=True, **SMALL)
    torch.manual_seed(0)
    two = create_backbone("test_resnet", **SMALL)
    assert backbone.visible_stages is backbone.infrared_stages
    assert len([*backbone.parameters()]) == len({*dict(two.named_parameters())} - _names(two.infrared_stages))
    visible, infrared = torch.rand(3, 3, 96, 48), torch.rand(2, 3, 96, 48) + 1
    expected = two.visible_stages(torch.cat([visible, infrared]))
    maps = backbone.first_maps(visible, infrared)
    torch.testing.assert_close(torch.cat(maps), expected, rtol=0, atol=0)
    whole = torch.cat(backbone(visible, infrared))
    torch.testing.assert_close(whole, two.shared_stages(expected), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(backbone.first_stages(infrared, "infrared"), maps[1])


def _names(module):
    return {f"infrared_stages.{name}" for name, _ in module.named_parameters()}


def test_transformer_is_the_same_after_any_block_without_prefix_tokens(monkeypatch, tmp_path):
    # test_vit3 averages its patches; its one register token is left out here.
    make, options = timm.create_model, {"reg_tokens": 0, "class_token": False}
    monkeypatch.setattr("timm.create_model", lambda name, **others: make(name, **options, **others))
    network = timm.create_model("test_vit3", num_classes=0, img_size=(96, 48)).eval()
    assert network.num_prefix_tokens == 0
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    images = torch.rand(2, 3, 96, 48)
    expected = as_map(network.forward_features(images), 96, (6, 3))
    for stages in (0, 1, 3):
        backbone = create_backbone(
            "test_vit3", modality_specific_stages=stages, checkpoint=tmp_path / "weights.pth", **SMALL
        )
        torch.testing.assert_close(backbone.eval()(images, images)[0], expected)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_last_stride_1_is_the_edited_network(name):
    torch.manual_seed(0)
    backbone = create_backbone(name, **SMALL).eval()
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=0).eval()
    block = network.layer4[0]
    strided = block.conv1 if name == "resnet18" else block.conv2
    assert strided.stride == (2, 2)
    strided.stride = block.downsample[0].stride = (1, 1)
    images = torch.rand(2, 3, 96, 48)
    last_map = backbone(images, images)[0]
    assert last_map.shape[2:] == (6, 3)
    torch.testing.assert_close(last_map, network.forward_features(images), rtol=0, atol=0)


@pytest.mark.parametrize(("stages", "channels", "height"), [(0, 64, 24), (1, 64, 24), (2, 128, 12), (3, 256, 6)])
def test_halves_at_every_cut(stages, channels, height):
    backbone = create_backbone("resnet18", modality_specific_stages=stages, **SMALL).eval()
    images = torch.rand(2, 3, 96, 48)
    feature_map = backbone.first_stages(images, "infrared")
    assert feature_map.shape == (2, channels, height, height // 2)
    assert backbone.cut_channels == channels
    torch.testing.assert_close(backbone.shared_stages(feature_map), backbone(images, images)[1])
    assert backbone.out_channels == 512
    own = {name.split(".")[1] for name, _ in backbone.named_parameters() if name.startswith("visible")}
    assert own == {"conv1", "bn1"} | {f"layer{i}" for i in range(1, stages + 1)}


def test_streams_are_separate_and_later_stages_shared():
    backbone = randomised(create_backbone("test_resnet", **SMALL)).eval()
    images = torch.rand(2, 3, 96, 48)
    visible, infrared = backbone(images, images)
    with torch.no_grad():
        for parameter in backbone.infrared_stages.parameters():
            parameter.mul_(1.5)
    changed_visible, changed_infrared = backbone(images, images)
    assert not torch.allclose(visible, infrared)  # the streams got weights of their own
    torch.testing.assert_close(changed_visible, visible)
    assert not torch.allclose(changed_infrared, infrared)
    with torch.no_grad():
        next(backbone.shared_stages.parameters()).mul_(1.5)
    assert not torch.allclose(backbone(images, images)[0], visible)


def test_shared_batch_normalisation_sees_both_modalities():
    backbone = create_backbone("test_resnet", **SMALL).train()
    visible, infrared = torch.rand(2, 4, 3, 96, 48)
    together = backbone(visible, infrared)[0]
    assert not torch.allclose(together, backbone(visible, 2 * infrared)[0])


def test_gradient_reaches_every_parameter():
    backbone = randomised(create_backbone("test_resnet", **SMALL))
    visible_map, infrared_map = backbone(*torch.rand(2, 4, 3, 96, 48))
    (visible_map.square().sum() + infrared_map.sum()).backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("form", ["weights", "safetensors", "training state"])
def test_weights_from_a_file(form, tmp_path):
    network = timm.create_model("test_resnet", num_classes=10).eval()
    path = tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pth")
    if form == "safetensors":
        save_file(network.state_dict(), path)
    elif form == "weights":
        torch.save(network.state_dict(), path)
    else:
        weights = {f"module.{key}": value for key, value in network.state_dict().items()}
        torch.save({"state_dict": weights, "epoch": 3}, path)
    backbone = create_backbone("test_resnet", checkpoint=path, last_stride=2, **SMALL).eval()
    images = torch.rand(2, 3, 96, 48)
    torch.testing.assert_close(backbone(images, images)[1], network.forward_features(images))
    assert "state_dict" not in backbone.shared_stages.network.pretrained_cfg  # which would be a second copy


def test_position_embeddings_of_a_file_are_resized(tmp_path):
    network = timm.create_model("test_vit", num_classes=10)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    backbone = create_backbone("test_vit", checkpoint=tmp_path / "weights.pth", **SMALL)
    embedding = backbone.visible_stages.stem.pos_embed
    assert network.pos_embed.shape == (1, 1 + 10 * 10, 64)
    assert embedding.shape == (1, 1 + 6 * 3, 64)
    torch.testing.assert_close(embedding[:, 0], network.pos_embed[:, 0])  # of the class token


class Executes:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_checkpoints_execute_nothing(form, tmp_path):
    state = {**timm.create_model("test_resnet", num_classes=0).state_dict(), "more": Executes(tmp_path / "executed")}
    if form == "pickle":
        (tmp_path / "weights.pth").write_bytes(pickle.dumps(state, protocol=2))
    else:
        torch.save(state, tmp_path / "weights.pth", _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(
        ValueError, match="checkpoint must hold the weights of test_resnet, not be damaged or hold more"
    ):
        create_backbone("test_resnet", checkpoint=tmp_path / "weights.pth", **SMALL)
    assert not (tmp_path / "executed").exists()


def test_weights_of_something_else(tmp_path):
    torch.save(timm.create_model("test_vit", num_classes=0).state_dict(), tmp_path / "other.pth")
    with pytest.raises(
        ValueError, match=r"checkpoint must hold the weights of test_resnet, got '\d+ of its \d\d tensors'"
    ):
        create_backbone("test_resnet", checkpoint=tmp_path / "other.pth", **SMALL)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(
        ValueError, match=r"checkpoint must hold the weights of test_resnet, not be .*, got '.*text.pth"
    ):
        create_backbone("test_resnet", checkpoint=tmp_path / "text.pth", **SMALL)
    state = timm.create_model("test_resnet", num_classes=0).state_dict()
    next(iter(state.values()))[0] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(ValueError, match=r"checkpoint must hold finite weights, got '.*nan.pth'"):
        create_backbone("test_resnet", checkpoint=tmp_path / "nan.pth", **SMALL)


def test_pretrained_without_a_connection(tmp_path, monkeypatch):
    def unreachable(*_args, **_options):
        raise OSError("no route to the hub")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_file: None)
    start = time.perf_counter()
    message = (
        "pretrained must be False for test_resnet, whose weights cannot be loaded: no route to the hub. checkpoint=…"
    )
    with pytest.raises(FileNotFoundError, match=message):
        create_backbone("test_resnet", pretrained=True, **SMALL)
    assert time.perf_counter() - start < 5
    network = timm.create_model("test_resnet", num_classes=10).eval()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_file: str(tmp_path / "model.safetensors"))
    backbone = create_backbone("test_resnet", pretrained=True, last_stride=2, **SMALL).eval()
    images = torch.rand(2, 3, 96, 48)
    torch.testing.assert_close(backbone(images, images)[1], network.forward_features(images))


def test_pretrained_when_the_download_fails(monkeypatch):
    def broken(*_args, **_options):
        raise OSError("connection lost")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_args, **_options: None)
    monkeypatch.setattr("timm.create_model", broken)
    with pytest.raises(FileNotFoundError, match="pretrained must be False for test_resnet, .*: connection lost. check"):
        create_backbone("test_resnet", pretrained=True, **SMALL)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "resnet5O"}, ValueError, "backbone must be a timm model, got 'resnet5O'. Did you mean 'resnet50"),
        (
            {"name": "hrnet_w18_small", "modality_specific_stages": 2},
            ValueError,
            "hand on one map at this cut .* got 'hrn",
        ),
        ({"name": "levit_128s"}, ValueError, "backbone must hand on one map at this cut .* got 'levit_128s'. The page"),
        ({"name": "twins_svt_small"}, ValueError, "backbone must hand on one map at this cut .* got 'twins_svt_small'"),
        ({"name": "resnet50.a9"}, ValueError, "backbone must have a tag that timm knows, got 'resnet50.a9'"),
        ({"modality_specific_stages": 4}, ValueError, "modality_specific_stages must be from 0 to 3, so .* got 4"),
        ({"last_stride": 3}, ValueError, "last_stride must be an integer from 1 to 2, got 3"),
        ({"non_local": {5: 1}}, ValueError, "non_local must name stages of test_resnet, from 1 to 4, got {5: 1}"),
        (
            {"name": "test_vit", "non_local": True},
            ValueError,
            "non_local must be False for test_vit, whose blocks do no",
        ),
        ({"style_gates": 5}, ValueError, "style_gates must be at most 4, the stages of test_resnet, got 5"),
        (
            {"name": "test_vit", "style_gates": 1},
            ValueError,
            "style_gates must be 0 for test_vit, whose stages do not return maps, got 1",
        ),
        ({"image_size": (0, 48)}, ValueError, r"image_size\[0\] must be an integer of at least 16, got 0"),
        ({"image_size": (1, 1)}, ValueError, r"image_size\[0\] must be an integer of at least 16, got 1"),
        ({"image_size": (96, 2000)}, ValueError, r"image_size must be at most 1024 pixels high and wide, got \(96, 20"),
        ({"checkpoint": "nowhere.pth"}, FileNotFoundError, "checkpoint must be a file, got 'nowhere.pth'"),
    ],
)
def test_errors(arguments, error, message):
    options = {"name": "test_resnet"} | SMALL
    if arguments.get("name") in {"hrnet_w18_small", "levit_128s"}:
        options |= {"image_size": (256, 128)}
    with pytest.raises(error, match=message):
        create_backbone(**options | arguments)


def test_transformers_take_their_image_size():
    backbone = create_backbone("test_vit", **SMALL)
    with pytest.raises(ValueError, match=r"images must be of image_size \(96, 48\), got \(64, 32\)"):
        backbone.first_stages(torch.rand(1, 3, 64, 32), "visible")
    with pytest.raises(TypeError, match="backbone must be a name, got 50"):
        create_backbone(50)


def test_unknown_modality():
    backbone = create_backbone("test_resnet", **SMALL)
    with pytest.raises(ValueError, match="modality must be one of 'visible', 'infrared', got 'infared'. Did you mean"):
        backbone.first_stages(torch.rand(1, 3, 96, 48), "infared")


@pytest.mark.parametrize("name", ["test_resnet", "efficientnet_lite0"])
def test_zero_padding_is_a_convolution_of_two_channels_of_which_one_is_zero(name):
    torch.manual_seed(0)
    backbone = create_backbone(name, modality_specific_stages="zero-padding", **SMALL).eval()
    torch.manual_seed(0)
    plain = create_backbone(name, modality_specific_stages=0, **SMALL).eval()
    visible, infrared = torch.rand(2, 3, 1, *SMALL["image_size"]).expand(-1, -1, 3, -1, -1)  # gray images
    for mine, expected in zip(backbone(visible, infrared), plain(visible, infrared)):
        torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-4)  # with equal streams, the network itself
    streams = [backbone.visible_stages, backbone.infrared_stages]
    kernels = [stage.convolution.weight for stage in streams]
    assert [len([*stage.parameters()]) for stage in streams] == [1, 1]
    for kernel in kernels:
        torch.nn.init.normal_(kernel)
    convolution = streams[0].convolution
    options = {"stride": convolution.stride, "padding": convolution.padding}
    colour = torch.rand(3, 3, *SMALL["image_size"])
    gray = (colour * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    for m, modality in enumerate(("visible", "infrared")):
        padded = [torch.zeros_like(gray), torch.zeros_like(gray)]
        padded[m] = gray
        expected = torch.nn.functional.conv2d(torch.cat(padded, 1), torch.cat(kernels, 1), **options)
        torch.testing.assert_close(backbone.first_stages(colour, modality), expected)
    again = create_backbone(**backbone.config)
    again.load_state_dict(backbone.state_dict())
    assert torch.equal(again.eval()(visible, infrared)[1], backbone(visible, infrared)[1])


@pytest.mark.parametrize("name", ["test_vit", "test_maxvit"])
def test_zero_padding_needs_a_convolution_first(name):
    with pytest.raises(ValueError, match=f"modality_specific_stages must be a number for {name}, whose first module"):
        create_backbone(name, modality_specific_stages="zero-padding", **SMALL)
