from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from tests.fake_cuda import run_on_fake_cuda
from tests.references import shifts_of
from vireid import set_epoch
from vireid.data import (
    ChannelExchange,
    RandomPadCrop,
    create_test_transform,
    create_train_transform,
    recipes,
)
from vireid.data.recipes import Recipe

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


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


@pytest.mark.parametrize("library", ["torch", "pillow"])
def test_lanczos_is_pillow_s(library, monkeypatch):
    if library == "pillow":
        monkeypatch.setattr(recipes, "TORCH_HAS_LANCZOS", False)
    elif not recipes.TORCH_HAS_LANCZOS:
        pytest.skip("PyTorch has had Lanczos since 2.12")
    pixels = np.random.default_rng(0).integers(0, 256, (50, 30, 4), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels[..., :3]).resize((12, 24), Image.Resampling.LANCZOS))
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[:3].contiguous()
    transforms = [
        create_test_transform((24, 12), interpolation=name, mean=(0.0,) * 3, std=(1 / 255,) * 3)
        for name in ("lanczos", "bilinear", "bicubic")
    ]
    transform = transforms[0]
    result, *others = [each(planes) for each in transforms]
    differences = (result - torch.from_numpy(expected.copy()).permute(2, 0, 1)).abs()
    assert differences.max() < (1.001 if library == "torch" else 1e-3)
    assert differences.mean() < 0.01
    assert torch.equal(transform(torch.from_numpy(pixels).permute(2, 0, 1)[:3]), result)
    assert min((result - other).abs().mean() for other in others) > 1
    assert not torch.equal(*others)
    if library == "torch":
        assert torch.equal(transform(planes.expand(2, 3, 50, 30)), result.expand(2, 3, 24, 12))
    else:
        with pytest.raises(ValueError, match=r"images must be one image, 3 h w, for lanczos, got \(1, 3, 50, 30\)"):
            transform(planes[None])


@pytest.mark.parametrize("recipe", get_args(Recipe))
@pytest.mark.parametrize("modality", ["visible", "infrared"])
def test_recipes_give_the_same_for_pixels_of_four_bytes_and_for_planes(modality, recipe):
    image = torch.randint(256, (40, 20, 4), dtype=torch.uint8).permute(2, 0, 1)[:3]
    for size, interpolation in (((40, 20), "bilinear"), ((30, 24), "bilinear"), ((24, 12), "lanczos")):
        transform = create_train_transform(modality, size, recipe=recipe, padding=4, interpolation=interpolation)
        for seed in range(4):
            torch.manual_seed(seed)
            result, after = transform(image), torch.get_rng_state()
            torch.manual_seed(seed)
            assert torch.equal(result, transform(image.contiguous()))
            assert torch.equal(torch.get_rng_state(), after)
            assert result.is_contiguous()


def test_pixels_of_four_bytes_are_shifted_whole(monkeypatch):
    image = torch.randint(256, (40, 20, 4), dtype=torch.uint8).permute(2, 0, 1)[:3]
    transform = create_train_transform("visible", (40, 20), recipe="agw", padding=4)
    monkeypatch.delattr(RandomPadCrop, "forward")
    assert transform(image).shape == (3, 40, 20)
    with pytest.raises(NotImplementedError):
        transform(image.contiguous())


def test_pixels_of_four_bytes_are_resized_whole(monkeypatch):
    image = torch.randint(256, (50, 30, 4), dtype=torch.uint8).permute(2, 0, 1)[:3]
    transform = create_train_transform("visible", (40, 20), recipe="agw", padding=4)
    monkeypatch.delattr(type(transform[0]), "forward")
    assert transform(image).shape == (3, 40, 20)
    with pytest.raises(NotImplementedError):
        transform(image.contiguous())


def test_parts_of_a_recipe_are_transforms():
    image = torch.randint(256, (40, 20, 4), dtype=torch.uint8).permute(2, 0, 1)[:3]
    transform = create_train_transform("visible", (40, 20), recipe="agw", padding=4)
    for seed in range(4):
        torch.manual_seed(seed)
        whole = transform(image)
        torch.manual_seed(seed)
        assert torch.equal(transform[3:](transform[:3](image)), whole)
    with pytest.raises(ValueError, match=r"images must be wider and higher than padding = 4, got \(40, 4\)"):
        transform[1:](image[:, :, :4])
    narrow = create_train_transform("visible", (40, 4), recipe="agw", padding=4)
    with pytest.raises(ValueError, match=r"images must be wider and higher than padding = 4, got \(40, 4\)"):
        narrow(image)


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


