import pytest
import torch

from vireid import MUN
from vireid.losses import IdentityLoss, WeightedRegularizedTripletLoss
from vireid.models import NonLocalBlock, TwoStreamBaseline, create_agw, create_backbone

SIZE = {"image_size": (64, 32)}


@pytest.fixture
def images():
    return torch.rand(2, 4, 3, 64, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("make", [TwoStreamBaseline, create_agw], ids=["B", "AGW"])
def test_a_training_step_reaches_every_parameter(make, images):
    torch.manual_seed(0)
    model = make(5, "test_resnet", **SIZE)
    for module in model.modules():  # out of the identity, where their inner weights get no gradient
        if isinstance(module, NonLocalBlock):
            torch.nn.init.ones_(module.project[1].weight)
    identities = torch.tensor([0, 1, 0, 1])
    output = model(*images)
    loss = IdentityLoss()(output.visible_logits, identities) + IdentityLoss()(output.infrared_logits, identities)
    rows = torch.cat([output.visible, output.infrared])
    (loss + WeightedRegularizedTripletLoss()(rows, identities.repeat(2))).backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without


def test_embedding_is_the_forward_pass_of_one_modality(images):
    torch.manual_seed(0)
    model = TwoStreamBaseline(5, "test_resnet", **SIZE).eval()
    output = model(images[0], images[1, :2])
    assert output.infrared.shape == (2, model.embedding_dim)
    for modality, batch, pooled in (
        ("visible", images[0], output.visible),
        ("infrared", images[1, :2], output.infrared),
    ):
        torch.testing.assert_close(
            model.embed(batch, modality, feature="pooled"), torch.nn.functional.normalize(pooled)
        )
        expected = torch.nn.functional.normalize(model.embedder.neck(pooled))
        torch.testing.assert_close(model.embed(batch, modality), expected)
    classifier = model.infrared_classifier
    torch.testing.assert_close(output.infrared_logits, classifier(model.embedder.neck(output.infrared)))


def test_agw_differs_from_b_as_it_should():
    plain, agw = TwoStreamBaseline(5, "resnet18", **SIZE), create_agw(5, "resnet18", **SIZE)
    assert agw.visible_classifier is agw.infrared_classifier
    assert plain.visible_classifier is not plain.infrared_classifier
    blocks = [name for name, module in agw.named_modules() if isinstance(module, NonLocalBlock)]
    assert [name.split("network.")[1] for name in blocks] == ["layer2.0.1", "layer2.1.1", "layer3.0.1", "layer3.1.1"]
    own = [sum(p.numel() for p in model.embedder.backbone.visible_stages.parameters()) for model in (plain, agw)]
    assert own[0] > own[1] > 0  # AGW's stem is all that a modality has of its own


def test_non_local_blocks_start_as_the_identity(images):
    torch.manual_seed(0)
    agw = create_agw(5, "test_resnet", **SIZE).eval()
    torch.manual_seed(0)
    backbone = create_backbone("test_resnet", modality_specific_stages=0, **SIZE)
    plain = TwoStreamBaseline(5, backbone, shared_classifier=True).eval()
    torch.testing.assert_close(agw(*images).visible, plain(*images).visible)


@pytest.mark.parametrize("inter_channels", [None, 1, 3])
def test_non_local_block_equals_the_loop(inter_channels):
    torch.manual_seed(0)
    block = NonLocalBlock(4, inter_channels=inter_channels).double().eval()
    torch.nn.init.normal_(block.project[1].weight)
    feature_map = torch.randn(2, 4, 3, 2, dtype=torch.float64)
    expected = feature_map.clone()
    for b in range(2):
        places = feature_map[b].flatten(1).T  # n c
        value, query, key = (
            places @ part.weight[:, :, 0, 0].T + part.bias for part in (block.value, block.query, block.key)
        )
        for i in range(6):
            summed = sum((query[i] @ key[j]) * value[j] for j in range(6)) / 6
            mixed = block.project[0].weight[:, :, 0, 0] @ summed + block.project[0].bias
            norm = block.project[1]
            scaled = mixed / (1 + norm.eps) ** 0.5 * norm.weight + norm.bias
            expected[b, :, i // 2, i % 2] += scaled
    torch.testing.assert_close(block(feature_map), expected)
    assert block.value.out_channels == (inter_channels or 2)


def test_mun_in_agw(images):
    torch.manual_seed(0)
    backbone = create_backbone("resnet18", modality_specific_stages=0, non_local=True, **SIZE)
    model = MUN(5, backbone, shared_classifier=True)
    torch.manual_seed(0)
    agw = create_agw(5, "resnet18", **SIZE)
    assert agw.state_dict().keys() < model.state_dict().keys()
    model.load_state_dict(agw.state_dict(), strict=False)
    model.eval()
    agw.eval()
    torch.testing.assert_close(model(*images).visible, agw(*images).visible)
    assert model(*images).auxiliary.shape == (4, 512)


def test_errors(images):
    model = TwoStreamBaseline(5, "test_resnet", **SIZE)
    with pytest.raises(ValueError, match=r"infrared must have shape \(b, 3, height, width\), got \(3, 64, 32\)"):
        model(images[0], images[1, 0])
    with pytest.raises(TypeError, match="images must be floating point, got torch.uint8. Scale 8-bit images"):
        model.embed(images[0].byte(), "visible")
    with pytest.raises(ValueError, match="feature must be one of 'bn', 'pooled', got 'pool'"):
        model.embed(images[0], "visible", feature="pool")
    with pytest.raises(ValueError, match="num_identities must be an integer of at least 1, got 0"):
        TwoStreamBaseline(0, "test_resnet", **SIZE)
    with pytest.raises(ValueError, match="non_local must"):
        create_agw(5, "test_vit", **SIZE)
    with pytest.raises(ValueError, match="inter_channels must be an integer of at least 1, got 0"):
        NonLocalBlock(4, inter_channels=0)
