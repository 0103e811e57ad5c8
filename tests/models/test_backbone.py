import copy

import pytest
import timm
import torch

from vireid.models import create_backbone
from vireid.models.backbone import _split_tokens

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
    "swin_tiny_patch4_window7_224": False,
    "test_mambaout": True,
    "test_vit": True,
    "test_vit3": True,
}
SIZES = [(288, 144), (256, 128)]


def timm_network(name, size):
    for options in ({"img_size": size}, {}):
        try:
            return randomised(timm.create_model(name, num_classes=0, **options)).eval()
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
        with pytest.raises(ValueError, match=r"image_size must suit hrnet_w18_small \(.*\), got \(288, 144\). 256×128"):
            create_backbone(name, last_stride=2, image_size=size)
        return
    network = timm_network(name, size)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    stages = 0 if name.startswith("test_vit") else 1  # where class tokens join makes a difference later on
    options = {"modality_specific_stages": stages, "checkpoint": tmp_path / "weights.pth", "image_size": size}
    backbone = create_backbone(name, last_stride=2, **options).eval()
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = as_map(network.forward_features(images), backbone.out_channels, (size[0] // 16, size[1] // 16))
        for last_map in backbone(images, images):
            torch.testing.assert_close(last_map, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_families_train_with_last_stride_1(name):
    size = (256, 128)
    if not FAMILIES[name]:
        with pytest.raises(ValueError, match=f"last_stride must be 2 for {name}, whose last stage reduces otherwise"):
            create_backbone(name, image_size=size)
        return
    backbone = randomised(create_backbone(name, image_size=size))
    visible_map, infrared_map = backbone(*torch.rand(2, 2, 3, *size))
    assert visible_map.shape == infrared_map.shape == (2, backbone.out_channels, 16, 8)
    assert backbone.first_stages(torch.rand(2, 3, *size), "visible").shape[1] == backbone.cut_channels
    (visible_map.square().sum() + infrared_map.sum()).backward()
    assert [key for key, value in backbone.named_parameters() if value.requires_grad and value.grad is None] == []


def test_transformer_without_class_token_is_the_same_after_any_block(tmp_path):
    # test_vit3 averages its patches; its one register token is left out here.
    network = timm.create_model("test_vit3", num_classes=0, img_size=(96, 48), reg_tokens=0, class_token=False).eval()
    assert network.num_prefix_tokens == 0
    images = torch.rand(2, 3, 96, 48)
    expected = as_map(network.forward_features(images), 96, (6, 3))
    for stages in (0, 1, 3):
        first, shared, last_map = _split_tokens("vit", copy.deepcopy(network), stages, network.forward_features(images))
        torch.testing.assert_close(last_map, expected)
        torch.testing.assert_close(shared(first(images)), expected)


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


def test_weights_from_a_file(tmp_path):
    network = timm.create_model("test_resnet", num_classes=10).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    backbone = create_backbone("test_resnet", checkpoint=tmp_path / "weights.pth", last_stride=2, **SMALL).eval()
    images = torch.rand(2, 3, 96, 48)
    torch.testing.assert_close(backbone(images, images)[1], network.forward_features(images))


def test_weights_that_cannot_be_had(tmp_path, monkeypatch):
    torch.save(timm.create_model("test_vit", num_classes=0).state_dict(), tmp_path / "other.pth")
    with pytest.raises(
        ValueError, match=r"checkpoint must hold the weights of test_resnet, got '\d+ of its \d\d in .*oth"
    ):
        create_backbone("test_resnet", checkpoint=tmp_path / "other.pth", **SMALL)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(FileNotFoundError, match=r"weights must be some that fit test_resnet, from .*text.pth', got"):
        create_backbone("test_resnet", checkpoint=tmp_path / "text.pth", **SMALL)

    def unreachable(*_args, **_options):
        raise OSError("no route to the hub")

    monkeypatch.setattr("timm.create_model", unreachable)
    with pytest.raises(
        FileNotFoundError, match=r"the hub has for test_resnet, got no route to the hub. checkpoint=… take"
    ):
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
        ({"name": "levit_128s"}, ValueError, "backbone must hand on one map at this cut .* got 'levit_128s'. Networks"),
        ({"modality_specific_stages": 4}, ValueError, "modality_specific_stages must be from 0 to 3, so .* got 4"),
        ({"last_stride": 3}, ValueError, "last_stride must be 1 or 2, got 3"),
        ({"name": "densenet121"}, ValueError, "last_stride must be 2 for densenet121, .* got 1"),
        ({"image_size": (0, 48)}, ValueError, r"image_size\[0\] must be an integer of at least 1, got 0"),
        ({"checkpoint": "nowhere.pth"}, FileNotFoundError, "checkpoint must be a file, got 'nowhere.pth'"),
    ],
)
def test_errors(arguments, error, message):
    options = {"name": "test_resnet"} | SMALL
    if arguments.get("name") in {"hrnet_w18_small", "levit_128s"}:
        options |= {"last_stride": 2, "image_size": (256, 128)}
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
