"""MUN, the Modality Unifying Network (Sec. 3, Fig. 2)."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from vireid._checks import check_choice, check_image_batch, require
from vireid.modality import Modality
from vireid.models.auxiliary import AuxiliaryGenerator
from vireid.models.backbone import create_backbone
from vireid.models.checkpoints import load_weights, read_config, write_checkpoint
from vireid.models.head import BNNeck, GeneralizedMeanPool, create_classifier
from vireid.models.intermediate import MiddleModality, MixedModality, SyncreticModality, XModality

if TYPE_CHECKING:
    from typing_extensions import Self

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # how the images are normalised


class MUNOutput(NamedTuple):
    """What :class:`MUN` computes of a batch of pairs; index j of every field belongs to pair j.

    The embeddings Z are pooled, before the BNNeck; the logits are those of the embedding behind it.

    Shape:
        Embeddings b d, logits b n for n identities, maps b c h w.
    """

    visible: Tensor
    """Z^v."""
    infrared: Tensor
    """Z^r."""
    auxiliary: Tensor
    """Z^a."""
    visible_logits: Tensor
    """C_v(Z^v), for Eq. 10."""
    infrared_logits: Tensor
    """C_r(Z^r), for Eq. 10."""
    auxiliary_visible_logits: Tensor
    """C_v(Z^a), for Eq. 11."""
    auxiliary_infrared_logits: Tensor
    """C_r(Z^a), for Eq. 11."""
    visible_map: Tensor
    """F^v, at the cut of the backbone."""
    infrared_map: Tensor
    """F^r."""
    auxiliary_map: Tensor
    """F^a."""
    auxiliary_logits: Tensor | None = None
    """C_a(Z^a), for L_id^a; None without ``auxiliary_classifier``."""


class MUN(nn.Module):
    """The Modality Unifying Network: a two-stream backbone, the auxiliary generator and two identity classifiers.

    Training takes same-identity pairs through ``forward``; retrieval takes images of one modality through ``embed``,
    where neither generator nor classifiers run. The paper does not mention a BNNeck; every network that it builds on
    has one (A15).

    Args:
        num_identities: n, the identities to classify in training.
        backbone: name of a timm network.
        pretrained: load timm's weights of the backbone from the hub.
        checkpoint: load the weights of the backbone from a local file instead.
        modality_specific_stages: stages of the backbone that each modality has of its own, beside the stem (A1).
        last_stride: 1 keeps the resolution of the backbone's last stage (A14), 2 halves it.
        image_size: (height, width) of the images, pixels.
        pooling_ratios: of the auxiliary generator; the paper's (2, 4, 6, 12).
        bn_neck: classify and retrieve behind a shared BNNeck; False is Eq. 10 to the letter (A15).
        learnable_pooling: learn the exponent of the GeM pooling, which starts at 3 (A13).
        auxiliary_classifier: have a third classifier, of the auxiliary embeddings, for L_id^a (A19).
        auxiliary: what makes the auxiliary modality: ``"mun"``'s generator of feature maps, or a competitor of Table 2
            that makes images: ``"x"``, ``"mixed"``, ``"syncretic"`` or ``"middle"``.
        auxiliary_stages: through which first stages such images go: a third copy, ``"own"``, or those of the
            ``"visible"`` or ``"infrared"`` images.

    Shape:
        visible b 3 H W, infrared b 3 H W -> :class:`MUNOutput`.

    Raises:
        ValueError: an argument is out of its range, or the images are no two b 3 H W batches of one shape.

    Example:
        >>> model = MUN(num_identities=10, backbone="test_resnet", image_size=(96, 48))
        >>> output = model(torch.rand(4, 3, 96, 48), torch.rand(4, 3, 96, 48))
        >>> output.auxiliary.shape, output.visible_logits.shape
        (torch.Size([4, 96]), torch.Size([4, 10]))
        >>> model.eval().embed(torch.rand(2, 3, 96, 48), "infrared").shape
        torch.Size([2, 96])

    References:
        Yu et al., Modality Unifying Network for Visible-Infrared Person Re-Identification, ICCV 2023.
    """

    def __init__(
        self,
        num_identities: int,
        backbone: str = "resnet50",
        *,
        pretrained: bool = False,
        checkpoint: str | Path | None = None,
        modality_specific_stages: int = 1,
        last_stride: Literal[1, 2] = 1,
        image_size: tuple[int, int] = (288, 144),
        pooling_ratios: tuple[int, ...] = (2, 4, 6, 12),
        bn_neck: bool = True,
        learnable_pooling: bool = False,
        auxiliary_classifier: bool = False,
        auxiliary: Literal["mun", "x", "mixed", "syncretic", "middle"] = "mun",
        auxiliary_stages: Literal["own", "visible", "infrared"] = "own",
    ) -> None:
        super().__init__()
        require(num_identities >= 1, "num_identities", "be at least 1", num_identities)
        check_choice("auxiliary", auxiliary, ("mun", *_IMAGE_GENERATORS))
        check_choice("auxiliary_stages", auxiliary_stages, ("own", "visible", "infrared"))
        self.arguments = {  # all that the weights do not say
            "num_identities": num_identities,
            "backbone": backbone,
            "modality_specific_stages": modality_specific_stages,
            "last_stride": last_stride,
            "image_size": list(image_size),
            "pooling_ratios": list(pooling_ratios),
            "bn_neck": bn_neck,
            "learnable_pooling": learnable_pooling,
            "auxiliary_classifier": auxiliary_classifier,
            "auxiliary": auxiliary,
            "auxiliary_stages": auxiliary_stages,
        }
        self.backbone = create_backbone(
            backbone,
            modality_specific_stages=modality_specific_stages,
            pretrained=pretrained,
            checkpoint=checkpoint,
            last_stride=last_stride,
            image_size=image_size,
        )
        self.generator: nn.Module | None
        self.generator_stages: nn.Module | None = None
        self.auxiliary_stages = auxiliary_stages
        if auxiliary == "mun":
            self.generator = AuxiliaryGenerator(self.backbone.cut_channels, pooling_ratios=pooling_ratios)
        else:
            self.generator = _IMAGE_GENERATORS[auxiliary]()
            if auxiliary_stages == "own":
                self.generator_stages = copy.deepcopy(self.backbone.visible_stages)
        self.pool = GeneralizedMeanPool(learnable=learnable_pooling)
        self.embedding_dim = self.backbone.out_channels
        self.neck = BNNeck(self.embedding_dim) if bn_neck else nn.Identity()
        self.visible_classifier = create_classifier(self.embedding_dim, num_identities)
        self.infrared_classifier = create_classifier(self.embedding_dim, num_identities)
        self.auxiliary_classifier = (
            create_classifier(self.embedding_dim, num_identities) if auxiliary_classifier else None
        )

    def forward(self, visible: Tensor, infrared: Tensor) -> MUNOutput:
        """Pairs of images that show the same identity at the same index."""
        check_image_batch("visible", visible)
        check_image_batch("infrared", infrared)
        same = visible.shape == infrared.shape
        require(same, "infrared", f"have the shape of visible, {tuple(visible.shape)}", tuple(infrared.shape))
        if self.generator is None:
            raise RuntimeError("forward must come before drop_training_parts, after which only embed is left.")
        visible_map = self.backbone.first_stages(visible, Modality.VISIBLE)
        infrared_map = self.backbone.first_stages(infrared, Modality.INFRARED)
        if isinstance(self.generator, AuxiliaryGenerator):
            auxiliary_map = self.generator(visible_map, infrared_map)
        elif self.generator_stages is not None:
            auxiliary_map = self.generator_stages(self.generator(visible, infrared))
        else:
            auxiliary_map = self.backbone.first_stages(self.generator(visible, infrared), self.auxiliary_stages)
        maps = torch.cat([visible_map, infrared_map, auxiliary_map])  # (m b) c h w
        embeddings = self.pool(self.backbone.shared_stages(maps))  # (m b) d
        z_visible, z_infrared, z_auxiliary = embeddings.chunk(3)
        n_visible, n_infrared, n_auxiliary = self.neck(embeddings).chunk(3)
        return MUNOutput(
            visible=z_visible,
            infrared=z_infrared,
            auxiliary=z_auxiliary,
            visible_logits=self.visible_classifier(n_visible),
            infrared_logits=self.infrared_classifier(n_infrared),
            auxiliary_visible_logits=self.visible_classifier(n_auxiliary),
            auxiliary_infrared_logits=self.infrared_classifier(n_auxiliary),
            visible_map=visible_map,
            infrared_map=infrared_map,
            auxiliary_map=auxiliary_map,
            auxiliary_logits=None if self.auxiliary_classifier is None else self.auxiliary_classifier(n_auxiliary),
        )

    def embed(self, images: Tensor, modality: Modality | str, *, feature: Literal["bn", "pooled"] = "bn") -> Tensor:
        """Embeddings of unit length for retrieval by cosine similarity.

        Args:
            images: of one modality.
            modality: ``"visible"`` or ``"infrared"``.
            feature: the embedding behind the BNNeck or the pooled one before it (A16).

        Shape:
            b 3 H W -> b d.

        Raises:
            ValueError: the images have another shape, or no such modality or feature exists.
        """
        check_image_batch("images", images)
        check_choice("feature", feature, ("bn", "pooled"))
        embeddings = self.pool(self.backbone.shared_stages(self.backbone.first_stages(images, modality)))
        if feature == "bn":
            embeddings = self.neck(embeddings)
        return nn.functional.normalize(embeddings)

    def drop_training_parts(self) -> Self:
        """Drop the generator and the classifiers, which ``embed`` does not need, in place; return the network."""
        for part in ("generator", "generator_stages", *(f"{m.value}_classifier" for m in Modality)):
            setattr(self, part, None)
        return self

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Save the weights as safetensors and the configuration, preprocessing included, as JSON.

        A write that fails leaves an earlier checkpoint in the folder as it was.

        Args:
            folder: is made if need be.

        Raises:
            OSError: the folder cannot be written to.
        """
        preprocessing = {"size": self.arguments["image_size"], "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
        config = {"model": "MUN", "arguments": self.arguments, "retrieval_only": self.generator is None}
        write_checkpoint(folder, {**config, "preprocessing": preprocessing}, self.state_dict())

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], *, num_identities: int | None = None) -> Self:
        """Load a network that ``save_pretrained`` has written, in evaluation mode. Nothing in it is executed.

        Args:
            source: a folder, or a repository on the Hugging Face hub such as ``"name/model"``.
            num_identities: how many identities the network must classify; by default any number.

        Raises:
            FileNotFoundError: there is no such folder or repository, or a file is missing in it.
            ValueError: it is the checkpoint of something else, is damaged, or has another number of identities.
        """
        config, weights = read_config(source, "MUN")
        trained = config["arguments"].get("num_identities")
        rule = f"be {trained}, the identities of this checkpoint"
        require(num_identities in {None, trained}, "num_identities", rule, num_identities)
        arguments: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in config["arguments"].items()
        }
        try:
            model = cls(**arguments, pretrained=False, checkpoint=None)
        except TypeError as error:
            raise ValueError(f"source must hold the arguments of MUN ({error}), got {str(source)!r}.") from error
        if config.get("retrieval_only"):
            model.drop_training_parts()
        load_weights(model, weights)
        return model.eval()


_IMAGE_GENERATORS: dict[str, type[nn.Module]] = {
    "x": XModality,
    "mixed": MixedModality,
    "syncretic": SyncreticModality,
    "middle": MiddleModality,
}
