"""How long a user waits: for the import, the help of the command, and from a clone to the first training step.

    python benchmarks/start.py [--rounds 7] [--first-step] [--install]

`import torch`, `import vireid`, which imports nothing else until it is needed, and `from vireid import MUN` take turns,
each in a process of its own; the ratios are those of a turn. `--first-step` adds a clone of this checkout, its synthetic
data and the first step of `examples/train.py`, with the installed packages; `--install` makes a fresh virtual
environment for it, which downloads PyTorch.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _record

ROOT = Path(__file__).parents[1]


def run(*command, folder=None):
    """Return the seconds that a command takes."""
    started = time.perf_counter()
    subprocess.run(command, check=True, cwd=folder, capture_output=True)
    return time.perf_counter() - started


def time_first_step(folder, python):
    """Return the seconds until examples/train.py in a checkout has made its first step."""
    command = [python, "-u", "examples/train.py", "--epochs", "1", "--batches-per-epoch", "1", "--output", "run"]
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        shown = b""
        while b"1/1 [" not in shown:  # of the progress bar
            piece = process.stderr.read1()
            if not piece:
                raise SystemExit(f"train.py made no step:\n{shown.decode()}")
            shown += piece
        seconds = time.perf_counter() - started
        process.kill()
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="runs of each (%(default)s)")
    parser.add_argument("--first-step", action="store_true", help="also from a clone to the first step of a training")
    parser.add_argument("--install", action="store_true", help="install into a fresh virtual environment for that")
    args = _record.parse(parser)

    run(sys.executable, "-c", "import vireid, torch")  # reads the files once
    commands = {line: ("-c", line) for line in ("import torch", "import vireid", "from vireid import MUN")}
    commands["vireid --help"] = "-m", "vireid", "--help"
    seconds = {name: [] for name in commands}
    with _record.measuring(args) as figures:
        for name in list(commands) * args.rounds:
            seconds[name].append(run(sys.executable, *commands[name]))
        for name, values in seconds.items():
            figures[name] = {
                "s": _record.spread(values),
                "ratio to import torch": _record.ratio(values, seconds["import torch"]),
            }
        if args.first_step or args.install:
            figures |= {name: {"s": float(f"{value:.3g}")} for name, value in time_clone(args.install).items()}


def time_clone(install):
    """Return the seconds of each step from a clone to a first training step."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, python = Path(temporary) / "vireid", sys.executable
        seconds = {"clone": run("git", "clone", "--quiet", str(ROOT), str(folder))}
        if install:
            seconds["install"] = run(sys.executable, "-m", "venv", str(folder / ".venv"))
            python = str(folder / ".venv" / "bin" / "python")
            seconds["install"] += run(
                python, "-m", "pip", "install", "--quiet", "--editable", ".[train,viz]", folder=folder
            )
        seconds["data and first step of examples/train.py"] = time_first_step(folder, python)
    return seconds


if __name__ == "__main__":
    main()
