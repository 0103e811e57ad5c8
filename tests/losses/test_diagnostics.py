import math
from types import SimpleNamespace

import pytest
import torch

from tests.fake_cuda import run_on_fake_cuda
from vireid import MUN
from vireid.losses import IdentityAlignmentLoss, describe_auxiliary

IDENTITIES = torch.tensor([5, 2, 5, 0, 2, 2])


def output_of(visible, infrared, auxiliary, logits, **maps):
    return SimpleNamespace(
        visible=visible,
        infrared=infrared,
        auxiliary=auxiliary,
        auxiliary_visible_logits=logits,
        auxiliary_infrared_logits=logits,
        **maps,
    )


def test_values_equal_the_loops():
    torch.manual_seed(0)
    visible, infrared, auxiliary = 2 * torch.randn(7, 4)[IDENTITIES] + torch.randn(3, 6, 4)
    logits, maps = torch.randn(6, 7), torch.randn(3, 6, 2, 3, 2)
    names = ("visible_map", "infrared_map", "auxiliary_map")
    output = output_of(visible, infrared, auxiliary, logits, **dict(zip(names, maps)))
    alignment = IdentityAlignmentLoss(margin=2)
    found = describe_auxiliary(output, IDENTITIES, identity_alignment=alignment)
    guess = torch.nn.functional.cross_entropy(logits, IDENTITIES) / math.log(7)
    torch.testing.assert_close(found["consistency"], guess)
    people, centers = sorted(set(IDENTITIES.tolist())), {}
    for name, rows in (("visible", visible), ("infrared", infrared), ("auxiliary", auxiliary)):
        centers[name] = torch.stack([rows[i == IDENTITIES].mean(0) for i in people])
        distances = [(a - b).norm() for i, a in enumerate(centers[name]) for j, b in enumerate(centers[name]) if i != j]
        torch.testing.assert_close(found[f"spread_{name}"], torch.stack(distances).mean())
        position = names.index(f"{name}_map")
        assert found[f"map_mean_{name}"] == maps[position].mean()
        assert found[f"map_std_{name}"] == maps[position].std()
    active = []
    for i, anchor in enumerate(centers["auxiliary"]):
        own = max((anchor - centers[name][i]).norm() for name in ("visible", "infrared"))
        others = [
            (anchor - centers[n][q]).norm() for n in ("visible", "infrared") for q in range(len(people)) if q != i
        ]
        active.append(2 + own - min(others) > 0)
    assert 0 < sum(active) < len(active)
    assert found["active_hinges"] == pytest.approx(sum(map(float, active)) / len(active))


def test_collapsed_and_living_modality():
    visible = 10 * torch.eye(6)[[0, 1, 0, 2, 1, 1]]
    living = describe_auxiliary(output_of(visible, visible, visible, 9 * visible), IDENTITIES)
    assert living["active_hinges"] == 0
    assert living["spread_auxiliary"] == living["spread_visible"] > 10
    collapsed = describe_auxiliary(output_of(visible, visible, torch.ones(6, 6), torch.zeros(6, 6)), IDENTITIES)
    assert collapsed["active_hinges"] == 1
    assert collapsed["spread_auxiliary"] < 1e-4
    assert collapsed["consistency"] == pytest.approx(1)


def test_first_of_several_views():
    torch.manual_seed(0)
    visible, infrared, auxiliary = torch.randn(3, 6, 4)
    one = describe_auxiliary(output_of(visible, infrared, auxiliary, auxiliary), IDENTITIES % 3)
    views = torch.cat([visible, torch.randn(6, 4)])
    two = describe_auxiliary(output_of(views, infrared, auxiliary, auxiliary), IDENTITIES % 3)
    assert one == two


def test_of_a_network_without_gradient_or_change():
    network = MUN(6, "test_resnet", image_size=(64, 32))
    output = network(*torch.rand(2, 6, 3, 64, 32))
    found = describe_auxiliary(output, IDENTITIES)
    assert {"consistency", "active_hinges", "map_std_auxiliary"} <= found.keys()
    assert not any(value.requires_grad for value in found.values())
    assert all(value.shape == () and value.isfinite() for value in found.values())


def test_waits_for_no_gpu():
    rows = torch.randn(3, 6, 7)
    found = run_on_fake_cuda(lambda v, r, a, y: describe_auxiliary(output_of(v, r, a, a), y), *rows, IDENTITIES)
    assert found["consistency"].device.type == "cuda"
