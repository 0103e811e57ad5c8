"""The methods that train.py knows by name: MUN, every row of its Tables 1 to 3, and the baselines of the field.

A method is a network, its loss and the recipe of its augmentation, and says what it needs; a method of your own is a line
of METHODS. All are trained by the loop and with the optimiser of train.py, and all differ from their papers in that.

Nothing here imports torch before it is needed, so that --help and typos are answered at once.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from lite0 import create_lite0

import vireid

HELPFUL = {"projection": "none", "unbiased": True}  # form of L_ma; docs/does-it-help.md has the evidence
NORMALIZED = {"normalize": True, "reduction": "mean"}  # form of L_ia; its weights are those of a sum over 8 people


class Method(NamedTuple):
    """A network, its loss, and what they need."""

    network: Callable
    """Function of the number of identities, the name of the backbone, pretrained=, image_size= and generator=."""
    loss: Callable
    """Function that makes the loss of (output, identities), from embedding_dim, batch_size= and iterations= if needed."""
    recipe: str = "mun"
    """Recipe of create_train_transform."""
    first: tuple[str, Callable] | None = None
    """Recipe and loss before --second-phase, of a method that has two phases."""
    slow: str = r"\.backbone\."
    """Regular expression of the names of the weights that learn at --backbone-lr-factor."""
    needs_pairs: bool = True
    """Whether visible and infrared images come in pairs of one person: such a method cannot take several views of an image."""
    needs_sizes: bool = True
    """Whether the loss is made from embedding_dim, batch_size= and iterations=, or from nothing."""
    needs_views: bool = False
    """Whether the loss compares several views of each visible image, which the recipe has to make."""
    takes_auxiliary: bool = True
    """Whether --auxiliary can add MUN's generator: not to methods of MUN's loss, which have a third modality."""

    def is_slow(self, name):
        """Return whether a weight learns at --backbone-lr-factor."""
        return re.search(self.slow, name) is not None

    def create_loss(self, embedding_dim, *, batch_size, iterations):
        """Make the loss, from the sizes if it needs them."""
        return (
            self.loss(embedding_dim, batch_size=batch_size, iterations=iterations) if self.needs_sizes else self.loss()
        )

    def with_phases(self, second):
        """Return the method with its first loss before an epoch; as it is if it has one phase."""
        if self.first is None:
            return self
        losses = self.first[1], self.loss
        return self._replace(
            loss=lambda *sizes, **others: vireid.Phases(
                {epoch: loss(*sizes, **others) for epoch, loss in zip((0, second), losses, strict=True)}
            )
        )

    def with_auxiliary(self, start, alignment=None, identity_alignment=None):
        """Return the method with a generator by name, L_idc, and weights of L_ma and L_ia; without a name, as it is.

        ``"direct"`` is no generator: L_ma and L_ia are those of visible and infrared embeddings themselves.
        """
        if start is None:
            return self
        weights = {
            "identity_alignment_weight": 8 * (identity_alignment or 0),
            "modality_alignment_weight": alignment or 0,
        }

        def directly(embedding_dim, **sizes):
            return vireid.losses.DirectAlignmentLoss(self.create_loss(embedding_dim, **sizes), **weights)

        def over_it(embedding_dim, **sizes):
            loss = self.create_loss(embedding_dim, **sizes)
            alignment = vireid.losses.ModalityAlignmentLoss(embedding_dim, **sizes, **HELPFUL)
            return vireid.losses.AuxiliaryModalityLoss(loss, **weights, modality_alignment=alignment)

        if start == "direct":
            return self._replace(loss=directly, needs_sizes=True)
        return self._replace(network=partial(self.network, generator=start), loss=over_it, needs_sizes=True)

    def with_alignments(self, alignment=None, identity_alignment=None):
        """Return a method of MUN's loss with L_ma and L_ia in the forms that help, in place of its own if it has them."""
        loss = self.loss
        if alignment is not None:
            loss = partial(loss, ma=alignment, **HELPFUL)
        if identity_alignment is not None:
            own = getattr(self.loss, "keywords", {}).get("identity_alignment", {})
            loss = partial(loss, ia=8 * identity_alignment, identity_alignment=own | NORMALIZED)
        return self._replace(loss=loss)


