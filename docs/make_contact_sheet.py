"""Draw ``docs/pictures/synthetic.jpg``: people of the synthetic data set as its six cameras see them.

python docs/make_contact_sheet.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageDraw

from vireid.data.synthetic import generate_synthetic

CAMERAS = [1, 2, 4, 5, 3, 6]  # visible, then infrared
FRAMES, PEOPLE = (1, 2), range(1, 7)
HEIGHT, WIDTH, GAP, CAPTION = 192, 96, 4, 20


def main() -> None:
    """Draw a row for every person and two images from every camera."""
    columns = [(camera, frame) for camera in CAMERAS for frame in FRAMES]
    offsets = [index * WIDTH + (index // len(FRAMES)) * GAP for index in range(len(columns))]
    sheet = Image.new("RGB", (offsets[-1] + WIDTH, CAPTION + len(PEOPLE) * (HEIGHT + GAP) - GAP), "white")
    pen = ImageDraw.Draw(sheet)
    with TemporaryDirectory() as folder:
        root = generate_synthetic(
            f"{folder}/people",
            train_identities=len(PEOPLE),
            test_identities=1,
            images_per_camera=len(FRAMES),
            size=(HEIGHT, WIDTH),
        )
        for (camera, frame), left in zip(columns, offsets, strict=True):
            if frame == FRAMES[0]:
                pen.text((left, 4), f"camera {camera}, {'infrared' if camera in {3, 6} else 'visible'}", "black")
            for row, identity in enumerate(PEOPLE):
                with Image.open(root / f"cam{camera}" / f"{identity:04d}" / f"{frame:04d}.jpg") as image:
                    sheet.paste(image, (left, CAPTION + row * (HEIGHT + GAP)))
    target = Path(__file__).parent / "pictures" / "synthetic.jpg"
    target.parent.mkdir(exist_ok=True)
    sheet.save(target, quality=85)


if __name__ == "__main__":
    main()
