"""The campaign of bad input: every argument of every public name × values that it must refuse.

A folder's ``test_bad_input.py`` declares its cases; each value must raise an error of the grammar that names the
argument.
``python -m tests.bad_input`` counts the outcomes over all folders: *clear*, *unclear* (another error, or one that does
not name the argument), *silent* (accepted) and *crash*.
"""

import importlib
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

FOLDERS = ("losses", "models", "data", "evaluation", "visualization")
CLEAR = (ValueError, TypeError, FileNotFoundError, FileExistsError, NotADirectoryError, RuntimeError, OSError)
NOT_NUMBERS = [
    None,
    "3",
    b"3",
    [3],
    (3,),
    {},
    {3},
    object(),
    True,
    1 + 0j,
    np.array([1.0, 2.0]),
    torch.tensor([1.0, 2.0]),
]
NOT_FINITE = [float("nan"), float("inf"), -float("inf"), np.float64("nan")]


class Case(NamedTuple):
    """What is called, the arguments with which it works, and the values that each argument must refuse."""

    call: Any
    good: dict
    bad: dict


def case(call, good=None, /, **bad):
    """Declare a case: ``bad`` maps the name of an argument to the values that it must refuse."""
    return Case(call, good or {}, bad)


def integer(least=None, most=None):
    """Values that an integer from ``least`` to ``most`` must not have."""
    out = [] if least is None else [least - 1, np.int64(least - 1), -(10**20)]
    out += [] if most is None else [most + 1, 10**20]
    return [*NOT_NUMBERS, *NOT_FINITE, 2.5, "many", *out]


def number(least=None, most=None, above=None, below=None):
    """Values that a finite number within the bounds must not have."""
    out = [bound - 1e-3 for bound in (least,) if bound is not None] + [
        bound for bound in (above, below) if bound is not None
    ]
    out += [most + 1e-3] if most is not None else []
    return [*NOT_NUMBERS, *NOT_FINITE, *out]


def flag():
    """Values that True or False must not have."""
    return [None, "no", "False", 0, 1, 2.5, [], torch.tensor([1.0, 2.0])]


def choice(*near):
    """Values that no choice among texts has; ``near`` are misspellings of the real ones."""
    return [None, 3, 2.5, [], {}, True, b"mun", object(), torch.ones(2), "", "nonsense", *near]


def size():
    """Values that (height, width) must not have."""
    return [
        None,
        64,
        "64",
        2.5,
        [],
        (64,),
        (64, 32, 3),
        (64.5, 32),
        (0, 32),
        (64, -1),
        ("64", "32"),
        (None, 32),
        object(),
    ]


def tensor(*others):
    """Values that no tensor argument takes; ``others`` are tensors of wrong shapes or types."""
    return [None, 3, "text", [1.0], object(), {}, *others]


def outcome(case_, argument, value):
    """What becomes of a call with one bad value: a word, and the message."""
    try:
        case_.call(**{**case_.good, argument: value})
    except CLEAR as error:
        message = str(error)
        named = re.match(rf"(squared )?{re.escape(argument)}\b", message) is not None and " must " in message
        return ("clear" if named else "unclear"), f"{type(error).__name__}: {message}"
    except Exception as error:
        return "unclear", f"{type(error).__name__}: {error}"
    return "silent", "accepted"


def problems(case_, argument):
    """The bad values of an argument that are not refused clearly, one line each."""
    lines = []
    for value in case_.bad[argument]:
        word, message = outcome(case_, argument, value)
        if word != "clear":
            lines.append(f"{argument}={value!r:.60}: {word}: {message:.160}")
    return lines


def parameters(cases):
    """Every (name, argument) of a table, for ``pytest.mark.parametrize``."""
    return [(name, argument) for name, case_ in cases.items() for argument in case_.bad]


def main():
    """Print the counts of each folder and of all."""
    total = Counter()
    for folder in FOLDERS:
        if not Path(__file__).with_name(folder).joinpath("test_bad_input.py").exists():
            continue
        cases = importlib.import_module(f"tests.{folder}.test_bad_input").CASES
        counts = Counter(
            outcome(case_, argument, value)[0]
            for case_ in cases.values()
            for argument, values in case_.bad.items()
            for value in values
        )
        sys.stdout.write(f"{folder:15} {dict(counts)}\n")
        total += counts
    sys.stdout.write(f"{'all':15} {dict(total)}\n")


if __name__ == "__main__":
    main()
