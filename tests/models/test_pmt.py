import pytest
import torch

from vireid import TwoStreamEmbedder
from vireid.losses import PMTLoss
from vireid.models import create_pmt

SIZE = {"image_size": (96, 48)}


@pytest.fixture
def images():
    return torch.rand(2, 4, 3, 96, 48, generator=torch.Generator().manual_seed(0))


def test_one_transformer_for_both_modalities(images):
    model = create_pmt(5, "test_vit", **SIZE).eval()
    assert model.visible_classifier is model.infrared_classifier
    assert torch.equal(model.embed(images[0], "visible"), model.embed(images[0], "infrared"))
    assert model.embedder.backbone.config["patch_stride"] == 12
    assert model(*images).visible.shape == (4, 64)
    assert create_pmt(5, "test_vit", **SIZE, patch_stride=16).embedder.backbone.config["patch_stride"] == 16
    rates = {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)}
    assert rates == {0.0, 0.03}  # none in the attention


def test_trains_with_its_losses_and_an_auxiliary_modality(images):
    model, identities = create_pmt(5, "test_vit", **SIZE, generator="random"), torch.tensor([0, 0, 4, 4])
    output = model(*images)
    total, _ = PMTLoss()(output, identities)
    (total + output.auxiliary_visible_logits.logsumexp(1).sum()).backward()
    assert output.auxiliary.shape == (4, 64)
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_saved_and_loaded(images, tmp_path):
    model = create_pmt(5, "test_vit", **SIZE).eval()
    model.embedder.save_pretrained(tmp_path)
    assert torch.equal(
        TwoStreamEmbedder.from_pretrained(tmp_path).embed(images[1], "infrared"), model.embed(images[1], "infrared")
    )


def test_errors():
    with pytest.raises(ValueError, match="patch_stride must be None for test_resnet, which is no plain vision transf"):
        create_pmt(5, "test_resnet", **SIZE)
    with pytest.raises(ValueError, match="num_identities must be an integer of at least 1, got 0"):
        create_pmt(0, "test_vit", **SIZE)
