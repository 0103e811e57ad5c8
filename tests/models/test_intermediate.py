import pytest
import torch

from vireid.losses import MUNLoss
from vireid.models import IntermediateModalityNetwork, MiddleModality, MixedModality, SyncreticModality, XModality

ALL = [XModality, MixedModality, SyncreticModality, MiddleModality]


@pytest.fixture
def pair():
    return torch.rand(2, 4, 3, 8, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("make", ALL)
def test_images_come_out_and_gradients_reach_everything(make, pair):
    torch.manual_seed(1)
    module = make()
    made = module(*pair.requires_grad_())
    assert made.shape == (4, 3, 8, 6)
    made.square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    copy = make()
    copy.load_state_dict(module.state_dict())
    module.eval(), copy.eval()
    assert torch.equal(copy(*pair), module(*pair))


def test_sizes():
    counts = {make: sum(parameter.numel() for parameter in make().parameters()) for make in ALL}
    assert counts == {
        XModality: (3 + 1) + (3 + 3),
        MixedModality: 0,
        SyncreticModality: 2 * (3 + 1) + (6 + 3),
        MiddleModality: 2 * ((3 + 1) + (1 + 1) + 2) + (3 + 3),
    }


def test_x_modality_looks_at_visible_images_alone(pair):
    module = XModality()
    assert torch.equal(module(*pair), module(pair[0], pair[1] + 1))
    assert not torch.equal(module(*pair), module(pair[0] + 1, pair[1]))
    weights = module.network[0].weight[0, :, 0, 0], module.network[2].weight[:, 0, 0, 0]
    gray = (torch.einsum("bchw,c->bhw", pair[0], weights[0]) + module.network[0].bias).relu()
    expected = gray[:, None] * weights[1][:, None, None] + module.network[2].bias[:, None, None]
    torch.testing.assert_close(module(*pair), expected)


def test_mixed_modality_blends(pair):
    torch.testing.assert_close(MixedModality(0.25)(*pair), 0.25 * pair[0] + 0.75 * pair[1])
    learned = MixedModality(0.25, blend="learned")
    torch.testing.assert_close(learned(*pair), 0.25 * pair[0] + 0.75 * pair[1])
    assert learned.logit.requires_grad
    uniform = MixedModality(blend="uniform")
    shares = (uniform(*pair) - pair[1]) / (pair[0] - pair[1])
    assert shares.flatten(1).std(1).max() < 0.05  # one share of each pair
    assert shares.mean((1, 2, 3)).std() > 0.05
    assert torch.equal(uniform.eval()(*pair), 0.5 * pair[0] + 0.5 * pair[1])


def test_syncretic_modality_looks_at_both(pair):
    torch.manual_seed(0)
    module = SyncreticModality()
    for change in ((1, 0), (0, 1)):
        assert not torch.equal(module(*pair), module(pair[0] + change[0], pair[1] + change[1]))


def test_middle_modality_makes_an_image_of_each(pair):
    module = MiddleModality()
    of_visible, of_infrared = module.middle_images(*pair)
    torch.testing.assert_close(module(*pair), (of_visible + of_infrared) / 2)
    assert torch.equal(module.eval().middle_images(pair[0], pair[1] + 1)[0], module.middle_images(*pair)[0])
    assert (of_visible >= 0).all()


@pytest.mark.parametrize("maker", ["x", "mixed", "syncretic", "middle"])
@pytest.mark.parametrize("stages", ["own", "visible", "infrared"])
def test_networks_train_with_them(maker, stages):
    torch.manual_seed(0)
    model = IntermediateModalityNetwork(5, "test_resnet", maker=maker, stages=stages, image_size=(64, 32))
    images = torch.rand(2, 4, 3, 64, 32)
    output = model(*images)
    assert output.auxiliary_map.shape == output.visible_map.shape
    loss = MUNLoss(model.embedding_dim, batch_size=4, iterations=9)(output, torch.tensor([0, 1, 0, 1])).total
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
    assert (model.own_stages is None) == (stages != "own")
    model.eval()
    backbone = model.embedder.backbone
    streams = {"own": model.own_stages, "visible": backbone.visible_stages, "infrared": backbone.infrared_stages}
    torch.testing.assert_close(model(*images).auxiliary_map, streams[stages](model.maker(*images)))
    expected = torch.nn.functional.normalize(model.embedder.neck(model(*images).visible))
    torch.testing.assert_close(model.embed(images[0], "visible"), expected)


def test_a_maker_of_your_own_and_shared_statistics():
    torch.manual_seed(0)
    maker = MixedModality(0.25)
    options = {"maker": maker, "auxiliary_statistics": "shared", "image_size": (64, 32)}
    model = IntermediateModalityNetwork(5, "test_resnet", **options)
    assert model.maker is maker
    assert model.mun.auxiliary_batchnorm is None
    images = torch.rand(2, 4, 3, 64, 32)
    output = model.eval()(*images)
    torch.testing.assert_close(output.auxiliary_map, model.own_stages(0.25 * images[0] + 0.75 * images[1]))


def test_a_maker_must_make_images():
    model = IntermediateModalityNetwork(5, "test_resnet", maker=torch.nn.Bilinear(32, 32, 1), image_size=(64, 32))
    with pytest.raises(ValueError, match=r"images of maker must be of size .* got \(64, 1\)"):
        model(*torch.rand(2, 4, 3, 64, 32))


def test_errors(pair):
    for make in ALL:
        with pytest.raises(ValueError, match=r"infrared must have the shape of visible, \(4, 3, 8, 6\), got \(2, 3"):
            make()(pair[0], pair[1, :2])
        with pytest.raises(ValueError, match=r"visible must have shape \(b, 3, height, width\), got \(3, 8, 6\)"):
            make()(pair[0, 0], pair[1, 0])
    with pytest.raises(ValueError, match="weight must be a finite number above 0 and below 1, got 1"):
        MixedModality(1)
    with pytest.raises(ValueError, match="blend must be one of .*, got 'beta'"):
        MixedModality(blend="beta")
    with pytest.raises(ValueError, match="maker must be one of .*, got 'xx'. Did you mean 'x'"):
        IntermediateModalityNetwork(5, "test_resnet", image_size=(64, 32), maker="xx")
    with pytest.raises(ValueError, match="stages must be one of .*, got 'shared'"):
        IntermediateModalityNetwork(5, "test_resnet", image_size=(64, 32), maker="x", stages="shared")
