"""MPANet: a single stream with style gates, learned parts, and classifiers of the modalities that learn mutually."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vireid._checks import check_embeddings, check_integer, check_like_weights, check_number, check_type, require
from vireid.models.auxiliary import Fixed, Start
from vireid.models.auxiliary_branch import AuxiliaryBranch, compute_first_maps
from vireid.models.backbone import TwoStreamBackbone, create_backbone
from vireid.models.embedder import EmbedderNetwork, TwoStreamEmbedder, create_embedder
from vireid.models.head import create_classifier, create_classifiers
from vireid.models.parts import MaskPartPooling, PrototypePartPooling, pool_parts


class MutualMeanLogits(NamedTuple):
    """Hold the logits of :class:`MutualMeanClassifiers`.

    Shape:
        Logits b n for n identities.
    """

    visible_own: Tensor
    """C_v of the visible embeddings."""
    infrared_own: Tensor
    """C_r of the infrared embeddings."""
    visible_mean: Tensor
    """The moving average of C_r on the visible embeddings, without a gradient."""
    infrared_mean: Tensor
    """The moving average of C_v on the infrared embeddings, without a gradient."""


class MutualMeanClassifiers(nn.Module):
    """Classify each modality by its own classifier and by the moving average of the other modality's.

    The averages of the weights start at the weights. In training they move by C̄ ← (1 − ρ) C̄ + ρ C at the start of each
    forward pass, with ρ = ``rate`` · min(100 / (e + 1), 1) in the e-th epoch, counted from 1: ``set_epoch`` tells it.
    :class:`~vireid.losses.MutualLearningLoss` brings a classifier's prediction towards the average's.

    Args:
        embedding_dim: Number of values d of an embedding.
        num_identities: Number of training identities n.
        rate: ρ of the first 99 epochs, above 0 and at most 1; 0.2 in MPANet, 0.02 in SAAI.

    Attributes:
        visible: C_v, a linear layer without bias.
        infrared: C_r, a linear layer without bias.
        visible_mean: Weights of the moving average of C_v, a buffer.
        infrared_mean: Weights of the moving average of C_r, a buffer.

    Shape:
        b d, b' d -> :class:`MutualMeanLogits`.

    Raises:
        ValueError: If an argument is out of range, or the embeddings have another shape or device.
        TypeError: If an argument or the embeddings have the wrong type.

    Example:
        >>> classifiers = MutualMeanClassifiers(8, 3, rate=0.5)
        >>> _ = nn.init.ones_(classifiers.visible.weight), classifiers.visible_mean.zero_()
        >>> classifiers(torch.ones(2, 8), torch.ones(2, 8)).infrared_mean  # C̄_v is half of C_v
        tensor([[4., 4., 4.],
                [4., 4., 4.]])

    References:
        Wu et al., Discover Cross-Modality Nuances for Visible-Infrared Person Re-Identification, CVPR 2021.
    """

    visible_mean: Tensor
    infrared_mean: Tensor

    def __init__(self, embedding_dim: int, num_identities: int, *, rate: float = 0.2) -> None:
        super().__init__()
        embedding_dim = check_integer("embedding_dim", embedding_dim, least=1)
        num_identities = check_integer("num_identities", num_identities, least=1)
        self.rate = check_number("rate", rate, above=0, most=1)
        self.visible, self.infrared = create_classifiers(embedding_dim, num_identities, shared=False)
        self.register_buffer("visible_mean", self.visible.weight.detach().clone())
        self.register_buffer("infrared_mean", self.infrared.weight.detach().clone())
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Set the rate of an epoch.

        Args:
            epoch: Index of the epoch, starting at 0.

        Raises:
            ValueError: If the epoch is negative.
            TypeError: If the epoch is no integer.
        """
        self.present_rate = self.rate * min(100 / (check_integer("epoch", epoch, least=0) + 2), 1)

    def forward(self, visible: Tensor, infrared: Tensor) -> MutualMeanLogits:
        """Move the averages, in training, and compute the logits."""
        check_embeddings("visible", visible)
        check_embeddings("infrared", infrared)
        for argument, embeddings in (("visible", visible), ("infrared", infrared)):
            width, found = self.visible.in_features, tuple(embeddings.shape)
            require(found[1] == width, argument, f"have shape (b, {width})", found)
            check_like_weights(argument, embeddings, self.visible.weight)
        with torch.no_grad():
            if self.training:
                self.visible_mean.lerp_(self.visible.weight, self.present_rate)
                self.infrared_mean.lerp_(self.infrared.weight, self.present_rate)
            visible_mean, infrared_mean = F.linear(visible, self.infrared_mean), F.linear(infrared, self.visible_mean)
        return MutualMeanLogits(self.visible(visible), self.infrared(infrared), visible_mean, infrared_mean)

    def extra_repr(self) -> str:
        """Return the settings, for ``print``."""
        return f"rate={self.rate}"


