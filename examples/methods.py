"""The methods that train.py knows by name: MUN, every row of its Tables 1 to 3, and the baselines of the field.

A method is a network, its loss and the recipe of its augmentation; a method of your own is a line of METHODS. All are
trained by the loop and with the optimiser of train.py, and all differ from their papers in that.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from vireid import MUN
from vireid.losses import (
    HeteroCenterTripletLoss,
    IdentityConsistencyLoss,
    IdentityLoss,
    IdentityMMDLoss,
    ModalityAlignmentLoss,
    OverallLoss,
    WeightedRegularizedTripletLoss,
)
from vireid.models import TwoStreamBaseline


class Method(NamedTuple):
    """What a name stands for."""

    network: Callable[..., nn.Module]
    """From the number of identities, the name of the backbone and its options."""
    loss: Callable[..., nn.Module]
    """From embedding_dim, batch_size and iterations; it takes the network's output and the identities of the pairs."""
    recipe: str = "mun"
    """Of create_train_transform."""


class BaselineLoss(nn.Module):
    """The identity loss of all images, metric losses between them, and one of an auxiliary modality, as weighted terms.

    ``weight`` is 0.25 for the MMD (MMD-ReID) and for the auxiliary modality (MUN's γ).
    """

    def __init__(self, *, label_smoothing=0.0, triplet=None, centers=None, mmd=None, auxiliary=None, weight=0.25):
        super().__init__()
        self.identity = IdentityLoss(label_smoothing=label_smoothing)
        self.triplet, self.centers, self.mmd, self.auxiliary = triplet, centers, mmd, auxiliary
        self.weight = weight

    def forward(self, output, identities):
        """The sum and its terms; each infrared image may have several visible ones, CAJ's views."""
        v, r = output.visible, output.infrared
        v_identities = identities.repeat_interleave(len(v) // len(r))
        labels = torch.cat([v_identities, identities])
        terms = {"identity": self.identity(torch.cat([output.visible_logits, output.infrared_logits]), labels)}
        if self.triplet is not None:
            terms["triplet"] = self.triplet(torch.cat([v, r]), labels)
        if self.centers is not None:
            terms["center_triplet"] = self.centers(v, r, v_identities, infrared_identities=identities)
        if self.mmd is not None:
            terms["mmd"] = self.weight * self.mmd(v, r, v_identities, identities)
        if self.auxiliary is not None:
            logits = output.auxiliary_visible_logits, output.auxiliary_infrared_logits
            terms["identity_consistency"] = self.weight * self.auxiliary(*logits, identities)
        return torch.stack(list(terms.values())).sum(), terms


def mun(**options):
    """MUN with some of the options of its network."""
    return lambda *args, **others: MUN(*args, **others, **options)


def baseline(**options):
    """The two-stream baseline with some of its options."""
    return lambda *args, **others: TwoStreamBaseline(*args, **others, **options)


def overall(*, idc=0.25, ia=0.5, ma=0.008, aux=0.0, **alignment):
    """Eq. 17 with the weights γ, θ, σ and that of L_id^a; ``alignment`` are the switches of L_ma."""

    def create(**sizes):
        return OverallLoss(
            **sizes,
            identity_consistency_weight=idc,
            identity_alignment_weight=ia,
            modality_alignment_weight=ma,
            auxiliary_identity_weight=aux,
            modality_alignment=ModalityAlignmentLoss(**sizes, **alignment) if ma else None,
        )

    return create


def metric(**losses):
    """A BaselineLoss, which does not depend on the sizes."""
    return lambda **_sizes: BaselineLoss(**losses)


METHODS = {
    "mun": Method(MUN, overall()),
    # Table 1: the auxiliary modality with a classifier of its own, then with L_idc in its place, then the alignments.
    "b": Method(TwoStreamBaseline, overall(idc=0, ia=0, ma=0)),
    "b+aux": Method(mun(auxiliary_classifier=True), overall(idc=0, ia=0, ma=0, aux=1)),
    "b+aux+idc": Method(MUN, overall(ia=0, ma=0)),
    "b+aux+idc+ia": Method(MUN, overall(ma=0)),
    "b+aux+idc+ma": Method(MUN, overall(ia=0)),
    # Table 2: another intermediate modality in place of the generator's.
    "mun-with-x": Method(mun(auxiliary="x"), overall()),
    "mun-with-mixed": Method(mun(auxiliary="mixed"), overall()),
    "mun-with-syncretic": Method(mun(auxiliary="syncretic"), overall()),
    "mun-with-middle": Method(mun(auxiliary="middle"), overall()),
    # Table 3: L_ma on the embeddings in place of prototypes, and between visible and infrared directly.
    "mun-without-both": Method(MUN, overall(prototypes=False, bridge=False)),
    "mun-without-prototypes": Method(MUN, overall(prototypes=False)),
    "mun-without-bridge": Method(MUN, overall(bridge=False)),
    # What the ablation in the docs found to matter beyond the paper.
    "b-one-classifier": Method(baseline(shared_classifier=True), overall(idc=0, ia=0, ma=0)),
    "b+aux+idc+ma-unbiased": Method(MUN, overall(ia=0, ma=0.25, prototypes=False, unbiased=True)),
    # The baselines that users start from.
    "agw": Method(TwoStreamBaseline.agw, metric(triplet=WeightedRegularizedTripletLoss()), "agw"),
    "agw+aux": Method(
        mun(modality_specific_stages=0, shared_classifier=True, non_local=True),
        metric(triplet=WeightedRegularizedTripletLoss(), auxiliary=IdentityConsistencyLoss()),
        "agw",
    ),
    "agw+j": Method(TwoStreamBaseline.agw, metric(triplet=WeightedRegularizedTripletLoss()), "caj"),
    "hct": Method(
        baseline(shared_classifier=True), metric(label_smoothing=0.1, centers=HeteroCenterTripletLoss()), "agw"
    ),
    "mmd-reid": Method(
        baseline(modality_specific_stages=2, shared_classifier=True),
        metric(label_smoothing=0.1, centers=HeteroCenterTripletLoss(), mmd=IdentityMMDLoss(margin=1.4)),
        "agw",
    ),
}
