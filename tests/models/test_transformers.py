"""The options of create_backbone for plain vision transformers: overlapping patches, the class token, dropout."""

import pytest
import timm
import torch
from torch import nn
from torch.nn.functional import interpolate

from vireid import TwoStreamEmbedder
from vireid.models import create_backbone

OVERLAPPING = {"image_size": (96, 48), "patch_stride": 12, "modality_specific_stages": 0, "single_stream": True}


@pytest.fixture
def pretrained(tmp_path):
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=0).eval()  # 10 × 10 patches of 16 pixels
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    return network, tmp_path / "weights.pth"


def test_overlapping_patches_with_bilinear_position_embeddings(pretrained):
    network, path = pretrained
    backbone = create_backbone("test_vit", checkpoint=path, class_token=True, **OVERLAPPING).eval()
    images = torch.randn(2, 3, 96, 48)
    with torch.no_grad():
        patches = nn.functional.conv2d(
            images, network.patch_embed.proj.weight, network.patch_embed.proj.bias, stride=12
        )  # 16 pixels every 12: 7 rows and 3 columns
        place = network.pos_embed[0, 1:].view(1, 10, 10, 64).permute(0, 3, 1, 2)
        patches = patches + interpolate(place, (7, 3), mode="bilinear")
        torch.testing.assert_close(backbone.first_stages(images, "visible"), patches)
        first = (network.cls_token + network.pos_embed[:, :1]).expand(2, -1, -1)
        tokens = network.norm(network.blocks(torch.cat([first, patches.flatten(2).mT], dim=1)))
        for last_map in backbone(images, images):
            assert last_map.shape == (2, 64, 1, 1)
            torch.testing.assert_close(last_map.flatten(1), tokens[:, 0])
        whole = create_backbone("test_vit", checkpoint=path, **OVERLAPPING).eval()
        torch.testing.assert_close(whole(images, images)[0], tokens[:, 1:].mT.reshape(2, 64, 7, 3))


def test_patches_that_do_not_overlap_are_those_of_timm(pretrained):
    network, path = pretrained
    options = {"checkpoint": path, "image_size": (160, 160), "modality_specific_stages": 0}
    images = torch.randn(1, 3, 160, 160)
    for extra in ({"patch_stride": 16}, {}):
        backbone = create_backbone("test_vit", class_token=True, **options, **extra).eval()
        torch.testing.assert_close(backbone(images, images)[0].flatten(1), network.forward_features(images)[:, 0])


def test_the_class_token_joins_at_the_cut():
    backbone = create_backbone("test_vit", image_size=(96, 48), class_token=True)  # one block a modality
    visible_map, infrared_map = backbone(*torch.randn(2, 2, 3, 96, 48))
    assert visible_map.shape == (2, 64, 1, 1)
    (visible_map.square().sum() + infrared_map.sum()).backward()
    assert [name for name, p in backbone.named_parameters() if p.requires_grad and p.grad is None] == []


def test_options_of_timm():
    backbone = create_backbone("test_vit", **OVERLAPPING, timm_options={"proj_drop_rate": 0.03, "drop_path_rate": 0.1})
    rates = {module.p for name, module in backbone.named_modules() if name.endswith(("proj_drop", "drop1", "drop2"))}
    assert rates == {0.03}
    paths = [m.drop_prob for m in backbone.modules() if hasattr(m, "drop_prob")]
    assert max(paths) == pytest.approx(0.1)
    assert create_backbone(**backbone.config).config == backbone.config


def test_saved_and_loaded_with_its_class_token(tmp_path):
    backbone = create_backbone("test_vit", **OVERLAPPING, class_token=True, timm_options={"proj_drop_rate": 0.03})
    embedder = TwoStreamEmbedder(backbone, nn.Flatten()).eval()
    embedder.save_pretrained(tmp_path / "model")
    again = TwoStreamEmbedder.from_pretrained(tmp_path / "model")
    images = torch.randn(2, 3, 96, 48)
    for modality in ("visible", "infrared"):
        assert torch.equal(again.embed(images, modality), embedder.embed(images, modality))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "test_resnet",
            {"patch_stride": 12},
            "patch_stride must be None for test_resnet, which is no plain vision tra",
        ),
        ("test_resnet", {"class_token": True}, "class_token must be False for test_resnet, which is no plain vision"),
        ("vit_base_patch16_siglip_224", {"class_token": True}, "class_token must be False for vit_base_patch16_siglip"),
        ("test_vit", {"patch_stride": 12, "image_size": (96, 15)}, "image_size"),
        (
            "vit_base_patch32_224",
            {"patch_stride": 12, "image_size": (96, 30)},
            r"image_size must hold a patch of \(32,",
        ),
        ("test_vit", {"timm_options": {"drop": 1}}, "timm_options must suit test_vit .*unexpected keyword argument"),
        ("test_vit", {"timm_options": {"img_size": 96}}, "timm_options must leave img_size to create_backbone"),
        ("test_vit", {"timm_options": {"drop_path_rate": object()}}, "timm_options must suit test_vit .*not JSON"),
    ],
)
def test_raises(name, options, message):
    with pytest.raises(ValueError, match=message):
        create_backbone(name, **{"image_size": (96, 48), **options})
