"""Classification losses: the identity loss and the identity-consistency loss (Sec. 3.2, Eq. 10-11)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from vireid._checks import check_embeddings, check_identities, check_number, require, values_can_be_checked
from vireid.losses.centers import widen


class IdentityLoss(nn.Module):
    """Compute the cross entropy of logits, averaged over the images (Eq. 10).

    Args:
        label_smoothing: Share of the target spread over all identities, in [0, 1); 0 in the paper.

    Shape:
        logits b n, identities b -> scalar. Identities are labels from 0 to n − 1.

    Raises:
        ValueError: If the shapes do not match, or (on a CPU) a label is outside 0 … n − 1.
        TypeError: If the logits are not floating point or the identities not integers.

    Example:
        >>> import torch
        >>> loss = IdentityLoss()
        >>> loss(torch.zeros(2, 4), torch.tensor([0, 3]))
        tensor(1.3863)
    """

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = check_number("label_smoothing", label_smoothing, least=0, below=1)

    def forward(self, logits: Tensor, identities: Tensor) -> Tensor:
        """−log P(y | C_m(Z^m)), the mean over the images."""
        check_embeddings("logits", logits)
        check_identities("identities", identities, logits)
        remedy = "Number the training identities from 0 without gaps."
        check_labels("identities", identities, logits.shape[1], "one for each column of the logits", remedy)
        return F.cross_entropy(widen(logits), identities.long(), label_smoothing=self.label_smoothing)

    def extra_repr(self) -> str:
        """Name the settings."""
        return f"label_smoothing={self.label_smoothing}"


class IdentityConsistencyLoss(nn.Module):
    """Compute the cross entropy of the auxiliary embeddings under the visible plus the infrared classifier (Eq. 11).

    It trains the classifiers, the backbone and the generator: nothing is detached.

    Two classifiers learn to agree by this loss; a baseline such as AGW has a single one, which agrees with itself. Pass
    its logits twice to keep the meaning of the paper's γ: both terms count. ``IdentityLoss`` counts them once.

    Args:
        label_smoothing: Share of the target spread over all identities, in [0, 1); 0 in the paper.

    Shape:
        C_v(Z^a) b n, C_r(Z^a) b n, identities b -> scalar.

    Raises:
        ValueError: If the shapes do not match, or (on a CPU) a label is outside 0 … n − 1.
        TypeError: If the logits are not floating point or the identities not integers.

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
        check_embeddings("visible_logits", visible_logits)
        check_embeddings("infrared_logits", infrared_logits, like=visible_logits)
        loss: Tensor = self.identity(visible_logits, identities) + self.identity(infrared_logits, identities)
        return loss


def check_labels(argument: str, identities: Tensor, number: int, meaning: str, remedy: str = "") -> None:
    """Require labels from 0 to ``number`` − 1, if reading them costs no device synchronisation."""
    if values_can_be_checked(identities):
        low, high = identities.min().item(), identities.max().item()
        rule = f"be labels from 0 to {number - 1}, {meaning}"
        require(low >= 0 and high < number, argument, rule, f"{low} … {high}", remedy)
