import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from tests.fake_cuda import run_on_fake_cuda
from vireid.data import (
    EachImage,
    MixedViews,
    ModerateLinearEnhancement,
    RadicalLinearEnhancement,
    SelfPatchMix,
    SoftErasing,
)

TRANSFORMS = [SoftErasing, SelfPatchMix, ModerateLinearEnhancement, RadicalLinearEnhancement]
every_transform = pytest.mark.parametrize("transform", TRANSFORMS)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def ramp(height=24, width=16):
    """An image in which every pixel has a value of its own, in steps of 1 / 1000."""
    return torch.arange(1.0, height * width + 1).view(1, height, width).repeat(3, 1, 1) / 1000


def is_rectangle(mask):
    rows, columns = mask.any(1), mask.any(0)
    return bool(
        (mask == rows[:, None] & columns[None]).all() and rows.sum() == last(rows) and columns.sum() == last(columns)
    )


def last(line):
    """The length from the first to the last marked place of a line."""
    places = line.nonzero()
    return places[-1, 0] - places[0, 0] + 1


def test_soft_erasing_blends_a_rectangle_with_noise():
    images = torch.full((4000, 3, 24, 16), 0.5)
    erased = SoftErasing()(images)
    touched = (erased != images).any(1)
    whole = ~touched.any((1, 2))
    assert whole.float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert all(is_rectangle(mask) for mask in touched[~whole][:50])
    assert erased.min() >= 0
    assert erased.max() <= 1
    # A share m of Beta(½, 1) = U² of noise has the deviation m, so that its median is ¼; only small ones are not cut.
    shares = torch.stack([(image[:, mask] - 0.5).std() for image, mask in zip(erased[~whole], touched[~whole])])
    assert (shares < 0.05).float().mean().item() == pytest.approx(0.05**0.5, abs=0.04)
    assert (shares < 0.01).float().mean().item() == pytest.approx(0.01**0.5, abs=0.03)


def test_self_patch_mix_blends_two_rectangles_of_one_image():
    image = ramp()
    mixed = SelfPatchMix(p=1.0)(image.repeat(3000, 1, 1, 1))
    moved = (mixed - image)[:, 0]
    touched = moved.abs() > 1e-6
    assert all(is_rectangle(mask) for mask in touched[touched.any((1, 2))][:200])
    # In a ramp, another rectangle differs from this one by the same amount everywhere.
    for difference, mask in zip(moved[:200], touched[:200]):
        if mask.any():
            assert difference[mask].max() - difference[mask].min() < 1e-6
    assert mixed.min() >= image.min()
    assert mixed.max() <= image.max()
    assert touched.any(0).all()
    assert ((mixed == image).flatten(1).all(1)).float().mean() < 0.1  # only where both rectangles are one


def test_self_patch_mix_by_shares():
    image = torch.zeros(3, 24, 16)
    image[:, :, 8:] = 1  # a rectangle in one half takes its share of the other half
    mixed = SelfPatchMix(p=1.0, area=(0.02, 0.05), aspect=1.0)(image.repeat(20_000, 1, 1, 1))
    shares = mixed[:, 0, :, :8].amax((1, 2))
    shares = shares[shares > 0]
    assert 0.2 < (shares < 0.25).float().mean() / 0.5 < 1.2  # the median of Beta(½, 1) is ¼
    assert shares.median().item() == pytest.approx(0.25, abs=0.02)


def test_moderate_enhancement_weighs_the_channels():
    image = torch.tensor([0.2, 0.5, 0.9]).view(3, 1, 1)
    mixed = ModerateLinearEnhancement()(image.repeat(20_000, 1, 1, 1))[:, :, 0, 0]
    gray = (mixed == mixed[:, :1]).all(1)
    assert gray.float().mean().item() == pytest.approx(0.5, abs=0.02)
    values = mixed[gray][:, 0]
    assert 0.2 <= values.min() < 0.201
    assert 0.899 < values.max() <= 0.9001
    assert values.mean().item() == pytest.approx((0.2 + 0.5 + 0.9) / 3, abs=0.01)
    other = ModerateLinearEnhancement(p=1.0, concentration=1e4)(image)  # all weights alike
    assert other.flatten().tolist() == pytest.approx([1.6 / 3] * 3, abs=0.02)


def test_radical_enhancement_scales_rectangles_until_a_part_is_dark():
    images = torch.full((500, 3, 24, 16), 0.5)
    scaled = RadicalLinearEnhancement()(images)
    whole = (scaled == images).flatten(1).all(1)
    assert whole.float().mean().item() == pytest.approx(0.5, abs=0.07)
    assert (scaled[~whole].flatten(1).amin(1) < 0.05 + 1e-6).float().mean() > 0.98  # a tenth of 0.5; 20 rectangles most
    assert scaled.max() <= 1
    assert scaled[~whole].flatten(1).amax(1).max() > 0.9  # a channel may become brighter
    assert (scaled[~whole] != scaled[~whole][:, :1]).flatten(1).any(1).float().mean() > 0.9  # channel by channel


