import ast
import inspect
import io
import pickle
import random
import subprocess
import sys
from collections import Counter
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from torch.utils.data import DataLoader

from vireid.data import CORRUPTIONS, SYSUMM01, PersonImages, RandomCorruption, corrupt, generate_synthetic
from vireid.data.pedestrians import Shot, photograph
from vireid.modality import Modality


@pytest.fixture(scope="module")
def image():
    pixels = photograph(Shot("", 3, 1, 1, Modality.VISIBLE), (144, 72), 0.5, 0)
    return torch.from_numpy(np.array(pixels, np.uint8)).permute(2, 0, 1)


@pytest.fixture(scope="module")
def flat():
    return torch.full((3, 128, 96), 128, dtype=torch.uint8)


def change(corrupted, image):
    return (corrupted.double() - image.double()).abs().mean().item()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_depends_on_its_arguments_alone(name, image):
    states = np.random.get_state()[1].tolist(), random.getstate(), torch.get_rng_state()
    before = image.clone()
    results = [corrupt(image, name, severity, seed=7) for severity in (1, 2, 3, 4, 5)]
    assert np.random.get_state()[1].tolist() == states[0]
    assert random.getstate() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert torch.equal(image, before)
    for result in results:
        assert result.shape == image.shape
        assert result.dtype == torch.uint8
        assert 0.2 < change(result, image) < 150
    np.random.seed(99)
    assert all(torch.equal(corrupt(image, name, s, seed=7), result) for s, result in enumerate(results, 1))
    same = all(torch.equal(corrupt(image, name, s, seed=8), result) for s, result in enumerate(results, 1))
    fixed = {"defocus_blur", "zoom_blur", "gaussian_blur", "brightness", "contrast", "saturate", "pixelate"}
    assert same == (name in fixed | {"jpeg_compression"})


STEADY = set(CORRUPTIONS) - {"saturate", "spatter", "snow", "glass_blur", "motion_blur", "frost"}


@pytest.mark.parametrize("name", sorted(STEADY))
def test_higher_severities_change_more(name, image):
    """Not so of six: saturation falls, then rises; mud covers less than water; the others trade size for strength."""
    changes = [np.mean([change(corrupt(image, name, s, seed=k), image) for k in range(4)]) for s in range(1, 6)]
    assert changes[0] < changes[2] < changes[4]


def test_all_differ(image):
    results = [corrupt(image, name, 3) for name in CORRUPTIONS]
    pairs = [(a, b) for i, a in enumerate(results) for b in results[:i]]
    assert len(results) == 20
    assert all(change(a, b) > 0.5 for a, b in pairs)


# The severities of the benchmark, one corruption after the other.