class MPANetOutput(NamedTuple):
    """Hold the output of :class:`MPANet` for a batch of visible and one of infrared images.

    The embeddings are the parts and the mean of the map side by side, before the neck. The logits are those of the
    embeddings behind it.

    Shape:
        Embeddings b (p + 1)·c, logits b n for n identities.
    """

    visible: Tensor
    infrared: Tensor
    visible_logits: Tensor
    """Logits of the joint classifier."""
    infrared_logits: Tensor
    """Logits of the joint classifier."""
    visible_own_logits: Tensor
    """C_v of the visible embeddings."""
    infrared_own_logits: Tensor
    """C_r of the infrared embeddings."""
    visible_mean_logits: Tensor
    """The moving average of C_r on the visible embeddings, without a gradient."""
    infrared_mean_logits: Tensor
    """The moving average of C_v on the infrared embeddings, without a gradient."""
    masks: Tensor
    """Masks of the parts of the visible, then of the infrared images, (b + b') p h w."""
    auxiliary: Tensor | None = None
    """Z^a; this and the following are None without a generator."""
    auxiliary_visible_logits: Tensor | None = None
    """C_v(Z^a), for Eq. 11 of MUN."""
    auxiliary_infrared_logits: Tensor | None = None
    """C_r(Z^a), for Eq. 11 of MUN."""
    auxiliary_map: Tensor | None = None
    """F^a, at the cut of the backbone."""


class MPANet(EmbedderNetwork):
    """Train an embedder of learned parts with a joint classifier, one for each modality and their moving averages.

    :func:`create_mpanet` makes MPANet's network and :func:`create_saai` SAAI's; with an embedder of your own the rest
    is as there. ``forward`` is for training, and its batches need not be pairs. ``embed`` is for retrieval and needs
    the ``embedder`` alone. :class:`~vireid.losses.MPANetLoss` is the loss.

    Args:
        num_identities: Number of training identities n.
        embedder: Embedder with a :class:`MaskPartPooling` or :class:`PrototypePartPooling`.
        rate: Rate of the moving averages of the classifiers, as in :class:`MutualMeanClassifiers`.
        generator: Generator of an auxiliary modality or its start, as in :class:`AuxiliaryBranch`; None for none.

    Shape:
        visible b 3 H W, infrared b' 3 H W -> :class:`MPANetOutput`. With a generator b is b' or a multiple of it.

    Raises:
        ValueError: If an argument is out of range, or the images are not b 3 H W batches of the right size.
        TypeError: If an argument has the wrong type.

    Example:
        >>> model = create_mpanet(10, "test_resnet", image_size=(96, 48))
        >>> output = model(torch.rand(4, 3, 96, 48), torch.rand(2, 3, 96, 48))
        >>> output.visible.shape, output.masks.shape
        (torch.Size([4, 672]), torch.Size([6, 6, 6, 3]))
        >>> model.eval().embed(torch.rand(2, 3, 96, 48), "infrared").shape
        torch.Size([2, 672])

    References:
        Wu et al., Discover Cross-Modality Nuances for Visible-Infrared Person Re-Identification, CVPR 2021.
    """

    def __init__(
        self,
        num_identities: int,
        embedder: TwoStreamEmbedder,
        *,
        rate: float = 0.2,
        generator: nn.Module | Start | Fixed | None = None,
    ) -> None:
        super().__init__()
        num_identities = check_integer("num_identities", num_identities, least=1)
        check_type("embedder", embedder, TwoStreamEmbedder, "be a TwoStreamEmbedder")
        rule = "have a MaskPartPooling or PrototypePartPooling as its pool"
        check_type("embedder", embedder.pool, (MaskPartPooling, PrototypePartPooling), rule)
        self.embedder = embedder
        self.classifier = create_classifier(self.embedding_dim, num_identities)
        self.modality_classifiers = MutualMeanClassifiers(self.embedding_dim, num_identities, rate=rate)
        self.auxiliary_branch = None if generator is None else AuxiliaryBranch(embedder, generator)

    def forward(self, visible: Tensor, infrared: Tensor) -> MPANetOutput:
        """Compute the training output for images of both modalities, in any numbers."""
        embedder, classifiers = self.embedder, self.modality_classifiers
        maps = compute_first_maps(embedder, self.auxiliary_branch, visible, infrared)
        last_map = embedder.backbone.shared_stages(torch.cat(maps))
        masks = embedder.pool.masks(last_map)  # type: ignore[operator]
        z = pool_parts(last_map, masks)
        z_visible, z_infrared = z[: len(visible)], z[len(visible) :]
        n_visible, n_infrared = embedder.normalize(z_visible, z_infrared)
        of_modalities = classifiers(n_visible, n_infrared)
        output = MPANetOutput(
            visible=z_visible,
            infrared=z_infrared,
            visible_logits=self.classifier(n_visible),
            infrared_logits=self.classifier(n_infrared),
            visible_own_logits=of_modalities.visible_own,
            infrared_own_logits=of_modalities.infrared_own,
            visible_mean_logits=of_modalities.visible_mean,
            infrared_mean_logits=of_modalities.infrared_mean,
            masks=masks,
        )
        if self.auxiliary_branch is None:
            return output
        auxiliary_map, z_auxiliary, n_auxiliary = self.auxiliary_branch(embedder, *maps)
        return output._replace(
            auxiliary=z_auxiliary,
            auxiliary_visible_logits=classifiers.visible(n_auxiliary),
            auxiliary_infrared_logits=classifiers.infrared(n_auxiliary),
            auxiliary_map=auxiliary_map,
        )


