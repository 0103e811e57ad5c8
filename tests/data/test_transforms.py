import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from tests.references import shifts_of
from vireid.data import (
    ChannelAdaptiveGray,
    ChannelErasing,
    ChannelExchange,
    Normalize,
    RandomFlip,
    RandomPadCrop,
    TwoViews,
    create_test_transform,
    create_train_transform,
)

MANY = 20_000
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def pixels():
    """Many one-pixel images of red 1, green 2, blue 4."""
    return torch.tensor([1.0, 2.0, 4.0]).view(1, 3, 1, 1).repeat(MANY, 1, 1, 1)


def share(rows, value):
    return (rows[:, :, 0, 0] == torch.tensor(value)).all(1).float().mean().item()


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_channel_exchange_draws_every_channel_alike(p):
    exchanged = ChannelExchange(p)(pixels())
    for value in (1.0, 2.0, 4.0):
        assert share(exchanged, [value] * 3) == pytest.approx(p / 3, abs=0.015)
    assert share(exchanged, [1.0, 2.0, 4.0]) == pytest.approx(1 - p, abs=0.015)


def test_channel_adaptive_gray_draws_as_caj_does():
    changed = ChannelAdaptiveGray()(pixels())
    for value in (1.0, 2.0, 4.0):
        assert share(changed, [value] * 3) == pytest.approx(1 / 4, abs=0.015)
    assert share(changed, [1.0, 2.0, 4.0]) == pytest.approx(1 / 8, abs=0.015)
    gray = 0.2989 + 0.587 * 2 + 0.114 * 4
    assert ((changed[:, :, 0, 0] - gray).abs() < 1e-6).all(1).float().mean().item() == pytest.approx(1 / 8, abs=0.015)


def test_channel_erasing_fills_rectangles_of_the_stated_sizes():
    erased = ChannelErasing(fill=(1.0, 2.0, 3.0))(torch.zeros(2000, 3, 60, 40))
    torch.testing.assert_close(erased[:, 1], 2 * erased[:, 0])
    torch.testing.assert_close(erased[:, 2], 3 * erased[:, 0])
    inside = erased[:, 0] == 1
    touched = inside.any((1, 2))
    assert touched.float().mean().item() == pytest.approx(0.5, abs=0.04)
    tall, wide = inside.any(2).sum(1)[touched], inside.any(1).sum(1)[touched]
    assert (inside.sum((1, 2))[touched] == tall * wide).all()  # full rectangles
    area = (tall * wide) / 2400
    assert 0.012 < area.min() < 0.03
    assert 0.35 < area.max() < 0.45
    assert area.mean().item() == pytest.approx(0.21, abs=0.02)
    fitting = (tall < 60) & (wide < 40)
    aspect = (tall / wide)[fitting]
    assert 0.25 < aspect.min() < 0.4
    assert 2.5 < aspect.max() < 4.2
    assert aspect.median() > 1.5  # height to width is uniform from 0.3 to 3.3, so most rectangles are tall
    # Rectangles lie everywhere: every pixel is erased now and then.
    assert inside.any(0).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shifts_are_drawn_alike_and_image_by_image(dtype):
    image = torch.arange(1, 3 * 6 * 5 + 1).view(3, 6, 5).to(dtype)
    possible = shifts_of(image, 2)
    batch = RandomPadCrop(2)(image.repeat(2500, 1, 1, 1))
    alone = torch.stack([RandomPadCrop(2)(image) for _ in range(2500)])
    for results in (batch, alone):
        assert results.dtype == dtype
        counts = {shift: (results == expected).flatten(1).all(1).sum().item() for shift, expected in possible.items()}
        assert sum(counts.values()) == 2500
        assert min(counts.values()) > 60  # 100 each
        assert max(counts.values()) < 145
    strided = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)  # as read_image gives it
    shifted = RandomPadCrop(2)(strided)
    assert any(torch.equal(shifted, expected) for expected in possible.values())
    assert torch.equal(RandomPadCrop(0)(image), image)


def test_flips_are_drawn_image_by_image():
    images = torch.rand(2000, 3, 4, 3)
    for results in (RandomFlip(0.3)(images), torch.stack([RandomFlip(0.3)(image) for image in images])):
        mirrored = (results == images.flip(-1)).flatten(1).all(1)
        assert ((results == images).flatten(1).all(1) ^ mirrored).all()
        assert mirrored.float().mean().item() == pytest.approx(0.3, abs=0.04)


