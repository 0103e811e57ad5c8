"""From feature maps to embeddings: generalised-mean pooling and the BNNeck."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vireid._checks import require


class GeneralizedMeanPool(nn.Module):
    """Generalised-mean (GeM) pooling, (mean of xᵖ)^(1/p) of every channel.

    p = 1 is average pooling and p → ∞ maximum pooling. The field fixes p = 3; ``learnable=True`` learns one p as the
    cited work does (A13). Values are clamped from below at ``eps`` first, so that the power is defined.

    Args:
        p: exponent, positive.
        learnable: make p a parameter.
        eps: smallest value that is pooled.

    Shape:
        b c h w -> b c.

    Raises:
        ValueError: ``p`` is not positive, or the input is no b c h w map.

    Example:
        >>> GeneralizedMeanPool(p=3)(torch.tensor([1.0, 2.0, 2.0, 3.0]).view(1, 1, 2, 2))
        tensor([[2.2240]])

    References:
        Radenović et al., Fine-tuning CNN Image Retrieval with No Human Annotation, TPAMI 2018.
    """

    def __init__(self, p: float = 3.0, *, learnable: bool = False, eps: float = 1e-6) -> None:
        super().__init__()
        require(p > 0, "p", "be positive", p)
        self.p = nn.Parameter(torch.tensor(float(p))) if learnable else float(p)
        self.eps = eps

    def forward(self, feature_map: Tensor) -> Tensor:
        """Pool b c h w to b c."""
        require(feature_map.ndim == 4, "feature_map", "have shape (b, c, h, w)", tuple(feature_map.shape))
        return feature_map.clamp_min(self.eps).pow(self.p).mean((2, 3)).pow(1 / self.p)


class BNNeck(nn.BatchNorm1d):
    """Batch normalisation without shift between the pooled and the classified embedding.

    Metric losses act on its input, classifiers and retrieval on its output.

    Args:
        channels: d of the embeddings.

    Shape:
        b d -> b d.

    Example:
        >>> BNNeck(4).bias.requires_grad
        False

    References:
        Luo et al., Bag of Tricks and a Strong Baseline for Deep Person Re-identification, CVPRW 2019.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.bias.requires_grad_(False)


def create_classifier(embedding_dim: int, num_identities: int) -> nn.Linear:
    """A linear identity classifier without bias, which starts near zero."""
    classifier = nn.Linear(embedding_dim, num_identities, bias=False)
    nn.init.normal_(classifier.weight, std=0.001)
    return classifier
