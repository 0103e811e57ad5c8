"""The options of the command ``vireid``: its parser, and a function for each command that adds what it takes.

Nothing here imports torch, so that help and mistyped options are answered at once.
"""

from __future__ import annotations

import argparse
import difflib
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Answer mistakes in one line, in the words of the options, with the likeliest spelling."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options = {"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter, **options}
        super().__init__(*args, **options)

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"^argument (?:[^:]*/)?([^:/]+): ", r"\1 ", message)
        self.exit(2, f"{self.prog}: {message if message.endswith('?') else message.rstrip('.') + '.'}\n")

    def refuse(self, word: str) -> NoReturn:
        """End with the likeliest spelling of an option, or the word that is too many."""
        known = [option for action in self._actions for option in action.option_strings]
        close = difflib.get_close_matches(word.partition("=")[0], known, n=1)
        remedy = f"Did you mean {close[0]}?" if close else f"{self.prog} --help lists them."
        remedy = remedy if word.startswith("-") else "Is it one of several that a glob has become? Quote the glob."
        self.exit(2, f"{self.prog}: options must be those of the command, got {word!r}. {remedy}\n")

    def name_options(self, message: str) -> str:
        """Replace the names of arguments by those of the options: "batch_size must …" by "--batch-size must …"."""
        spelling = {a.dest: a.option_strings[-1] if a.option_strings else str(a.metavar) for a in self._actions}
        first = re.sub(r"^(\w+)(?=(\[.*\])? must )", lambda match: spelling.get(match[1], match[1]), message)
        return re.sub(r"\b(\w+)=True\b", lambda match: spelling.get(match[1], match[0]), first)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            close = difflib.get_close_matches(str(value), map(str, action.choices), n=1)
            remedy = f" Did you mean {close[0]}?" if close else ""
            rule = f"must be one of {', '.join(map(str, action.choices))}, got {value!r}."
            raise argparse.ArgumentError(action, rule + remedy)


def add_check(command: Parser) -> None:
    """Add the options of ``vireid check``."""
    command.add_argument("root", metavar="ROOT", nargs="?", help="folder of a data set, or a table")
    _add_data(command)
    _add_json(command)


def add_synthesize(command: Parser) -> None:
    """Add the options of ``vireid synthesize``."""
    add = command.add_argument
    add("root", metavar="ROOT", help="new or empty folder")
    add("--layout", choices=("sysu", "regdb", "llcm"), default="sysu", help="layout of the folders (%(default)s)")
    add("--train-identities", type=_integer(2), default=100, metavar="N", help="people to train on (%(default)s)")
    add("--test-identities", type=_integer(1), default=60, metavar="N", help="people to test on (%(default)s)")
    add("--images-per-camera", type=_integer(1), default=10, metavar="N", help="images of each person (%(default)s)")
    add("--size", type=_integer(16), nargs=2, default=(288, 144), metavar=("H", "W"), help="height, width (288 144)")
    add("--absence", type=_number(0, 1), default=0.0, metavar="SHARE", help="cameras that miss a person (%(default)s)")
    add("--difficulty", type=_number(0, 1), default=0.5, metavar="X", help="variation of a person (%(default)s)")
    add("--seed", type=_integer(0), default=0, metavar="N", help="seed of all images (%(default)s)")
    add("--workers", type=_integer(1), default=1, metavar="N", help="processes that draw (%(default)s)")


