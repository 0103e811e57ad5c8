import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests import references
from vireid.models import (
    AuxiliaryGenerator,
    CrossModalityLearner,
    IntraModalityLearner,
    create_backbone,
    pair_by_identity,
)
from vireid.models.auxiliary import UnitScale


def pair(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, generator=generator, dtype=torch.float64)


def randomised(module, seed=0):
    """Float64 weights unlike their starting values, so that none can be left out unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    module.double()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            low, high = (0.2, 0.9) if "scale" in name else (-1.0, 1.0)
            parameter.copy_(torch.rand(parameter.shape, generator=generator) * (high - low) + low)
    return module


def relative_error(actual, expected):
    return ((actual - expected).abs().max() / expected.abs().max()).item()


def test_intra_modality_learner_equals_the_equations():
    learner = randomised(IntraModalityLearner(6))
    feature_map = pair(3, 6, 9, 8)[0]
    expected = references.intra_modality_learner(learner.state_dict(), feature_map)
    assert relative_error(learner(feature_map), expected) < 1e-10


@pytest.mark.parametrize("size", [(12, 24), (13, 7), (4, 3), (1, 1)], ids=str)
def test_cross_modality_learner_equals_the_equations(size):
    ratios = (2, 3, 6)
    learner = randomised(CrossModalityLearner(4, pooling_ratios=ratios))
    visible_map, infrared_map = pair(3, 4, *size)
    expected = references.cross_modality_learner(learner.state_dict(), visible_map, infrared_map, ratios)
    assert relative_error(learner(visible_map, infrared_map), expected) < 1e-10


def test_generator_is_its_three_learners():
    generator = randomised(AuxiliaryGenerator(4, pooling_ratios=(2, 3)))
    visible_map, infrared_map = pair(2, 4, 6, 5)
    learned = generator.visible_learner(visible_map), generator.infrared_learner(infrared_map)
    torch.testing.assert_close(generator(visible_map, infrared_map), generator.cross_learner(*learned))
    swapped = generator(infrared_map, visible_map)
    assert not torch.allclose(generator(visible_map, infrared_map), swapped)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_the_fast_layout_changes_no_number_and_is_given_back(layout):
    generator = randomised(AuxiliaryGenerator(4, pooling_ratios=(2, 3)))
    maps = [values.contiguous(memory_format=layout).requires_grad_() for values in pair(2, 4, 6, 5)]
    expected = generator.cross_learner(generator.visible_learner(maps[0]), generator.infrared_learner(maps[1]))
    seen = []
    generator.infrared_learner.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    actual = generator(*maps)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert actual.is_contiguous(memory_format=layout)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=0)
    inputs = [*maps, *generator.parameters()]
    gradients = (torch.autograd.grad(output.sin().sum(), inputs) for output in (actual, expected))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_size_and_cost_of_the_paper():
    generator = AuxiliaryGenerator(256)
    assert sum(parameter.numel() for parameter in generator.parameters()) == 14_730_240
    with torch.device("meta"):
        generator = AuxiliaryGenerator(256)
        maps = torch.empty(2, 1, 256, 72, 36)
    with FlopCounterMode(display=False) as counter:
        generator(*maps)
    assert counter.get_total_flops() / 2 == 5_532_696_576  # multiply-adds: 5.53 GMAC per pair


def test_gradient_reaches_every_parameter():
    generator = randomised(AuxiliaryGenerator(4, pooling_ratios=(2, 3)))
    generator(*pair(2, 4, 7, 5)).square().sum().backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad.abs().max() > 1e-6, name


def test_gradcheck():
    generator = randomised(AuxiliaryGenerator(2, pooling_ratios=(2,), expansion=1))
    maps = [m.requires_grad_() for m in pair(2, 2, 2, 2)]
    assert torch.autograd.gradcheck(generator, maps)


@pytest.mark.parametrize(
    ("module", "changed"),
    [
        (IntraModalityLearner, {"expansion": 2}),
        (IntraModalityLearner, {"kernel_sizes": (7, 5)}),
        (IntraModalityLearner, {"initial_scale": 0.5}),
        (IntraModalityLearner, {"start": "inputs"}),
        (CrossModalityLearner, {"pooling_ratios": (3, 2)}),
        (CrossModalityLearner, {"groups": 4}),
        (CrossModalityLearner, {"initial_scale": 0.5}),
        (CrossModalityLearner, {"start": "inputs"}),
    ],
)
def test_every_argument_changes_the_result(module, changed):
    maps = pair(2, 4, 9, 8)[: 1 if module is IntraModalityLearner else 2].float()

    def result(**options):
        torch.manual_seed(0)
        return module(4, **({"pooling_ratios": (2, 3)} if module is CrossModalityLearner else {}) | options)(*maps)

    assert not torch.allclose(result(), result(**changed))


def test_transposed_convolutions_start_at_unit_scale():
    # A8: with PyTorch's default, the variance at ratio 12 would be 144 times smaller.
    torch.manual_seed(0)
    learner = CrossModalityLearner(64, pooling_ratios=(12,))
    assert learner.rebuild[0](torch.randn(4, 64, 6, 3)).var().item() == pytest.approx(1 / 3, rel=0.1)


def normalised(feature_map):
    """Every channel with mean 0 and standard deviation 1."""
    mean = feature_map.mean((0, 2, 3), keepdim=True)
    return (feature_map - mean) / (feature_map - mean).square().mean((0, 2, 3), keepdim=True).sqrt()


def blocks(*shape, channels=16):
    """Maps whose 2×2 cells are constant, so that pooling by 2 loses nothing, with a scale and mean of each channel."""
    maps = pair(4, channels, *shape).repeat_interleave(2, dim=3).repeat_interleave(2, dim=4)
    steps = torch.arange(1.0, channels + 1, dtype=maps.dtype)[:, None, None]
    return maps * steps + steps


@pytest.mark.parametrize(
    "options", [{}, {"pooling_ratios": (12, 2, 4)}, {"groups": 4}, {"kernel_sizes": (7, 3)}], ids=str
)
def test_start_from_inputs_is_the_mean_of_both_maps(options):
    # A38: F^a of the first batch is the mean of the normalised maps, to a tenth of what the random start adds.
    torch.manual_seed(0)
    visible_map, infrared_map = blocks(12, 6)
    mean = (normalised(visible_map) + normalised(infrared_map)) / 2

    def first(start):
        return AuxiliaryGenerator(16, start=start, **options).double()(visible_map, infrared_map)

    auxiliary_map = first("inputs")
    assert (normalised(auxiliary_map) * normalised(mean)).mean((0, 2, 3)).min() > 0.95
    assert auxiliary_map.mean((0, 2, 3)).abs().max() < 0.1
    torch.testing.assert_close(auxiliary_map.std((0, 2, 3)), mean.std((0, 2, 3)), rtol=0.15, atol=0)
    assert (normalised(first("random")) * normalised(mean)).mean((0, 2, 3)).abs().mean() < 0.3


def test_a_learner_starts_from_its_input():
    torch.manual_seed(0)
    feature_map = blocks(12, 6)[0]
    learned = IntraModalityLearner(16, start="inputs").double()(feature_map)
    assert (normalised(learned) * normalised(feature_map)).mean((0, 2, 3)).min() > 0.95


def test_gradient_reaches_every_channel_of_a_start_from_inputs():
    torch.manual_seed(0)
    generator = AuxiliaryGenerator(16, start="inputs").double()
    auxiliary_map = generator(*blocks(12, 6))
    auxiliary_map.backward(pair(*auxiliary_map.shape, seed=1)[0])
    for name, parameter in generator.named_parameters():
        size = parameter.grad.abs()
        # A normalisation or a scale has one number per channel; a scale that starts at 1 cannot grow.
        assert (size.flatten(1).amax(1).min() if size.ndim == 4 else size.max()) > 1e-4, name


def test_start_from_inputs_depends_on_the_seed_alone():
    # No batch is seen, so that resumed runs, devices and processes of one seed start alike (A38).
    def weights(start, batches=0):
        torch.manual_seed(0)
        generator = AuxiliaryGenerator(4, start=start)
        for _ in range(batches):
            generator(*pair(2, 4, 6, 5).float())
        return dict(generator.named_parameters())

    started, used = weights("inputs"), weights("inputs", batches=2)
    assert all(torch.equal(started[name], used[name]) for name in started)
    assert [(name, w.shape) for name, w in started.items()] == [
        (name, w.shape) for name, w in weights("random").items()
    ]


def test_shared_stages_need_no_calibrated_map():
    # A38 leaves scale and mean of F^a to the normalisation that follows the cut of a convolutional network.
    torch.manual_seed(0)
    backbone = create_backbone("test_resnet", image_size=(96, 48)).double().train()
    feature_map = backbone.first_stages(torch.rand(4, 3, 96, 48).double(), "visible").detach()
    expected = backbone.shared_stages(feature_map)
    moved = backbone.shared_stages(10 * feature_map + torch.rand(32, 1, 1).double())
    assert relative_error(moved, expected) < 1e-3
    assert relative_error(backbone.shared_stages(feature_map.flip(1)), expected) > 0.1


def test_scale_stays_in_the_unit_interval_and_comes_back():
    scale = UnitScale(3)
    with torch.no_grad():
        scale.weight.copy_(torch.tensor([1.5, -0.5, 0.5]))
    ones = torch.ones(1, 3, 1, 1)
    torch.testing.assert_close(scale(ones).flatten(), torch.tensor([1.0, 1e-6, 0.5]))
    scale(ones).sum().backward()  # descent lowers the factors: the second one may not, the first one may
    assert scale.weight.grad.tolist() == [1, 0, 1]
    scale.weight.grad = None
    (-scale(ones)).sum().backward()
    assert scale.weight.grad.tolist() == [0, -1, -1]


def test_state_dict_round_trip():
    generator, other = randomised(AuxiliaryGenerator(4)), randomised(AuxiliaryGenerator(4), seed=1)
    other.load_state_dict(generator.state_dict())
    torch.testing.assert_close(other(*pair(2, 4, 6, 5)), generator(*pair(2, 4, 6, 5)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IntraModalityLearner(5), "channels must be even, got 5."),
        (lambda: IntraModalityLearner(4, kernel_sizes=(4, 7)), r"kernel_sizes must be two odd sizes, got \(4, 7\)."),
        (lambda: IntraModalityLearner(4, expansion=0), "expansion must be an integer of at least 1, got 0."),
        (lambda: CrossModalityLearner(0), "channels must be an integer of at least 1, got 0."),
        (
            lambda: CrossModalityLearner(4, pooling_ratios=()),
            r"pooling_ratios must have at least one element, got \(\).",
        ),
        (lambda: CrossModalityLearner(4, groups=3), r"groups must divide channels \(4\), got 3."),
        (lambda: AuxiliaryGenerator(4, start="zero"), "start must be one of 'random', 'inputs', got 'zero'."),
        (
            lambda: AuxiliaryGenerator(4, initial_scale=0.0),
            "initial_scale must be a finite number of at most 1 and above 0, got 0.0.",
        ),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_maps():
    generator = AuxiliaryGenerator(4)
    with pytest.raises(ValueError, match=r"visible_map must have shape \(b, 4, h, w\), got \(2, 3, 6, 6\)."):
        generator(torch.rand(2, 3, 6, 6), torch.rand(2, 4, 6, 6))
    with pytest.raises(TypeError, match="visible_map must be torch.float32 like the weights, got torch.float64"):
        generator(torch.rand(2, 4, 6, 6).double(), torch.rand(2, 4, 6, 6))
    with pytest.raises(TypeError, match="feature_map must be torch.float32 like the weights, got torch.uint8"):
        IntraModalityLearner(4)(torch.ones(2, 4, 6, 6).byte())
    with pytest.raises(TypeError, match="feature_map must be a tensor, got 'ndarray'"):
        IntraModalityLearner(4)(torch.rand(2, 4, 6, 6).numpy())
    with pytest.raises(ValueError, match="visible_map must be on cpu like the weights, got device.type='meta'"):
        generator(torch.rand(2, 4, 6, 6, device="meta"), torch.rand(2, 4, 6, 6))
    with pytest.raises(ValueError, match=r"infrared_map must have the shape of visible_map, \(2, 4, 6, 6\), got \(3,"):
        generator(torch.rand(2, 4, 6, 6), torch.rand(3, 4, 6, 6))


def test_mispaired_identities_are_told():
    torch.manual_seed(0)
    generator, maps = AuxiliaryGenerator(4), torch.rand(2, 3, 4, 6, 6)
    identities = torch.tensor([5, 2, 5])
    checked = generator(*maps, visible_identities=identities, infrared_identities=identities.int())
    torch.testing.assert_close(checked, generator(*maps))
    with pytest.raises(
        ValueError, match="infrared_identities must equal visible_identities row by row, got '2 that diff"
    ):
        generator(*maps, visible_identities=identities, infrared_identities=torch.tensor([2, 5, 5]))
    with pytest.raises(TypeError, match="infrared_identities must be a tensor, got 'NoneType'"):
        generator(*maps, visible_identities=identities)
    with pytest.raises(ValueError, match=r"visible_identities must have shape \(3,\), .* got \(2,\)"):
        generator(*maps, visible_identities=identities[:2], infrared_identities=identities)


def test_alternating_and_shuffled_batches_are_paired():
    generator = torch.Generator().manual_seed(0)
    identities = torch.tensor([4, 4, 9, 9, 4, 4, 1, 1])  # visible, infrared, visible, infrared, …
    infrared = torch.tensor([False, True] * 4)
    for order in (torch.arange(8), torch.randperm(8, generator=generator)):
        visible_rows, infrared_rows = pair_by_identity(identities[order], infrared[order])
        assert not infrared[order][visible_rows].any()
        assert infrared[order][infrared_rows].all()
        assert torch.equal(identities[order][visible_rows], identities[order][infrared_rows])
        assert sorted([*visible_rows.tolist(), *infrared_rows.tolist()]) == list(range(8))
    rule = "identities must have as many visible as infrared images of each identity, got tensor"
    for wrong in (infrared.roll(1).logical_or(infrared), torch.tensor([False, False, True, True] * 2)):
        with pytest.raises(ValueError, match=rule):
            pair_by_identity(identities, wrong)
    with pytest.raises(TypeError, match="infrared must be boolean, got torch.int64"):
        pair_by_identity(identities, infrared.long())
    with pytest.raises(
        ValueError, match=r"infrared must have shape \(8,\) on cpu like identities, got '\(3,\) on cpu'"
    ):
        pair_by_identity(identities, infrared[:3])
