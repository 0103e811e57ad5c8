"""The recipes of docs/foreign-baselines.md train what they add and leave the statistics of retrieval alone."""

import re
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).parent.parent / "docs" / "foreign-baselines.md"
RECIPES = ("AGW", "DEEN", "CAJ", "MPANet", "PMT")


@pytest.fixture(scope="module")
def recipes():
    """The names that each recipe leaves behind, by its method."""
    torch.manual_seed(0)
    names, found = {}, {}
    for section in re.split(r"(?m)^## ", PAGE.read_text(encoding="utf-8")):
        for block in re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
            exec(compile(block, str(PAGE), "exec"), names)
        if section.startswith(RECIPES):
            found[section.partition(":")[0]] = (dict(names), section)
    return found


def test_every_recipe_is_there(recipes):
    assert tuple(recipes) == RECIPES


@pytest.mark.parametrize("method", RECIPES)
def test_gradients_reach_the_generator_and_the_network(recipes, method):
    network = recipes[method][0]["net"]
    for name, parameter in network.generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert sum(p.grad.abs().sum() for p in network.generator.parameters()) > 0
    others = [p for name, p in network.named_parameters() if not name.startswith(("generator", "classifier"))]
    assert sum(p.grad is not None for p in others) > len(others) / 2


@pytest.mark.parametrize("method", RECIPES[:3])
def test_statistics_of_the_auxiliary_pass_stay_apart(recipes, method):
    names = recipes[method][0]
    network = type(names["net"])(classes=4)
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.auxiliary(network, torch.rand(8, 64, 24, 12), None, modal=3)
    changed = {name for name, buffer in network.named_buffers() if not torch.equal(buffer, before[name])}
    changed = {name for name in changed if not name.startswith("generator.")}
    assert changed
    assert all(name.startswith("auxiliary.") for name in changed)


def test_retrieval_of_agw_needs_neither_generator_nor_auxiliary_statistics(recipes):
    network = recipes["AGW"][0]["net"].eval()
    with torch.no_grad():
        expected = network(torch.ones(2, 3, 96, 48), None, modal=1)
        network.generator = network.auxiliary = None
        torch.testing.assert_close(network(torch.ones(2, 3, 96, 48), None, modal=1), expected)


def test_wide_embeddings_have_no_projection(recipes):
    names = recipes["MPANet"][0]
    assert not list(names["wide"].parameters())
    assert names["v"].shape == (8, 7 * 256)


def test_caj_passes_twice_as_many_visible_rows(recipes):
    names = recipes["CAJ"][0]
    assert (len(names["v"]), len(names["r"]), len(names["a"])) == (16, 8, 8)


def test_the_page_counts_the_lines_that_change():
    page = PAGE.read_text(encoding="utf-8")
    marked = {}
    for section in re.split(r"(?m)^## ", page):
        code = "".join(re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))
        marked[section.partition(":")[0]] = [line.strip() for line in code.splitlines() if "# vireid" in line]
    imports = next(iter(marked.values()))
    constructor = [line for line in marked["AGW"] if line.startswith("self.") and " = Auxiliary" in line]
    form = [line for line in marked["AGW"] if line.startswith(("form = ", "identity_alignment = "))]
    also = {"AGW": [], "DEEN": form + constructor, "CAJ": form + constructor, "MPANet": form, "PMT": form}
    counted = {method: len(imports + marked[method] + also[method]) for method in RECIPES}
    assert dict(re.findall(r"(?m)^\| (\w+) \| (\d+) \|$", page)) == {
        name: str(count) for name, count in counted.items()
    }
