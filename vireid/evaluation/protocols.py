"""A protocol for any cameras, and the published ones of SYSU-MM01, RegDB and LLCM, which are presets over it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from vireid._checks import check_choice, check_flags, check_identities, check_integer, check_type, require
from vireid.evaluation.comparison import Distance
from vireid.evaluation.metrics import Array, exclude_same_camera, exclude_same_location, to_tensor
from vireid.evaluation.reranking import Reranking
from vireid.evaluation.retrieval import CMCLevel, Images, RetrievalProtocol, Trial
from vireid.modality import Modality

Permutations = Mapping[tuple[int, int], np.ndarray]


class OwnProtocol(RetrievalProtocol):
    """Evaluate on cameras of your own, with the rules that you choose; the published protocols are presets over it.

    All images of one modality search those of the other, or one image of each identity and camera, drawn as in
    :class:`LLCMProtocol`. A query whose person is not in the gallery has no match and does not count. Images without a
    label, whose identity is negative, take no part. :class:`RetrievalProtocol` has the methods.

    Images of one camera share their background, so that results are too good if a query may find them. If you do not
    know the cameras, use ``gallery="all"`` and ``exclude="none"``, and say so next to your numbers.

    Equal distances rank in the order of the gallery's set, or by identity, then camera where images are drawn.

    Args:
        query: Modality of the queries, ``"visible"`` or ``"infrared"``.
        gallery: Images that are searched: ``"all"``, or ``"one per camera"``, drawn for each identity and camera.
        exclude: Images to exclude for a query: ``"none"``, those of its identity from the ``"same camera"`` (LLCM), or
            those of any identity from the ``"same location"`` (SYSU-MM01).
        locations: Location of each camera, for ``"same location"``; a camera that is not listed stands at the location
            of its own number.
        trials: Number of drawn galleries to average over; by default 10, or 1 with ``gallery="all"``.
        distance: Distance to rank by, ``"cosine"``, ``"euclidean"`` or ``"dot"``.
        cmc_level: Level at which CMC ranks, ``"image"`` or ``"identity"``.
        reranking: Re-ranking of the distances.

    Raises:
        ValueError: If an argument is unknown or out of its range, or they do not fit together.
        TypeError: If an argument has another type.

    Example:
        >>> from vireid.evaluation import EmbeddingSet
        >>> rows, identities = torch.eye(2), torch.tensor([1, 2])
        >>> infrared = EmbeddingSet(rows, identities, torch.tensor([8, 9]), "infrared")
        >>> visible = EmbeddingSet(rows, identities, torch.tensor([1, 2]), "visible")
        >>> print(OwnProtocol("infrared").evaluate(infrared, visible))
        infrared → visible, all images, image-level CMC: rank-1 100.00  ...  mINP 100.00
    """

    def __init__(
        self,
        query: Modality | str,
        *,
        gallery: Literal["all", "one per camera"] = "all",
        exclude: Literal["none", "same camera", "same location"] = "none",
        locations: Mapping[int, int] | None = None,
        trials: int | None = None,
        distance: Distance = "cosine",
        cmc_level: CMCLevel = "image",
        reranking: Reranking | None = None,
    ) -> None:
        check_choice("gallery", gallery, ("all", "one per camera"))
        check_choice("exclude", exclude, ("none", "same camera", "same location"))
        drawn = gallery == "one per camera"
        trials = (10 if drawn else 1) if trials is None else trials
        super().__init__(query, trials=trials, distance=distance, cmc_level=cmc_level, reranking=reranking)
        require(drawn or self.trials == 1, "trials", 'be 1 for gallery="all", which is not drawn', trials)
        check_type("locations", locations, (Mapping, type(None)), "map cameras to locations")
        placed = locations is None or exclude == "same location"
        require(placed, "locations", 'be None without exclude="same location"', locations)
        exclude_same_location([], [], locations)  # checks them
        self.gallery_images = gallery
        self.exclude = exclude
        self.locations: Mapping[int, int] = dict(locations or {})
        self.uses_cameras = drawn or exclude != "none"

    def settings(self) -> dict[str, str | int]:
        """Return the choices that results name, except for the feature."""
        settings = {**super().settings(), "galleries": self.gallery_images, "exclude": self.exclude}
        return settings | ({"locations": str(self.locations)} if self.locations else {})

    def _title(self) -> str:
        drawn = "all images" if self.gallery_images == "all" else f"one image per camera × {self.trials}"
        excluded = "" if self.exclude == "none" else f" but those of the {self.exclude}"
        return f"{self._direction()}, {drawn}{excluded}, {self.cmc_level}-level CMC"

    def _direction(self) -> str:
        return f"{self.query_modality.value} → {self.gallery_modality.value}"

    def _draw(self, probes: Images, pool: Images) -> list[Trial]:
        labelled = probes.identities.cpu() >= 0
        rows = slice(None) if labelled.all() else labelled.nonzero()[:, 0]
        if self.gallery_images == "all":
            return [(rows, (pool.identities.cpu() >= 0).nonzero()[:, 0])]
        groups = _group(pool.identities, pool.cameras)
        groups = {key: images for key, images in groups.items() if key[0] >= 0}
        return [(rows, columns) for columns in _draw_one_each(groups, self.trials)]

    def _exclude(self, probes: Images, pool: Images) -> Tensor | None:
        cameras = {*probes.cameras.tolist(), *pool.cameras.tolist()}
        rule, remedy = "be 'none' where all images have one camera", "No query would have a match."
        require(self.exclude == "none" or len(cameras) > 1, "exclude", rule, self.exclude, remedy)
        if self.exclude == "same camera":
            return exclude_same_camera(probes.identities, probes.cameras, pool.identities, pool.cameras)
        if self.exclude == "same location":
            return exclude_same_location(probes.cameras, pool.cameras, self.locations)
        return None


class SYSUMM01Protocol(OwnProtocol):
    """Evaluate on SYSU-MM01: infrared queries against galleries drawn from the visible images.

    All infrared images of the test identities are queries. In every trial the gallery has ``shots`` images of each
    identity from each visible camera: 1, 2, 4 and 5 for all search, the indoor cameras 1 and 2 for indoor search.
    Camera 3 stands at the location of camera 2; gallery images of the query's location are excluded. CMC ranks
    identities, of which a small gallery may have fewer than 20: past the last one CMC stays 1. Results on other data
    than the published test set say so. :class:`RetrievalProtocol` has the methods.

    Two families of galleries are in use, and their results differ by about half a point. ``"official"`` galleries are
    listed in the rand_perm_cam.mat of the data set's authors; ``"agw"`` galleries are drawn with Python's random
    numbers seeded by the trial, as in most papers since AGW. The latter exist for single-shot galleries only: scripts
    that draw several images in this way do not seed the draw.

    Equal distances rank in the gallery's order: by identity, then camera (as in AGW's scripts), or by camera, then
    identity, for the official galleries (as in the authors' MATLAB code).

    Args:
        search: Search mode, ``"all"`` or ``"indoor"``.
        shots: Number of images of each identity and camera in the gallery, 1 or 10 in publications.
        gallery: Family of the galleries, ``"agw"`` or ``"official"``.
        permutations: Permutations for the official galleries, ``SYSUMM01.gallery_permutations()``.
        trials: Number of galleries to average over; 10 in publications.
        distance: Distance to rank by, ``"cosine"``, ``"euclidean"`` or ``"dot"``.
        cmc_level: Level at which CMC ranks, ``"identity"`` as published or ``"image"``.
        reranking: Re-ranking of the distances; none in the protocol.

    Raises:
        ValueError: If an argument is unknown or out of its range, or they do not fit together.
        TypeError: If an argument has another type.

    Example:
        >>> from vireid.evaluation import EmbeddingSet
        >>> rows, identities = torch.eye(2), torch.tensor([1, 2])
        >>> infrared = EmbeddingSet(rows, identities, torch.tensor([3, 6]), "infrared")
        >>> visible = EmbeddingSet(rows, identities, torch.tensor([1, 4]), "visible")
        >>> SYSUMM01Protocol().evaluate(infrared, visible).mAP.mean()
        tensor(1., dtype=torch.float64)

    References:
        Wu et al., RGB-Infrared Cross-Modality Person Re-Identification, ICCV 2017; Ye et al., Deep Learning for Person
        Re-identification, TPAMI 2021.
    """

    cameras: ClassVar = {Modality.INFRARED: (3, 6), Modality.VISIBLE: (1, 2, 4, 5)}
    search_cameras: ClassVar = {"all": (1, 2, 4, 5), "indoor": (1, 2)}
    locations: Mapping[int, int] = MappingProxyType({3: 2})
    test_queries: ClassVar = (3803, 96)  # images and people of the published test set

    def __init__(
        self,
        search: Literal["all", "indoor"] = "all",
        *,
        shots: int = 1,
        gallery: Literal["agw", "official"] = "agw",
        permutations: Permutations | None = None,
        trials: int = 10,
        distance: Distance = "cosine",
        cmc_level: CMCLevel = "identity",
        reranking: Reranking | None = None,
    ) -> None:
        super().__init__(
            "infrared",
            gallery="one per camera",
            exclude="same location",
            locations=self.locations,
            trials=check_integer("trials", trials, least=1),
            distance=distance,
            cmc_level=cmc_level,
            reranking=reranking,
        )
        check_choice("search", search, self.search_cameras)
        check_choice("gallery", gallery, ("agw", "official"))
        self.search = search
        self.shots = check_integer("shots", shots, least=1)
        self.gallery = gallery
        self.permutations: Permutations = {} if permutations is None else permutations
        official, reads = gallery == "official", "SYSUMM01(root).gallery_permutations() reads them."
        remedy = 'Only gallery="official" has several images of an identity.'
        require(official or self.shots == 1, "shots", "be 1 for the galleries of AGW", shots, remedy)
        require(
            not official or permutations is not None, "permutations", 'be given for gallery="official"', None, reads
        )
        check_type("permutations", self.permutations, Mapping, f"be a mapping: {reads[:-1]}")
        require(official or permutations is None, "permutations", "be None for the galleries of AGW", "a mapping")

    def galleries(self, identities: Array, cameras: Array) -> list[Tensor]:
        """Return the rows of the visible images in the gallery of each trial, in the order in which ties rank.

        Args:
            identities: Identities of the visible images; rows of one identity and camera are in the order of their
                names.
            cameras: Cameras of the visible images.

        Shape:
            n, n -> for each trial, g.

        Raises:
            ValueError: If no image is from a camera of the search, or the official permutations do not fit the images.
            TypeError: If identities or cameras are not integers.
        """
        groups = _group(identities, cameras, self.search_cameras[self.search])
        if self.gallery == "agw":
            return _draw_one_each(groups, self.trials)
        camera_major = sorted(groups, key=lambda key: key[::-1])
        return [
            torch.tensor([row for key in camera_major for row in self._official(key, groups[key], trial)])
            for trial in range(self.trials)
        ]

    def settings(self) -> dict[str, str | int]:
        """Return the choices that results name, except for the feature."""
        return {**super().settings(), "search": self.search, "shots": self.shots, "galleries": self.gallery}

    def _title(self) -> str:
        shots = "single-shot" if self.shots == 1 else f"{self.shots}-shot"
        cmc = "" if self.cmc_level == "identity" else ", image-level CMC"
        return f"SYSU-MM01 {self.search} search, {shots}, {self.gallery} galleries × {self.trials}{cmc}"

    def _draw(self, probes: Images, pool: Images) -> list[Trial]:
        return [(slice(None), columns) for columns in self.galleries(pool.identities, pool.cameras)]

    def _say_other_data(self, probes: Images) -> str:
        images, people = found = len(probes.identities), len(torch.unique(probes.identities))
        other = f", not SYSU-MM01's test set but {images:,} queries of {people:,} people"
        return "" if found == self.test_queries else other

    def _official(self, key: tuple[int, int], rows: list[int], trial: int) -> list[int]:
        """Pick the first rows of one identity and camera in the order of a trial."""
        identity, camera = key
        order = np.asarray(self.permutations.get((camera, identity), ()))
        rule = f"order the {len(rows)} images of camera {camera}, identity {identity} in {self.trials} trials"
        fits = order.ndim == 2 and order.shape[0] >= self.trials and order.shape[1] == len(rows)
        require(fits, "permutations", rule, order.shape)
        row = order[trial].tolist()
        require(sorted(row) == list(range(len(rows))), "permutations", f"{rule}, from 0", row)
        return [rows[i] for i in row[: self.shots]]


class RegDBProtocol(OwnProtocol):
    """Evaluate on RegDB: all test images of one modality against all of the other, for one of the ten trials.

    A trial divides the identities, so a published number is the mean over ten models, each trained and tested on its
    own trial: ``RetrievalResult.average`` takes their results. A model trained on another trial has seen half of the
    test identities; its numbers are wrong by several points and are refused here. No image is excluded. AGW and its
    followers rank images in CMC; MPANet ranks identities and compares by ``"euclidean"``. Beyond rank-1 their numbers
    do not compare. :class:`RetrievalProtocol` has the methods.

    Equal distances rank in the order of the gallery's set, which is that of the trial's list in AGW's scripts.

    Args:
        query: Modality of the queries: ``"visible"`` for visible → infrared, ``"infrared"`` for infrared → visible.
        trial: Trial that is tested, 1 to 10.
        trained_on: Trial that the model was trained on, 1 to 10.
        allow_other_trial: Whether to evaluate although the two differ.
        distance: Distance to rank by, ``"cosine"``, ``"euclidean"`` or ``"dot"``.
        cmc_level: Level at which CMC ranks, ``"image"`` or ``"identity"``.
        reranking: Re-ranking of the distances; none in the protocol.

    Raises:
        ValueError: If an argument is unknown or out of its range, or the trials differ.
        TypeError: If an argument has another type.

    Example:
        >>> from vireid.evaluation import EmbeddingSet
        >>> rows, identities = torch.eye(2), torch.tensor([1, 2])
        >>> visible = EmbeddingSet(rows, identities, torch.tensor([1, 1]), "visible")
        >>> infrared = EmbeddingSet(rows, identities, torch.tensor([2, 2]), "infrared")
        >>> print(RegDBProtocol("visible", trial=1, trained_on=1).evaluate(visible, infrared))
        RegDB visible → infrared, image-level CMC: rank-1 100.00  ...  mINP 100.00

    References:
        Ye et al., Hierarchical Discriminative Learning for Visible Thermal Person Re-Identification, AAAI 2018.
    """

    def __init__(
        self,
        query: Modality | str,
        *,
        trial: int,
        trained_on: int,
        allow_other_trial: bool = False,
        distance: Distance = "cosine",
        cmc_level: CMCLevel = "image",
        reranking: Reranking | None = None,
    ) -> None:
        super().__init__(query, distance=distance, cmc_level=cmc_level, reranking=reranking)
        self.trial = check_integer("trial", trial, least=1, most=10)
        self.trained_on = check_integer("trained_on", trained_on, least=1, most=10)
        check_flags(allow_other_trial=allow_other_trial)
        rule = f"be the trial that is tested, {trial}"
        remedy = f"It has seen people of trial {trial}'s test; allow_other_trial=True evaluates it nevertheless."
        require(self.trained_on == self.trial or allow_other_trial, "trained_on", rule, trained_on, remedy)

    def settings(self) -> dict[str, str | int]:
        """Return the choices that results name, except for the feature."""
        return {**super().settings(), "trial": self.trial, "trained_on": self.trained_on}

    def _title(self) -> str:
        leak = "" if self.trial == self.trained_on else ", trained on another trial"
        return f"RegDB {self._direction()}, {self.cmc_level}-level CMC{leak}"


class LLCMProtocol(OwnProtocol):
    """Evaluate on LLCM: all test images of one modality against one image per identity and camera of the other.

    The galleries are drawn with Python's random numbers seeded by the trial. Gallery images with both the identity and
    the camera of the query are excluded; CMC ranks identities. :class:`RetrievalProtocol` has the methods.

    Two conventions exist for visible → infrared, and their mAP differ by a factor of about two. In the ``"swapped"``
    one, that of the test scripts of DEEN and the data set's baseline, the drawn infrared images search among all
    visible ones; results say so, and ``rank`` has a row for each drawn image.

    Equal distances rank by identity, then camera, then in the order of the set, as in DEEN's scripts.

    Args:
        query: Modality of the queries: ``"visible"`` for visible → infrared, ``"infrared"`` for infrared → visible.
        convention: ``"standard"``, or ``"swapped"`` for visible → infrared as those scripts compute it.
        trials: Number of galleries to average over; 10 in publications.
        distance: Distance to rank by, ``"cosine"``, ``"euclidean"`` or ``"dot"``.
        cmc_level: Level at which CMC ranks, ``"identity"`` as published or ``"image"``.
        reranking: Re-ranking of the distances; none in the protocol.

    Raises:
        ValueError: If an argument is unknown or out of its range, or the convention is not one of this direction.
        TypeError: If an argument has another type.

    Example:
        >>> from vireid.evaluation import EmbeddingSet
        >>> rows, identities = torch.eye(2), torch.tensor([1, 2])
        >>> visible = EmbeddingSet(rows, identities, torch.tensor([1, 1]), "visible")
        >>> infrared = EmbeddingSet(rows, identities, torch.tensor([2, 2]), "infrared")
        >>> LLCMProtocol("infrared").evaluate(infrared, visible).mAP.mean()
        tensor(1., dtype=torch.float64)

    References:
        Zhang and Wang, Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for
        Visible-Infrared Person Re-identification, CVPR 2023.
    """

    def __init__(
        self,
        query: Modality | str,
        *,
        convention: Literal["standard", "swapped"] = "standard",
        trials: int = 10,
        distance: Distance = "cosine",
        cmc_level: CMCLevel = "identity",
        reranking: Reranking | None = None,
    ) -> None:
        super().__init__(
            query,
            gallery="one per camera",
            exclude="same camera",
            trials=check_integer("trials", trials, least=1),
            distance=distance,
            cmc_level=cmc_level,
            reranking=reranking,
        )
        check_choice("convention", convention, ("standard", "swapped"))
        fits = convention == "standard" or self.query_modality is Modality.VISIBLE
        require(fits, "convention", "be 'standard' for infrared queries", convention)
        self.convention = convention
        self.swapped = convention == "swapped"

    def settings(self) -> dict[str, str | int]:
        """Return the choices that results name, except for the feature."""
        return {**super().settings(), "convention": self.convention}

    def _title(self) -> str:
        swapped = " (drawn infrared images search all visible ones)" if self.swapped else ""
        cmc = "" if self.cmc_level == "identity" else ", image-level CMC"
        return f"LLCM {self._direction()}{swapped}, galleries × {self.trials}{cmc}"

    def _draw(self, probes: Images, pool: Images) -> list[Trial]:
        if not self.swapped:
            return super()._draw(probes, pool)
        searched = _group(pool.identities, pool.cameras)
        everyone = torch.tensor([row for rows in searched.values() for row in rows])
        searching = _group(probes.identities, probes.cameras)
        return [(rows, everyone) for rows in _draw_one_each(searching, self.trials)]


def create_protocols(
    name: Literal["sysu", "regdb", "llcm"],
    *,
    trial: int | None = None,
    trained_on: int | None = None,
    allow_other_trial: bool = False,
    gallery: Literal["agw", "official"] = "agw",
    permutations: Permutations | None = None,
    shots: int = 1,
    distance: Distance = "cosine",
    reranking: Reranking | None = None,
) -> dict[str, RetrievalProtocol]:
    """Create the protocols in which papers report a data set, by the names of their tables.

    Args:
        name: Data set: ``"sysu"``, ``"regdb"`` or ``"llcm"``.
        trial: Trial of RegDB that is tested; RegDB alone has trials, and needs both.
        trained_on: Trial of RegDB that the model was trained on.
        allow_other_trial: Whether to evaluate RegDB although the two differ.
        gallery: Family of SYSU-MM01's galleries, ``"agw"`` or ``"official"``.
        permutations: Permutations for SYSU-MM01's official galleries, ``SYSUMM01.gallery_permutations()``.
        shots: Number of images of each identity and camera in SYSU-MM01's official galleries.
        distance: Distance to rank by, ``"cosine"``, ``"euclidean"`` or ``"dot"``.
        reranking: Re-ranking of the distances; none in the protocols.

    Raises:
        ValueError: If there is no such data set, an argument does not belong to it, or the trials differ.
        TypeError: If an argument has another type.

    Example:
        >>> list(create_protocols("sysu"))
        ['all search', 'indoor search']
    """
    check_choice("name", name, ("sysu", "regdb", "llcm"))
    options: dict[str, Any] = {"distance": distance, "reranking": reranking}
    regdb = {"trial": trial, "trained_on": trained_on, "allow_other_trial": allow_other_trial}
    sysu = {"gallery": gallery, "permutations": permutations, "shots": shots}
    for owner, own, unset in (("regdb", regdb, (None, None, False)), ("sysu", sysu, ("agw", None, 1))):
        if owner == name:
            options |= own
        for (argument, value), default in zip(own.items(), unset, strict=True):
            ours = owner == name or value is default or (type(value) is type(default) and value == default)
            require(ours, argument, f"be left at {default!r} for {name!r}", value, f"Only {owner!r} has it.")
    if name == "sysu":
        return {
            "all search": SYSUMM01Protocol("all", **options),
            "indoor search": SYSUMM01Protocol("indoor", **options),
        }
    protocol = RegDBProtocol if name == "regdb" else LLCMProtocol
    return {
        "visible → infrared": protocol("visible", **options),
        "infrared → visible": protocol("infrared", **options),
    }


def _group(
    identities: Array, cameras: Array, of_cameras: Sequence[int] | None = None
) -> dict[tuple[int, int], list[int]]:
    """Group the rows by (identity, camera), in this order."""
    labels = []
    for argument, values in (("identities", identities), ("cameras", cameras)):
        labels.append(to_tensor(argument, values, "be integers"))
        require(labels[-1].dim() == 1, argument, "have one dimension", tuple(labels[-1].shape))
        check_identities(argument, labels[-1], labels[0])
    groups: dict[tuple[int, int], list[int]] = {}
    for row, (identity, camera) in enumerate(zip(*(x.tolist() for x in labels), strict=True)):
        if of_cameras is None or camera in of_cameras:
            groups.setdefault((identity, camera), []).append(row)
    require(len(groups) > 0, "gallery", f"have images of cameras {of_cameras}", sorted(set(labels[1].tolist())))
    return dict(sorted(groups.items()))


def _draw_one_each(groups: Mapping[tuple[int, int], list[int]], trials: int) -> list[Tensor]:
    """Draw one row of each group for every trial, as the scripts of AGW and its followers do."""
    draws = (random.Random(trial) for trial in range(trials))
    return [torch.tensor([draw.choice(rows) for rows in groups.values()]) for draw in draws]
