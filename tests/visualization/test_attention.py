import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vireid.models import create_deen
from vireid.visualization import grad_cam, plot_maps


class Network(nn.Module):
    """Layers with an in-place one behind the second, as ResNets have."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.second = nn.Conv2d(6, 5, 3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.Conv2d(5, 4, 3, padding=1)

    def embed(self, feature_map):
        return self.last(self.relu(feature_map)).tanh().mean((2, 3))

    def forward(self, images):
        return self.embed(self.second(self.first(images).relu()))


@pytest.fixture
def case():
    torch.manual_seed(0)
    network = Network().double()
    images = torch.rand(4, 3, 20, 12, dtype=torch.float64)
    query = torch.randn(4, dtype=torch.float64)
    return network, images, lambda batch: torch.cosine_similarity(network(batch), query)


def by_hand(network, score_of_map, images):
    """Grad-CAM as its paper writes it, image by image, with loops over the channels."""
    maps = []
    for image in images:
        feature_map = network.second(network.first(image[None]).relu()).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(score_of_map(feature_map.clone()).sum(), feature_map)
        total = sum(gradient[0, c].mean() * feature_map[0, c] for c in range(feature_map.shape[1])).relu()
        total = F.interpolate(total[None, None], image.shape[1:], mode="bilinear")[0, 0].detach()
        maps.append(total / total.max() if total.max() > 0 else total)
    return torch.stack(maps)


def test_equals_grad_cam_by_hand(case):
    network, images, score = case
    query = torch.randn(4, dtype=torch.float64)
    expected = by_hand(network, lambda maps: torch.cosine_similarity(network.embed(maps), query), images)
    maps = grad_cam(lambda batch: torch.cosine_similarity(network(batch), query), network.second, images)
    assert (expected.amax((1, 2)) == 1).any()
    torch.testing.assert_close(maps, expected, atol=1e-6, rtol=0)
    assert not torch.allclose(grad_cam(score, network.second, images), maps, atol=1e-2)
    assert not torch.allclose(grad_cam(score, network.first, images), grad_cam(score, network.second, images))


def test_without_the_average_every_place_has_its_own_gradient(case):
    network, images, _ = case
    feature_map = network.second(network.first(images).relu()).detach().requires_grad_()
    query = torch.randn(4, dtype=torch.float64)
    values = torch.cosine_similarity(network.embed(feature_map.clone()), query)
    (gradient,) = torch.autograd.grad(values.sum(), feature_map)
    total = (gradient * feature_map).sum(dim=1, keepdim=True).relu().detach()
    total = F.interpolate(total, images.shape[2:], mode="bilinear").squeeze(1)
    expected = total / total.amax((1, 2), keepdim=True)
    options = {"layer": network.second, "images": images}
    maps = grad_cam(lambda batch: torch.cosine_similarity(network(batch), query), **options, average_gradients=False)
    torch.testing.assert_close(maps, expected, atol=1e-6, rtol=0)
    averaged = grad_cam(lambda batch: torch.cosine_similarity(network(batch), query), **options)
    assert not torch.allclose(maps, averaged, atol=1e-2)


def test_maps_of_deen_are_of_layers_before_its_expansion():
    torch.manual_seed(0)
    network = create_deen(4, "test_resnet", image_size=(64, 32)).eval()
    images, query = torch.rand(2, 3, 64, 32), torch.randn(network.embedding_dim)
    stages, kept = network.embedder.backbone.visible_stages, []

    def score(batch):
        return network.embed(batch, "visible") @ query

    hook = stages.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    values = score(images)
    hook.remove()
    (gradient,) = torch.autograd.grad(values.sum(), kept[0])  # through all versions of an image
    total = F.interpolate((gradient * kept[0]).sum(dim=1, keepdim=True).relu().detach(), (64, 32), mode="bilinear")
    expected = (total / total.amax((2, 3), keepdim=True)).squeeze(1)
    maps = grad_cam(score, stages, images, average_gradients=False)
    torch.testing.assert_close(maps, expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match=r"layer must give a feature map \(2, c, h, w\), got \(6, 96, 4, 2\)"):
        grad_cam(score, network.embedder.backbone.shared_stages, images)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_needs_no_gradients(case, mode):
    network, images, score = case
    expected = grad_cam(score, network.second, images)
    with mode():
        torch.testing.assert_close(grad_cam(score, network.second, images.clone()), expected)
    network.requires_grad_(False)
    torch.testing.assert_close(grad_cam(score, network.second, images), expected)
    with mode():
        torch.testing.assert_close(grad_cam(score, network.second, images.clone()), expected)


def test_leaves_nothing_behind(case):
    network, images, score = case
    network.first.weight.grad = torch.ones_like(network.first.weight)
    before = images.clone()
    maps = grad_cam(score, network.second, images)
    assert not maps.requires_grad
    assert not images.requires_grad
    assert torch.equal(images, before)
    assert (network.first.weight.grad == 1).all()
    assert all(p.grad is None for name, p in network.named_parameters() if name != "first.weight")
    with pytest.raises(ValueError, match="run once"):
        grad_cam(lambda batch: score(batch) + score(batch), network.second, images)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_a_map_that_nothing_raises_is_zero(case):
    network, images, _ = case
    maps = grad_cam(lambda batch: network.second(network.first(batch)).mean((1, 2, 3)) * 0, network.second, images)
    assert maps.shape == (4, 20, 12)
    assert (maps == 0).all()


def test_images_do_not_change_each_other(case):
    network, images, score = case
    torch.testing.assert_close(
        grad_cam(score, network.second, images[1:2]), grad_cam(score, network.second, images)[1:2]
    )


def test_grad_cam_errors(case, monkeypatch):
    network, images, score = case
    with pytest.raises(ValueError, match=r"images must have shape \(b, 3, height, width\), got \(3, 20, 12\)"):
        grad_cam(score, network.second, images[0])
    with pytest.raises(TypeError, match=r"images must be floating point, got torch.uint8"):
        grad_cam(score, network.second, images.byte())
    with pytest.raises(ValueError, match=r"images\[1\] must be finite, got nan"):
        grad_cam(score, network.second, torch.stack([images[0], images[1] * torch.nan]))
    with pytest.raises(ValueError, match=r"images must have an image and pixels, got \(0, 3, 20, 12\)"):
        grad_cam(score, network.second, images[:0])
    with pytest.raises(ValueError, match=r"score\(images\)\[0\] must be finite, got nan"):
        grad_cam(lambda batch: score(batch) * torch.nan, network.second, images)
    with pytest.raises(TypeError, match="score must be callable, got 'Tensor'"):
        grad_cam(images, network.second, images)
    with pytest.raises(TypeError, match="layer must be a module, got 'str'"):
        grad_cam(score, "second", images)
    with pytest.raises(ValueError, match=r"layer must run once in score, got '0 runs'"):
        grad_cam(score, nn.Identity(), images)
    with pytest.raises(ValueError, match=r"layer must run once in score, got '2 runs'"):
        grad_cam(lambda batch: score(batch) * score(batch), network.second, images)
    with pytest.raises(ValueError, match=r"layer must give a feature map \(4, c, h, w\), got \(4, 4\)"):
        grad_cam(lambda batch: network(batch).sum(1), network, images)
    pair = nn.Identity()
    with pytest.raises(ValueError, match=r"layer must give a feature map \(4, c, h, w\), got 'tuple'"):
        grad_cam(lambda batch: pair((batch, batch))[0].mean((1, 2, 3)), pair, images)
    with pytest.raises(
        ValueError, match=r"score\(images\) must have shape \(4,\), got \(4, 4\). Take one number for ea"
    ):
        grad_cam(network, network.second, images)
    with pytest.raises(TypeError, match=r"score\(images\) must be a tensor, got 'list'"):
        grad_cam(lambda batch: score(batch).tolist(), network.second, images)
    with pytest.raises(
        ValueError, match=r"score\(images\) must be differentiable, got 'no gradient'. Leave torch.no_grad"
    ):
        grad_cam(torch.no_grad()(score), network.second, images)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ImportError, match=r"captum must be installed for this: pip install 'vireid\[viz\]'."):
        grad_cam(score, network.second, images)


def shown(axes):
    return [np.asarray(image.get_array()) for image in axes.images]


def test_a_row_per_image_and_a_column_per_kind():
    torch.manual_seed(0)
    images, heat, features = torch.rand(2, 3, 8, 4), torch.rand(2, 8, 4), torch.randn(2, 5, 4, 2, requires_grad=True)
    bytes_ = (images * 255).byte()
    figure = plot_maps({"image": images, "bytes": bytes_, "heat": heat, "map": features, "both": (images, features)})
    grid = [figure.axes[:5], figure.axes[5:]]
    assert [axes.get_title() for axes in grid[0]] == ["image", "bytes", "heat", "map", "both"]
    means = features.detach().mean(1)
    resized = F.interpolate(means[:, None], (8, 4), mode="bilinear")[:, 0]
    for row in range(2):
        pictures = [shown(axes) for axes in grid[row]]
        image = images[row].permute(1, 2, 0).numpy()
        for (picture,), expected in zip(
            pictures[:4], [image, bytes_[row].permute(1, 2, 0) / 255, heat[row], means[row]]
        ):
            np.testing.assert_allclose(picture, expected, rtol=1e-6)
        np.testing.assert_allclose(pictures[4][0], image, rtol=1e-6)
        np.testing.assert_allclose(pictures[4][1], resized[row], rtol=1e-6)
        span = resized[row] - resized[row].min()
        np.testing.assert_allclose(grid[row][4].images[1].get_alpha(), 0.8 * span / span.max(), rtol=1e-5)
        least, greatest = grid[row][3].images[0].get_clim()
        assert (least, greatest) == pytest.approx((means[row].min().item(), means[row].max().item()))


def test_a_map_without_positive_evidence_is_said_to_have_none():
    images, maps = torch.rand(2, 3, 8, 4), torch.rand(2, 4, 2)
    maps[1] = 0
    found, none, alone, _ = plot_maps({"CAM": (images, maps), "map": maps}).axes[0:4:2] + plot_maps({"m": maps}).axes
    assert found.get_xlabel() == ""
    assert len(found.images) == 2
    assert none.get_xlabel() == "no positive\nevidence"
    assert len(none.images) == 1  # the image shows as it is
    assert alone.get_xlabel() == ""


def test_saves_a_picture(tmp_path):
    plot_maps({"zero": torch.zeros(1, 4, 2), "both": (torch.rand(1, 3, 8, 4), torch.rand(1, 4, 2))}).savefig(
        tmp_path / "maps.png"
    )
    assert (tmp_path / "maps.png").stat().st_size > 1000


def test_plot_errors(monkeypatch):
    images, heat = torch.rand(2, 3, 8, 4), torch.rand(2, 4, 2)
    with pytest.raises(ValueError, match=r"columns must map the title of each column to its images or maps, got \{\}"):
        plot_maps({})
    with pytest.raises(ValueError, match=r"columns must have an image, got 0"):
        plot_maps({"image": images[:0]})
    with pytest.raises(ValueError, match=r"columns\['heat'\] must have b = 2 like the first column, got 1"):
        plot_maps({"image": images, "heat": heat[:1]})
    with pytest.raises(ValueError, match=r"columns\['both'\]\[1\] must have b = 2 like its images, got 1"):
        plot_maps({"both": (images, heat[:1])})
    with pytest.raises(
        ValueError,
        match=r"columns\['heat'\] must have shape \(b, 3, h, w\), \(b, h, w\) or \(b, c, h, w\), got \(4, 2\)",
    ):
        plot_maps({"heat": heat[0]})
    with pytest.raises(ValueError, match=r"columns\['both'\]\[0\] must have shape \(b, 3, h, w\), got \(2, 4, 2\)"):
        plot_maps({"both": (heat, heat)})
    with pytest.raises(ValueError, match=r"columns\['both'\] must be a pair of images and maps, got '3 items'"):
        plot_maps({"both": (images, heat, heat)})
    with pytest.raises(
        ValueError,
        match=r"columns\['image'\] must have values from 0 to 1, got '-1 to 3'. Undo the normalisation first",
    ):
        plot_maps({"image": torch.tensor([-1.0, 0.0, 3.0]).view(1, 3, 1, 1)})
    with pytest.raises(ValueError, match=r"columns\['heat'\]\[1\] must be finite, got nan"):
        plot_maps({"heat": torch.tensor([0.0, torch.nan]).view(2, 1, 1)})
    with pytest.raises(TypeError, match=r"columns must map the title of each column to its images or maps, got tensor"):
        plot_maps(images)
    with pytest.raises(TypeError, match=r"columns\['image'\] must be uint8 or floating point, got torch.int64"):
        plot_maps({"image": images.long()})
    with pytest.raises(TypeError, match=r"columns\['image'\] must be a tensor, got 'list'"):
        plot_maps({"image": [images]})
    with pytest.raises(TypeError, match=r"columns\['both'\]\[1\] must be a tensor, got 'NoneType'"):
        plot_maps({"both": (images, None)})
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"matplotlib must be installed for this: pip install 'vireid\[viz\]'."):
        plot_maps({"image": images})