def create_mpanet(
    num_identities: int,
    backbone: str | TwoStreamBackbone | Sequence[Any] = "resnet50",
    *,
    pretrained: bool = False,
    image_size: tuple[int, int] | None = None,
    parts: int = 6,
    generator: nn.Module | Start | Fixed | None = None,
) -> MPANet:
    """Create MPANet's network: one stream with style gates after the last two stages, and mask parts.

    Args:
        num_identities: Number of training identities n.
        backbone: Name of a timm network of maps; or a backbone or a pair of modules as for :class:`MUN`, taken as it
            is: ``create_backbone(…, style_gates=2, single_stream=True)`` makes MPANet's.
        pretrained: Whether to load timm's weights of a named backbone from the hub.
        image_size: Size (height, width) of the images in pixels; by default (384, 128), MPANet's on SYSU-MM01, or that
            of the backbone.
        parts: Number of parts p.
        generator: Generator of an auxiliary modality or its start, as in :class:`AuxiliaryBranch`; None for none.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If an argument has the wrong type.

    Example:
        >>> create_mpanet(10, "test_resnet", image_size=(96, 48)).embedding_dim  # 6 parts and the mean, of 96 channels
        672

    References:
        Wu et al., Discover Cross-Modality Nuances for Visible-Infrared Person Re-Identification, CVPR 2021.
    """
    num_identities = check_integer("num_identities", num_identities, least=1)
    parts = check_integer("parts", parts, least=1)
    size = (384, 128) if image_size is None and isinstance(backbone, str) else image_size
    stream = create_stream(backbone, pretrained=pretrained, image_size=size, style_gates=2)
    pool = MaskPartPooling(stream.backbone.out_channels, parts=parts)
    embedder = TwoStreamEmbedder(stream.backbone, pool, preprocessing=stream.preprocessing)
    return MPANet(num_identities, embedder, generator=generator)


def create_stream(
    backbone: str | TwoStreamBackbone | Sequence[Any],
    *,
    pretrained: bool,
    image_size: tuple[int, int] | None,
    style_gates: int,
) -> TwoStreamEmbedder:
    """Return an embedder of one stream with style gates, or of a backbone of the user's own as it is."""
    if not isinstance(backbone, str):
        return create_embedder(backbone, pretrained=pretrained, image_size=image_size)
    size = (288, 144) if image_size is None else image_size
    stream = create_backbone(
        backbone, pretrained=pretrained, image_size=size, style_gates=style_gates, single_stream=True
    )
    return create_embedder(stream)
