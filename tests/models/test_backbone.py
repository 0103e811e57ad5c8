import pytest
import timm
import torch

from vireid.models import create_backbone

SMALL = {"image_size": (96, 48)}


def randomised(module):
    """Normalisation weights away from zero, where timm starts the last one of every residual branch."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
    return module


@pytest.mark.parametrize("name", ["test_resnet", "resnet18", "resnet50d", "resnet26"])
def test_both_streams_start_as_the_timm_network(name):
    torch.manual_seed(0)
    backbone = create_backbone(name, last_stride=2, **SMALL).eval()
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=0).eval()
    images = torch.rand(2, 3, 96, 48)
    expected = network.forward_features(images)
    for last_map in backbone(images, images):
        torch.testing.assert_close(last_map, expected)


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


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "resnet5O"}, ValueError, "backbone must be a timm model, got 'resnet5O'. Did you mean 'resnet50"),
        ({"name": "test_vit"}, ValueError, r"run its stages one after the other on feature maps, got 'test_vit'. Netw"),
        ({"modality_specific_stages": 4}, ValueError, "modality_specific_stages must be from 0 to 3, so .* got 4"),
        ({"last_stride": 3}, ValueError, "last_stride must be 1 or 2, got 3"),
        ({"name": "test_mambaout"}, ValueError, "last_stride must be 2 for test_mambaout, .* got 1"),
        ({"image_size": (0, 48)}, ValueError, r"image_size must suit test_resnet \(.*\), got \(0, 48\)"),
        ({"checkpoint": "nowhere.pth"}, FileNotFoundError, "checkpoint must be a file, got 'nowhere.pth'"),
    ],
)
def test_errors(arguments, error, message):
    options = {"name": "test_resnet", "last_stride": 2 if arguments.get("name") == "test_vit" else 1} | SMALL
    with pytest.raises(error, match=message):
        create_backbone(**options | arguments)


def test_unknown_modality():
    backbone = create_backbone("test_resnet", **SMALL)
    with pytest.raises(ValueError, match="modality must be one of 'visible', 'infrared', got 'infared'. Did you mean"):
        backbone.first_stages(torch.rand(1, 3, 96, 48), "infared")