def add_evaluate(command: Parser) -> None:
    """Add the options of ``vireid evaluate``."""
    _add_network(command)
    add = command.add_argument
    add("--root", help="folder of the data set, or a table; by default what the network was trained on")
    _add_data(command)
    add("--trained-on", type=_integer(1, 10), metavar="N", help="trial of RegDB that the network was trained on")
    add("--allow-other-trial", action="store_true", help="evaluate RegDB although the network knows half of its people")
    galleries = "SYSU-MM01: agw (default) or official; your own: all (default) or one per camera"
    add("--gallery", choices=("agw", "official", "all", "one per camera"), help=galleries)
    add("--shots", type=_integer(1), metavar="N", help="images of each person in SYSU-MM01's official galleries (1)")
    rules = ("none", "same camera", "same location")
    add("--exclude", choices=rules, help="images your own queries may not find (none)")
    places = "location of each of your cameras, such as 1=hall 3=hall 4=yard, for --exclude 'same location'"
    add("--locations", nargs="+", metavar="CAMERA=PLACE", help=places)
    add("--distance", choices=("cosine", "euclidean", "dot"), default="cosine", help="distance (%(default)s)")
    ways = ("none", "k-reciprocal", "affinity")
    add("--reranking", choices=ways, default="none", help="re-rank by neighbours or SAAI's affinity (%(default)s)")
    _add_embedding(command)
    add("-o", "--output", type=_file(".json"), metavar="FILE", help="record of the run for vireid compare (.json)")
    _add_picture(command, "--picture", "pictures of the ranking lists; names are made for all protocols but the first")
    _add_json(command)


def add_compare(command: Parser) -> None:
    """Add the options of ``vireid compare``."""
    add = command.add_argument
    add("runs", metavar="RUN", nargs="+", help="run.json of train.py, evaluate.py or vireid evaluate, or its folder")
    add("--table", action="store_true", help="print a table of the results; runs of other protocols are refused")
    _add_json(command)


def add_embed(command: Parser) -> None:
    """Add the options of ``vireid embed``."""
    _add_network(command, "folder of an embedder, hub:name/model, or an exported .onnx or .pt2 file")
    add = command.add_argument
    add("images", metavar="IMAGES", nargs="+", help="images, folders, .txt lists of images, or - for a list on stdin")
    add("--modality", choices=("visible", "infrared"), required=True, help="modality of all the images")
    add("-o", "--output", type=_file(".safetensors"), required=True, metavar="FILE", help=".safetensors file")
    add("--trusted", action="store_true", help="trust a .pt2 file, which can execute code")
    _add_range(command)
    _add_embedding(command)


def add_search(command: Parser) -> None:
    """Add the options of ``vireid search``."""
    add = command.add_argument
    add("gallery", metavar="GALLERY", help="file of vireid embed or of GalleryIndex.save")
    add("queries", metavar="QUERIES", help="file of vireid embed")
    add("-k", type=_integer(1), default=10, metavar="N", help="images to find for each query (%(default)s)")
    limit = command.add_mutually_exclusive_group()
    limit.add_argument("--threshold", type=_number(0), metavar="X", help="largest distance of an image that is found")
    what = "file or folder of vireid calibrate, or .onnx file, with the threshold"
    limit.add_argument("--calibration", metavar="PATH", help=what)
    what = "what is found for some of the queries, framed gray, as nobody tells here who is right"
    _add_picture(command, "--picture", what)
    _add_json(command)


def add_calibrate(command: Parser) -> None:
    """Add the options of ``vireid calibrate``."""
    _add_network(command)
    add = command.add_argument
    add("--root", help="folder of the data set, or a table; by default what the network was trained on")
    _add_data(command)
    add("--false-accept-rate", type=_number(0, 1), default=1e-3, metavar="X", help="share of pairs (%(default)s)")
    add("--within", choices=("visible", "infrared"), help="pairs within a modality instead of between the two")
    add("--exclude", choices=("none", "same camera"), default="none", help="pairs to leave out (%(default)s)")
    add("--distance", choices=("cosine", "euclidean", "dot"), default="cosine", help="distance (%(default)s)")
    add("--confidence", type=_number(0, 1), default=0.95, metavar="X", help="share of the interval (%(default)s)")
    add("-o", "--output", type=Path, metavar="PATH", help="folder or .json file (NETWORK)")
    _add_picture(command, "--histogram", "distances of both kinds of pairs with the threshold")
    _add_picture(command, "--det", "DET curve")
    _add_embedding(command)
    _add_json(command)


