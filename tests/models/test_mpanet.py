import copy

import pytest
import torch
from torch.nn import functional as F

from vireid import TwoStreamEmbedder, create_backbone, set_epoch
from vireid.data import create_test_transform
from vireid.losses import AuxiliaryModalityLoss, MPANetLoss, MutualLearningLoss
from vireid.models import (
    BNNeck,
    DualBNNeck,
    MaskPartPooling,
    ModalityAlleviation,
    MPANet,
    MutualMeanClassifiers,
    PrototypePartPooling,
    create_mpanet,
    create_saai,
    export,
    load_exported,
)

SIZE = {"image_size": (64, 32)}
IDENTITIES = torch.tensor([0, 0, 3, 3])
MAKERS = {"mpanet": create_mpanet, "saai": create_saai}


@pytest.fixture
def images():
    return torch.rand(2, 4, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def make(name, **options):
    torch.manual_seed(0)
    return MAKERS[name](5, "test_resnet", **SIZE, **options)


def test_moving_averages_after_some_steps():
    torch.manual_seed(0)
    classifiers = MutualMeanClassifiers(3, 2, rate=0.2)
    rows = torch.rand(2, 4, 3)
    means = {name: getattr(classifiers, name).weight.detach().clone() for name in ("visible", "infrared")}
    for epoch, rate in ((0, 0.2), (98, 0.2), (99, 0.2 * 100 / 101), (199, 0.2 * 100 / 201)):
        set_epoch(epoch, classifiers)
        for _ in range(3):
            with torch.no_grad():
                for name, mean in means.items():
                    mean.mul_(1 - rate).add_(rate * getattr(classifiers, name).weight.normal_())
            logits = classifiers(*rows)  # moves the averages before it uses them
            torch.testing.assert_close(logits.visible_mean, rows[0] @ means["infrared"].T)
            torch.testing.assert_close(logits.infrared_mean, rows[1] @ means["visible"].T)
            torch.testing.assert_close(logits.visible_own, rows[0] @ classifiers.visible.weight.T)
            torch.testing.assert_close(logits.infrared_own, rows[1] @ classifiers.infrared.weight.T)
    before = copy.deepcopy(classifiers.state_dict())
    classifiers.eval()(*rows)
    assert all(torch.equal(before[name], value) for name, value in classifiers.state_dict().items())
    assert {"visible_mean", "infrared_mean"} < set(before)


@pytest.mark.parametrize("divergence", ["kl", "cross_entropy"])
def test_mutual_learning_trains_only_the_images_own_classifier(divergence):
    torch.manual_seed(0)
    classifiers = MutualMeanClassifiers(3, 2)
    visible, infrared = torch.rand(2, 4, 3).unbind()
    visible.requires_grad_()
    infrared.requires_grad_()
    with torch.no_grad():
        classifiers.infrared_mean.normal_()
    logits = classifiers(visible, infrared)
    loss = MutualLearningLoss(divergence=divergence)
    loss(logits.visible_own, logits.visible_mean).backward()
    assert classifiers.visible.weight.grad.abs().max() > 0
    assert classifiers.infrared.weight.grad is None
    assert infrared.grad is None
    # The features have their gradient through the own classifier, as if the target were a constant.
    expected = visible.detach().clone().requires_grad_()
    loss(classifiers.visible(expected), logits.visible_mean.detach()).backward()
    torch.testing.assert_close(visible.grad, expected.grad)


@pytest.mark.parametrize("name", MAKERS)
def test_output_is_that_of_the_parts(name, images):
    model = make(name).eval()
    output = model(images[0], images[1, :3])
    last_map = model.embedder.backbone.shared_stages(
        torch.cat(model.embedder.backbone.first_maps(images[0], images[1, :3]))
    )
    torch.testing.assert_close(torch.cat([output.visible, output.infrared]), model.embedder.pool(last_map))
    torch.testing.assert_close(output.masks, model.embedder.pool.masks(last_map))
    normalised = model.embedder.normalize(output.visible, output.infrared)
    torch.testing.assert_close(output.visible_logits, model.classifier(normalised[0]))
    torch.testing.assert_close(output.infrared_logits, model.classifier(normalised[1]))
    logits = model.modality_classifiers(*normalised)
    for field, expected in logits._asdict().items():
        torch.testing.assert_close(getattr(output, f"{field}_logits"), expected)
    for modality, batch, rows in (("visible", images[0], normalised[0]), ("infrared", images[1, :3], normalised[1])):
        torch.testing.assert_close(model.embed(batch, modality), F.normalize(rows), rtol=1e-4, atol=1e-5)
    assert output.visible.shape == (4, model.embedding_dim)
    assert output.auxiliary is None


@pytest.mark.parametrize("generator", [None, "random", "inputs"])
@pytest.mark.parametrize("name", MAKERS)
def test_a_training_step_reaches_every_parameter(name, generator, images):
    model = make(name, generator=generator)
    with torch.no_grad():  # else both predictions are equal at the start, and the mutual loss is at its minimum
        for mean in (model.modality_classifiers.visible_mean, model.modality_classifiers.infrared_mean):
            mean.normal_()
    loss = MPANetLoss() if generator is None else AuxiliaryModalityLoss(MPANetLoss(), identity_alignment_weight=0.5)
    total, terms = loss(model(*images), IDENTITIES)
    assert total.isfinite()
    assert all(term != 0 for name, term in terms.items() if name != "identity_alignment")
    total.backward()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


def test_auxiliary_embeddings_meet_both_modality_classifiers(images):
    model = make("mpanet", generator="random").eval()
    output = model(torch.cat([images[0], images[0].flip(3)]), images[1])
    maps = model.embedder.backbone.first_maps(*images)
    _, pooled, normalised = model.auxiliary_branch(model.embedder, *maps)
    torch.testing.assert_close(output.auxiliary, pooled)
    torch.testing.assert_close(output.auxiliary_visible_logits, model.modality_classifiers.visible(normalised))
    torch.testing.assert_close(output.auxiliary_infrared_logits, model.modality_classifiers.infrared(normalised))
    assert output.visible.shape[0] == 8


def test_the_networks_are_those_of_the_papers():
    mpanet, saai = make("mpanet"), make("saai")
    for model in (mpanet, saai):
        backbone = model.embedder.backbone
        assert backbone.visible_stages is backbone.infrared_stages
        assert sum(isinstance(module, ModalityAlleviation) for module in backbone.modules()) == 2
    assert isinstance(mpanet.embedder.pool, MaskPartPooling)
    assert isinstance(saai.embedder.pool, PrototypePartPooling)
    assert isinstance(mpanet.embedder.neck, BNNeck)
    assert isinstance(saai.embedder.neck, DualBNNeck)
    assert (mpanet.embedding_dim, saai.embedding_dim) == (7 * 96, 8 * 96)
    assert (mpanet.modality_classifiers.rate, saai.modality_classifiers.rate) == (0.2, 0.02)
    assert saai.embedder.pool.positions.shape == (96, 4, 2)
    on_regdb = make("saai", style_gates=0)
    assert not any(isinstance(module, ModalityAlleviation) for module in on_regdb.modules())
    assert make("mpanet", parts=2).embedding_dim == 3 * 96
    assert create_mpanet(5, "test_resnet").preprocessing["size"] == (384, 128)
    assert saai.training
    assert saai.embedder.training


@pytest.mark.parametrize("name", MAKERS)
def test_the_embedder_is_saved_and_loaded(name, images, tmp_path):
    model = make(name)
    model(*images)
    model.eval().embedder.save_pretrained(tmp_path)
    loaded = TwoStreamEmbedder.from_pretrained(tmp_path)
    for modality in ("visible", "infrared"):
        expected = model.embed(images[0], modality)
        torch.testing.assert_close(loaded.embed(images[0], modality), expected, rtol=0, atol=0)
    backbone = loaded.backbone
    assert backbone.visible_stages is backbone.infrared_stages


def test_exported_files_have_the_neck_of_their_modality(images, tmp_path):
    halves = torch.nn.Conv2d(3, 8, 3, stride=4), torch.nn.Conv2d(8, 6, 3)
    model = MAKERS["saai"](5, halves, **SIZE)
    model(images[0], images[1] + 1)
    embedder, pixels = model.eval().embedder, torch.randint(256, (3, 3, 64, 32), dtype=torch.uint8)
    values = create_test_transform(**embedder.preprocessing)(pixels)
    for modality in ("visible", "infrared"):
        report = export(embedder, modality, tmp_path / f"{modality}.pt2")
        found = load_exported(report.path, trusted=True).embed(pixels, modality)
        torch.testing.assert_close(found, embedder.embed(values, modality).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MAKERS)
def test_backbones_of_your_own(name, images):
    backbone = create_backbone("test_resnet", **SIZE)
    model = MAKERS[name](5, backbone)
    assert model.embedder.backbone is backbone
    assert MPANetLoss()(model(*images), IDENTITIES).total.isfinite()
    halves = torch.nn.Conv2d(3, 8, 3, stride=4), torch.nn.Conv2d(8, 6, 3)
    assert MAKERS[name](5, halves, **SIZE)(*images).masks.shape[0] == 8


def test_errors(images):
    embedder = TwoStreamEmbedder(create_backbone("test_resnet", **SIZE))
    with pytest.raises(
        TypeError, match="embedder must have a MaskPartPooling or PrototypePartPooling as its pool, got"
    ):
        MPANet(5, embedder)
    with pytest.raises(TypeError, match="embedder must be a TwoStreamEmbedder, got 'TwoStreamBackbone'"):
        MPANet(5, embedder.backbone)
    with pytest.raises(ValueError, match="rate must be a finite number of at most 1 and above 0, got 0"):
        MutualMeanClassifiers(3, 2, rate=0)
    with pytest.raises(ValueError, match=r"infrared must have shape \(b, 3\), got \(4, 2\)"):
        MutualMeanClassifiers(3, 2)(torch.rand(4, 3), torch.rand(4, 2))
    with pytest.raises(ValueError, match="epoch must be an integer of at least 0, got -1"):
        MutualMeanClassifiers(3, 2).set_epoch(-1)
    with pytest.raises(ValueError, match=r"infrared must have the shape of visible, .* or of one of its views"):
        make("mpanet", generator="random")(images[0], images[1, :3])