TABLE = {  # read from the wheel of imagecorruptions 1.1.2, with which the benchmark was made
    "gaussian_noise": [0.08, 0.12, 0.18, 0.26, 0.38],
    "shot_noise": [60, 25, 12, 5, 3],
    "impulse_noise": [0.03, 0.06, 0.09, 0.17, 0.27],
    "speckle_noise": [0.15, 0.2, 0.35, 0.45, 0.6],
    "defocus_blur": [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
    "glass_blur": [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
    "motion_blur": [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
    "zoom_blur": [(1, 1.11, 0.01), (1, 1.16, 0.01), (1, 1.21, 0.02), (1, 1.26, 0.02), (1, 1.31, 0.03)],
    "gaussian_blur": [1, 2, 3, 4, 6],
    "snow": [
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ],
    "frost": [(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)],
    "fog": [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
    "brightness": [0.1, 0.2, 0.3, 0.4, 0.5],
    "contrast": [0.4, 0.3, 0.2, 0.1, 0.05],
    "saturate": [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)],
    "elastic_transform": [12.5, 16.25, 21.25, 25, 30],
    "pixelate": [0.6, 0.5, 0.4, 0.3, 0.25],
    "jpeg_compression": [25, 18, 15, 10, 7],
    "spatter": [
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ],
}


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - {"rain"}))
def test_the_library_has_the_benchmark_s_severities(name):
    """Not every one shows in the pixels: that another version of the library changes none, its source tells."""
    source = ast.parse(inspect.getsource(getattr(import_module("imagecorruptions.corruptions"), name)))
    tables = [n.value for n in ast.walk(source) if isinstance(n, ast.Subscript) and isinstance(n.value, ast.List)]
    levels = [eval(ast.unparse(t), {"np": SimpleNamespace(arange=lambda *ends: ends)}) for t in tables]
    levels = next(level for level in levels if len(level) == 5)
    assert [pytest.approx(level) for level in levels] == TABLE[name]


@pytest.mark.parametrize("name", ["fog", "gaussian_noise", "rain", "jpeg_compression"])
def test_small_images_are_mirrored(name):
    image = (255 * torch.rand(3, 20, 40, generator=torch.Generator().manual_seed(0))).byte()
    mirrored = torch.cat([image, image.flip(1)[:, :12]], 1)
    assert torch.equal(corrupt(image, name, 3), corrupt(mirrored, name, 3)[:, :20])


@pytest.mark.parametrize(("severity", "frost"), list(enumerate(TABLE["frost"], 1)))
def test_frost(flat, severity, frost):
    black, dark = (corrupt(flat * 0 + level, "frost", severity).double() for level in (0, 60))
    unclipped = dark < 255
    assert ((dark - black)[unclipped] - 60 * frost[0]).abs().max() <= 1
    texture = corrupt(flat * 0, "frost", 1).double() / TABLE["frost"][0][1]
    unclipped = black < 255
    assert (black - texture * frost[1])[unclipped].abs().max() <= 3


@pytest.mark.parametrize(("severity", "alpha"), list(enumerate(TABLE["elastic_transform"], 1)))
def test_elastic_transform(severity, alpha):
    height, width = 288, 144
    ramp = torch.arange(width).expand(3, height, width).byte()
    shift = (corrupt(ramp, "elastic_transform", severity).double() - ramp)[0, :, 16:-16]
    # Uniform noise up to 0.5 % of the height, smoothed by Gaussians of 1 % of the sides, times α.
    expected = alpha * 0.005 * height / 3**0.5 / (4 * np.pi * 0.01 * height * 0.01 * width) ** 0.5
    assert shift.std().item() == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize(("severity", "motion"), list(enumerate(TABLE["motion_blur"], 1)))
def test_motion_blur(severity, motion):
    dot = torch.zeros(3, 96, 96, dtype=torch.uint8)
    dot[:, 48, 48] = 255
    trail = np.exp(-(np.arange(2 * motion[0] + 1) ** 2) / (2 * motion[1] ** 2))
    expected = np.zeros(96 * 96)
    expected[: len(trail)] = 255 * trail / trail.sum()
    result = np.sort(corrupt(dot, "motion_blur", severity)[0].double().numpy().ravel())[::-1]
    assert np.abs(result - expected).max() <= 1.01


@pytest.mark.parametrize(("severity", "sigma"), list(enumerate([0.08, 0.12, 0.18, 0.26, 0.38], 1)))
def test_gaussian_noise(flat, severity, sigma):
    noise = corrupt(flat, "gaussian_noise", severity).double() / 255 - 0.5
    expected = np.clip(0.5 + sigma * np.random.default_rng(0).normal(size=100_000), 0, 1).std()
    assert noise.std().item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("severity", "photons"), list(enumerate([60, 25, 12, 5, 3], 1)))
def test_shot_noise(flat, severity, photons):
    levels = (corrupt(flat, "shot_noise", severity).double() / 255 * photons).round().unique()
    expected = np.clip(np.random.default_rng(0).poisson(128 / 255 * photons, 100_000) / photons, 0, 1).std()
    assert (corrupt(flat, "shot_noise", severity).double() / 255).std().item() == pytest.approx(expected, rel=0.03)
    assert len(levels) <= photons + 1


@pytest.mark.parametrize(("severity", "share"), list(enumerate([0.03, 0.06, 0.09, 0.17, 0.27], 1)))
def test_impulse_noise(flat, severity, share):
    result = corrupt(flat, "impulse_noise", severity)
    assert set(result.unique().tolist()) == {0, 128, 255}
    assert (result != 128).double().mean().item() == pytest.approx(share, rel=0.06)


