"""From feature maps to logits: generalised-mean pooling, BNNecks and identity classifiers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vireid._checks import (
    check_embeddings,
    check_flags,
    check_integer,
    check_like_weights,
    check_number,
    check_tensor,
    require,
)


class GeneralizedMeanPool(nn.Module):
    """Pool each channel of a feature map with the generalised mean (GeM), (mean of xᵖ)^(1/p).

    p = 1 is average pooling and p → ∞ maximum pooling. Most methods fix p = 3; ``learnable=True`` learns one p, as the
    cited work does (A13 in the paper notes). Values below ``eps`` are raised to it, so that the power is defined.

    Args:
        p: Exponent, positive; its initial value if it is learned.
        learnable: Whether p is a parameter.
        eps: Smallest value that is pooled, positive.

    Shape:
        b c h w -> b c.

    Raises:
        ValueError: If ``p`` or ``eps`` is not positive, or the input is not a b c h w map.
        TypeError: If an argument or the input has the wrong type.

    Example:
        >>> GeneralizedMeanPool(p=3)(torch.tensor([1.0, 2.0, 2.0, 3.0]).view(1, 1, 2, 2))
        tensor([[2.2240]])

    References:
        Radenović et al., Fine-tuning CNN Image Retrieval with No Human Annotation, TPAMI 2018.
    """

    def __init__(self, p: float = 3.0, *, learnable: bool = False, eps: float = 1e-6) -> None:
        super().__init__()
        p = check_number("p", p, above=0)
        check_flags(learnable=learnable)
        self.p = nn.Parameter(torch.tensor(p)) if learnable else p
        self.eps = check_number("eps", eps, above=0)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Pool b c h w to b c."""
        check_tensor("feature_map", feature_map)
        require(feature_map.ndim == 4, "feature_map", "have shape (b, c, h, w)", tuple(feature_map.shape))
        floating = feature_map.is_floating_point()
        require(floating, "feature_map", "be floating point", feature_map.dtype, error=TypeError)
        return feature_map.clamp_min(self.eps).pow(self.p).mean((2, 3)).pow(1 / self.p)

    def extra_repr(self) -> str:
        """Return the settings, for ``print``."""
        return f"p={'learnable' if isinstance(self.p, Tensor) else self.p}, eps={self.eps}"


class BNNeck(nn.BatchNorm1d):
    """Normalise pooled embeddings over the batch, without a shift, before the classifier.

    Metric losses act on its input, classifiers and retrieval on its output.

    Args:
        channels: Number of values d of an embedding.

    Shape:
        b d -> b d.

    Raises:
        ValueError: If ``channels`` is less than 1, or the input is not b d, is on another device than the weights, or
            has one row in training.
        TypeError: If ``channels`` is not an integer, or the input has another type than the weights.

    Example:
        >>> BNNeck(4).bias.requires_grad
        False

    References:
        Luo et al., Bag of Tricks and a Strong Baseline for Deep Person Re-identification, CVPRW 2019.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(check_integer("channels", channels, least=1))
        self.bias.requires_grad_(False)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Normalise b d."""
        check_embeddings("embeddings", embeddings)
        shape = tuple(embeddings.shape)
        require(shape[1] == self.num_features, "embeddings", f"have shape (b, {self.num_features})", shape)
        require(not self.training or shape[0] > 1, "embeddings", "have at least 2 rows in training", shape)
        check_like_weights("embeddings", embeddings, self.weight)
        return super().forward(embeddings)


class DualBNNeck(nn.Module):
    """Normalise the embeddings of each modality with a :class:`BNNeck` of its own, as SAAI does.

    :class:`TwoStreamEmbedder` calls the one that belongs to the modality of the images. Called with embeddings alone,
    of a generated modality for example, this module returns the mean of both.

    Args:
        channels: Number of values d of an embedding.

    Attributes:
        visible: BNNeck of the visible modality.
        infrared: BNNeck of the infrared modality.

    Shape:
        b d -> b d.

    Raises:
        ValueError: If ``channels`` is less than 1, or the input does not fit, as for :class:`BNNeck`.
        TypeError: If ``channels`` is not an integer, or the input has another type than the weights.

    Example:
        >>> neck = DualBNNeck(4)
        >>> neck.infrared(torch.rand(8, 4)).mean(0).allclose(torch.zeros(4), atol=1e-5)
        True

    References:
        Fang et al., Visible-Infrared Person Re-Identification via Semantic Alignment and Affinity Inference, ICCV 2023.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.visible, self.infrared = BNNeck(channels), BNNeck(channels)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Compute the mean of both normalisations of b d."""
        normalised: Tensor = (self.visible(embeddings) + self.infrared(embeddings)) / 2
        return normalised


def create_classifiers(embedding_dim: int, num_identities: int, *, shared: bool) -> tuple[nn.Linear, nn.Linear]:
    """Create C_v and C_r, the identity classifiers of both modalities; ``shared`` makes them one."""
    check_flags(shared_classifier=shared)
    visible_classifier = create_classifier(embedding_dim, num_identities)
    return visible_classifier, visible_classifier if shared else create_classifier(embedding_dim, num_identities)


def create_classifier(embedding_dim: int, num_identities: int) -> nn.Linear:
    """Create a linear identity classifier without bias, with initial weights near zero."""
    classifier = nn.Linear(embedding_dim, num_identities, bias=False)
    nn.init.normal_(classifier.weight, std=0.001)
    return classifier