def name_of(settings):
    """Name what a run trained: its method, and the options that added to it."""
    added = {name: settings.get(name, "None") for name in ("auxiliary", "alignment", "identity_alignment")}
    if added["auxiliary"] != "None":  # older runs do not name the weights that they left out
        added = {name: "0" if value == "None" else value for name, value in added.items()}
    options = (
        f"--{name.replace('_', '-')} {value.removesuffix('.0')}" for name, value in added.items() if value != "None"
    )
    return " ".join([settings["method"], *options])


def create_backbone(name, **options):
    """Create a backbone of timm, or the trunk of lite0.py."""
    return create_lite0(**options) if name == "lite0" else vireid.models.create_backbone(name, **options)


def mun(*, start=None, stages=1, non_local=False, **options):
    """MUN with some of its options; its generator starts at its inputs where the backbone is pretrained."""

    def create(num_identities, backbone, *, pretrained=False, image_size):
        cut = {"modality_specific_stages": stages, "non_local": non_local}
        backbone = create_backbone(backbone, pretrained=pretrained, image_size=image_size, **cut)
        generator = start or ("inputs" if pretrained else "random")
        return vireid.MUN(num_identities, backbone, generator=generator, **options)

    return create


def intermediate(maker):
    """MUN with another maker of an intermediate modality in place of its generator."""

    def create(num_identities, backbone, *, pretrained=False, image_size):
        backbone = create_backbone(backbone, pretrained=pretrained, image_size=image_size)
        return vireid.models.IntermediateModalityNetwork(num_identities, backbone, maker=maker)

    return create


def baseline(stages=1, *, non_local=False, **options):
    """The two-stream baseline with some of its options and a number of modality-specific stages."""

    def create(num_identities, backbone, *, pretrained=False, image_size, generator=None):
        cut = {"modality_specific_stages": stages, "non_local": non_local}
        backbone = create_backbone(backbone, pretrained=pretrained, image_size=image_size, **cut)
        return vireid.models.TwoStreamBaseline(num_identities, backbone, **options, generator=generator)

    return create


def pmt(num_identities, backbone, **options):
    """PMT's network for a vision transformer; for others that of AGW, with which its authors publish numbers, too."""
    return (vireid.models.create_pmt if "vit" in backbone else AGW)(num_identities, backbone, **options)


def learned_parts(name):
    """The network of MPANet or SAAI: a single stream with style gates."""

    def create(num_identities, backbone, *, pretrained=False, image_size, generator=None):
        stream = {"style_gates": 2, "single_stream": True}
        backbone = create_backbone(backbone, pretrained=pretrained, image_size=image_size, **stream)
        return getattr(vireid.models, f"create_{name}")(num_identities, backbone, generator=generator)

    return create


def deen(num_identities, backbone, *, pretrained=False, image_size, generator=None):
    """The network of DEEN: AGW's stems, three aggregated stages, and an expansion to three versions of each image."""
    parts = {"modality_specific_stages": 0, "aggregated_stages": 3, "expansion_branches": 2}
    backbone = create_backbone(backbone, pretrained=pretrained, image_size=image_size, **parts)
    pool = vireid.models.ExpandedPooling(backbone.out_channels, 3)
    neck = vireid.models.ExpandedNeck(backbone.out_channels)
    return vireid.models.DEEN(num_identities, vireid.TwoStreamEmbedder(backbone, pool, neck), generator=generator)


def mun_loss(embedding_dim, *, idc=0.25, ia=0.5, ma=0.008, aux=0.0, identity_alignment=None, **alignment):
    """Eq. 17 with the weights γ, θ, σ and that of L_id^a, the options of L_ia, and the sizes and options of L_ma."""
    sizes = {name: alignment.pop(name) for name in ("batch_size", "iterations")}
    return vireid.losses.MUNLoss(
        embedding_dim,
        **sizes,
        identity_consistency_weight=idc,
        identity_alignment_weight=ia,
        modality_alignment_weight=ma,
        auxiliary_identity_weight=aux,
        identity_alignment=vireid.losses.IdentityAlignmentLoss(**(identity_alignment or {})),
        modality_alignment=vireid.losses.ModalityAlignmentLoss(embedding_dim, **sizes, **alignment) if ma else None,
    )