@pytest.mark.parametrize(("severity", "sigma"), list(enumerate([0.15, 0.2, 0.35, 0.45, 0.6], 1)))
def test_speckle_noise(flat, severity, sigma):
    dark = flat // 4
    noise = corrupt(dark, "speckle_noise", severity).double() / 32 - 1
    expected = np.clip(1 + sigma * np.random.default_rng(0).normal(size=100_000), 0, 8).std()
    assert noise.std().item() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(("severity", "sigma"), list(enumerate([1, 2, 3, 4, 6], 1)))
def test_gaussian_blur(image, severity, sigma):
    expected = [gaussian_filter(channel / 255, sigma, mode="nearest") * 255 for channel in image.double().numpy()]
    assert change(corrupt(image, "gaussian_blur", severity), torch.tensor(np.array(expected))) < 1


@pytest.mark.parametrize(("severity", "radius"), list(enumerate([3, 4, 6, 8, 10], 1)))
def test_defocus_blur(severity, radius):
    square = torch.zeros(3, 96, 96, dtype=torch.uint8)
    square[:, 48:] = 255  # how wide an edge becomes is how wide the disk is
    edge = corrupt(square, "defocus_blur", severity)[0, :, 48]
    assert abs(((edge > 2) & (edge < 252)).sum().item() - 2 * radius) <= 3


@pytest.mark.parametrize(("severity", "factor"), list(enumerate([0.4, 0.3, 0.2, 0.1, 0.05], 1)))
def test_contrast(image, severity, factor):
    means = image.double().mean((1, 2), keepdim=True)
    expected = (image.double() - means) * factor + means
    assert (corrupt(image, "contrast", severity).double() - expected).abs().max() <= 1.01


@pytest.mark.parametrize(("severity", "more"), list(enumerate([0.1, 0.2, 0.3, 0.4, 0.5], 1)))
def test_brightness(image, severity, more):
    value = image.double().amax(0)  # V of HSV
    assert (
        corrupt(image, "brightness", severity).double().amax(0) - (value + 255 * more).clamp_max(255)
    ).abs().max() <= 1


@pytest.mark.parametrize(("severity", "line"), list(enumerate([(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)], 1)))
def test_saturate(image, severity, line):
    def saturation(picture):
        picture = picture.double()
        return (picture.amax(0) - picture.amin(0)) / picture.amax(0).clamp_min(1)

    bright = image.amax(0) > 100  # elsewhere the rounding to bytes is coarse
    expected = (saturation(image) * line[0] + line[1]).clamp(0, 1)
    gray = image.amax(0) == image.amin(0)
    difference = (saturation(corrupt(image, "saturate", severity)) - expected).abs()[bright & ~gray]
    assert difference.max() < 0.03


@pytest.mark.parametrize(("severity", "quality"), list(enumerate([25, 18, 15, 10, 7], 1)))
def test_jpeg_compression(image, severity, quality):
    stream = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(stream, "JPEG", quality=quality)
    with Image.open(stream) as expected:
        assert np.array_equal(
            corrupt(image, "jpeg_compression", severity).permute(1, 2, 0).numpy(), np.asarray(expected)
        )


@pytest.mark.parametrize(("severity", "factor"), list(enumerate([0.6, 0.5, 0.4, 0.3, 0.25], 1)))
def test_pixelate(image, severity, factor):
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    small = picture.resize((int(72 * factor), int(144 * factor)), Image.Resampling.BOX)
    expected = np.asarray(small.resize((72, 144), Image.Resampling.NEAREST))
    assert np.array_equal(corrupt(image, "pixelate", severity).permute(1, 2, 0).numpy(), expected)


def test_fog_whitens(flat):
    strength = [(1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)]
    for severity, (thickness, _) in enumerate(strength, 1):
        foggy = corrupt(flat, "fog", severity).double() / 255
        top = 128 / 255  # x and a map from 0 to the thickness, brought back below the brightest pixel
        low, high = top * top / (top + thickness), top
        assert low - 0.01 <= foggy.min() <= foggy.max() <= high + 0.01


