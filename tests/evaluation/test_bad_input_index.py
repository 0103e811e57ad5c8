import pytest
import torch

from tests.bad_input import case, choice, integer, number, parameters, problems, tensor
from vireid.evaluation import GalleryIndex


def index():
    filled = GalleryIndex(3)
    filled.add(torch.eye(3), ["a", "b", "c"])
    return filled


ROWS = tensor(
    torch.ones(3),
    torch.ones(2, 4),
    torch.ones(0, 3),
    torch.ones(2, 3, 1, 1),
    torch.ones(2, 3).long(),
    torch.ones(2, 3, dtype=torch.complex64),
    torch.zeros(2, 3),
    torch.full((2, 3), torch.nan),
    torch.full((2, 3), torch.inf),
)
NAMES = ["ab", 3, ["a", 3], ["a", None], torch.ones(2), True, object()]
PATHS = [3, 2.5, None, [], {}, object(), torch.ones(2), True]
CASES = {
    "GalleryIndex": case(
        GalleryIndex,
        {"dim": 3},
        dim=integer(least=1),
        metric=choice("cosin"),
        device=[3.5, [], object(), "gpu", ""],
    ),
    "GalleryIndex.add": case(
        index().add,
        {"embeddings": torch.ones(2, 3)},
        embeddings=ROWS,
        names=[*NAMES, ["a"], ["a", "b", "c"]],
    ),
    "GalleryIndex.remove": case(index().remove, names=[*NAMES, None, ["d"]]),
    "GalleryIndex.search": case(
        index().search,
        {"queries": torch.ones(2, 3)},
        queries=ROWS,
        k=integer(least=1),
        threshold=[value for value in number(least=0) if value is not None],
    ),
    "GalleryIndex.save": case(index().save, path=PATHS),
    "GalleryIndex.load": case(
        GalleryIndex.load, {"path": "missing"}, path=[*PATHS, "missing", "", "/", __file__], device=[]
    ),
}


@pytest.mark.parametrize(("name", "argument"), parameters(CASES))
def test_bad_input_is_refused_clearly(name, argument):
    assert problems(CASES[name], argument) == []
