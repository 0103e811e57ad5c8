import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import pad
from torchvision.transforms import v2

from tests.fake_cuda import run_on_fake_cuda
from vireid import set_epoch
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


def shifts_of(image, padding):
    """Every image that a shift can make, by how far it moves down and right."""
    height, width = image.shape[-2:]
    padded = pad(image, (padding,) * 4)
    return {
        (padding - y, padding - x): padded[:, y : y + height, x : x + width]
        for y in range(2 * padding + 1)
        for x in range(2 * padding + 1)
    }


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


def test_presets_take_a_mean_and_a_deviation():
    image, values = torch.full((3, 8, 4), 51, dtype=torch.uint8), {"mean": [0.5, 0.4, 0.3], "std": (0.5, 0.5, 0.25)}
    expected = torch.tensor([-0.6, -0.4, -0.4])[:, None, None].expand(3, 8, 4)
    torch.testing.assert_close(create_test_transform([8, 4], **values)(image), expected)
    for modality in ("visible", "infrared"):
        transform = create_train_transform(modality, (8, 4), **values, padding=0, recipe="agw")
        torch.testing.assert_close(transform(image), expected)


def test_transforms_print_their_arguments():
    assert str(create_train_transform("infrared", (96, 48))).splitlines() == [
        "Sequential(",
        "  (0): Resize(size=(96, 48), interpolation='bilinear')",
        "  (1): RandomPadCrop(padding=3)",
        "  (2): RandomFlip(p=0.5)",
        "  (3): Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))",
        "  (4): ChannelErasing(p=0.5, area=(0.02, 0.4), aspect=0.3, fill=(0.4914, 0.4822, 0.4465))",
        "  (5): ChannelAdaptiveGray(p=0.5)",
        ")",
    ]
    assert str(ChannelExchange(1)) == "ChannelExchange(p=1.0)"


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


def test_recipes():
    image = (255 * torch.rand(3, 96, 48)).byte()
    plain = create_test_transform((96, 48))(image)
    possible = [*shifts_of(image, 3).values()]
    possible = torch.stack([create_test_transform((96, 48))(x) for y in possible for x in (y, y.flip(-1))])
    for modality in ("visible", "infrared"):
        for _ in range(20):
            result = create_train_transform(modality, (96, 48), recipe="agw")(image)
            assert (result == possible).flatten(1).all(1).any()
    torch.manual_seed(1)
    views = create_train_transform("visible", (96, 48), recipe="caj", padding=0)
    results = torch.stack([views(image) for _ in range(200)])
    assert results.shape == (200, 2, 3, 96, 48)
    first, second = results.unbind(1)
    assert (second == second[:, :1]).all()  # exchanged always
    whole = [(x == plain).flatten(1).all(1) | (x == plain.flip(-1)).flatten(1).all(1) for x in (first, second)]
    assert whole[0].float().mean().item() == pytest.approx(0.5, abs=0.12)  # the others are erased
    assert not whole[1].any()
    single = create_train_transform("infrared", (96, 48), recipe="caj")(image)
    assert single.shape == (3, 96, 48)


def test_pmt_trains_on_gray_images_first():
    image = (255 * torch.rand(3, 96, 48)).byte()
    plain, gray = (create_test_transform((96, 48))(x) for x in (image, v2.functional.rgb_to_grayscale(image, 3)))
    transform = create_train_transform("visible", (96, 48), recipe={0: "pmt-gray", 2: "pmt"})
    torch.manual_seed(0)
    for epoch, expected in ((0, gray), (1, gray), (2, plain), (9, plain)):
        set_epoch(epoch, transform)
        results = torch.stack([transform(image) for _ in range(40)])
        same = [(results == x).flatten(1).all(1) for x in (expected, expected.flip(-1))]
        assert 10 < (same[0] | same[1]).sum() < 30  # half of them are erased, and none is shifted
        assert all(x.any() for x in same)
        erased = results[~(same[0] | same[1])] == torch.tensor(IMAGENET_MEAN)[:, None, None]
        assert erased.all(1).flatten(1).any(1).all()


def test_pmt_changes_every_infrared_image():
    image = (64 + 128 * torch.rand(3, 96, 48)).byte()
    plain = create_test_transform((96, 48))(image)
    results = create_train_transform("infrared", (96, 48), recipe="pmt")(image.repeat(40, 1, 1, 1))
    whole = results[~(results == torch.tensor(IMAGENET_MEAN)[:, None, None]).all(1).flatten(1).any(1)]
    assert len(whole) > 5
    deviations = whole.std((1, 2, 3)) / plain.std()
    changed = ((whole != plain) & (whole != plain.flip(-1))).flatten(1).any(1)
    assert changed.float().mean() > 0.7  # the narrowest blurs change nothing
    assert deviations.min() < 0.7  # blurred
    assert (deviations - 1).abs().lt(0.35).any()  # jittered