def test_frost_draws_five_textures(flat):
    from imagecorruptions import corruptions  # noqa: PLC0415

    opened = Counter()
    read = corruptions.cv2.imread
    try:
        corruptions.cv2.imread = lambda path: (opened.update([str(path).rsplit("/", 1)[-1]]), read(path))[1]
        for seed in range(40):
            corrupt(flat[:, :40, :40], "frost", 1, seed=seed)
    finally:
        corruptions.cv2.imread = read
    assert len(opened) == 5
    assert not any("frost6" in name for name in opened)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_rain_darkens_and_streaks(flat, severity):
    rainy = corrupt(flat, "rain", severity).double()
    darker = 128 - 255 * (0.05 + 0.05 * severity)
    assert rainy.min().item() == pytest.approx(darker, abs=1.01)  # between the streaks
    assert 2 < rainy.max().item() - darker < 73  # the streaks' 200, spread by the blur


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_rain_blurs_by_two_more_pixels_than_its_severity(severity, monkeypatch):
    monkeypatch.setattr(ImageDraw.ImageDraw, "line", lambda *_: None)
    edge = torch.full((3, 32, 64), 255, dtype=torch.uint8)
    edge[:, :, 32:] = 100
    profile = corrupt(edge, "rain", severity)[0, 16].double()
    expected = np.convolve(
        np.pad(edge[0, 16].double().numpy(), 9, "edge"), np.ones(2 + severity) / (2 + severity), "same"
    )
    if severity % 2 == 0:  # an even box is centred between two pixels: the mean of both positions
        expected = (expected + np.roll(expected, -1)) / 2
    expected = expected[9:-9] - 255 * (0.05 + 0.05 * severity)
    assert np.abs(profile.numpy() - expected).max() <= 1.5


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_rain_has_the_drops_and_lengths_of_its_type(flat, severity, monkeypatch):
    drawn = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "line", lambda _, ends, *rest: drawn.append(ends))
    corrupt(flat, "rain", severity)
    pixels_a_drop, length = [(770, 10), (600, 30), (600, 30), (500, 60), (500, 60)][severity - 1]
    assert len(drawn) == flat[0].numel() // pixels_a_drop
    assert {bottom - top for _, top, _, bottom in drawn} == {length}
    slants = {right - left for left, _, right, _ in drawn}
    assert len(slants) == 1
    assert abs(slants.pop()) <= 10


@pytest.mark.parametrize("size", [(288, 144), (20, 10), (33, 200), (400, 40)])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_any_size(name, size):
    image = (255 * torch.rand(3, *size, generator=torch.Generator().manual_seed(0))).byte()
    result = corrupt(image, name, 5)
    assert result.shape == image.shape
    assert change(result, image) > 1


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_black_and_white_images(name, value, capsys, recwarn):
    flat = torch.full((3, 40, 36), value, dtype=torch.uint8)
    for severity in (1, 5):
        corrupt(flat, name, severity)
    assert capsys.readouterr().out == ""
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]


# Draws


def test_random_corruption_is_uniform():
    corruption = RandomCorruption(seed=1)
    chosen = [corruption.choose(f"image {number}") for number in range(4000)]
    counts = Counter((name, severity) for name, severity, _ in chosen)
    assert set(counts) == {(name, severity) for name in CORRUPTIONS for severity in range(1, 6)}
    assert max(counts.values()) < 75  # of 40 each
    assert len({seed for _, _, seed in chosen}) > 3990


def test_draws_and_seeds_differ():
    keys = [f"image {number}" for number in range(50)]
    lists = [[RandomCorruption(**options).choose(key) for key in keys] for options in ({}, {"draw": 1}, {"seed": 1})]
    assert lists[0] != lists[1] != lists[2] != lists[0]
    assert lists[0] == [RandomCorruption().choose(key) for key in keys]


