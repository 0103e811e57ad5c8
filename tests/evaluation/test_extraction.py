import pytest
import torch
from torch import nn

from vireid import MUN
from vireid.evaluation import EmbeddingSet, extract_embeddings


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


def test_device_type_and_labels_of_the_result():
    result = extract_embeddings(Model().half(), batches([2, 1]), "visible", device="cpu")
    assert result.embeddings.dtype == torch.float32
    assert result.embeddings.device.type == "cpu"
    assert not result.embeddings.is_inference()


class Broken(Model):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def embed(self, images, modality):
        return self.change(super().embed(images, modality))


def test_errors():
    with pytest.raises(ValueError, match="batches must hold an image, got 0"):
        extract_embeddings(Model(), [], "visible")
    with pytest.raises(ValueError, match=r"batches.embeddings\[0\] must be finite, got nan"):
        extract_embeddings(Model(), batches([3], torch.nan), "visible")
    with pytest.raises(ValueError, match=r"batches.embeddings\[4\] must be finite, got inf"):  # 4: counted over batches
        extract_embeddings(Broken(lambda x: torch.where(x == 4, torch.inf, x)), batches([3, 3]), "visible")
    with pytest.raises(ValueError, match=r"batches.embeddings must have shape \(b, d\), got \(3, 3, 1, 1\). Pool"):
        extract_embeddings(Broken(lambda x: x[..., None, None]), batches([3]), "visible")
    with pytest.raises(
        ValueError, match=r"batches.identities must have shape \(2,\), one for each embedding, got \(3,"
    ):
        extract_embeddings(Broken(lambda x: x[1:]), batches([3]), "visible")
    with pytest.raises(ValueError, match="modality must be one of 'visible', 'infrared', got 'thermal'"):
        extract_embeddings(Model(), batches([3]), "thermal")


def test_errors_of_a_set():
    rows, labels = torch.eye(3), torch.arange(3)
    for embeddings, identities, cameras, error, message in [
        (rows[0], labels, labels, ValueError, r"query.embeddings must have shape \(b, d\), got \(3,\)"),
        (rows.long(), labels, labels, TypeError, "query.embeddings must be floating point, got torch.int64"),
        (rows, labels[:2], labels, ValueError, r"query.identities must have shape \(3,\), one for each embedding"),
        (rows, labels, labels[:2], ValueError, r"query.cameras must have shape \(3,\), one for each embedding"),
        (rows, labels, labels.float(), TypeError, "query.cameras must be integers, got torch.float32"),
        (rows / (2 - labels[:, None]), labels, labels, ValueError, r"query.embeddings\[2\] must be finite, got nan"),
    ]:
        with pytest.raises(error, match=message):
            EmbeddingSet(embeddings, identities, cameras).check("query")
