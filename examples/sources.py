"""The data sets of the examples: the options that name them, what opens them, and their protocols.

Nothing here imports torch before it is needed.
"""

from pathlib import Path

from methods import METHODS

import vireid

OWN = ("folder", "table")  # images of your own: two folders, or a CSV file
OWN_OPTIONS = ("visible", "infrared", "pattern", "test_share", "split_seed", "exclude")


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


def open_dataset(args, *, report):
    """Open the data set of train.py's options, generated if there is none; return it, its protocols and notes of it."""
    size, trial, own = tuple(args.image_size), int(args.trial) if args.dataset == "regdb" else None, args.dataset in OWN
    root = args.root or Path() if own else args.root or Path("data") / f"synthetic-{args.dataset}-{size[0]}x{size[1]}"
    if args.root is None and not root.exists():
        METHODS[args.method].network(2, args.backbone, image_size=size)  # a mistake is told before data are generated
        print(f"Generating a synthetic data set in {root} …")
        vireid.data.generate_synthetic(root, args.dataset, size=size, progress=True)
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


def create_protocols(name, *, exclude="none", **options):
    """Create the protocols of a data set; those of your own search in both directions."""
    if name not in OWN:
        return vireid.evaluation.create_protocols(name, **options)
    directions = {"infrared → visible": "infrared", "visible → infrared": "visible"}
    return {row: vireid.evaluation.OwnProtocol(query, exclude=exclude, **options) for row, query in directions.items()}
