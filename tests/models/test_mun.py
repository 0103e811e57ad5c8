import copy
import pickle

import pytest
import torch
from torch import nn

from tests.models.test_backbone import randomised
from vireid import MUN, TwoStreamEmbedder, create_backbone
from vireid.losses import MUNLoss
from vireid.modality import Modality
from vireid.models import GeneralizedMeanPool, TwoStreamBaseline


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MUN(num_identities=7, backbone="test_resnet", image_size=(96, 48))


@pytest.fixture
def images():
    return torch.rand(2, 4, 3, 96, 48, generator=torch.Generator().manual_seed(0))


def test_output_is_what_the_figure_says(model, images):
    model.eval()  # so that the parts can be recomputed one by one
    output = model(*images)
    assert output.visible.shape == (4, 96)
    assert output.visible_logits.shape == (4, 7)
    for modality, rows, stream in [("visible", output.visible, 0), ("infrared", output.infrared, 1)]:
        feature_map = model.embedder.backbone.first_stages(images[stream], modality)
        torch.testing.assert_close(rows, model.embedder.pool(model.embedder.backbone.shared_stages(feature_map)))
    auxiliary_map = model.generator(output.visible_map, output.infrared_map)
    torch.testing.assert_close(output.auxiliary_map, auxiliary_map)
    torch.testing.assert_close(
        output.auxiliary, model.embedder.pool(model.embedder.backbone.shared_stages(auxiliary_map))
    )
    torch.testing.assert_close(output.visible_logits, model.visible_classifier(model.embedder.neck(output.visible)))
    torch.testing.assert_close(output.infrared_logits, model.infrared_classifier(model.embedder.neck(output.infrared)))
    behind_neck = model.embedder.neck(output.auxiliary)
    torch.testing.assert_close(output.auxiliary_visible_logits, model.visible_classifier(behind_neck))
    torch.testing.assert_close(output.auxiliary_infrared_logits, model.infrared_classifier(behind_neck))


def test_gradient_reaches_every_parameter(model, images):
    output = randomised(model)(*images)
    sum(field.square().sum() for field in output[:7]).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.abs().max() > 0, name


def test_auxiliary_statistics_are_its_own(images):
    torch.manual_seed(0)
    model = MUN(7, "test_resnet", image_size=(96, 48))
    torch.manual_seed(0)
    baseline = TwoStreamBaseline(7, "test_resnet", image_size=(96, 48))
    with torch.no_grad():
        model.generator.cross_learner.fuse[1].weight.mul_(100)  # an auxiliary modality far out of scale
    output, without = model(*images), baseline(*images)
    for name in ("visible", "infrared", "visible_logits", "infrared_logits"):
        torch.testing.assert_close(getattr(output, name), getattr(without, name))
    for name, buffer in baseline.named_buffers():  # so that retrieval is normalised by what is retrieved
        torch.testing.assert_close(model.get_buffer(name), buffer)
    torch.testing.assert_close(
        output.auxiliary, model.embedder.pool(model.embedder.backbone.shared_stages(output.auxiliary_map))
    )

    with torch.no_grad():
        for _ in range(100):
            model(*images)
        expected = model(*images).auxiliary
        found = model.eval()(*images).auxiliary
    scale = expected.abs().mean()
    torch.testing.assert_close(found / scale, expected / scale, atol=0.5, rtol=0.2)


def test_shared_statistics_are_those_of_one_pass(images):
    torch.manual_seed(0)
    model = MUN(7, "test_resnet", image_size=(96, 48), auxiliary_statistics="shared")
    output = model(*images)
    maps = torch.cat([output.visible_map, output.infrared_map, output.auxiliary_map])
    torch.testing.assert_close(torch.cat(output[:3]), model.embedder.pool(model.embedder.backbone.shared_stages(maps)))
    assert not any(name.startswith("auxiliary_batchnorm") for name in model.state_dict())


@pytest.mark.parametrize("modality", ["visible", "infrared"])
def test_embed_equals_training_features(model, images, modality):
    model.eval()
    index = ["visible", "infrared"].index(modality)
    pooled = getattr(model(*images), modality)
    embeddings = model.embed(images[index], modality)
    torch.testing.assert_close(embeddings, torch.nn.functional.normalize(model.embedder.neck(pooled)))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(model.embed(images[index], Modality(modality)), embeddings)
    pooled_embeddings = model.embed(images[index], modality, feature="pooled")
    torch.testing.assert_close(pooled_embeddings, torch.nn.functional.normalize(pooled))


def test_streams_differ_only_by_modality(model, images):
    model.eval()
    torch.testing.assert_close(model.embed(images[0], "visible"), model.embed(images[0], "infrared"))
    with torch.no_grad():
        next(model.embedder.backbone.infrared_stages.parameters()).mul_(2)
    assert not torch.allclose(model.embed(images[0], "visible"), model.embed(images[0], "infrared"))


def test_retrieval_needs_no_generator_or_classifier(model, images):
    model.eval()
    expected = model.embed(images[0], "visible")
    del model.generator, model.visible_classifier, model.infrared_classifier
    torch.testing.assert_close(model.embed(images[0], "visible"), expected)


def test_without_neck(images):
    backbone = create_backbone("test_resnet", image_size=(96, 48))
    model = MUN(3, TwoStreamEmbedder(backbone, neck=nn.Identity())).eval()
    output = model(*images)
    torch.testing.assert_close(output.visible_logits, model.visible_classifier(output.visible))
    torch.testing.assert_close(output.auxiliary_visible_logits, model.visible_classifier(output.auxiliary))