@pytest.mark.parametrize("interpolation", ["bilinear", "lanczos"])
def test_resizing_takes_bytes(interpolation):
    with pytest.raises(TypeError, match="images must be uint8, got torch.float32"):  # Pillow saw them as 8-bit zeros
        create_test_transform((4, 4), interpolation=interpolation)(torch.rand(3, 8, 8))


def test_images_are_tensors():
    with pytest.raises(TypeError, match=r"size must be \(height, width\) in pixels, at least \(1, 1\), got 288"):
        create_test_transform(288)
    with pytest.raises(TypeError, match="images must be a tensor, got 'Image'"):
        create_train_transform("visible")(Image.new("RGB", (10, 10)))


@pytest.mark.parametrize(("size", "padding"), [((288, 24), 10), ((96, 24), 3)])
def test_padding_keeps_the_field_s_proportion(size, padding):
    transform = create_train_transform("infrared", size)
    image = torch.full((3, *size), 255, dtype=torch.uint8)  # wider than its padding, so that the middle column stays
    borders = torch.stack([(transform(image)[:, :, size[1] // 2] < -1.5).all(0) for _ in range(200)])
    assert borders.sum(1).max() == padding  # rows of zeros, 1.8 to 2.1 deviations below the mean


def test_recipe_of_cil():
    image = (255 * torch.rand(3, 96, 48)).byte()
    options = {"mean": (0, 0, 0), "std": (1, 1, 1), "padding": 0}
    clean = torch.stack([image, image.flip(-1)]) / 255
    for recipe, erased in (("cil", 0), ("cil-literal", 0.75)):
        transform = create_train_transform("visible", (96, 48), recipe=recipe, **options)
        views = torch.stack([transform(image) for _ in range(40)])
        assert views.shape == (40, 3, 3, 96, 48)
        assert views.min() >= 0
        assert views.max() <= 1
        first = (views[:, :1] - clean).flatten(2).abs().amax(2).amin(1) > 1e-6
        assert first.float().mean().item() == pytest.approx(erased, abs=0.2)  # one of two mixings, ½ each
        assert (views[:, 1] != views[:, 2]).flatten(1).any(1).all()
        assert (views[:, 0] - views[:, 1]).abs().mean() > 0.02
        assert (views * 255 - (views * 255).round()).abs()[:, 1:].max() < 1e-3  # AugMix works on bytes
        infrared = create_train_transform("infrared", (96, 48), recipe=recipe, **options)(image)
        assert infrared.shape == (3, 96, 48)
    batch = create_train_transform("visible", (96, 48), recipe="cil")(image.repeat(5, 1, 1, 1))
    assert batch.shape == (5, 3, 3, 96, 48)


def test_recipe_of_caj_plus():
    image = (255 * torch.rand(3, 96, 48)).byte()
    transform = create_train_transform("visible", (96, 48), recipe="caj+", padding=0)
    weak, strong = torch.stack([transform(image) for _ in range(300)]).unbind(1)
    assert (strong == strong[:, :1]).all()
    fill = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
    assert (weak == fill).all(1).flatten(1).any(1).float().mean().item() == pytest.approx(0.6, abs=0.09)
    spread = (weak - weak.mean(1, keepdim=True)).abs().flatten(1).mean(1)
    assert (spread < 0.2).float().mean().item() == pytest.approx(0.1, abs=0.06)  # gray, but for the normalisation
    images = create_train_transform("infrared", (96, 48), recipe="caj+", padding=0)
    same = torch.stack([(images(image)[:, 40:50, 20:30]).std(0).mean() > 0 for _ in range(300)])
    assert same.float().mean().item() == pytest.approx(0.25 * 0.4 * 0.8, abs=0.08)  # unchanged, or erased there


@pytest.mark.parametrize("modality", ["visible", "infrared"])
def test_recipe_of_rle(modality):
    options = {"mean": (0, 0, 0), "std": (1, 1, 1), "padding": 0}
    transform = create_train_transform(modality, (96, 48), recipe="rle", **options)
    image = (255 * torch.rand(3, 96, 48)).byte()
    results = torch.stack([transform(image) for _ in range(200)])
    assert results.min() >= 0
    assert results.max() <= 1
    whole = (results - (torch.stack([image, image.flip(-1)]) / 255)[:, None]).flatten(2).abs().amax(2).amin(0) < 1e-6
    assert whole.float().mean().item() == pytest.approx(1 / 8, abs=0.08)  # none of the three
    black = torch.zeros(3, 96, 48, dtype=torch.uint8)
    assert torch.stack([transform(black) for _ in range(50)]).isfinite().all()