def test_deen_makes_half_of_the_images_gray():
    image = (255 * torch.rand(3, 96, 48)).byte()
    torch.manual_seed(0)
    for modality in ("visible", "infrared"):
        results = create_train_transform(modality, (96, 48), recipe="deen")(image.repeat(100, 1, 1, 1))
        erased = (results == torch.tensor(IMAGENET_MEAN)[:, None, None]).all(1).flatten(1).float().mean(1)
        assert (erased > 0).sum().item() == pytest.approx(50, abs=20)
        assert erased[erased > 0].min() > 0.15
        assert erased.max() > 0.5
        values = results[erased == 0] * torch.tensor(IMAGENET_STD)[:, None, None]
        values = values + torch.tensor(IMAGENET_MEAN)[:, None, None]
        gray = (values - values[:, :1]).abs().flatten(1).amax(1) < 1e-3
        assert gray.sum().item() == pytest.approx(len(gray) / 2, abs=15)


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


def test_phases_take_every_option_of_a_recipe():
    image = (255 * torch.rand(3, 30, 20)).byte()
    options = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "padding": 0, "interpolation": "lanczos"}
    phases = create_train_transform("infrared", (24, 12), recipe={0: "agw", 3: "mun"}, **options)
    for epoch, name in ((0, "agw"), (3, "mun")):
        phases.set_epoch(epoch)
        torch.manual_seed(epoch)
        result = phases(image)
        torch.manual_seed(epoch)
        assert torch.equal(result, create_train_transform("infrared", (24, 12), recipe=name, **options)(image))


def test_lanczos_is_pillow_s():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 30, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((12, 24), Image.Resampling.LANCZOS))
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    result = create_test_transform((24, 12), interpolation="lanczos")(image)
    assert torch.equal(result, Normalize()(torch.from_numpy(expected.copy()).permute(2, 0, 1)))
    others = [create_test_transform((24, 12), interpolation=name)(image) for name in ("bilinear", "bicubic")]
    assert not torch.equal(*others)
    assert not any(torch.equal(other, result) for other in others)
    with pytest.raises(ValueError, match=r"images must be one image, 3 h w, for lanczos, got \(1, 3, 50, 30\)"):
        create_test_transform((24, 12), interpolation="lanczos")(image[None])


@pytest.mark.parametrize("modality", ["visible", "infrared"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_presets_take_batches(modality, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    images = (255 * torch.rand(64, 3, 30, 20)).byte().to(device)
    results = create_train_transform(modality, (24, 12))(images[:1].repeat(64, 1, 1, 1))
    assert results.shape == (64, 3, 24, 12)
    assert results.device.type == device
    assert len({tuple(result.flatten().tolist()) for result in results}) > 40
    torch.testing.assert_close(
        create_test_transform((24, 12))(images)[5], create_test_transform((24, 12))(images[5]), rtol=0, atol=0.02
    )


@pytest.mark.parametrize("modality", ["visible", "infrared"])
@pytest.mark.parametrize("recipe", ["mun", "agw", "caj", "rle"])
def test_batches_on_a_gpu_wait_for_no_device(modality, recipe):
    transform = create_train_transform(modality, (24, 12), recipe=recipe)
    run_on_fake_cuda(transform, torch.zeros(4, 3, 30, 20, dtype=torch.uint8))


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


@pytest.mark.parametrize("interpolation", ["bilinear", "lanczos"])
def test_resizing_takes_bytes(interpolation):
    with pytest.raises(TypeError, match="images must be uint8, got torch.float32"):  # Pillow saw them as 8-bit zeros
        create_test_transform((4, 4), interpolation=interpolation)(torch.rand(3, 8, 8))


def test_images_are_tensors():
    with pytest.raises(TypeError, match=r"size must be \(height, width\) in pixels, at least \(1, 1\), got 288"):
        create_test_transform(288)
    with pytest.raises(TypeError, match="images must be a tensor, got 'Image'"):
        create_train_transform("visible")(Image.new("RGB", (10, 10)))


def test_bytes_are_normalised():
    with pytest.raises(TypeError, match="images must be uint8, got torch.float32"):
        Normalize()(torch.zeros(3, 4, 4))


@pytest.mark.parametrize(("size", "padding"), [((288, 24), 10), ((96, 24), 3)])
def test_padding_keeps_the_field_s_proportion(size, padding):
    transform = create_train_transform("infrared", size)
    image = torch.full((3, *size), 255, dtype=torch.uint8)  # wider than its padding, so that the middle column stays
    borders = torch.stack([(transform(image)[:, :, size[1] // 2] < -1.5).all(0) for _ in range(200)])
    assert borders.sum(1).max() == padding  # rows of zeros, 1.8 to 2.1 deviations below the mean
