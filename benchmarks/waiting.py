"""What the threads of PyTorch cost while they wait for each other, most of all beside busy programs.

    python benchmarks/waiting.py [--rounds 3] [--steps 30] [--busy]

Training steps of the main job (MUN, test_resnet, 32 pairs of 96×48) in a process of their own: with the threads' usual
waiting, by spinning, with OMP_WAIT_POLICY=PASSIVE, and with one thread. The settings take turns.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

import _record
import torch

from vireid import MUN
from vireid.losses import MUNLoss

SETTINGS = {
    "spinning": {"GOMP_SPINCOUNT": "300000"},  # libgomp's default, which OMP_WAIT_POLICY does not change then
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}


def measure(steps):
    """Print the median step, in seconds, and the processor seconds of all steps."""
    torch.manual_seed(0)
    model = MUN(100, "test_resnet", image_size=(96, 48))
    criterion = MUNLoss(model.embedding_dim, batch_size=32, iterations=1000)
    optimizer = torch.optim.AdamW([*model.parameters(), *criterion.parameters()], lr=1e-5)
    visible, infrared = torch.randn(2, 32, 3, 96, 48)
    identities = torch.arange(8).repeat_interleave(4)
    times = []
    for step in range(steps + 3):  # the first three warm up
        if step == 3:
            before = resource.getrusage(resource.RUSAGE_SELF)
        start = time.perf_counter()
        optimizer.zero_grad()
        criterion(model(visible, infrared), identities).total.backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"step": statistics.median(times[3:]), "processor": used / steps}))


def run(setting, steps):
    """Measure in a process of its own, whose environment has only this setting."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, __file__, "--measure", "--steps", str(steps)]
    done = subprocess.run(command, env=environment | SETTINGS[setting], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of every setting (%(default)s)")
    parser.add_argument("--steps", type=int, default=30, help="steps of a run (%(default)s)")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = _record.parse(parser)
    if args.measure:
        measure(args.steps)
        return
    runs = {setting: [] for setting in SETTINGS}
    with _record.measuring(args) as figures:
        for setting in list(runs) * args.rounds:
            runs[setting].append(run(setting, args.steps))
        for setting in runs:
            for key in ("step", "processor"):
                values = {name: [1000 * one[key] for one in of] for name, of in runs.items()}
                figures.setdefault(setting, {})[f"{key}, ms"] = _record.spread(values[setting])
                figures[setting][f"ratio of {key}"] = _record.ratio(values["spinning"], values[setting])


if __name__ == "__main__":
    main()
