"""Every method of examples/methods.py trains on the layouts of all data sets, with its own augmentation."""

import importlib
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch

from vireid.data import (
    CrossModalityIdentitySampler,
    PairedImages,
    create_dataset,
    create_train_transform,
    generate_synthetic,
)
from vireid.data.recipes import Recipe
from vireid.losses import IdentityAlignmentLoss, IdentityMMDLoss, MUNLoss

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name):
    sys.path.insert(0, str(EXAMPLES))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


METHODS = example("methods").METHODS


@pytest.fixture(scope="module", params=["sysu", "regdb", "llcm"])
def records(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / request.param
    sizes = {"train_identities": 3, "test_identities": 1, "images_per_camera": 1, "size": (64, 32)}
    generate_synthetic(folder, request.param, **sizes)
    return create_dataset(request.param, folder, trial=1 if request.param == "regdb" else None).train


@pytest.mark.parametrize("name", METHODS)
def test_steps(records, name):
    method = METHODS[name]
    torch.manual_seed(0)
    network = method.network(3, "test_resnet", pretrained=False, image_size=(64, 32))
    recipe = {"recipe": method.recipe, **network.preprocessing}
    pairs = PairedImages(records, *(create_train_transform(m, **recipe) for m in ("visible", "infrared")))
    sampler = CrossModalityIdentitySampler(
        pairs.visible_identities,
        pairs.infrared_identities,
        identities_per_batch=3,
        images_per_identity=2,
        batches_per_epoch=3,
        generator=torch.Generator().manual_seed(0),
    )
    step = example("train").Step(network, method.create_loss(network.embedding_dim, batch_size=6, iterations=3))
    optimizer = torch.optim.AdamW(step.parameters(), lr=1e-3)
    trained = {key: value for key, value in step.named_parameters() if value.requires_grad}
    before = {key: value.detach().clone() for key, value in trained.items()}
    for visible, infrared, identities in torch.utils.data.DataLoader(pairs, batch_sampler=sampler):
        total, terms = step(visible, infrared, identities)
        assert total.isfinite()
        assert all(term.isfinite() for term in terms.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert [key for key, value in trained.items() if value.grad is None] == []
    moved = sum(not torch.equal(value, before[key]) for key, value in trained.items())
    assert moved > 0.9 * len(trained)  # the ReLU of an encoder of images may be dead


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.takes_auxiliary])
def test_with_the_auxiliary_modality(name):
    method = METHODS[name].with_auxiliary("random")
    torch.manual_seed(0)
    network = method.network(3, "test_resnet", pretrained=False, image_size=(64, 32))
    loss = method.create_loss(network.embedding_dim, batch_size=4, iterations=3)
    views = example("methods").RECIPES[method.recipe]
    output = network(torch.rand(4 * views, 3, 64, 32), torch.rand(4, 3, 64, 32))
    total, terms = loss(output, torch.tensor([0, 0, 2, 2]))
    total.backward()
    assert terms["identity_consistency"] > 0
    assert len(output.auxiliary_visible_logits) == 4
    unreached = [key for key, value in network.named_parameters() if value.requires_grad and value.grad is None]
    assert unreached == []


def test_views_of_the_recipes():
    recipes = example("methods").RECIPES
    assert recipes.keys() == set(get_args(Recipe))
    image = torch.zeros(3, 32, 16, dtype=torch.uint8)
    for recipe, views in recipes.items():
        shape = create_train_transform("visible", (32, 16), recipe=recipe)(image).shape
        assert shape == ((3, 32, 16) if views == 1 else (views, 3, 32, 16))


def test_every_method_is_documented():
    page = (EXAMPLES.parent / "docs" / "methods.md").read_text(encoding="utf-8")
    assert [name for name in METHODS if f"`{name}`" not in page] == []


def test_forms_of_the_alignment_and_of_the_generator_s_training():
    def loss(method):
        return method.create_loss(8, batch_size=2, iterations=3)

    methods = METHODS["mun"], METHODS["mun-without-w"], METHODS["mun"].with_alignments(0.25)
    forms = [loss(method).modality_alignment for method in methods]
    assert [form.projection for form in forms] == ["identity", "none", "none"]
    assert [form.mmd.unbiased for form in forms] == [False, False, True]
    assert [loss(method).sigma for method in methods] == [0.008, 0.008, 0.25]
    aligned = loss(METHODS["agw"].with_auxiliary("inputs", 0.25))
    assert (aligned.sigma, aligned.modality_alignment.projection, aligned.modality_alignment.mmd.unbiased) == (
        0.25,
        "none",
        True,
    )
    assert loss(METHODS["agw"].with_auxiliary("inputs")).modality_alignment is None
    options = example("options")
    for network in (["agw", "--auxiliary", "inputs"], ["mun"], ["mun-late-alignment", "--second-phase", "2"]):
        asked = ["--method", *network, "--alignment", "0.5", "--identity-alignment", "0.3"]
        chosen = loss(options.choose_method(options.parse_arguments("", asked)))
        if network[0] == "mun-late-alignment":
            assert (chosen.parts[0].sigma, chosen.parts[0].theta) == (0, 0)
            chosen = chosen.parts[2]
        assert (chosen.sigma, chosen.theta) == (0.5, 8 * 0.3), network
        assert (chosen.identity_alignment.normalize, chosen.identity_alignment.reduction) == (True, "mean"), network
    for more, start in (([], "random"), (["--pretrained"], "inputs"), (["--preset", "pretrained"], "inputs")):
        assert options.parse_arguments("", ["--method", "agw", "--auxiliary", *more]).auxiliary == start
    settings = {"method": "agw", "auxiliary": "inputs", "alignment": "1.0", "identity_alignment": "None"}
    assert example("methods").name_of(settings) == "agw --auxiliary inputs --alignment 1 --identity-alignment 0"
    late = loss(METHODS["mun-late-alignment"].with_phases(2))
    thetas = []
    for epoch in (0, 2):
        late.set_epoch(epoch)
        thetas.append(late.parts[late.first_epoch].theta)
    assert thetas == [0, 0.5]
    slow = {name for name in METHODS if METHODS[name].is_slow("model.generator.fuse.weight")}
    assert slow == {"mun-slow-generator"}