def test_auxiliary_classifier_and_learnable_pooling_on_request(images):
    backbone = create_backbone("test_resnet", image_size=(96, 48))
    embedder = TwoStreamEmbedder(backbone, GeneralizedMeanPool(learnable=True))
    model = MUN(3, embedder, auxiliary_classifier=True).eval()
    output = model(*images)
    expected = model.auxiliary_classifier(embedder.neck(output.auxiliary))
    torch.testing.assert_close(output.auxiliary_logits, expected)
    output.auxiliary_logits.sum().backward()
    assert embedder.pool.p.grad.abs() > 0


def test_a_generator_of_your_own(images, tmp_path):
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(32, 1, 1))

        def forward(self, visible_map, infrared_map):
            return self.scale * (visible_map + infrared_map) / 2

    torch.manual_seed(0)
    model = MUN(7, "test_resnet", image_size=(96, 48), generator=Mean())
    output = model(*images)
    torch.testing.assert_close(output.auxiliary_map, (output.visible_map + output.infrared_map) / 2)
    loss = MUNLoss(model.embedding_dim, batch_size=4, iterations=9)
    loss(output, torch.tensor([0, 1, 0, 1])).total.backward()
    assert model.generator.scale.grad.abs().max() > 0
    model.eval().embedder.save_pretrained(tmp_path)
    loaded = TwoStreamEmbedder.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded.embed(images[0], "visible"), model.embed(images[0], "visible"))


def test_maps_from_elsewhere(model, images):
    model.eval()
    output = model(*images)
    again = model.forward_maps(output.visible_map, output.infrared_map, output.auxiliary_map)
    for expected, actual in zip(output[:10], again[:10]):
        torch.testing.assert_close(actual, expected)
    other = model.forward_maps(output.visible_map, output.infrared_map, output.visible_map)
    torch.testing.assert_close(other.auxiliary, output.visible)
    rule = r"auxiliary_map must have the shape of visible_map, \(4, 32, 24, 12\), got \(3, 32, 24, 12\)"
    with pytest.raises(ValueError, match=rule):
        model.forward_maps(output.visible_map, output.infrared_map, output.auxiliary_map[:3])


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies(model, images, clone):
    torch.testing.assert_close(
        clone(model).eval().embed(images[0], "visible"), model.eval().embed(images[0], "visible")
    )


def test_state_dict_round_trip(model, images, tmp_path):
    model(*images)  # moves the running statistics
    torch.save(model.state_dict(), tmp_path / "state.pt")
    other = MUN(num_identities=7, backbone="test_resnet", image_size=(96, 48))
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    torch.testing.assert_close(other.eval().embed(images[1], "infrared"), model.eval().embed(images[1], "infrared"))


def test_bfloat16_autocast(model, images):
    with torch.autocast("cpu", torch.bfloat16):
        output = model(*images)
    assert output.visible.isfinite().all()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_equals_cpu(model, images):
    expected = model.eval().embed(images[0], "visible")
    actual = model.cuda().embed(images[0].cuda(), "visible").cpu()
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("visible", "infrared", "error", "message"),
    [
        ((4, 3, 96, 48), (3, 3, 96, 48), ValueError, r"infrared must have the shape of visible, \(4, 3, 96, 48\), got"),
        ((4, 1, 96, 48), (4, 3, 96, 48), ValueError, r"visible must have shape \(b, 3, height, width\), got \(4, 1,"),
        ((3, 96, 48), (3, 96, 48), ValueError, r"visible must have shape \(b, 3, height, width\), got \(3, 96, 48\)"),
        (
            (4, 3, 48, 48),
            (4, 3, 96, 48),
            ValueError,
            r"visible must be of size \(height, width\) = \(96, 48\), got \(48,",
        ),
        (
            (4, 3, 96, 48),
            (4, 3, 64, 32),
            ValueError,
            r"infrared must be of size \(height, width\) = \(96, 48\), got \(64,",
        ),
    ],
)
def test_wrong_images(model, visible, infrared, error, message):
    with pytest.raises(error, match=message):
        model(torch.rand(visible), torch.rand(infrared))


def test_other_errors(model, images):
    with pytest.raises(TypeError, match="images must be floating point, got torch.uint8. Scale 8-bit"):
        model.embed((255 * images[0]).byte(), "visible")
    with pytest.raises(ValueError, match="modality must be one of 'visible', 'infrared', got 'auxiliary'"):
        model.embed(images[0], "auxiliary")
    with pytest.raises(ValueError, match="feature must be one of 'bn', 'pooled', got 'pool'. Did you mean 'pooled'"):
        model.embed(images[0], "visible", feature="pool")
    with pytest.raises(ValueError, match="num_identities must be an integer of at least 1, got 0"):
        MUN(num_identities=0, backbone="test_resnet", image_size=(96, 48))


def test_generator_starts_at_its_inputs_with_pretrained_weights(monkeypatch):
    embedder = MUN(3, "test_resnet", image_size=(64, 32)).embedder
    monkeypatch.setattr("vireid.models.mun.create_embedder", lambda *args, **options: embedder)
    visible, infrared = torch.rand(2, 4, 32, 16, 8)
    middle = (visible + infrared).flatten() / 2
    for start, near in ((None, True), ("random", False)):
        made = MUN(3, "test_resnet", pretrained=True, generator=start).generator(visible, infrared).flatten()
        likeness = torch.corrcoef(torch.stack([made, middle]))[0, 1]
        assert (likeness > 0.3) == near, (start, likeness)
