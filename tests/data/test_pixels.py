import numpy as np
import pytest
import torch
from PIL import Image

from vireid.data import Normalize, RandomFlip, RandomPadCrop, read_image
from vireid.data.pixels import from_pillow, image_of, split_pixels, to_pillow, words_of

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 4), np.uint8)


def view(pixels=PIXELS):
    return torch.from_numpy(pixels).permute(2, 0, 1)


def test_images_are_views_of_their_words():
    image = view()[:3]
    words = words_of(image)
    assert words.dtype == torch.int32
    assert (words & 0xFF).equal(image[0].int())
    assert torch.equal(image_of(words), image)
    assert words.data_ptr() == image.data_ptr() == image_of(words).data_ptr()
    assert torch.equal(image_of(words_of(image[:, 1:4, 2:])), image[:, 1:4, 2:])  # a part is no copy either
    assert torch.equal(split_pixels(image), image)
    assert split_pixels(image).is_contiguous()


@pytest.mark.parametrize(
    "image",
    [
        view()[:3].contiguous(),
        view()[1:, :-1],  # the last three bytes of pixels
        torch.from_numpy(PIXELS[..., :3]).permute(2, 0, 1),  # without the last byte of the last pixel
        torch.from_numpy(PIXELS[..., :3].copy()).permute(2, 0, 1),
        view()[:3].unsqueeze(0),
        view()[:3, :, :0],
        view()[:2],
        view().view(torch.int8)[:3],
        view(PIXELS.astype(np.float32))[:3],
        None,
    ],
    ids=["planes", "last", "short", "three", "batch", "empty", "two", "signed", "floats", "none"],
)
def test_other_layouts_have_no_words(image):
    assert words_of(image) is None


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_pillow_s_images_have_words(tmp_path, mode):
    picture = Image.fromarray(PIXELS[..., :3]).convert(mode)
    image, expected = from_pillow(picture), np.asarray(picture.convert("RGB"))
    assert words_of(image) is not None
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), expected)
    for form in (image, image.contiguous(), image[:, :, 1:]):
        np.testing.assert_array_equal(np.asarray(to_pillow(form)), form.permute(1, 2, 0).numpy())
    picture.save(tmp_path / "image.png")
    assert words_of(read_image(tmp_path / "image.png")) is not None


def test_transforms_give_the_same_for_words_and_planes():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(4, 2)
    pixels[..., 3] = 255  # the sign of the word
    image = view(pixels)[:3]
    for transform in (RandomPadCrop(3), RandomFlip(), Normalize(), Normalize((0.1, 0.5, 0.9), (0.3, 0.01, 1.0))):
        for seed in range(4):
            torch.manual_seed(seed)
            result = transform(image)
            torch.manual_seed(seed)
            assert torch.equal(result, transform(image.contiguous()))
    assert torch.equal(image, view(pixels)[:3].contiguous())  # not modified
