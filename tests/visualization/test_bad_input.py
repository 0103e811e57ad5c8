"""The campaign of bad input over the figures."""

import inspect
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.bad_input import case, integer, number, parameters, problems, tensor
from vireid import visualization
from vireid.visualization import (
    grad_cam,
    plot_bars,
    plot_curves,
    plot_det,
    plot_distances,
    plot_embeddings,
    plot_histograms,
    plot_maps,
    plot_rankings,
    project_embeddings,
)

torch.manual_seed(0)
NAN, INF = float("nan"), float("inf")
NOT_MAPPINGS = [None, 3, "text", [], [1.0], (1.0,), object(), torch.ones(2, 3), {}]
NOT_NUMBERS = [None, "1", [1.0], True, NAN, INF, 1 + 0j, object()]
NOT_SERIES = [None, 20.0, "20", [], {1.0}, object(), torch.ones(()), torch.ones(2, 2), torch.empty(0)]
NOT_STRINGS = [None, 3, 2.5, [], {}, b"rank-1", object()]
ROWS = torch.rand(6, 4)
NOT_ROWS = tensor(
    ROWS[0], ROWS[:, :, None, None], ROWS.long(), ROWS > 0, ROWS[:0], ROWS[:, :0], ROWS * NAN, ROWS * INF, ROWS.cfloat()
)
NOT_IDENTITIES = tensor(torch.rand(6), torch.arange(5), torch.arange(6)[:, None], torch.ones(6, dtype=torch.bool))
NOT_IDENTITIES += tensor(torch.ones(6, dtype=torch.cfloat))
IDENTITIES = torch.arange(6) // 2
IMAGES, MAPS = torch.rand(2, 3, 8, 4), torch.rand(2, 5, 4, 2)
NOT_IMAGES = tensor(IMAGES[0], IMAGES[:, :2], IMAGES[:0], IMAGES[..., :0], IMAGES.long(), IMAGES * NAN, IMAGES * INF)
RANKING = {"rows": torch.tensor([[1, 0]]), "correct": torch.tensor([[True, False]])}
NOT_SEQUENCES = [None, 3, "ab", {}, object(), iter([IMAGES[0]]), {0: IMAGES[0]}]
NOT_PICTURES = [None, "a.jpg", (), IMAGES, IMAGES[0, 0], IMAGES[0].long(), IMAGES[0] + 1, IMAGES[0] * NAN, MAPS[0]]
network = nn.Conv2d(3, 4, 1)


def ranking(**changes):
    return SimpleNamespace(**{**RANKING, **changes})


def rates(**changes):
    return SimpleNamespace(
        **{"false_accept": torch.tensor([0, 0.5]), "false_reject": torch.tensor([1, 0.5]), **changes}
    )


RATES = torch.tensor([0, 0.5])
NOT_RATES = tensor(RATES[None], RATES[:0], RATES.long(), RATES * NAN, RATES + 0.9, RATES - 0.1, RATES[:1], RATES > 0)
PAIRS = torch.rand(4), torch.tensor([True, False, True, False])
NOT_PAIRS = [None, 3, "ab", [], PAIRS[0], (PAIRS[0],), (*PAIRS, 1), object()]
NOT_PAIRS += [(bad, PAIRS[1]) for bad in tensor(PAIRS[0][:3], PAIRS[0][None], PAIRS[0][:0], PAIRS[0] * NAN, PAIRS[1])]
NOT_PAIRS += [(PAIRS[0], bad) for bad in tensor(PAIRS[1][:3], PAIRS[1][None], PAIRS[0], PAIRS[1].long())]