def agw_loss():
    """AGW's identity loss and weighted triplet loss."""
    return vireid.losses.BaselineLoss(triplet=vireid.losses.WeightedRegularizedTripletLoss())


def caj_loss():
    """AGW's losses with CAJ's squared triplet."""
    return vireid.losses.BaselineLoss(triplet=vireid.losses.WeightedRegularizedTripletLoss(squared=True))


def caj_plus_loss():
    """CAJ's losses, and the cross entropy of the weak view's predictions under those of the strong one."""
    return vireid.losses.ConsistentViewsLoss(caj_loss(), vireid.losses.ViewCrossEntropyLoss())


def cil_loss():
    """AGW's losses on the clean views, and the divergence of the predictions for all three."""
    consistency = vireid.losses.JensenShannonLoss()
    return vireid.losses.ConsistentViewsLoss(agw_loss(), consistency, weight=6, first_view_only=True)


def identity_loss():
    """The identity loss alone."""
    return vireid.losses.BaselineLoss()


def hct_loss():
    """The identity loss and the hetero-center triplet loss."""
    return vireid.losses.BaselineLoss(label_smoothing=0.1, center_triplet=vireid.losses.HeteroCenterTripletLoss())


def mmd_reid_loss():
    """The losses of MMD-ReID."""
    return vireid.losses.BaselineLoss(
        label_smoothing=0.1,
        center_triplet=vireid.losses.HeteroCenterTripletLoss(),
        mmd=vireid.losses.IdentityMMDLoss(margin=1.4),
    )


def mpanet_loss():
    """The losses of MPANet, whose separation of the masks is a sum over the positions: it grows with the image."""
    return vireid.losses.MPANetLoss()


def saai_loss():
    """The losses of SAAI: those of MPANet with other parts."""
    return vireid.losses.MPANetLoss(
        center_cluster=vireid.losses.CenterClusterLoss(dead_zone=0.01),
        separation=vireid.losses.AttentionDiversityLoss(),
        separation_weight=0.25,
        mutual=vireid.losses.MutualLearningLoss(divergence="cross_entropy"),
        mutual_weight=1,
    )


def deen_loss():
    """The losses of DEEN."""
    return vireid.losses.DEENLoss()


def pmt_first_loss():
    """The losses of PMT's first phase, on gray visible images."""
    return vireid.losses.PMTLoss(within_modalities=True, enhancement_weight=0, center_weight=0)


def pmt_loss():
    """The losses of PMT's second phase."""
    return vireid.losses.PMTLoss()