def test_radical_enhancement_makes_the_brightest_value_a_share_of_one():
    transform = RadicalLinearEnhancement(p=1.0, concentration=1e5, area=(1.0, 1.0), aspect=1.0)
    image = ramp(16, 16)
    transform.most_rectangles = 1
    scaled = transform(image)  # the share is one half
    torch.testing.assert_close(scaled, image * 0.5 / 0.256, rtol=0.02, atol=0)


@every_transform
@pytest.mark.parametrize("value", [0.0, 1.0, 1 / 255])
def test_flat_images_give_no_nan(transform, value):
    images = torch.full((300, 3, 12, 8), value)
    for changed in (transform(p=1.0)(images), torch.stack([transform(p=1.0)(image) for image in images[:50]])):
        assert changed.isfinite().all()
        assert changed.min() >= 0
        assert changed.max() <= 1
    if transform is not SoftErasing and value == 0:
        assert changed.max() == 0


@every_transform
def test_inputs_are_left_alone_and_images_are_drawn_one_by_one(transform):
    images = torch.rand(64, 3, 12, 8)
    before = images.clone()
    changed = transform(p=1.0)(images)
    assert torch.equal(images, before)
    assert (changed - images).flatten(1).abs().sum(1).unique().numel() > 40
    assert transform()(images[0]).shape == (3, 12, 8)
    assert torch.equal(transform(p=0.0)(images), images)
    half = transform(p=1.0)(images.half())
    assert half.dtype == torch.float16
    assert half.isfinite().all()


@every_transform
def test_a_batch_is_changed_as_single_images_are(transform):
    images = torch.rand(1, 3, 12, 8).repeat(1500, 1, 1, 1)
    together, alone = transform(0.7)(images), torch.stack([transform(0.7)(image) for image in images])
    one, other = ((changed == images).float().mean((0, 2, 3)) for changed in (together, alone))
    torch.testing.assert_close(one, other, rtol=0, atol=0.06)
    torch.testing.assert_close(together.mean((0, 2, 3)), alone.mean((0, 2, 3)), rtol=0, atol=0.06)


@every_transform
def test_on_a_gpu_it_waits_for_no_device(transform):
    run_on_fake_cuda(transform(), torch.zeros(4, 3, 12, 8))


def test_each_image_is_transformed_by_itself():
    images = torch.rand(400, 3, 4, 4)
    gray = EachImage(v2.RandomGrayscale(0.5))(images)
    assert (gray[:, 0] == gray[:, 2]).flatten(1).all(1).float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert torch.equal(EachImage(torch.neg)(images[0]), -images[0])


@pytest.mark.parametrize("erased_first", [False, True])
def test_mixed_views_share_what_is_erased(erased_first):
    image = torch.zeros(3, 4, 4)
    noisy = MixedViews(lambda x: x + torch.rand(1), nn.Identity(), views=4, erased_first=erased_first)(image)
    assert noisy.shape == (4, 3, 4, 4)
    assert torch.equal(noisy[1], noisy[2])
    assert torch.equal(noisy[2], noisy[3])
    assert torch.equal(noisy[0], noisy[1] if erased_first else image)
    mixed = MixedViews(nn.Identity(), lambda x: x + torch.rand(1))(image.repeat(5, 1, 1, 1))
    assert mixed.shape == (5, 3, 3, 4, 4)
    assert not torch.equal(mixed[:, 1], mixed[:, 2])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SoftErasing(1.5), ValueError, "p must be a finite number from 0 to 1, got 1.5"),
        (
            lambda: SelfPatchMix(area=(0.5, 0.2)),
            ValueError,
            r"area must be shares in ascending order, got \(0.5, 0.2\)",
        ),
        (
            lambda: ModerateLinearEnhancement(concentration=0),
            ValueError,
            "concentration must be a finite number above 0",
        ),
        (
            lambda: RadicalLinearEnhancement(aspect=3),
            ValueError,
            "aspect must be a finite number of at most 1 and above",
        ),
        (lambda: MixedViews(abs, abs, views=1), ValueError, "views must be an integer of at least 2, got 1"),
        (lambda: MixedViews(abs, None), TypeError, "mix must be callable"),
        (lambda: EachImage(3), TypeError, "transform must be callable"),
        (lambda: EachImage(abs)(torch.rand(4, 4)), ValueError, r"images must have shape \(3, h, w\) or \(b, 3, h, w\)"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


@every_transform
def test_arithmetic_needs_floating_point(transform):
    with pytest.raises(TypeError, match="images must be floating point, got torch.uint8. Apply v2.ToDtype"):
        transform()(torch.zeros(3, 4, 4, dtype=torch.uint8))