CASES = {
    "grad_cam": case(
        grad_cam,
        {"score": lambda images: network(images).mean((1, 2, 3)), "layer": network, "images": IMAGES},
        score=[None, 3, "score", IMAGES, [], {}],
        layer=[None, 3, "second", [], IMAGES, network.forward, nn.Conv2d],
        images=NOT_IMAGES,
        average_gradients=[None, 3, 0.5, "yes", [], IMAGES],
    ),
    "plot_bars": case(
        plot_bars,
        {"panels": {"rank-1": {"B": [20.0]}}},
        panels=[
            *NOT_MAPPINGS,
            *({"rank-1": rows} for rows in NOT_MAPPINGS),
            *({"rank-1": {"B": values}} for values in NOT_SERIES),
            *({"rank-1": {"B": [1.0, value]}} for value in NOT_NUMBERS),
        ],
        references=[
            *(bad for bad in NOT_MAPPINGS if bad is not None and bad != {}),
            *({"rank-1": rows} for rows in NOT_MAPPINGS if rows != {}),
            *({"rank-1": {"B": value}} for value in NOT_NUMBERS),
            {"mAP": {"B": 1.0}},
            {"rank-1": {"A": 1.0}},
        ],
        reference_name=NOT_STRINGS,
        label=NOT_STRINGS,
        reference_label=[bad for bad in NOT_STRINGS if bad is not None],
    ),
    "plot_curves": case(
        plot_curves,
        {"panels": {"loss": {"identity": [20.0]}}},
        panels=[
            *NOT_MAPPINGS,
            *({"loss": curves} for curves in NOT_MAPPINGS),
            *({"loss": {"identity": values}} for values in [*NOT_SERIES, {}]),
            *({"loss": {"identity": [1.0, value]}} for value in NOT_NUMBERS),
            *({"loss": {"identity": {0: value}}} for value in NOT_NUMBERS),
        ],
        smoothing=integer(least=1),
    ),
    "plot_det": case(
        plot_det,
        {"curves": {"a": rates()}},
        curves=[
            *NOT_MAPPINGS,
            *({"a": bad} for bad in [None, 3, "text", [], {}, object(), RATES]),
            *({"a": rates(false_accept=bad)} for bad in NOT_RATES),
            *({"a": rates(false_reject=bad)} for bad in NOT_RATES),
        ],
        false_accept_rate=[x for x in number(above=0, below=1) if x is not None],
    ),
    "plot_histograms": case(
        plot_histograms,
        {"panels": {"a": PAIRS}},
        panels=[*NOT_MAPPINGS, *({"a": bad} for bad in NOT_PAIRS)],
        thresholds=[
            *(bad for bad in NOT_MAPPINGS if bad is not None and bad != {}),
            {"b": 0.5},
            *({"a": bad} for bad in NOT_NUMBERS),
        ],
        bins=integer(least=1, most=10_000),
    ),
    "plot_distances": case(
        plot_distances,
        {"embeddings": {"visible": ROWS}, "identities": {"visible": IDENTITIES}},
        embeddings=[*NOT_MAPPINGS, *({"visible": rows} for rows in NOT_ROWS)],
        identities=[*NOT_MAPPINGS, {"infrared": IDENTITIES}, *({"visible": labels} for labels in NOT_IDENTITIES)],
        bins=integer(least=1, most=10_000),
    ),
    "plot_embeddings": case(
        plot_embeddings,
        {"panels": {"a": ROWS[:, :2]}, "identities": IDENTITIES, "modalities": ["visible"] * 6},
        panels=[*NOT_MAPPINGS, *({"a": points} for points in [*NOT_ROWS, ROWS, ROWS[:, :1]])],
        identities=NOT_IDENTITIES,
        modalities=[None, 3, "visible", b"vi", [], torch.zeros(6), {"visible": 6}, object(), ["visible"] * 5]
        + [["visible", bad] * 3 for bad in (None, 3, "infared", ["visible"])],
    ),
    "plot_maps": case(
        plot_maps,
        {"columns": {"image": IMAGES}},
        columns=[
            *NOT_MAPPINGS,
            *({"image": images} for images in tensor(IMAGES[0, 0], IMAGES + 1, IMAGES[:0], IMAGES[..., :0])),
            *({"map": maps} for maps in tensor(MAPS[0, 0], MAPS[:0], MAPS[..., :0], MAPS * NAN, MAPS * INF)),
            *({"both": (images, MAPS)} for images in [*NOT_IMAGES, IMAGES + 1, MAPS]),
            *({"both": (IMAGES, maps)} for maps in [*tensor(MAPS[0, 0], MAPS[:1]), MAPS * NAN]),
            {"both": (IMAGES,)},
            {"both": (IMAGES, MAPS, MAPS)},
            {"image": IMAGES, "map": MAPS[:1]},
        ],
    ),
    "plot_rankings": case(
        plot_rankings,
        {"ranking": ranking(), "queries": IMAGES[:1], "gallery": IMAGES},
        ranking=[None, 3, "text", [], (RANKING["rows"], RANKING["correct"]), {}, RANKING, object(), RANKING["rows"]]
        + [ranking(rows=rows) for rows in tensor(torch.rand(1, 2), torch.ones(1, 2) > 0, torch.zeros(1, 0).long())]
        + [
            ranking(correct=correct)
            for correct in tensor(torch.rand(1, 2), torch.ones(1, 3) > 0, torch.ones(2) > 0)[1:]
        ],
        queries=[*NOT_SEQUENCES, [], IMAGES, *([image] for image in NOT_PICTURES)],
        gallery=[*NOT_SEQUENCES, [], IMAGES[:1], *([image] * 2 for image in NOT_PICTURES)],
        number=integer(least=1),
        query_names=[3, "a", {}, [], [1], [None], ["a", "b"], object()],
        gallery_names=[3, "a", {}, [], [1], [None], ["a"], object()],
    ),
    "project_embeddings": case(
        project_embeddings,
        {"embeddings": ROWS, "perplexity": 1.5},
        embeddings=[*NOT_ROWS, ROWS[:1], ROWS[:, :1], torch.ones(6, 4)],
        dimensions=[*integer(), 1, 4, 2.0],
        perplexity=number(above=0, below=6),
        seed=integer(least=0, most=2**32 - 1),
    ),
}


@pytest.mark.parametrize(("name", "argument"), parameters(CASES))
def test_bad_input_is_refused_clearly(name, argument):
    assert problems(CASES[name], argument) == []


@pytest.mark.parametrize("name", CASES)
def test_the_good_input_works(name):
    CASES[name].call(**CASES[name].good)


def test_every_public_name_is_in_the_campaign():
    for name in visualization.__all__:
        assert CASES[name].call is getattr(visualization, name)
        assert CASES[name].bad.keys() == inspect.signature(CASES[name].call).parameters.keys()
