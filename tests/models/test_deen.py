import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from vireid import TwoStreamEmbedder
from vireid.losses import DEENLoss
from vireid.models import AggregatedStage, DiverseEmbeddingExpansion, create_backbone, create_deen, load_exported
from vireid.models import export as export_embedder

SIZE = {"image_size": (64, 32)}


@pytest.fixture
def images():
    return torch.rand(2, 4, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def test_the_parts_are_where_they_belong():
    backbone = create_deen(5, "resnet18", **SIZE).embedder.backbone
    places = {
        kind: [name for name, module in backbone.named_modules() if isinstance(module, kind)]
        for kind in (AggregatedStage, DiverseEmbeddingExpansion)
    }
    network = "shared_stages.network."
    assert places[AggregatedStage] == [f"{network}layer1", f"{network}layer2", f"{network}layer3.0"]
    assert places[DiverseEmbeddingExpansion] == [f"{network}layer3.1"]
    assert create_backbone(**backbone.config).config == backbone.config
    strides = [m.channel.key.stride for m in backbone.modules() if isinstance(m, AggregatedStage)]
    assert strides == [(1, 1), (2, 2), (2, 2)]


def test_the_images_come_first_and_are_those_of_the_plain_network(images):
    torch.manual_seed(0)
    model = create_deen(5, "test_resnet", **SIZE).eval()
    torch.manual_seed(0)
    plain = create_backbone("test_resnet", modality_specific_stages=0, **SIZE).eval()
    output = model(images[0], images[1, :3])
    visible_map, infrared_map = plain(images[0], images[1, :3])
    torch.testing.assert_close(output.visible, visible_map.mean((2, 3)))
    torch.testing.assert_close(output.infrared, infrared_map.mean((2, 3)))
    assert output.visible_expanded.shape == (2, 4, 96)
    assert output.infrared_expanded_logits.shape == (2, 3, 5)
    maps = model.embedder.backbone(images[0], images[1, :3])
    torch.testing.assert_close(maps[1].mean((2, 3)).view(3, 3, 96)[1:], output.infrared_expanded)


def test_similarity_is_the_mean_over_the_versions(images):
    model = create_deen(5, "test_resnet", **SIZE)
    model(*images)
    model.eval()
    for feature in ("bn", "pooled"):
        visible, infrared = (model.embed(x, m, feature=feature) for x, m in zip(images, ("visible", "infrared")))
        torch.testing.assert_close(visible.norm(dim=1), torch.ones(4))
        versions = [normalize(x.view(4, 3, 96), dim=2) for x in (visible, infrared)]
        expected = sum(versions[0][:, n] @ versions[1][:, n].T for n in range(3)) / 3
        torch.testing.assert_close(visible @ infrared.T, expected)
    output = model(*images)
    first = normalize(model.embed(images[0], "visible", feature="pooled")[:, :96])
    torch.testing.assert_close(first, normalize(output.visible))


def test_trains_with_its_loss_and_an_auxiliary_modality(images):
    model, identities = create_deen(5, "test_resnet", **SIZE, generator="random"), torch.tensor([0, 0, 4, 4])
    output = model(*images)
    assert output.auxiliary.shape == (4, 96)
    total, _ = DEENLoss()(output, identities)
    (total + output.auxiliary_visible_logits.logsumexp(1).sum()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_saved_loaded_and_exported(images, tmp_path):
    model = create_deen(5, "test_resnet", aggregated_stages=1, **SIZE)
    model(*images)
    model.eval().embedder.save_pretrained(tmp_path / "model")
    again = TwoStreamEmbedder.from_pretrained(tmp_path / "model")
    expected = model.embed(images[1], "infrared")
    assert torch.equal(again.embed(images[1], "infrared"), expected)
    export_embedder(again, "infrared", tmp_path / "model.pt2")
    mean, std = (torch.tensor(model.preprocessing[x])[:, None, None] for x in ("mean", "std"))
    pixels = (255 * images[1]).byte()
    exported = load_exported(tmp_path / "model.pt2", trusted=True)
    torch.testing.assert_close(
        exported.embed(pixels, "infrared"), model.embed((pixels / 255 - mean) / std, "infrared"), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aggregated_stages": 4}, "aggregated_stages must be at most 3, the stages of test_resnet before the last"),
        (
            {"name": "test_vit", "aggregated_stages": 1},
            "aggregated_stages must be 0 for test_vit, whose stages are not",
        ),
        (
            {"modality_specific_stages": 3, "expansion_branches": 2},
            "expansion_branches must be 0 for test_resnet with 3",
        ),
        (
            {"name": "test_vit", "expansion_branches": 2},
            "expansion_branches must be 0 for test_vit, whose stages do not",
        ),
    ],
)
def test_parts_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        create_backbone(**{"name": "test_resnet", **SIZE, **options})


def test_errors():
    with pytest.raises(TypeError, match="embedder must have an ExpandedPooling as its pool"):
        type(create_deen(5, "test_resnet", **SIZE))(5, TwoStreamEmbedder(create_backbone("test_resnet", **SIZE)))
    with pytest.raises(TypeError, match="neck must be a module"):
        TwoStreamEmbedder(create_backbone("test_resnet", **SIZE), neck=nn.Identity)