def add_export(command: Parser) -> None:
    """Add the options of ``vireid export``."""
    _add_network(command)
    add = command.add_argument
    add("--modality", choices=("visible", "infrared"), required=True, help="modality of the file")
    add("-o", "--output", type=_file(".onnx", ".pt2"), required=True, metavar="FILE", help=".onnx or .pt2")
    add("--precision", choices=("float32", "float16", "int8"), default="float32", help="numbers (%(default)s)")
    add("--images", nargs="+", metavar="PATH", help="images of the modality on which the file is compared with PyTorch")
    add("--calibration", metavar="PATH", help="file or folder of vireid calibrate to put in the metadata")
    _add_json(command)


def _add_network(command: Parser, text: str = "folder of an embedder, or hub:name/model") -> None:
    command.add_argument("source", metavar="NETWORK", type=_network, help=text)


def _add_data(command: Parser) -> None:
    group = command.add_argument_group("data set", "recognised by its split files; your own: folders or a table")
    add = group.add_argument
    add("--dataset", choices=("sysu", "regdb", "llcm", "folder", "table"), help="kind, if it is not recognised")
    add("--trial", type=_integer(1, 10), metavar="N", help="trial of RegDB")
    add("--visible", metavar="FOLDER", help="folder of your visible images, or a glob in quotes")
    add("--infrared", metavar="FOLDER", help="folder of your infrared images, or a glob in quotes")
    what = "a regular expression with (?P<identity>…) and (?P<camera>…); without it nobody is known"
    add("--pattern", metavar="REGEX", help=f"their paths: {what}")
    share = "share of your people to test on (that of the training, a table's splits, or 0.5)"
    add("--test-share", type=_number(0, 1), metavar="SHARE", help=share)
    add("--split-seed", type=_integer(0), metavar="N", help="seed of that split (that of the training, or 0)")
    _add_range(group)


def _add_range(command: Any) -> None:
    what = "values of gray images with more than 8 bits that become black and white (of the training, or each image's)"
    command.add_argument("--value-range", type=float, nargs=2, metavar=("LOW", "HIGH"), help=what)


def _add_embedding(command: Parser) -> None:
    add = command.add_argument_group("embedding").add_argument
    add("--batch-size", type=_integer(1), default=128, metavar="N", help="images embedded at a time (%(default)s)")
    add("--workers", type=_integer(0), default=0, metavar="N", help="processes that load images (%(default)s)")
    add("--device", help="device of torch, such as cuda:1 (a GPU if there is one)")
    flips = ("none", "mean", "mean-raw", "sum", "concatenate")
    add("--flip", choices=flips, default="none", help="use of the mirror images (%(default)s)")
    add("--cache", metavar="FOLDER", help="folder of embeddings, from which an interrupted run resumes")


def _add_picture(command: Parser, option: str, what: str) -> None:
    kinds = (".png", ".jpg", ".pdf", ".svg")
    command.add_argument(option, type=_file(*kinds), metavar="FILE", help=f"{what} ({', '.join(kinds)})")


def _add_json(command: Parser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON")


def _integer(least: int, most: int | None = None) -> Callable[[str], int]:
    bounds = f"an integer of at least {least}" if most is None else f"an integer from {least} to {most}"

    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d+", text) or int(text) < least or (most is not None and int(text) > most):
            raise argparse.ArgumentTypeError(f"must be {bounds}, got {text!r}")
        return int(text)

    return read


def _number(least: float, most: float = math.inf) -> Callable[[str], float]:
    bounds = f"a number of at least {least}" if most == math.inf else f"a number from {least} to {most}"

    def read(text: str) -> float:
        try:
            fits = least <= float(text) <= most and math.isfinite(float(text))
        except ValueError:
            fits = False
        if not fits:
            raise argparse.ArgumentTypeError(f"must be {bounds}, got {text!r}")
        return float(text)

    return read


def _network(text: str) -> str:
    inside = Path(text, "best")
    if not Path(text, "config.json").exists() and (inside / "config.json").exists():
        raise argparse.ArgumentTypeError(f"must be a network, got {text!r}, which is none; {str(inside)!r} is one")
    return text


def _file(*endings: str) -> Callable[[str], Path]:
    def read(text: str) -> Path:
        if Path(text).suffix not in endings:
            raise argparse.ArgumentTypeError(f"must end in {' or '.join(endings)}, got {text!r}")
        return Path(text)

    return read
