"""How long a user waits: for the import, the help of the command, and from a clone to the first training step.

    python benchmarks/start.py [--pairs 7] [--install]

`import torch`, `import vireid`, which imports nothing else until it is needed, and `from vireid import MUN` take turns,
each in a process of its own; the ratios are those of a turn. The last figure is a clone of this checkout, its synthetic data and the first step of `examples/train.py`, with the installed
packages; `--install` adds a fresh virtual environment, which downloads PyTorch.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*command, folder=None):
    """Return the seconds that a command takes."""
    started = time.perf_counter()
    subprocess.run(command, check=True, cwd=folder, capture_output=True)
    return time.perf_counter() - started


def report(name, values, unit="s"):
    """Print the median of some values and their range."""
    values = sorted(values)
    print(f"{name:48} {statistics.median(values):7.3f} {unit} ({values[0]:.3f} to {values[-1]:.3f})", flush=True)


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
    parser.add_argument("--pairs", type=int, default=7, help="runs of each (%(default)s)")
    parser.add_argument("--install", action="store_true", help="also install into a fresh virtual environment")
    args = parser.parse_args()

    run(sys.executable, "-c", "import vireid, torch")  # reads the files once
    imports = {line: [] for line in ("import torch", "import vireid", "from vireid import MUN")}
    for _ in range(args.pairs):
        for line, seconds in imports.items():
            seconds.append(run(sys.executable, "-c", line))
    reference = imports["import torch"]
    for line, seconds in imports.items():
        report(line, seconds)
        report(f"{line} / import torch", [a / b for a, b in zip(seconds, reference, strict=True)], "")
    report("vireid --help", [run(sys.executable, "-m", "vireid", "--help") for _ in range(args.pairs)])

    with tempfile.TemporaryDirectory() as temporary:
        folder, python = Path(temporary) / "vireid", sys.executable
        total = cloning = run("git", "clone", "--quiet", str(ROOT), str(folder))
        if args.install:
            installing = run(sys.executable, "-m", "venv", str(folder / ".venv"))
            python = str(folder / ".venv" / "bin" / "python")
            installing += run(python, "-m", "pip", "install", "--quiet", "--editable", ".[train,viz]", folder=folder)
            print(f"{'install':48} {installing:7.1f} s")
            total += installing
        first = time_first_step(folder, python)
        print(f"{'clone':48} {cloning:7.1f} s\n{'data and first step of examples/train.py':48} {first:7.1f} s")
        print(f"{'from nothing to the first training step':48} {total + first:7.1f} s")


if __name__ == "__main__":
    main()
