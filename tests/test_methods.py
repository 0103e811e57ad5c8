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

    paper, without_w, unbiased = (
        loss(METHODS[name]).modality_alignment for name in ("mun", "mun-without-w", "mun-unbiased")
    )
    assert [form.projection for form in (paper, without_w, unbiased)] == ["identity", "none", "none"]
    assert [form.mmd.unbiased for form in (paper, without_w, unbiased)] == [False, False, True]
    assert [loss(METHODS[name]).sigma for name in ("mun", "mun-without-w", "mun-unbiased")] == [0.008, 0.008, 0.25]
    names = [f"mun-one-classifier{form}" for form in ("", "-unbiased", "-without-ia")]
    assert [(loss(METHODS[name]).theta, loss(METHODS[name]).sigma) for name in names] == [
        (0.5, 0),
        (0.5, 0.25),
        (0, 0.25),
    ]
    aligned = loss(METHODS["agw"].with_auxiliary("inputs", 0.25))
    assert (aligned.sigma, aligned.modality_alignment.projection, aligned.modality_alignment.mmd.unbiased) == (
        0.25,
        "none",
        True,
    )
    assert loss(METHODS["agw"].with_auxiliary("inputs")).modality_alignment is None
    asked = ["--method", "agw", "--auxiliary", "inputs", "--alignment", "0.5", "--identity-alignment", "0.3"]
    options = example("options")
    chosen = loss(options.choose_method(options.parse_arguments("", asked)))
    assert (chosen.sigma, chosen.theta) == (0.5, 0.3)
    for more, start in (([], "random"), (["--pretrained"], "inputs"), (["--preset", "pretrained"], "inputs")):
        assert options.parse_arguments("", ["--method", "agw", "--auxiliary", *more]).auxiliary == start
    settings = {"method": "agw", "auxiliary": "inputs", "alignment": "1.0", "identity_alignment": "None"}
    assert example("methods").name_of(settings) == "agw --auxiliary inputs --alignment 1"
    late = loss(METHODS["mun-late-alignment"].with_phases(2))
    thetas = []
    for epoch in (0, 2):
        late.set_epoch(epoch)
        thetas.append(late.parts[late.first_epoch].theta)
    assert thetas == [0, 0.5]
    slow = {name for name in METHODS if METHODS[name].is_slow("model.generator.fuse.weight")}
    assert slow == {"mun-slow-generator"}


def test_forms_that_help_in_tables_2_and_3():
    def loss(name, **options):
        return METHODS[name].with_auxiliary(**options).create_loss(8, batch_size=2, iterations=3)

    forms = {"": (True, True), "-without-prototypes": (False, True), "-without-bridge": (True, False)}
    for name, (prototypes, bridge) in {**forms, "-without-both": (False, False)}.items():
        form = loss(f"mun-unbiased-normalized{name}", start=None)
        alignment = form.modality_alignment
        assert (len(alignment.projections) > 0, alignment.bridge) == (prototypes, bridge), name
        assert (form.theta, form.sigma, alignment.projection, alignment.mmd.unbiased) == (0.5, 0.25, "none", True), name
        assert form.identity_alignment.normalize, name
    for maker in ("x", "mixed", "syncretic", "middle"):
        names = f"mun-unbiased-normalized-with-{maker}", f"mun-with-{maker}"
        same, other = (METHODS[name].network(3, "test_resnet", image_size=(64, 32)).maker for name in names)
        assert type(same) is type(other)
        assert [loss(name, start=None).identity_alignment.normalize for name in names] == [True, False]
    for name in ("mun-unbiased-normalized", "mun-one-classifier-unbiased-normalized"):
        network = METHODS[f"{name}-with-visible"].network(3, "test_resnet", image_size=(64, 32))
        visible, infrared = torch.rand(2, 1, 8, 4, 2)
        assert network.generator(visible, infrared) is visible
    for name, expected in {"visible": visible, "infrared": infrared, "mean": (visible + infrared) / 2}.items():
        network = METHODS["agw"].with_auxiliary(name).network(3, "test_resnet", image_size=(64, 32))
        assert torch.equal(network.auxiliary_branch.generator(visible, infrared), expected)
    assert loss("mun-unbiased-mean", start=None).identity_alignment.reduction == "mean"
    aligned = loss("agw", start="inputs", alignment=0.25, identity_alignment=0.5)
    assert (aligned.theta, aligned.identity_alignment.normalize) == (0.5, True)
