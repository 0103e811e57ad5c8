import pytest
import torch

from vireid.data import (
    ChannelAdaptiveGray,
    ChannelErasing,
    ChannelExchange,
    create_test_transform,
    create_train_transform,
)

MANY = 20_000


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


def test_test_transform_resizes_and_normalises():
    image = torch.full((3, 20, 10), 128, dtype=torch.uint8)
    result = create_test_transform((96, 48))(image)
    assert result.shape == (3, 96, 48)
    expected = (128 / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(result.mean((1, 2)), expected)


@pytest.mark.parametrize("modality", ["visible", "infrared"])
def test_train_transform_augments(modality):
    image = (255 * torch.rand(3, 96, 48)).byte()
    transform = create_train_transform(modality, (96, 48))
    results = torch.stack([transform(image) for _ in range(200)])
    assert results.shape == (200, 3, 96, 48)
    plain = create_test_transform((96, 48))(image)
    flipped = plain.flip(2)
    # The crop moves by the padding, 3 pixels at this height; somewhere in it the image or its mirror remains.
    shifts = [(y, x) for y in range(-3, 4) for x in range(-3, 4)]
    matches = sum(
        any(
            torch.equal(result[:, 40 + y : 50 + y, 20 + x : 28 + x], source[:, 40:50, 20:28])
            for source in (plain, flipped)
            for y, x in shifts
        )
        for result in results
    )
    colourful = {"visible": 1 / 2, "infrared": 1 / 8}[modality]
    assert colourful * 0.5 < matches / 200 < colourful * 1.2 + 0.05
    gray = (results[:, 0, 50, 24] - results[:, 1, 50, 24]).abs() < 1e-6
    assert gray.float().mean().item() == pytest.approx(1 - colourful, abs=0.2)


@pytest.mark.parametrize("modality", ["visible", "infrared"])
def test_train_transform_erases_before_it_mixes_the_channels(modality):
    transform = create_train_transform(modality, (96, 48), padding=0)
    results = torch.stack([transform(torch.full((3, 96, 48), 255, dtype=torch.uint8)) for _ in range(300)])
    fill = torch.tensor([0.4914, 0.4822, 0.4465])
    touched = (results < 1).flatten(1).any(1)  # white is at least 2.2 in every channel, the fill at most 0.5
    assert touched.float().mean().item() == pytest.approx(0.5, abs=0.1)
    values = results[touched][:, 0][results[touched][:, 0] < 1].unique()
    assert all(torch.isclose(values, colour).any() for colour in fill)  # the fill is mixed as well


def test_padding_can_be_chosen():
    image = torch.full((3, 96, 48), 255, dtype=torch.uint8)
    black = -0.485 / 0.229
    borders = [(create_train_transform("infrared", (96, 48), padding=p)(image) < black + 0.5).any() for p in [0] * 20]
    assert not any(borders)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ChannelExchange(1.5), "p must be a probability from 0 to 1, got 1.5"),
        (lambda: ChannelAdaptiveGray(-1), "p must be a probability from 0 to 1, got -1"),
        (lambda: ChannelErasing(2), "p must be a probability from 0 to 1, got 2"),
        (lambda: ChannelErasing(area=(0.5, 0.2)), r"area must be shares in ascending order, got \(0.5, 0.2\)"),
        (lambda: ChannelErasing(aspect=3), r"aspect must lie in \(0, 1\], got 3"),
        (
            lambda: ChannelErasing()(torch.rand(1, 4, 4)),
            r"images must have shape \(3, h, w\) or \(b, 3, h, w\), got \(1,",
        ),
        (lambda: ChannelErasing(fill=(0.5,)), r"fill must have a value for each of 3 channels, got \(0.5,\)"),
        (lambda: create_test_transform(288), r"size must be \(height, width\) in whole pixels, got 288"),
        (lambda: create_test_transform((288, 0)), r"size must be \(height, width\) in whole pixels, got \(288, 0\)"),
        (lambda: create_train_transform("visible", (9.5, 8)), r"size must be \(height, width\) in whole pixels, got"),
        (lambda: create_train_transform("visible", padding=-1), "padding must be at least 0, got -1"),
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


@pytest.mark.parametrize(("size", "padding"), [((288, 24), 10), ((96, 24), 3)])
def test_padding_keeps_the_field_s_proportion(size, padding):
    transform = create_train_transform("infrared", size)
    image = torch.full((3, *size), 255, dtype=torch.uint8)  # wider than its padding, so that the middle column stays
    borders = torch.stack([(transform(image)[:, :, size[1] // 2] < -1.5).all(0) for _ in range(200)])
    assert borders.sum(1).max() == padding  # rows of zeros, 1.8 to 2.1 deviations below the mean
