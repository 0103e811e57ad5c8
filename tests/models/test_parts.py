import pytest
import torch

from vireid.models import MaskPartPooling, PrototypePartPooling


@pytest.fixture
def feature_map():
    return torch.randn(3, 4, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def make(kind):
    torch.manual_seed(1)
    pool = MaskPartPooling(4, parts=2) if kind == "masks" else PrototypePartPooling(4, (3, 2), parts=2)
    return pool.double()


def reference(pool, feature_map):
    """Every mask, part and mean, position by position."""
    masks, rows = [], []
    for image in feature_map:
        c, h, w = image.shape
        row, mask = [], torch.zeros(2, h, w, dtype=torch.float64)
        for k in range(2):
            part = torch.zeros(c, dtype=torch.float64)
            for y in range(h):
                for x in range(w):
                    if isinstance(pool, MaskPartPooling):
                        logit = pool.convolution.weight[k, :, 0, 0] @ image[:, y, x] + pool.convolution.bias[k]
                    else:
                        logit = pool.prototypes[k] @ (image[:, y, x] + pool.positions[:, y, x])
                    mask[k, y, x] = 1 / (1 + torch.exp(-logit))
                    part += mask[k, y, x] * image[:, y, x] / (h * w)
            row.append(part)
        rows.append(torch.cat([*row, image.mean((1, 2))]))
        masks.append(mask)
    return torch.stack(rows), torch.stack(masks)


@pytest.mark.parametrize("kind", ["masks", "prototypes"])
def test_equals_the_loop(kind, feature_map):
    pool = make(kind)
    rows, masks = reference(pool, feature_map)
    torch.testing.assert_close(pool(feature_map), rows)
    torch.testing.assert_close(pool.masks(feature_map), masks)
    assert rows.shape == (3, pool.out_channels) == (3, 12)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(pool(feature_map[order]), rows[order])


@pytest.mark.parametrize("kind", ["masks", "prototypes"])
def test_gradient(kind, feature_map):
    pool = make(kind)
    assert torch.autograd.gradcheck(pool, feature_map[:2].requires_grad_())
    pool(feature_map).square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in pool.parameters())


def test_masks_start_near_one_half():
    torch.manual_seed(0)
    pool = MaskPartPooling(64)
    assert pool.convolution.bias.abs().max() == 0
    assert pool.masks(torch.zeros(1, 64, 2, 2)).unique().tolist() == [0.5]
    assert pool.out_channels == 7 * 64
    assert PrototypePartPooling(64, (18, 9)).out_channels == 8 * 64


def test_errors(feature_map):
    with pytest.raises(ValueError, match=r"feature_map must be of size \(h, w\) = \(3, 2\), got \(2, 2\)"):
        make("prototypes")(feature_map[:, :, :2])
    with pytest.raises(ValueError, match=r"feature_map must have shape \(b, 4, h, w\), got \(3, 3, 3, 2\)"):
        make("masks")(feature_map[:, :3])
    with pytest.raises(ValueError, match="parts must be an integer of at least 1, got 0"):
        MaskPartPooling(4, parts=0)