def test_forms_that_help_keep_the_switches_of_their_method():
    def loss(name):
        return METHODS[name].with_alignments(1, 2).create_loss(8, batch_size=2, iterations=3)

    forms = {"": (True, True), "-without-prototypes": (False, True), "-without-bridge": (True, False)}
    for name, (prototypes, bridge) in {**forms, "-without-both": (False, False), "-with-x": (True, True)}.items():
        form = loss(f"mun{name}")
        alignment = form.modality_alignment
        assert (len(alignment.projections) > 0, alignment.bridge) == (prototypes, bridge), name
        assert (form.theta, form.sigma, alignment.projection, alignment.mmd.unbiased) == (16, 1, "none", True), name
        assert form.identity_alignment.normalize, name
    assert loss("b+aux+idc").theta == 16
    assert METHODS["mun-mean"].with_alignments(1, 2).loss.keywords["identity_alignment"] == {
        "reduction": "mean",
        "normalize": True,
    }
    mean = METHODS["mun-mean"].with_alignments(0.25).create_loss(8, batch_size=2, iterations=3)
    assert (mean.identity_alignment.reduction, mean.theta, mean.sigma) == ("mean", 0.5, 0.25)


def test_controls_in_the_generator_s_place():
    visible, infrared = torch.rand(2, 1, 8, 4, 2)
    for name, expected in {"visible": visible, "infrared": infrared, "mean": (visible + infrared) / 2}.items():
        network = METHODS["agw"].with_auxiliary(name).network(3, "test_resnet", image_size=(64, 32))
        assert torch.equal(network.auxiliary_branch.generator(visible, infrared), expected)


@pytest.mark.parametrize("name", ["b", "agw", "mmd-reid", "caj+"])
def test_alignment_without_a_third_modality(name):
    method = METHODS[name].with_auxiliary("direct", 0.5, 0.25)
    network = method.network(4, "test_resnet", image_size=(64, 32))
    assert network.auxiliary_branch is None
    views, identities = 2 if method.needs_views else 1, torch.tensor([0, 0, 3, 3])
    output = network(torch.rand(4 * views, 3, 64, 32), torch.rand(4, 3, 64, 32))
    sizes = {"batch_size": 4, "iterations": 10}
    terms = method.create_loss(network.embedding_dim, **sizes)(output, identities).terms
    plain = METHODS[name].create_loss(network.embedding_dim, **sizes)(output, identities).terms
    assert terms.keys() - plain.keys() == {"identity_alignment", "modality_alignment"}
    visible, infrared = output.visible[:4], output.infrared
    identity_alignment = IdentityAlignmentLoss(normalize=True)(visible, infrared, visible, identities)
    torch.testing.assert_close(terms["identity_alignment"], 0.25 * 8 / 2 * identity_alignment)
    gap = IdentityMMDLoss(unbiased=True)(visible, infrared, identities)
    torch.testing.assert_close(terms["modality_alignment"], 0.5 * gap)


def test_recommended_loss_is_that_of_train_py():
    network = METHODS["mun"].network(4, "test_resnet", image_size=(64, 32))
    outputs, identities = [network(*pair) for pair in torch.rand(2, 2, 4, 3, 64, 32)], torch.tensor([0, 0, 3, 3])
    sizes = {"batch_size": 4, "iterations": 10}
    default = example("options").choose_method(example("options").parse_arguments("", []))
    losses = (
        default.create_loss(network.embedding_dim, **sizes),
        MUNLoss.recommended(network.embedding_dim, **sizes),
        METHODS["mun"].create_loss(network.embedding_dim, **sizes),
    )
    ours, recommended, printed = (
        [term for output in outputs for term in loss(output, identities).terms.values()] for loss in losses
    )
    assert ours == recommended != printed


@pytest.mark.parametrize(("own", "other"), [("b+aux+idc", "b"), ("mun-one-classifier", "b-one-classifier")])
def test_mun_is_its_baseline_with_the_auxiliary_modality(own, other):
    identities, images = torch.tensor([0, 0, 3, 3]), torch.rand(3, 2, 4, 3, 64, 32, dtype=torch.float64)
    values = []
    for method in (METHODS[own].with_alignments(1, 2), METHODS[other].with_auxiliary("random", 1, 2)):
        torch.manual_seed(0)
        network = method.network(4, "test_resnet", image_size=(64, 32)).double()
        loss = method.create_loss(network.embedding_dim, iterations=10, batch_size=4).double()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
        for batch in images:
            total, terms = loss(network(*batch), identities)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        values.append([total, *terms.values(), network.eval().embed(images[0, 0], "visible")])
    assert len(values[0]) == 7
    torch.testing.assert_close(*values, rtol=1e-7, atol=1e-9)
