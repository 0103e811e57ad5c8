"""From labelled images to a decision: a threshold at a false-accept rate, what it promises, and the error curves."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vireid._checks import check_finite, check_integer, check_number, check_tensor, check_type, is_integral, require
from vireid._files import load_json, save_json
from vireid.evaluation.comparison import Distance
from vireid.evaluation.extraction import EmbeddingSet
from vireid.evaluation.metrics import Array, to_tensor
from vireid.evaluation.pairs import Exclude, ImagePairs

FILE = "calibration.json"
_FORMAT = {"vireid": "Calibration", "version": 2}
_SPLITS = 500  # random halves of the people behind an interval
_CHUNK = 2**20  # pairs of all splits counted at a time
_USELESS = 0.95  # false rejects of a threshold with which a search finds hardly anybody


@dataclass(frozen=True)
class Calibration:
    """Hold a distance threshold with its error rates, as :func:`calibrate` returns it.

    Attributes:
        threshold: Largest distance at which two images count as the same person.
        false_accept_rate: Largest share of the pairs of different people that the threshold accepts.
        false_accept_interval: Range of that share for other people, see :func:`calibrate`.
        false_reject_rate: Share of the pairs of one person that the threshold rejects.
        confidence: Share of groups of other people for which the interval is meant to hold.
        query: Modality of the one image of a pair.
        gallery: Modality of the other.
        distance: Distance that the threshold belongs to.
        feature: Description of how the embeddings were made, such as from mirror images as well.
        network: Digest of the weights of the network that made them, ``""`` if it is unknown.
        exclude: Pairs that were left out.
        people: Number of people.
        genuine_pairs: Number of pairs of one person.
        impostor_pairs: Number of pairs of different people.
    """

    threshold: float
    false_accept_rate: float
    false_accept_interval: tuple[float, float]
    false_reject_rate: float
    confidence: float
    query: str
    gallery: str
    distance: str
    feature: str
    network: str
    exclude: str
    people: int
    genuine_pairs: int
    impostor_pairs: int

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the calibration as JSON, whole and with a checksum.

        Args:
            path: Folder, such as that of the model, for its file ``calibration.json``; or the path of a ``.json`` file,
                where a model has several calibrations.

        Raises:
            OSError: If the file cannot be written.
            TypeError: If ``path`` is not a path.
        """
        save_json(_file(path), {**_FORMAT, **asdict(self)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Calibration:
        """Read the file that :meth:`save` wrote.

        Args:
            path: Folder of ``calibration.json``, or the path of a ``.json`` file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged or holds something else.
            TypeError: If ``path`` is not a path.
        """
        file = _file(path)
        values = load_json(file)
        found = {name: values.pop(name, None) for name in _FORMAT}
        remedy = "Calibrate again." if found["vireid"] == _FORMAT["vireid"] else ""
        require(found == _FORMAT, "path", "be a file of Calibration.save", str(file), remedy)
        return cls(**_check_values("path", values, f"{file}, "))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Make a calibration of the dictionary that the metadata of an exported file hold.

        Args:
            values: Fields of a calibration by name, as ``dataclasses.asdict`` returns them.

        Raises:
            ValueError: If a field is missing, unknown or of another type.
            TypeError: If ``values`` is not a mapping.
        """
        check_type("values", values, Mapping, "map the fields of a calibration to their values")
        return cls(**_check_values("values", values))

    def check(
        self,
        argument: str,
        *,
        network: str = "",
        feature: str = "",
        modalities: Collection[str] = (),
        distance: str = "",
    ) -> None:
        """Require that the threshold was measured with the network, on the embeddings and for the images of a search.

        What is not known, here or in the calibration, is not compared. Nor is the class that a network is part of, so
        that ``model``, ``model.embedder`` and an exported file may follow each other.

        Args:
            argument: Name of the calibration in errors.
            network: Digest of the network, :attr:`EmbeddingSet.network`.
            feature: Description of how the embeddings are made, :attr:`EmbeddingSet.feature`.
            modalities: Modalities of the images that are compared, one or both.
            distance: Distance by which they are compared.

        Raises:
            ValueError: If it was measured with something else; the error names both.
        """
        remedy = "Calibrate it again, with the network and the options that embed."
        ours, theirs = sorted({self.query, self.gallery}), sorted(set(modalities))
        for rule, own, other in (
            ("of the network with the weights", self.network, network),
            ("of embeddings made by", self.feature, feature),
            ("for the distance", self.distance, distance),
            ("for images that are", " and ".join(ours), " and ".join(theirs)),
        ):
            same = not own or not other or _without_class(own) == _without_class(other)
            require(same, argument, f"be {rule} {other!r}", own, remedy)

    def __str__(self) -> str:
        low, high = (f"{100 * rate:.3g}" for rate in self.false_accept_interval)
        images = f"{self.query} images" if self.query == self.gallery else f"{self.query} and {self.gallery} images"
        return (
            f"{images} show the same person up to a {self.distance} distance of {self.threshold:.4g}: "
            f"false accepts {100 * self.false_accept_rate:.3g} % ({low} to {high} % for other people), "
            f"false rejects {100 * self.false_reject_rate:.3g} %; from {self.people} people, "
            f"{self.genuine_pairs:,} genuine and {self.impostor_pairs:,} impostor pairs"
        )


def calibrate(
    query: EmbeddingSet,
    gallery: EmbeddingSet | None = None,
    *,
    false_accept_rate: float = 1e-3,
    distance: Distance = "cosine",
    exclude: Exclude = "none",
    confidence: float = 0.95,
    seed: int = 0,
) -> Calibration:
    """Choose the largest distance at which two images are taken for one person, by the share of false accepts.

    Use images of people that the network was not trained on, as in its test set: distances of people that it knows are
    smaller, and the threshold then rejects nearly everybody else. Every pair of modalities needs a calibration of its
    own.

    The embeddings say which network made them, and how; the calibration keeps both, and a search or an export with
    another network is refused. A threshold that rejects 95 % of the pairs of one person or more gives a warning.

    The threshold lies halfway between the largest distance that the rate allows and the next larger one of two
    different people. Pairs share people, so there is much less evidence than pairs. The interval therefore resamples
    people: 500 times a random half of them chooses a threshold, whose false-accept rate is measured on the other half.
    It is the central range of these rates. With few people it is wide, however many images they have, and the rate on
    other people is on average above the requested one: where false accepts must stay rare, judge by the upper end.

    Args:
        query: Labelled embeddings of images of one modality.
        gallery: Labelled embeddings of the other modality; without them, the threshold is for pairs within ``query``.
        false_accept_rate: Share of the pairs of different people that may be accepted, between 0 and 1.
        distance: Distance of two embeddings, ``"cosine"``, ``"euclidean"`` or ``"dot"``, the negative inner product.
            The first two are those of :class:`GalleryIndex`.
        exclude: Pairs to leave out: ``"none"``, or those from the ``"same camera"``, if yours will compare different
            cameras only.
        confidence: Share of the 500 rates that lies within the interval, between 0 and 1.
        seed: Seed of the random halves.

    Raises:
        ValueError: If the rate is below one of the pairs of different people (the error names the smallest rate that is
            possible), there are fewer than 4 people or no pair of one person, an identity is negative, which marks an
            image without a label, the sets do not match, or an option is unknown or out of range.
        TypeError: If an argument has another type.

    Example:
        >>> rows, identities = torch.rand(40, 8, generator=torch.manual_seed(0)), torch.arange(40) // 4
        >>> visible = EmbeddingSet(rows, identities, torch.ones(40, dtype=torch.int64), "visible")
        >>> infrared = EmbeddingSet(rows + 0.1, identities, torch.full((40,), 2), "infrared")
        >>> calibration = calibrate(visible, infrared, false_accept_rate=0.01)
        >>> calibration.impostor_pairs, calibration.false_accept_rate
        (1440, 0.01)
    """
    pairs = ImagePairs(query, gallery, distance, exclude)
    rate = check_number("false_accept_rate", false_accept_rate, above=0, below=1)
    confidence = check_number("confidence", confidence, above=0, below=1)
    seed = check_integer("seed", seed, least=0, most=2**63 - 1)
    require(pairs.people >= 4, "query.identities", "be those of at least 4 people", pairs.people)
    impostors = int(pairs.count_impostors(torch.ones(1, pairs.people, dtype=torch.bool)))
    require(impostors > 0, "query", "have a pair of different people", 0)
    allowed = check_share("false_accept_rate", rate, impostors, "pairs of different people")
    halves = torch.rand(_SPLITS, pairs.people, generator=torch.Generator().manual_seed(seed)).argsort(1)
    halves = halves < pairs.people // 2

    rates: Tensor | None = None
    length = 4 * allowed + 1000
    while rates is None:
        genuine, tail = _compare(pairs, min(length, impostors))
        rates = _resample(pairs, tail, rate, halves)
        length *= 4
    require(len(genuine) > 0, "query", "have a pair of one person", 0)
    require(len(rates) > 0, "query", "have pairs of different people in every half of the people", 0)
    accepted = tail.distances[: allowed + 1]
    refused = accepted[-1]
    below = accepted[accepted < refused]
    tied = f"be larger, as {len(accepted)} pairs of different people tie at the distance {refused:.4g}"
    require(len(below) > 0, "false_accept_rate", tied, rate)
    threshold = (below[-1] + refused) / 2
    threshold = threshold if threshold < refused else below[-1]  # neighbours among the numbers
    low, high = (torch.quantile(rates, (1 + side) / 2).item() for side in (-confidence, confidence))
    rejected = (genuine > threshold).double().mean().item()
    if rejected >= _USELESS:
        message = (
            f"The threshold rejects {100 * rejected:.3g} % of the pairs of one person: a search with it finds hardly "
        )
        message += (
            f"anybody. At a false-accept rate of {100 * rate:.3g} % this network does not tell these people apart."
        )
        warnings.warn(f"{message} Train it longer or on more people, or choose a larger rate.", stacklevel=2)
    return Calibration(
        threshold=float(threshold),
        false_accept_rate=rate,
        false_accept_interval=(low, high),
        false_reject_rate=rejected,
        confidence=confidence,
        query=str(getattr(query.modality, "value", query.modality)),
        gallery=str(getattr(pairs.gallery.modality, "value", pairs.gallery.modality)),
        distance=distance,
        feature=query.feature,
        network=query.network or pairs.gallery.network,
        exclude=exclude,
        people=pairs.people,
        genuine_pairs=len(genuine),
        impostor_pairs=impostors,
    )


class ErrorRates(NamedTuple):
    """Hold the false-accept and false-reject rates of all thresholds, the points of a DET curve.

    Attributes:
        thresholds: Distances in ascending order, after −∞; a pair is accepted up to the threshold.
        false_accept: Share of the pairs of different people that are accepted.
        false_reject: Share of the pairs of one person that are rejected.

    Shape:
        thresholds t, false_accept t, false_reject t; float64, on the CPU.
    """

    thresholds: Tensor
    false_accept: Tensor
    false_reject: Tensor

    @property
    def equal_error_rate(self) -> float:
        """The error rate where both are equal, on the line between the two thresholds next to that point."""
        gap = self.false_accept - self.false_reject  # from -1 to 1, ascending
        after = int(torch.searchsorted(gap, 0.0))
        share = float(-gap[after - 1] / (gap[after] - gap[after - 1]))
        return float(torch.lerp(self.false_accept[after - 1], self.false_accept[after], share))


def compute_error_rates(distances: Array, same: Array) -> ErrorRates:
    """Compute the false-accept and false-reject rates of all thresholds.

    Args:
        distances: Distances of pairs of images, finite; negate similarities. :func:`compare_pairs` computes them.
        same: Whether both images of a pair show the same person.

    Shape:
        n or q g, the same -> t, t, t, where t is one more than the number of different distances.

    Raises:
        ValueError: If the shapes differ, a distance is not finite, or all pairs or none are of one person.
        TypeError: If distances are not real numbers, or ``same`` is not boolean.

    Example:
        >>> rates = compute_error_rates([0.1, 0.2, 0.3, 0.4], [True, False, True, False])
        >>> rates.false_accept, rates.false_reject
        (tensor([0.0000, 0.0000, 0.5000, 0.5000, 1.0000], ...), tensor([1.0000, 0.5000, 0.5000, 0.0000, 0.0000], ...))
        >>> rates.equal_error_rate
        0.5
    """
    measured = check_distances(distances)
    genuine = to_tensor("same", same, "be boolean").cpu()
    require(genuine.dtype == torch.bool, "same", "be boolean", genuine.dtype, error=TypeError)
    shape = tuple(measured.shape)
    require(genuine.shape == shape, "same", f"have the shape of distances, {shape}", tuple(genuine.shape))
    count = int(genuine.sum())
    rule = "be True for some pairs and False for others"
    require(0 < count < genuine.numel(), "same", rule, f"{count} of {genuine.numel()}")
    ordered, order = measured.flatten().sort()
    last = torch.ones_like(ordered, dtype=torch.bool)  # of equal distances
    last[:-1] = ordered[1:] != ordered[:-1]
    genuine = genuine.flatten()[order]
    accepted = torch.stack([(~genuine).cumsum(0), genuine.cumsum(0)])[:, last]
    impostor_share, genuine_share = accepted.double() / torch.tensor([[genuine.numel() - count], [count]])
    thresholds = torch.cat([ordered.new_tensor([-torch.inf]), ordered[last]])
    zero = ordered.new_zeros(1)
    return ErrorRates(thresholds, torch.cat([zero, impostor_share]), 1 - torch.cat([zero, genuine_share]))


def check_distances(distances: Array) -> Tensor:
    """Require finite real numbers, one at least; return them in float64 on the CPU."""
    tensor = to_tensor("distances", distances)
    check_tensor("distances", tensor)
    real = tensor.is_floating_point() or is_integral(tensor)
    require(real, "distances", "be real numbers", tensor.dtype, error=TypeError)
    require(tensor.dim() > 0 and tensor.numel() > 0, "distances", "have a pair", tuple(tensor.shape))
    check_finite("distances", tensor[:, None] if tensor.dim() == 1 else tensor)
    return tensor.detach().double().cpu()


def check_share(argument: str, rate: float, total: int, what: str) -> int:
    """Require a rate of at least one of ``total``; return how many it allows."""
    allowed = math.floor(rate * total * (1 + 1e-12))  # 0.29 × 100 is below 29
    unit = 10.0 ** (math.floor(math.log10(1 / total)) - 2)
    least = math.ceil(1 / total / unit) * unit  # three digits, rounded up
    require(allowed >= 1, argument, f"be at least {least:.3g}, one of {total:,} {what}", rate)
    return allowed


class _Tail(NamedTuple):
    """The pairs of different people with the smallest distances, in ascending order."""

    distances: Tensor
    query_people: Tensor
    gallery_people: Tensor


def _compare(pairs: ImagePairs, length: int) -> tuple[Tensor, _Tail]:
    """Compute the distances of all pairs of one person, and of the ``length`` nearest pairs of different people."""
    genuine = []
    tail = _Tail(torch.empty(0).double(), torch.empty(0).long(), torch.empty(0).long())
    bound = torch.inf
    for chunk in pairs.chunks():
        genuine.append(chunk.distances[chunk.counted & chunk.same].cpu())
        rows, columns = (chunk.counted & ~chunk.same & (chunk.distances <= bound)).nonzero(as_tuple=True)
        near = chunk.distances[rows, columns].cpu()
        people = pairs.query_people[rows.cpu() + chunk.start], pairs.gallery_people[columns.cpu()]
        tail = _Tail(*(torch.cat(part) for part in zip(tail, (near, *people), strict=True)))
        if len(tail.distances) > length:
            nearest = tail.distances.topk(length, largest=False).indices
            tail = _Tail(*(part[nearest] for part in tail))
            bound = tail.distances.max().item()
    order = tail.distances.argsort(stable=True)
    return torch.cat(genuine), _Tail(*(part[order] for part in tail))


def _resample(pairs: ImagePairs, tail: _Tail, rate: float, halves: Tensor) -> Tensor | None:
    """Choose a threshold on each half of the people, and measure its false-accept rate on the others.

    Returns:
        A rate for each half that has pairs on both sides, or None if the tail ends before a threshold.
    """
    inside, outside = pairs.count_impostors(halves), pairs.count_impostors(~halves)
    usable = (inside > 1) & (outside > 0)
    allowed = (rate * inside * (1 + 1e-12)).int().clamp_min(1)
    distances, query, gallery = tail
    rates = [torch.empty(0).double()]
    parts = (torch.split(part[usable], max(1, _CHUNK // len(distances))) for part in (halves, allowed, outside))
    for half, accepted, total in zip(*parts, strict=True):
        rank = (half[:, query] & half[:, gallery]).cumsum(1, dtype=torch.int32)  # of each pair among those of the half
        if bool((rank[:, -1] <= accepted).any()):
            return None
        last, refused = (distances[torch.searchsorted(rank, (accepted + i)[:, None])] for i in (0, 1))
        end = torch.searchsorted(distances, (last + refused) / 2)  # of the pairs that are accepted
        others = (~(half[:, query] | half[:, gallery])).cumsum(1, dtype=torch.int32)
        rates.append(others.gather(1, end.sub(1).clamp_min(0))[:, 0].where(end[:, 0] > 0, 0) / total.double())
    return torch.cat(rates)


def _without_class(feature: str) -> str:
    return re.sub(r"^\w+(?=\.embed\b)", "", feature)


def _file(path: str | os.PathLike[str]) -> Path:
    """The file of a folder, or the file itself."""
    check_type("path", path, (str, os.PathLike), "be a path")
    return Path(path) if Path(path).suffix == ".json" else Path(path, FILE)


def _check_values(argument: str, values: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Require the fields of a calibration, each of its type."""
    names = {field.name for field in fields(Calibration)}
    require(values.keys() == names, argument, f"have the entries {sorted(names)}", f"{place}{sorted(values)}")
    fits: dict[str, Callable[[Any], bool]] = {
        "float": _is_number,
        "int": lambda value: type(value) is int,
        "str": lambda value: isinstance(value, str),
        "tuple[float, float]": lambda value: (
            isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_number, value))
        ),
    }
    for field in fields(Calibration):
        value = values[field.name]
        require(fits[str(field.type)](value), argument, f"have a {field.type} for {field.name!r}", f"{place}{value!r}")
    return {**values, "false_accept_interval": tuple(values["false_accept_interval"])}


def _is_number(value: Any) -> bool:
    return type(value) in {float, int} and math.isfinite(value)
