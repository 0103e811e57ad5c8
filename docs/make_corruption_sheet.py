"""Draw ``docs/pictures/corruptions.jpg``: every corruption in its five severities.

python docs/make_corruption_sheet.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageDraw
from torchvision.transforms.v2.functional import to_pil_image

from vireid.data import CORRUPTIONS, corrupt, generate_synthetic, read_image

HEIGHT, WIDTH, GAP, CAPTION, COLUMNS = 192, 96, 3, 18, 2


def main() -> None:
    """Draw two columns of corruptions; a row is the clean image and the five severities."""
    with TemporaryDirectory() as folder:
        root = generate_synthetic(f"{folder}/people", train_identities=6, test_identities=1, images_per_camera=1)
        image = read_image(root / "cam2" / "0006" / "0001.jpg")
    rows = len(CORRUPTIONS) // COLUMNS
    across, down = 6 * (WIDTH + GAP) + 6 * GAP, HEIGHT + GAP + CAPTION
    sheet = Image.new("RGB", (COLUMNS * across, rows * down), "white")
    pen = ImageDraw.Draw(sheet)
    for number, name in enumerate(CORRUPTIONS):
        left, top = number // rows * across, number % rows * down
        pen.text((left, top + 3), name, "black")
        pictures = [image, *(corrupt(image, name, severity) for severity in range(1, 6))]
        for column, picture in enumerate(pictures):
            small = to_pil_image(picture).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
            sheet.paste(small, (left + column * (WIDTH + GAP) + (GAP if column else 0), top + CAPTION))
    sheet.save(Path(__file__).parent / "pictures" / "corruptions.jpg", quality=80)


if __name__ == "__main__":
    main()
