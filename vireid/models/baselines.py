"""The baselines that users start from: the two-stream network B of MUN's Table 1, and AGW."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from vireid._checks import check_choice, check_image_batch, require
from vireid.modality import Modality
from vireid.models.backbone import TwoStreamBackbone, create_backbone
from vireid.models.checkpoints import load_weights, read_config, write_checkpoint
from vireid.models.head import BNNeck, GeneralizedMeanPool, create_classifier
from vireid.models.non_local import NonLocalBlock

if TYPE_CHECKING:
    from typing_extensions import Self

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # how the images are normalised


class BaselineOutput(NamedTuple):
    """What :class:`TwoStreamBaseline` computes of a batch of visible and one of infrared images.

    The embeddings are pooled, before the BNNeck, for metric losses; the logits are those of the embedding behind it.

    Shape:
        embeddings b d, logits b n for n identities.
    """

    visible: Tensor
    infrared: Tensor
    visible_logits: Tensor
    infrared_logits: Tensor


class TwoStreamBaseline(nn.Module):
    """A two-stream backbone, GeM pooling, a BNNeck and identity classifiers: MUN without the auxiliary modality.

    As it comes it is B of MUN's Table 1; :meth:`agw` makes AGW of it. The batches need not be pairs. ``forward`` is for
    training; retrieval takes images of one modality through ``embed``, where no classifier runs.

    Args:
        num_identities: n, the identities to classify in training.
        backbone: name of a timm network.
        pretrained: load timm's weights of the backbone from the hub.
        checkpoint: load the weights of the backbone from a local file instead.
        modality_specific_stages: stages of the backbone that each modality has of its own, beside the stem (A1).
        last_stride: 1 keeps the resolution of the backbone's last stage (A14), 2 halves it.
        image_size: (height, width) of the images, pixels.
        bn_neck: classify and retrieve behind a shared BNNeck; False is MUN's Eq. 10 to the letter (A15).
        learnable_pooling: learn the exponent of the GeM pooling, which starts at 3 (A13).
        shared_classifier: classify both modalities alike, as AGW does, or each by its own classifier, as MUN does.
        non_local: put :class:`NonLocalBlock` behind the last two blocks of ``layer2`` and the last three of ``layer3``,
            as AGW does; for ResNets.

    Shape:
        visible b 3 H W, infrared b' 3 H W -> :class:`BaselineOutput`.

    Raises:
        ValueError: an argument is out of its range, or the images are no b 3 H W batches.

    Example:
        >>> model = TwoStreamBaseline(10, "test_resnet", image_size=(96, 48))
        >>> output = model(torch.rand(4, 3, 96, 48), torch.rand(2, 3, 96, 48))
        >>> output.visible.shape, output.infrared_logits.shape
        (torch.Size([4, 96]), torch.Size([2, 10]))
        >>> model.eval().embed(torch.rand(2, 3, 96, 48), "infrared").shape
        torch.Size([2, 96])

    References:
        Yu et al., Modality Unifying Network for Visible-Infrared Person Re-Identification, ICCV 2023; Ye et al., Deep
        Learning for Person Re-identification: A Survey and Outlook, TPAMI 2021.
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
        bn_neck: bool = True,
        learnable_pooling: bool = False,
        shared_classifier: bool = False,
        non_local: bool = False,
    ) -> None:
        super().__init__()
        require(num_identities >= 1, "num_identities", "be at least 1", num_identities)
        self.arguments: dict[str, Any] = {  # all that the weights do not say
            "num_identities": num_identities,
            "backbone": backbone,
            "modality_specific_stages": modality_specific_stages,
            "last_stride": last_stride,
            "image_size": list(image_size),
            "bn_neck": bn_neck,
            "learnable_pooling": learnable_pooling,
            "shared_classifier": shared_classifier,
            "non_local": non_local,
        }
        self.backbone = create_backbone(
            backbone,
            modality_specific_stages=modality_specific_stages,
            pretrained=pretrained,
            checkpoint=checkpoint,
            last_stride=last_stride,
            image_size=image_size,
        )
        if non_local:
            _insert_non_local(backbone, self.backbone, {"layer2": 2, "layer3": 3})
        self.pool = GeneralizedMeanPool(learnable=learnable_pooling)
        self.embedding_dim = self.backbone.out_channels
        self.neck = BNNeck(self.embedding_dim) if bn_neck else nn.Identity()
        self.visible_classifier = create_classifier(self.embedding_dim, num_identities)
        self.infrared_classifier = (
            self.visible_classifier if shared_classifier else create_classifier(self.embedding_dim, num_identities)
        )

    @classmethod
    def agw(
        cls,
        num_identities: int,
        backbone: str = "resnet50",
        *,
        pretrained: bool = False,
        checkpoint: str | Path | None = None,
        image_size: tuple[int, int] = (288, 144),
    ) -> Self:
        """AGW's network: own stems only, non-local blocks, one classifier; its triplet loss is a loss of its own.

        Args:
            num_identities: n, the identities to classify in training.
            backbone: name of a timm ResNet.
            pretrained: load timm's weights of the backbone from the hub.
            checkpoint: load the weights of the backbone from a local file instead.
            image_size: (height, width) of the images, pixels.

        Raises:
            ValueError: as for the class.
        """
        return cls(
            num_identities,
            backbone,
            pretrained=pretrained,
            checkpoint=checkpoint,
            modality_specific_stages=0,
            image_size=image_size,
            shared_classifier=True,
            non_local=True,
        )

    def forward(self, visible: Tensor, infrared: Tensor) -> Any:
        """Images of both modalities, in any numbers."""
        self._check_whole()
        for argument, images in (("visible", visible), ("infrared", infrared)):
            check_image_batch(argument, images)
        visible_map = self.backbone.first_stages(visible, Modality.VISIBLE)
        infrared_map = self.backbone.first_stages(infrared, Modality.INFRARED)
        embeddings = self.pool(self.backbone.shared_stages(torch.cat([visible_map, infrared_map])))
        sizes = [len(visible), len(infrared)]
        z_visible, z_infrared = embeddings.split(sizes)
        n_visible, n_infrared = self.neck(embeddings).split(sizes)
        return BaselineOutput(
            z_visible, z_infrared, self.visible_classifier(n_visible), self.infrared_classifier(n_infrared)
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
        return nn.functional.normalize(self.neck(embeddings) if feature == "bn" else embeddings)

    def drop_training_parts(self) -> Self:
        """Drop the classifiers, and MUN's generator, which ``embed`` does not need, in place; return the network."""
        for part in ("visible_classifier", "infrared_classifier"):
            setattr(self, part, None)
        return self

    def _check_whole(self) -> None:
        if self.visible_classifier is None:
            raise RuntimeError("forward must come before drop_training_parts, after which only embed is left.")

    @property
    def config(self) -> dict[str, Any]:
        """What :meth:`from_config` makes a network of the same architecture from, preprocessing included."""
        preprocessing = {"size": self.arguments["image_size"], "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
        config = {"model": type(self).__name__, "arguments": self.arguments, "preprocessing": preprocessing}
        return {**config, "retrieval_only": self.visible_classifier is None}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make the network that a ``config`` describes, with new weights.

        Args:
            config: of this class or of one that inherits from it, whose network it then is.

        Raises:
            ValueError: it describes something else.
        """
        classes = {kind.__name__: kind for kind in (cls, *cls.__subclasses__())}
        remedy = "The checkpoint of another network is read by that network's class."
        require(config.get("model") in classes, "config", f"be of {' or '.join(classes)}", config.get("model"), remedy)
        require(isinstance(config.get("arguments"), dict), "config", "have the arguments", config.get("arguments"))
        arguments: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in config["arguments"].items()
        }
        kind = classes[config["model"]]
        try:
            model = kind(**arguments, pretrained=False, checkpoint=None)
        except TypeError as error:
            raise ValueError(f"config must have the arguments of {kind.__name__}, got others: {error}.") from error
        return model.drop_training_parts() if config.get("retrieval_only") else model

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Save the weights as safetensors and the configuration, preprocessing included, as JSON.

        A write that fails leaves an earlier checkpoint in the folder as it was.

        Args:
            folder: is made if need be.

        Raises:
            OSError: the folder cannot be written to.
        """
        write_checkpoint(folder, self.config, self.state_dict())

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], *, num_identities: int | None = None) -> Self:
        """Load a network that ``save_pretrained`` has written, in evaluation mode. Nothing in it is executed.

        ``TwoStreamBaseline.from_pretrained`` loads MUN as well.

        Args:
            source: a folder, or a repository on the Hugging Face hub such as ``"name/model"``.
            num_identities: how many identities the network must classify; by default any number.

        Raises:
            FileNotFoundError: there is no such folder or repository, or a file is missing in it.
            ValueError: it is the checkpoint of something else, is damaged, or has another number of identities.
        """
        config, weights = read_config(source)
        try:
            model = cls.from_config(config)
        except ValueError as error:
            raise ValueError(
                f"source must hold a checkpoint of {cls.__name__}, got {str(source)!r}: {error}"
            ) from error
        trained = model.arguments["num_identities"]
        rule = f"be {trained}, the identities of this checkpoint"
        require(num_identities in {None, trained}, "num_identities", rule, num_identities)
        load_weights(model, weights)
        return model.eval()


def _insert_non_local(name: str, backbone: TwoStreamBackbone, behind: dict[str, int]) -> None:
    network = getattr(backbone.shared_stages, "network", None)
    for stage, number in behind.items():
        blocks = getattr(network, stage, None)
        rule = "be a ResNet for non-local blocks"
        if not isinstance(blocks, nn.Sequential):
            raise ValueError(f"backbone must {rule}, got {name!r}. Take non_local=False.")
        for i in range(max(0, len(blocks) - number), len(blocks)):
            channels = [part.num_features for part in blocks[i].modules() if isinstance(part, nn.BatchNorm2d)][-1]
            blocks[i] = nn.Sequential(blocks[i], NonLocalBlock(channels))