AGW = baseline(stages=0, non_local=True, shared_classifier=True)
ThirdModality = partial(Method, takes_auxiliary=False)
METHODS = {
    "mun": ThirdModality(mun(), mun_loss),
    # Table 1: the auxiliary modality with a classifier of its own, then with L_idc in its place, then the alignments.
    "b": Method(baseline(), partial(mun_loss, idc=0, ia=0, ma=0)),
    "b+aux": ThirdModality(mun(auxiliary_classifier=True), partial(mun_loss, idc=0, ia=0, ma=0, aux=1)),
    "b+aux+idc": ThirdModality(mun(), partial(mun_loss, ia=0, ma=0)),
    "b+aux+idc+ia": ThirdModality(mun(), partial(mun_loss, ma=0)),
    "b+aux+idc+ma": ThirdModality(mun(), partial(mun_loss, ia=0)),
    # Table 2: another intermediate modality in place of the generator's.
    "mun-with-x": ThirdModality(intermediate("x"), mun_loss),
    "mun-with-mixed": ThirdModality(intermediate("mixed"), mun_loss),
    "mun-with-syncretic": ThirdModality(intermediate("syncretic"), mun_loss),
    "mun-with-middle": ThirdModality(intermediate("middle"), mun_loss),
    # Table 3: L_ma on the embeddings in place of prototypes, and between visible and infrared directly.
    "mun-without-both": ThirdModality(mun(), partial(mun_loss, prototypes=False, bridge=False)),
    "mun-without-prototypes": ThirdModality(mun(), partial(mun_loss, prototypes=False)),
    "mun-without-bridge": ThirdModality(mun(), partial(mun_loss, bridge=False)),
    # Variants beyond the paper; docs/does-it-help.md and docs/results.md say which of them were run, and what they gave.
    "b-one-classifier": Method(baseline(shared_classifier=True), partial(mun_loss, idc=0, ia=0, ma=0)),
    "b+aux+idc+ma-unbiased": ThirdModality(mun(), partial(mun_loss, ia=0, ma=0.25, prototypes=False, unbiased=True)),
    "b+aux+idc+ma-without-w": ThirdModality(mun(), partial(mun_loss, ia=0, projection="none")),
    "mun-without-w": ThirdModality(mun(), partial(mun_loss, projection="none")),
    "mun-mean": ThirdModality(mun(), partial(mun_loss, identity_alignment={"reduction": "mean"})),
    "mun-late-alignment": ThirdModality(mun(), partial(mun_loss, ma=0), first=("mun", partial(mun_loss, ia=0, ma=0))),
    "mun-slow-generator": ThirdModality(mun(), partial(mun_loss, ma=0), slow=r"\.backbone\.|\.generator\."),
    "mun-one-classifier": ThirdModality(mun(shared_classifier=True), partial(mun_loss, ma=0)),
    "mun-one-classifier-direct": ThirdModality(  # the modality has no loss: visible and infrared are aligned directly
        mun(shared_classifier=True), partial(mun_loss, idc=0, ia=0, ma=0.25, bridge=False, **HELPFUL)
    ),
    "mun-random-start": ThirdModality(mun(start="random"), partial(mun_loss, ma=0)),
    # The baselines that users start from.
    "agw": Method(AGW, agw_loss, "agw", needs_pairs=False, needs_sizes=False),
    "agw+j": Method(AGW, agw_loss, "caj", needs_pairs=False, needs_sizes=False),
    "agw+rle": Method(AGW, agw_loss, "rle", needs_pairs=False, needs_sizes=False),
    "caj": Method(AGW, caj_loss, "caj", needs_pairs=False, needs_sizes=False),
    "caj+": Method(AGW, caj_plus_loss, "caj+", needs_pairs=False, needs_sizes=False, needs_views=True),
    "cil": Method(AGW, cil_loss, "cil", needs_pairs=False, needs_sizes=False, needs_views=True),
    "cil-literal": Method(AGW, cil_loss, "cil-literal", needs_pairs=False, needs_sizes=False, needs_views=True),
    "pmt": Method(
        pmt,
        pmt_loss,
        "pmt",
        first=("pmt-gray", pmt_first_loss),
        slow=r"\.backbone\.(?!.*(pos_embed|cls_token|prefix|shared_stages\.norm))",
        needs_pairs=False,
        needs_sizes=False,
    ),
    "mpanet": Method(learned_parts("mpanet"), mpanet_loss, "mpanet", needs_pairs=False, needs_sizes=False),
    "saai": Method(learned_parts("saai"), saai_loss, "saai", needs_pairs=False, needs_sizes=False),
    "deen": Method(deen, deen_loss, "deen", needs_pairs=False, needs_sizes=False),
    "zero-padding": Method(
        baseline(stages="zero-padding", shared_classifier=True),
        identity_loss,
        "agw",
        needs_pairs=False,
        needs_sizes=False,
    ),
    "hct": Method(baseline(shared_classifier=True), hct_loss, "agw", needs_pairs=False, needs_sizes=False),
    "mmd-reid": Method(
        baseline(stages=2, shared_classifier=True), mmd_reid_loss, "agw", needs_pairs=False, needs_sizes=False
    ),
}

RECIPES = dict.fromkeys(("mun", "agw", "rle", "pmt", "pmt-gray", "deen", "mpanet", "saai"), 1)  # views of an image
RECIPES |= {"caj": 2, "caj+": 2, "cil": 3, "cil-literal": 3}
