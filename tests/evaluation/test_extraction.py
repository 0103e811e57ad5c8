import pytest
import torch
from torch import nn

from vireid import MUN
from vireid.evaluation import extract_embeddings


class Model(nn.Module):
    """Embeds the mean colour, times 2 in infrared; remembers in which mode it ran."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.inner = nn.Dropout()
        self.modes = []

    def embed(self, images, modality):
        self.modes.append((self.training, self.inner.training, torch.is_grad_enabled()))
        return self.scale * images.mean((2, 3)) * (2 if modality == "infrared" else 1)


def batches(sizes, value=1.0):
    start = 0
    for size in sizes:
        numbers = torch.arange(start, start + size)
        yield value * numbers[:, None, None, None].expand(-1, 3, 2, 2).float(), numbers, numbers % 6
        start += size


def test_everything_arrives_in_order():
    result = extract_embeddings(Model(), batches([3, 3, 1]), "infrared")
    assert result.embeddings[:, 0].tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert result.identities.tolist() == list(range(7))
    assert result.cameras.tolist() == [0, 1, 2, 3, 4, 5, 0]
    assert extract_embeddings(Model(), batches([3, 3, 1]), "visible").embeddings[:, 0].tolist() == list(range(7))


def test_runs_in_evaluation_mode_and_restores_the_modes():
    model = Model()
    model.inner.eval()
    extract_embeddings(model, batches([2]), "visible")
    assert model.modes == [(False, False, False)]
    assert (model.training, model.inner.training) == (True, False)

    def failing():
        yield from batches([2])
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        extract_embeddings(model, failing(), "visible")
    assert (model.training, model.inner.training) == (True, False)


def test_embeddings_can_be_trained_on():
    result = extract_embeddings(Model(), batches([2]), "visible")
    nn.Linear(3, 1)(result.embeddings).sum().backward()


def test_equals_embedding_one_by_one():
    torch.manual_seed(0)
    model = MUN(5, "test_resnet", image_size=(64, 32))
    images = torch.rand(5, 3, 64, 32)
    labels = torch.arange(5)
    result = extract_embeddings(
        model, [(images[:3], labels[:3], labels[:3]), (images[3:], labels[3:], labels[3:])], "visible"
    )
    expected = torch.cat([model.eval().embed(image[None], "visible") for image in images])
    torch.testing.assert_close(result.embeddings, expected)


def test_errors():
    with pytest.raises(ValueError, match="batches must hold a batch, got 0"):
        extract_embeddings(Model(), [], "visible")
    with pytest.raises(ValueError, match="embeddings must be numbers, got 'NaN in 3 rows, the first being row 0'"):
        extract_embeddings(Model(), batches([3], torch.nan), "visible")
    with pytest.raises(ValueError, match="modality must be one of 'visible', 'infrared', got 'thermal'"):
        extract_embeddings(Model(), batches([3]), "thermal")