@pytest.mark.slow
def test_processes_corrupt_alike():
    script = """
import hashlib, torch
from vireid.data import CORRUPTIONS, RandomCorruption, corrupt
image = torch.arange(3 * 48 * 32).view(3, 48, 32).remainder(256).byte()
pictures = [corrupt(image, name, 4, seed=5) for name in CORRUPTIONS] + [RandomCorruption(size=None)(image, "me")]
digest = hashlib.sha256(torch.stack(pictures).numpy().tobytes()).hexdigest()
print(digest)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    here = {}
    exec(script, here)
    assert done.stdout.strip() == here["digest"]


def test_workers_corrupt_alike(tmp_path):
    root = generate_synthetic(
        tmp_path / "people", train_identities=2, test_identities=2, images_per_camera=2, size=(48, 32)
    )
    records = SYSUMM01(root).test_visible
    corruption = RandomCorruption(size=(40, 32), corruptions=["rain", "impulse_noise", "defocus_blur", "spatter"])
    images = PersonImages(records, torch.clone, corruption=corruption)
    alone = torch.stack([images[i][0] for i in range(len(images))])
    assert alone.shape[2:] == (40, 32)
    loaded = torch.cat([batch for batch, _, _ in DataLoader(images, 3, num_workers=2)])
    assert torch.equal(loaded, alone)
    others = PersonImages(records[::-1], torch.clone, corruption=pickle.loads(pickle.dumps(corruption)))
    assert torch.equal(others[0][0], images[len(images) - 1][0])  # wherever in the list
    fingerprints = {
        PersonImages(records, torch.clone, corruption=c).fingerprint()
        for c in (None, corruption, RandomCorruption(size=(40, 32), draw=1))
    }
    assert len(fingerprints) == 3


def test_resizes_first(image):
    corruption = RandomCorruption(size=(50, 40), corruptions=["contrast"], severities=[2])
    resized = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).resize((40, 50), Image.Resampling.LANCZOS)
    expected = corrupt(torch.from_numpy(np.array(resized)).permute(2, 0, 1), "contrast", 2)
    assert torch.equal(corruption(image, "me"), expected)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda x: corrupt(x, "fogg", 1), ValueError, "name must be one of 'gaussian_noise', .*Did you mean .*'fog'"),
        (
            lambda x: corrupt(x, "fog", 0),
            ValueError,
            "severity must be an integer from 1 to 5, got 0",
        ),
        (
            lambda x: corrupt(x, "fog", 6),
            ValueError,
            "severity must be an integer from 1 to 5, got 6",
        ),
        (lambda x: corrupt(x, "fog", 1, seed=-1), ValueError, "seed must be an integer from 0 to"),
        (lambda x: corrupt(x.float(), "fog", 1), TypeError, "image must be uint8, got torch.float32"),
        (lambda x: corrupt(x[None], "fog", 1), ValueError, r"image must have shape \(3, h, w\), got \(1, 3, 144, 72\)"),
        (lambda x: corrupt(x.numpy(), "fog", 1), TypeError, "image must be a tensor, got 'ndarray'"),
        (lambda x: RandomCorruption(corruptions=[]), ValueError, r"corruptions must not be empty, got \[\]"),
        (
            lambda x: RandomCorruption(corruptions=["haze"]),
            ValueError,
            "corruptions must name known corruptions, got 'haze'",
        ),
        (
            lambda x: RandomCorruption(severities=[6]),
            ValueError,
            r"severities\[0\] must be an integer from 1 to 5, got 6",
        ),
        (lambda x: corrupt(x, "fog", 1, seed=1.5), ValueError, "seed must be an integer from 0 to"),
        (lambda x: RandomCorruption(draw=-1), ValueError, "draw must be an integer of at least 0, got -1"),
        (lambda x: RandomCorruption(seed=0.5), ValueError, "seed must be an integer of at least 0, got 0.5"),
        (lambda x: RandomCorruption(size=(288,)), ValueError, r"size must be \(height, width\) .*, got \(288,\)"),
        (lambda x: RandomCorruption(size=(0, 9)), ValueError, r"size\[0\] must be an integer of at least 1, got 0"),
        (lambda x: RandomCorruption(size=(9.5, 9)), ValueError, r"size\[0\] must be an integer of at least 1, got 9.5"),
    ],
)
def test_errors(image, make, error, message):
    with pytest.raises(error, match=message):
        make(image)


def test_a_readable_repr():
    expected = "RandomCorruption(size=(8, 4), corruptions=('fog',), severities=(1,), seed=3, draw=1)"
    assert repr(RandomCorruption(size=(8, 4), corruptions=["fog"], severities=[1], seed=3, draw=1)) == expected


def test_needs_the_extra(image, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecorruptions.corruptions", None)
    with pytest.raises(ImportError, match=r"imagecorruptions must be installed .* pip install 'vireid\[robustness\]'"):
        corrupt(image, "fog", 1)
    corrupt(image, "rain", 1)
