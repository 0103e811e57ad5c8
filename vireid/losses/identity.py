"""Classification losses: the identity loss and the identity-consistency loss (Sec. 3.2, Eq. 10-11)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from vireid._checks import check_embeddings, check_identities, require, values_can_be_checked


class IdentityLoss(nn.Module):
    """Cross entropy of one modality's logits, averaged over its images (Eq. 10, A17).

    Args:
        label_smoothing: share of the target spread over all identities; 0 in the paper.

    Shape:
        logits b n, identities b -> scalar. Identities are labels from 0 to n − 1.

    Raises:
        ValueError: the shapes do not match, or (on a CPU) a label is outside 0 … n − 1.
        TypeError: the logits are not floating point or the identities not integers.

    Example:
        >>> import torch
        >>> loss = IdentityLoss()
        >>> loss(torch.zeros(2, 4), torch.tensor([0, 3]))
        tensor(1.3863)
    """

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        require(0 <= label_smoothing < 1, "label_smoothing", "lie in [0, 1)", label_smoothing)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, identities: Tensor) -> Tensor:
        """−log P(y | C_m(Z^m)), the mean over the images."""
        _check_labels(logits, identities)
        return F.cross_entropy(logits, identities.long(), label_smoothing=self.label_smoothing)


class IdentityConsistencyLoss(nn.Module):
    """Cross entropy of the auxiliary embeddings under the visible plus under the infrared classifier (Eq. 11).

    It trains the classifiers, the backbone and the generator: nothing is detached (A18).

    Args:
        label_smoothing: share of the target spread over all identities; 0 in the paper.

    Shape:
        C_v(Z^a) b n, C_r(Z^a) b n, identities b -> scalar.

    Raises:
        ValueError: the shapes do not match, or (on a CPU) a label is outside 0 … n − 1.
        TypeError: the logits are not floating point or the identities not integers.

    Example:
        >>> import torch
        >>> loss = IdentityConsistencyLoss()
        >>> loss(torch.zeros(2, 4), torch.zeros(2, 4), torch.tensor([0, 3]))
        tensor(2.7726)
    """

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.identity = IdentityLoss(label_smoothing=label_smoothing)

    def forward(self, visible_logits: Tensor, infrared_logits: Tensor, identities: Tensor) -> Tensor:
        """−log P(y | C_v(Z^a)) − log P(y | C_r(Z^a)), the mean over the pairs."""
        loss: Tensor = self.identity(visible_logits, identities) + self.identity(infrared_logits, identities)
        return loss


def _check_labels(logits: Tensor, identities: Tensor) -> None:
    check_embeddings("logits", logits)
    check_identities("identities", identities, logits)
    if values_can_be_checked(identities):
        low, high = identities.min().item(), identities.max().item()
        rule = f"be labels from 0 to {logits.shape[1] - 1}, one for each column of the logits"
        remedy = "Number the training identities from 0 without gaps."
        require(low >= 0 and high < logits.shape[1], "identities", rule, f"{low} … {high}", remedy)
