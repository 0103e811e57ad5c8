"""How a benchmark runs, idle or beside busy programs, and how it keeps what it measured.

Every benchmark takes `--busy`, which runs one spinning program per core beside it, and `--json PATH`, which adds its
figures to that file, as `docs/results/benchmarks.json` has them: median, least and most over the rounds, with the date,
the machine and the share of the processor that other programs took meanwhile. Without `--busy` a measurement is kept as
"idle" up to a tenth of it and as "shared" above, which gives way to one that was idle.
"""

import contextlib
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the examples do, before torch is imported

sys.path.append(str(Path(__file__).parents[1] / "examples"))  # whose options.keep_memory benchmarks call

import torch

from vireid.evaluation.nearest import _multiplies_bfloat16

SPIN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"  # ends with a benchmark that is killed


def spread(values):
    """Return median, least and most of some values, to four digits."""
    values = sorted(values)
    return [float(f"{value:.4g}") for value in (statistics.median(values), values[0], values[-1])]


def ratio(values, reference):
    """Return median, least and most of the ratios of each round."""
    return spread([a / b for a, b in zip(values, reference, strict=True)])


def peak():
    """Return the most MiB that this process has taken; ru_maxrss begins with what the process before it has taken."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:  # not Linux: unknown
        return float("nan")
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 2**10


def parse(parser):
    """Parse the arguments, with the two options that every benchmark has."""
    parser.add_argument("--busy", action="store_true", help="run one spinning program per core beside it")
    parser.add_argument("--json", type=Path, metavar="PATH", help="add the figures to this file")
    return parser.parse_args()


@contextlib.contextmanager
def measuring(args):
    """Give a dictionary to fill, `{row: {measure: figure}}`; then print it and keep it in the file of ``--json``."""
    figures = {}
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(args.busy and os.cpu_count())]
    before = _processor_seconds()
    try:
        yield figures
    finally:
        for process in spinning:
            process.kill()
            process.wait()
    others = _share_of_others(before)
    for row, measures in figures.items():
        shown = (f"{name} {_show(figure)}" for name, figure in measures.items())
        print(f"{row:32}", *shown, sep="   ")
    state = "busy" if args.busy else "idle" if others <= 0.1 else "shared"
    print(f"{_machine()}; {state}; other programs: {others:.1%} of the processor")
    if not args.json:
        return
    kept = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else {}
    options = [word for word in sys.argv[1:] if word not in {"--busy", "--json", str(args.json)}]
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *options])
    entry = {"date": datetime.date.today().isoformat(), "machine": _machine(), "threads": torch.get_num_threads()}
    entry |= {"others": round(others, 3) if others >= 0 else None, "figures": figures}
    states = kept.setdefault(command, {})
    if state != "shared" or "idle" not in states:
        states[state] = entry
    if "idle" in states:
        states.pop("shared", None)
    write(args.json, kept)


def write(path, record):
    """Write a JSON file with each list of numbers on a line."""
    text = json.dumps(record, indent=1, ensure_ascii=False)
    text = re.sub(r'\[\s+([^][{}"]*?)\s+\]', lambda found: f"[{' '.join(found[1].split())}]", text)
    path.write_text(f"{text}\n", encoding="utf-8")


def _show(figure):
    if isinstance(figure, list):
        median, least, most = figure
        return f"{median:g} ({least:g} to {most:g})"
    return f"{figure:g}"


def _machine():
    """Describe the machine in words that identify nobody."""
    sets = torch.backends.cpu.get_cpu_capability() + (" with bfloat16" if _multiplies_bfloat16() else "")
    version = torch.__version__.split("+")[0]
    return f"{os.cpu_count()} cores ({platform.machine()}, {sets}), {platform.system()}, PyTorch {version}"


def _processor_seconds():
    """Return the processor seconds of the machine: all, used by anything, and used by this process and its children."""
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    except OSError:  # not Linux: unknown
        return 0.0, 0.0, 0.0
    total, tick = sum(ticks), os.sysconf("SC_CLK_TCK")
    return total / tick, (total - ticks[3] - ticks[4]) / tick, sum(os.times()[:4])


def _share_of_others(before):
    total, used, own = (after - start for after, start in zip(_processor_seconds(), before, strict=True))
    return max(0.0, used - own) / total if total else float("nan")
