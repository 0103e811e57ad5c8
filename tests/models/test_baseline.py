import pytest
import torch

from vireid.losses import IdentityLoss, WeightedRegularizedTripletLoss
from vireid.models import NonLocalBlock, TwoStreamBaseline, create_agw

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
