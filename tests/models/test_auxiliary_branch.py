import pytest
import torch
from torch import nn

from vireid import MUN
from vireid.models import AuxiliaryBranch, AuxiliaryGenerator, TwoStreamBaseline

SIZE = {"image_size": (64, 32)}


@pytest.fixture
def images():
    return torch.rand(2, 4, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def baseline(**options):
    torch.manual_seed(0)
    return TwoStreamBaseline(5, "test_resnet", **SIZE, **options)


def mun(**options):
    torch.manual_seed(0)
    return MUN(5, "test_resnet", **SIZE, **options)


def test_controls_in_the_generator_s_place(images):
    maps = visible, infrared = torch.rand(2, 1, 32, 16, 8)
    for name, expected in {"visible": visible, "infrared": infrared, "mean": (visible + infrared) / 2}.items():
        for network in (mun(generator=name), baseline(generator=name)):
            branch = getattr(network, "auxiliary_branch", network)
            assert torch.equal(branch.generator(*maps), expected)
            assert repr(branch.generator) == f"FixedGenerator(of='{name}')"
            assert network(*images).auxiliary.shape == (4, 96)


@pytest.mark.parametrize("shared", [True, False])
def test_the_baseline_with_a_generator_is_mun(shared, images):
    network, other = baseline(generator="random", shared_classifier=shared), mun(shared_classifier=shared)
    output, expected = network(*images), other(*images)
    for field in output._fields:
        assert torch.equal(getattr(output, field), getattr(expected, field)), field
    names = {"generator": "generator", "batchnorm": "auxiliary_batchnorm"}
    theirs = other.state_dict()
    for name, weight in network.state_dict().items():
        parts = name.removeprefix("auxiliary_branch.").split(".", 1)
        assert torch.equal(weight, theirs[f"{names.get(parts[0], parts[0])}.{parts[1]}"]), name


def test_without_a_generator_nothing_changes(images):
    network = baseline()
    assert network.auxiliary_branch is None
    output = network(*images)
    assert output.auxiliary is output.auxiliary_visible_logits is output.auxiliary_infrared_logits is None
    expected = baseline(generator="random")(*images)
    assert torch.equal(output.visible_logits, expected.visible_logits)
    assert not any("auxiliary" in name for name in network.state_dict())


def test_the_first_view_makes_the_auxiliary_modality(images):
    network = baseline(generator="random").eval()
    views = torch.cat([images[0], images[0].flip(3)])  # all first views, then all second ones
    output, expected = network(views, images[1]), network(*images)
    assert output.visible.shape == (8, 96)
    torch.testing.assert_close(output.auxiliary, expected.auxiliary)
    assert output.auxiliary_visible_logits.shape == (4, 5)


def test_the_auxiliary_modality_keeps_its_own_statistics(images):
    network = baseline(generator="random")
    expected = baseline()
    expected(*images)
    network(*images)
    for name, buffer in expected.embedder.named_buffers():
        assert torch.equal(buffer, dict(network.embedder.named_buffers())[name]), name
    own = network.auxiliary_branch.batchnorm[1]
    assert not torch.equal(own.running_mean, network.embedder.neck.running_mean)


def test_starts_and_generators_of_your_own(images):
    torch.manual_seed(0)
    own = AuxiliaryGenerator(32, start="inputs")
    assert baseline(generator=own).auxiliary_branch.generator is own
    for make in (baseline, mun):
        starts = [make(generator=start) for start in ("random", "inputs")]
        generators = [getattr(network, "auxiliary_branch", network).generator for network in starts]
        near = [_correlation_with_inputs(network, generator) for network, generator in zip(starts, generators)]
        assert abs(near[0]) < 0.5
        assert near[1] > 0.9


def _correlation_with_inputs(network, generator):
    maps = torch.randn(2, 4, 32, 16, 8, generator=torch.Generator().manual_seed(0)).cumsum(-1).cumsum(-2)
    with torch.no_grad():
        made = generator.train()(*maps)
    rows = [part - part.mean((0, 2, 3), keepdim=True) for part in (made, maps.mean(0))]
    return nn.functional.cosine_similarity(*(row.flatten() for row in rows), dim=0)


def test_errors(images):
    network = baseline(generator="random")
    with pytest.raises(
        ValueError, match=r"infrared must have the shape of visible, \(4, 3, 64, 32\), or of one of its"
    ):
        network(images[0], images[1, :3])
    maps = torch.rand(2, 4, 32, 16, 8)
    with pytest.raises(ValueError, match=r"infrared_map must have the shape of visible_map, .* got \(3, 32, 16, 8\)"):
        network.auxiliary_branch(network.embedder, maps[0], maps[1, :3])
    with pytest.raises(ValueError, match=r"visible_map must have shape \(b, 32, h, w\), got \(4, 31, 16, 8\)"):
        network.auxiliary_branch(network.embedder, maps[0, :, :31], maps[1])
    names = "'random', 'inputs', 'visible', 'infrared', 'mean'"
    rule = f"generator must be a module of two feature maps, or one of {names}, got"
    with pytest.raises(ValueError, match=f"{rule} 'input'. Did you mean 'inputs'"):
        baseline(generator="input")
    with pytest.raises(TypeError, match=f"{rule} 'Sequential, whose forward takes .input."):
        baseline(generator=nn.Sequential(nn.Conv2d(32, 32, 1)))
    with pytest.raises(TypeError, match=f"{rule} 'int'"):
        AuxiliaryBranch(network.embedder, 3)
