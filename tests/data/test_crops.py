from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from vireid.data import create_test_transform, crop_boxes, read_image

PIXELS = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)  # 8 wide, 6 high
BOXES = [[1, 2, 4, 6], [0, 0, 8, 1]]


def expect(left, top, right, bottom):
    return torch.from_numpy(PIXELS[top:bottom, left:right].transpose(2, 0, 1).copy())


def equal(crops, expected):
    return len(crops) == len(expected) and all(map(torch.equal, crops, expected))


def test_boxes_by_hand():
    crops = crop_boxes(PIXELS, BOXES)
    assert equal(crops, [expect(1, 2, 4, 6), expect(0, 0, 8, 1)])
    assert all(crop.dtype == torch.uint8 and crop.is_contiguous() for crop in crops)


@pytest.mark.parametrize(
    "boxes",
    [
        np.array(BOXES),
        np.array(BOXES, np.float32),
        torch.tensor(BOXES),
        torch.tensor(BOXES, dtype=torch.bfloat16, requires_grad=True),
        SimpleNamespace(xyxy=np.array(BOXES, np.float32)),  # as supervision.Detections
        SimpleNamespace(xyxy=torch.tensor(BOXES)),
        [torch.tensor(box) for box in BOXES],
    ],
)
def test_boxes_of_any_library(boxes):
    assert equal(crop_boxes(PIXELS, boxes), [expect(1, 2, 4, 6), expect(0, 0, 8, 1)])


@pytest.mark.parametrize("boxes", [[], np.zeros((0, 4), np.float32), torch.zeros(0, 4), SimpleNamespace(xyxy=[])])
def test_nobody_in_the_frame(boxes):
    assert crop_boxes(PIXELS, boxes) == []


def test_frames_of_any_library(tmp_path):
    expected = [expect(1, 2, 4, 6), expect(0, 0, 8, 1)]
    assert equal(crop_boxes(torch.from_numpy(PIXELS).permute(2, 0, 1), BOXES), expected)
    assert equal(crop_boxes(PIXELS[:, :, ::-1], BOXES, channels="bgr"), expected)
    frozen = PIXELS.copy()
    frozen.flags.writeable = False
    assert equal(crop_boxes(frozen, BOXES), expected)
    gray = [crop[:1].expand(3, -1, -1) for crop in expected]
    assert equal(crop_boxes(PIXELS[:, :, 0], BOXES), gray)
    Image.fromarray(PIXELS).save(tmp_path / "frame.png")
    assert equal(crop_boxes(read_image(tmp_path / "frame.png"), BOXES), expected)


def test_boxes_are_cut_off_at_the_border_and_take_whole_pixels():
    crops = crop_boxes(PIXELS, [[-3, -1, 2.2, 3], [6.7, 4.9, 90, 1e9]])
    assert equal(crops, [expect(0, 0, 3, 3), expect(6, 4, 8, 6)])


def test_the_next_frame_may_take_the_memory():
    for frame in (PIXELS.copy(), torch.from_numpy(PIXELS.copy()).permute(2, 0, 1).contiguous(), PIXELS[:, :, 0].copy()):
        crops = crop_boxes(frame, BOXES)
        before = [crop.clone() for crop in crops]
        frame[:] = 0
        assert equal(crops, before)
        crops[0][0] = 9
        assert int(frame.max()) == 0


def test_crops_reach_a_network():
    transform = create_test_transform((8, 4))
    batch = torch.stack([transform(crop) for crop in crop_boxes(PIXELS, BOXES)])
    assert batch.shape == (2, 3, 8, 4)
    assert batch.is_floating_point()


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (
            [8, 0, 9, 1],
            r"boxes\[1\] must cover a pixel of the frame, 8 wide and 6 high, got \[8.0, 0.0, 9.0, 1.0\]. Its",
        ),
        ([4, 2, 1, 6], r"boxes\[1\] must cover a pixel"),
        ([0, -3, 4, -1], r"boxes\[1\] must cover a pixel"),
        ([0, 0, np.nan, 1], r"boxes\[1\] must be finite, got \[0.0, 0.0, nan, 1.0\]"),
    ],
)
def test_boxes_without_pixels(box, message):
    with pytest.raises(ValueError, match=message):
        crop_boxes(PIXELS, [BOXES[0], box])


def test_frames_that_are_none():
    with pytest.raises(
        TypeError, match=r"frame must be uint8, got dtype\('uint16'\). Scale frames of more than 8 bits"
    ):
        crop_boxes(PIXELS.astype(np.uint16), BOXES)
    with pytest.raises(ValueError, match=r"frame must be an image, a tensor 3 h w or an array h w 3, got \(6, 8, 3\)"):
        crop_boxes(torch.from_numpy(PIXELS), BOXES)
    with pytest.raises(
        ValueError, match=r"boxes must be \(left, top, right, bottom\) of each box, n 4.*, got \(1, 6\)"
    ):
        crop_boxes(PIXELS, [[1, 2, 4, 6, 0.9, 1]])
    with pytest.raises(ValueError, match="channels must be one of 'rgb', 'bgr', got 'BGR'"):
        crop_boxes(PIXELS, BOXES, channels="BGR")
