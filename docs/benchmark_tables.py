"""Tables of ``docs/benchmarks.md``: heads and rows from what the scripts in ``benchmarks/`` kept with ``--json``."""

import math

STEP = "training_step.py --keep-memory --operators"


class NotMeasuredError(LookupError):
    """A benchmark whose figures nobody has kept yet."""


def states_of(kept, command):
    """Figures of a benchmark in each state in which it was measured: ``(state, figures)``."""
    states = kept.get(f"python benchmarks/{command}")
    if states is None:
        raise NotMeasuredError(command)
    found = [(state, states[state]) for state in ("idle", "shared", "busy") if state in states]
    return [(state + disturbance(entry["others"]), entry["figures"]) for state, entry in found]


def disturbance(others):
    """Say what share of the processor other programs took, if it is more than a tenth."""
    if others is None:
        return ", others unknown"
    return f", others {100 * others:.0f} %" if others > 0.1 else ""


def show(figure, *, ranged=False):
    """Format a figure to three digits, or the median of one, with its range if asked."""
    if isinstance(figure, list):
        median, least, most = map(show, figure)
        return f"{median} ({least} to {most})" if ranged else median
    if not figure:
        return "" if figure is None else "0"
    digits = 2 - math.floor(math.log10(abs(figure)))
    return f"{figure:.0e}".replace("e-0", "e-") if digits > 5 else f"{figure:,.{max(0, digits)}f}"


def conditions(kept):
    """Say when and on what machine everything was measured."""
    entries = [entry for states in kept.values() for entry in states.values()]
    dates, machines = (" and ".join(sorted({entry[key] for entry in entries})) for key in ("date", "machine"))
    rest = "Other programs took at most a tenth of the processor, unless a row names more."
    return f"Measured on {dates}: {machines}. {rest}"


def plain(command, *measures):
    """Return a table with each row of a benchmark in every state; ratios have their range over the rounds."""

    def table(kept):
        states = states_of(kept, command)
        rows = [
            [row, state, *(show(figures[row].get(key), ranged="ratio" in key or key == "s") for key in measures)]
            for row, first in states[0][1].items()
            for state, figures in states
            if first.keys() & set(measures)
        ]
        return ["", "", *measures], rows

    return table


def training_step(kept):
    """The training step of MUN beside the baseline's, as the allocator and the auxiliary third are set."""
    modes = {
        "default allocator": "training_step.py",
        "freed memory kept": STEP,
        "freed memory kept, one pass": "training_step.py --keep-memory --together",
    }
    ratios = ("of operations", "of time", "excess of time", "excess of processor time")
    rows = []
    for mode, command in modes.items():
        for state, figures in states_of(kept, command):
            times = [show(figures[name]["s"]) for name in ("baseline", "MUN")]
            rows.append([mode, state, *times, *(show(figures["ratio"][key], ranged=True) for key in ratios)])
    return ["", "", "baseline, s", "MUN, s", *(f"ratio {key}" if key[:2] == "of" else key for key in ratios)], rows


def operators(kept):
    """The parts of a training step of MUN."""
    groups = {
        "baseline": "baseline",
        "shared stages": "auxiliary third of the shared stages",
        "convolution": "generator: point-wise and transposed convolutions",
        "depth-wise": "generator: depth-wise convolutions (5×5, 7×7, and 3×3 on 4c channels)",
        "normalisation": "generator: batch normalisations (c, 4c and 8c channels)",
        "other": "generator: ReLU, sum, scales, pooling, concatenation",
        "losses": "alignment losses",
        "AdamW": "AdamW on the generator and W",
    }
    figures, rate = states_of(kept, STEP)[0][1], "s at the baseline's rate"
    rows, total = [], 0
    for group, title in groups.items():
        members = [row for name, row in figures.items() if name.split(": ")[0] == group]
        seconds = sum(row["s"][0] for row in members)
        total += seconds
        rows.append([title, show(seconds), show(sum(row[rate] for row in members)) if rate in members[0] else ""])
    rows += [["sum", show(total), ""], ["MUN, measured as a whole", show(figures["MUN"]["s"]), ""]]
    return ["forward and backward", "s", rate], rows


def corruptions(kept):
    """The time of each corruption, with a column for each state."""
    states = states_of(kept, "corruptions.py")
    rows = []
    for name in states[0][1]:
        here = [figures[name] for _state, figures in states]
        cells = [text for row in here for text in (show(row["ms"]), show(row["ratio"], ranged=True))]
        rows.append([f"`{name}`", *cells])
    return ["", *(f"{state}, {measure}" for state, _figures in states for measure in ("ms", "ratio"))], rows


LOADING = [f"{way}, images/s" for way in ("PIL", "vireid", "simplejpeg")]
DECODERS = ("Pillow", "torchvision", "OpenCV", "simplejpeg, 3 bytes", "simplejpeg, 4 bytes")
RERANKING = [f"{who}, {unit}" for unit in ("s", "MiB") for who in ("scripts", "vireid")]
TABLES = {
    "losses": plain("losses.py", "loops, ms", "vireid, ms", "ratio", "gradients differ by"),
    "training-step": training_step,
    "operators": operators,
    "waiting": plain("waiting.py", "step, ms", "ratio of step", "processor, ms", "ratio of processor"),
    "evaluation": plain("evaluation.py", "scripts, ms", "NumPy, ms", "vireid, ms", "scripts, ratio", "NumPy, ratio"),
    "index": plain("index.py", "faiss", "vireid", "ratio"),
    "index-small": plain("index.py --gallery 20000", "faiss", "vireid", "ratio"),
    "reranking": plain("reranking.py", *RERANKING[:2], "ratio of s", *RERANKING[2:], "ratio of MiB"),
    "loading": plain("loading.py", *LOADING[:2], "ratio", LOADING[2], "ratio, simplejpeg", "read, µs", "transform, µs"),
    "decoders": plain("loading.py", *(f"{name}, µs" for name in DECODERS)),
    "loader-and-step": plain("loading.py", "one worker, images/s", "step, images/s", "waiting, %"),
    "memory": plain("loading.py", "array, MiB", "on demand, MiB"),
    "corruptions": corruptions,
    "start": plain("start.py --first-step", "s", "ratio to import torch"),
}