def test_normalize_equals_torchvision_s():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(2, 3, 1, 1)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])(images)
    torch.testing.assert_close(Normalize()(images), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(Normalize(mean, std)(images[0]), expected[0], rtol=0, atol=1e-6)
    assert Normalize((0, 0, 0), (1, 1, 1))(images).max() == 1
    assert Normalize().state_dict() == {}


def test_views_of_a_batch_come_one_after_the_other():
    image = torch.arange(1.0, 4.0).view(3, 1, 1, 1).expand(-1, 3, 2, 2)
    views = torch.stack([TwoViews(nn.Identity(), torch.neg)(x) for x in image])  # as a loader stacks them
    identities = torch.tensor([1, 2, 3])
    flat = torch.cat(views.unbind(1))
    assert flat[:, 0, 0, 0].tolist() == [1, 2, 3, -1, -2, -3]
    assert torch.equal(flat[:, 0, 0, 0].abs().int(), identities.repeat(2).int())


def test_two_views():
    image = torch.rand(3, 4, 4)
    views = TwoViews(torch.neg, torch.exp)(image)
    assert torch.equal(views, torch.stack([-image, image.exp()]))
    assert TwoViews(torch.neg, torch.exp)(image.repeat(5, 1, 1, 1)).shape == (5, 2, 3, 4, 4)


def test_recipes_of_mpanet_and_saai():
    image = (255 * torch.rand(3, 96, 48)).byte()
    torch.manual_seed(0)
    for recipe, exchanged in (("mpanet", 0), ("saai", 3 / 11)):
        for modality in ("visible", "infrared"):
            results = create_train_transform(modality, (96, 48), recipe=recipe, padding=0)(image.repeat(200, 1, 1, 1))
            erased = (results == 0).all(1).flatten(1).float().mean(1)
            assert (erased > 0).sum().item() == pytest.approx(100, abs=25)
            assert erased.max() < 0.35
            values = results * torch.tensor(IMAGENET_STD)[:, None, None] + torch.tensor(IMAGENET_MEAN)[:, None, None]
            seen = (results != 0).all(1, keepdim=True)
            one = ((values - values[:, :1]).abs() * seen).flatten(1).amax(1) < 1e-3
            assert one.sum().item() == pytest.approx(200 * exchanged, abs=20 if exchanged else 0)


@pytest.mark.parametrize("transform", [ChannelExchange(1.0), ChannelAdaptiveGray(1.0), ChannelErasing(1.0)])
def test_inputs_are_left_alone_and_images_are_drawn_one_by_one(transform):
    images = torch.rand(64, 3, 12, 8)
    before = images.clone()
    changed = transform(images)
    torch.testing.assert_close(images, before, rtol=0, atol=0)
    different = (changed - images).flatten(1).abs().sum(1)
    assert different.unique().numel() > 40  # each image got draws of its own
    single = transform(images[0])
    assert single.shape == (3, 12, 8)
    assert not torch.equal(single, images[0])


@pytest.mark.parametrize("transform", [ChannelExchange(0.7), ChannelAdaptiveGray(0.7), ChannelErasing(0.7)])
def test_a_batch_is_changed_as_single_images_are(transform):
    images = torch.rand(1, 3, 12, 8).repeat(1500, 1, 1, 1)
    together, alone = transform(images), torch.stack([transform(image) for image in images])
    for one, other in ((together == images, alone == images), (together, alone)):
        torch.testing.assert_close(one.float().mean((0, 2, 3)), other.float().mean((0, 2, 3)), rtol=0, atol=0.06)
    assert (together != images).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ChannelExchange(1.5), "p must be a finite number from 0 to 1, got 1.5"),
        (lambda: ChannelAdaptiveGray(-1), "p must be a finite number from 0 to 1, got -1"),
        (lambda: ChannelErasing(2), "p must be a finite number from 0 to 1, got 2"),
        (lambda: ChannelErasing(area=(0.5, 0.2)), r"area must be shares in ascending order, got \(0.5, 0.2\)"),
        (lambda: ChannelErasing(aspect=3), "aspect must be a finite number of at most 1 and above 0, got 3"),
        (
            lambda: ChannelErasing()(torch.rand(1, 4, 4)),
            r"images must have shape \(3, h, w\) or \(b, 3, h, w\), got \(1,",
        ),
        (lambda: ChannelErasing(fill=(0.5,)), r"fill must have a value for each of 3 channels, got \(0.5,\)"),
        (
            lambda: RandomPadCrop(4)(torch.rand(3, 8, 4)),
            r"images must be wider and higher than padding = 4, got \(8, 4\)",
        ),
        (lambda: RandomFlip(-0.1), "p must be a finite number from 0 to 1, got -0.1"),
        (lambda: create_train_transform("visible", recipe="cajj"), "recipe must be one of .* Did you mean 'caj'?"),
        (lambda: create_test_transform(interpolation="linear"), "interpolation must be .* Did you mean 'bilinear'?"),
        (lambda: create_test_transform((288, 0)), r"size\[1\] must be an integer of at least 1, got 0"),
        (lambda: create_train_transform("visible", (9.5, 8)), r"size\[0\] must be an integer of at least 1, got 9.5"),
        (lambda: create_train_transform("visible", padding=-1), "padding must be an integer of at least 0, got -1"),
        (lambda: create_train_transform("thermal"), "modality must be one of 'visible', 'infrared', got 'thermal'"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("transform", [ChannelAdaptiveGray(), ChannelErasing()])
def test_arithmetic_needs_floating_point(transform):
    with pytest.raises(TypeError, match="images must be floating point, got torch.uint8. Apply v2.ToDtype"):
        transform(torch.zeros(3, 4, 4, dtype=torch.uint8))


def test_empty_images_are_refused():
    for images in (torch.zeros(3, 0, 4), torch.zeros(2, 3, 4, 0)):
        with pytest.raises(ValueError, match=r"images must have a height and a width, got \("):
            RandomFlip()(images)


def test_bytes_are_normalised():
    with pytest.raises(TypeError, match="images must be uint8, got torch.float32"):
        Normalize()(torch.zeros(3, 4, 4))
