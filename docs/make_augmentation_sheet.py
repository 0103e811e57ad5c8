"""Draw ``docs/pictures/augmentations.jpg``: what every augmentation makes of a visible image.

python docs/make_augmentation_sheet.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image, ImageDraw
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import resize, to_pil_image

from vireid.data import (
    ChannelAdaptiveGray,
    ChannelErasing,
    ChannelExchange,
    ModerateLinearEnhancement,
    Normalize,
    RadicalLinearEnhancement,
    RandomFlip,
    RandomPadCrop,
    SelfPatchMix,
    SoftErasing,
    create_train_transform,
    generate_synthetic,
    read_image,
)
from vireid.data.transforms import IMAGENET_MEAN, IMAGENET_STD

SCALE, NORMALIZE = v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)
ROWS = {
    "RandomPadCrop(20)": torch.nn.Sequential(RandomPadCrop(20), Normalize()),
    "RandomFlip()": torch.nn.Sequential(RandomFlip(), Normalize()),
    "ChannelExchange()": torch.nn.Sequential(Normalize(), ChannelExchange()),
    "ChannelAdaptiveGray()": torch.nn.Sequential(Normalize(), ChannelAdaptiveGray()),
    "ChannelErasing()": torch.nn.Sequential(Normalize(), ChannelErasing()),
    "SoftErasing()": torch.nn.Sequential(SCALE, SoftErasing(), NORMALIZE),
    "SelfPatchMix()": torch.nn.Sequential(SCALE, SelfPatchMix(), NORMALIZE),
    "ModerateLinearEnhancement()": torch.nn.Sequential(SCALE, ModerateLinearEnhancement(), NORMALIZE),
    "RadicalLinearEnhancement()": torch.nn.Sequential(SCALE, RadicalLinearEnhancement(), NORMALIZE),
    "TwoViews, as in CAJ": create_train_transform("visible", recipe="caj"),
    "MixedViews, as in CIL": create_train_transform("visible", recipe="cil"),
    'create_train_transform("visible")': create_train_transform("visible"),
    'create_train_transform("infrared")': create_train_transform("infrared"),
}
DRAWS, HEIGHT, WIDTH, GAP, CAPTION = 8, 144, 72, 4, 18


def main() -> None:
    """Draw a row for every augmentation: the image, and what came of it."""
    torch.manual_seed(0)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    height = len(ROWS) * (CAPTION + HEIGHT + GAP)
    sheet = Image.new("RGB", ((DRAWS + 1) * (WIDTH + GAP) + 3 * GAP, height), "white")
    pen = ImageDraw.Draw(sheet)
    with TemporaryDirectory() as folder:
        root = generate_synthetic(f"{folder}/people", train_identities=4, test_identities=1, images_per_camera=1)
        images = {stem: read_image(root / camera / "0002" / "0001.jpg") for stem, camera in CAMERAS.items()}
    for row, (name, augment) in enumerate(ROWS.items()):
        top = row * (CAPTION + HEIGHT + GAP)
        pen.text((0, top + 3), name, "black")
        image = images["infrared" if "infrared" in name else "visible"]
        drawn = [augment(image) for _ in range(DRAWS)]
        if drawn[0].ndim == 4:
            drawn = list(torch.cat(drawn)[:DRAWS])
        shown = [image / 255, *((x * std + mean).clamp(0, 1) for x in drawn)]
        for column, picture in enumerate(shown):
            left = column * (WIDTH + GAP) + (3 * GAP if column else 0)
            sheet.paste(to_pil_image(resize(picture, [HEIGHT, WIDTH], antialias=True)), (left, top + CAPTION))
    target = Path(__file__).parent / "pictures" / "augmentations.jpg"
    sheet.save(target, quality=85)


CAMERAS = {"visible": "cam1", "infrared": "cam3"}

if __name__ == "__main__":
    main()
