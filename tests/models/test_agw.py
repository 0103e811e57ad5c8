import pytest
import torch

from vireid import MUN
from vireid.models import NonLocalBlock, TwoStreamBaseline, create_agw, create_backbone

SIZE = {"image_size": (64, 32)}


@pytest.fixture
def images():
    return torch.rand(2, 4, 3, 64, 32, generator=torch.Generator().manual_seed(0))


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


def test_errors():
    with pytest.raises(ValueError, match="non_local must be False for test_vit"):
        create_agw(5, "test_vit", **SIZE)
    with pytest.raises(ValueError, match="num_identities must be an integer of at least 1, got 0"):
        create_agw(0, "test_resnet", **SIZE)
