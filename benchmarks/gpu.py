"""What a GPU does with the baseline and with MUN: training steps, the loader beside them, and evaluation.

    python benchmarks/gpu.py [--minutes 8] [--output gpu.json]
    python benchmarks/gpu.py --device cpu --backbone test_resnet --size 96 48 --batch 2 2 --seconds 0  # the same path on a CPU

Every row is a training step (forward, losses, backward, AdamW) of P × K pairs: images a second, peak memory, its
share of the card's own matrix product in the same precision, measured in the same run, and the synchronisations of host
and device in one step. The multiply-adds are counted by PyTorch on a forward pass and taken three times. Rows that do
not fit into --minutes are named and left out.
"""

import argparse
import contextlib
import json
import math
import statistics
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

import vireid
from vireid import data, evaluation
from vireid.losses import BaselineLoss, BatchHardTripletLoss, MUNLoss

PRECISIONS = {"float32": None, "tf32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
SETTINGS = [  # precision, memory format, compiled
    *((precision, False, False) for precision in PRECISIONS),
    ("bfloat16", True, False),
    ("bfloat16", True, True),
]


def wait(device):
    """Wait until the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_calls(call, device, seconds):
    """Return the median seconds of a call, over at least three and for some time, after two that warm up."""
    call(), call()
    wait(device)
    times, started = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - started < seconds:
        before = time.perf_counter()
        call()
        wait(device)
        times.append(time.perf_counter() - before)
    return statistics.median(times)


def measure_ceiling(precision, device, seconds):
    """Return the multiply-adds a second of a large matrix product."""
    size = 8192 if device.type == "cuda" else 512
    dtype = PRECISIONS[precision] or torch.float32
    left, right = torch.randn(2, size, size, device=device, dtype=dtype)
    return size**3 / time_calls(lambda: left @ right, device, seconds)


class Training:
    """A network with its loss and optimiser in one setting."""

    def __init__(self, name, args, setting):
        precision, channels_last, compiled = setting
        device = args.device
        torch.manual_seed(0)
        network = {"B": vireid.models.TwoStreamBaseline, "MUN": vireid.MUN}[name]
        self.model = network(395, args.backbone, image_size=tuple(args.size)).to(device)
        sizes = {"batch_size": math.prod(args.batch), "iterations": 1000}
        loss = BaselineLoss(triplet=BatchHardTripletLoss())
        self.loss = (loss if name == "B" else MUNLoss(self.model.embedding_dim, **sizes)).to(device)
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.model.to(memory_format=self.format)
        self.forward = torch.compile(self.model) if compiled else self.model
        parameters = [*self.model.parameters(), *self.loss.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=device.type == "cuda")
        self.dtype, self.device = PRECISIONS[precision], device
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16" and device.type == "cuda")

    def step(self, visible, infrared, identities):
        """Update the weights once."""
        images = (batch.to(self.device, memory_format=self.format, non_blocking=True) for batch in (visible, infrared))
        with torch.autocast(self.device.type, self.dtype) if self.dtype else contextlib.nullcontext():
            loss = self.loss(self.forward(*images), identities.to(self.device, non_blocking=True)).total
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()


def count_synchronisations(step, device):
    """Return how often one step makes the host wait for the device; None on a CPU."""
    if device.type != "cuda":
        return None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


def measure_step(name, setting, args, ceilings):
    """Measure the training step of one network in one setting."""
    (precision, channels_last, compiled), device = setting, args.device
    (identities, per_identity), size = args.batch, args.size
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    training = Training(name, args, setting)
    images = torch.randn(2, identities * per_identity, 3, *size, device=device)
    batch = (*images, torch.arange(identities, device=device).repeat_interleave(per_identity))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        training.model(*batch[:2])
    seconds = time_calls(lambda: training.step(*batch), device, args.seconds)
    return {
        "network": name,
        "precision": precision,
        "channels_last": channels_last,
        "compiled": compiled,
        "images_per_second": 2 * len(batch[0]) / seconds,
        "milliseconds": 1000 * seconds,
        "peak_memory_gib": torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None,
        "share_of_ceiling": 3 * counter.get_total_flops() / 2 / seconds / ceilings[precision],
        "synchronisations": count_synchronisations(lambda: training.step(*batch), device),
    }


def measure_loader(args, folder):
    """Measure the steps of MUN in bfloat16 with the images of a loader, and the loader alone."""
    size, device, (identities, per_identity) = tuple(args.size), args.device, args.batch
    data.generate_synthetic(folder, "sysu", train_identities=16, test_identities=8, images_per_camera=8, size=size)
    dataset = data.create_dataset("sysu", folder)
    transforms = [data.create_train_transform(modality, size) for modality in ("visible", "infrared")]
    pairs = data.PairedImages(dataset.train, *transforms)
    sampler = data.CrossModalityIdentitySampler(
        pairs.visible_identities,
        pairs.infrared_identities,
        identities_per_batch=identities,
        images_per_identity=per_identity,
        batches_per_epoch=20 if device.type == "cuda" else 2,
    )
    options = {"num_workers": args.workers, "persistent_workers": args.workers > 0, "pin_memory": device.type == "cuda"}
    batches = torch.utils.data.DataLoader(pairs, batch_sampler=sampler, **options)
    training = Training("MUN", args, ("bfloat16", True, False))
    rows = {"loader alone": lambda batch: None, "loader and MUN, bfloat16": lambda batch: training.step(*batch)}
    measured = {}
    for name, work in rows.items():
        for _epoch in range(2):  # the first one starts the workers
            started = time.perf_counter()
            for batch in batches:
                work(batch)
            wait(device)
        measured[name] = 2 * identities * per_identity * len(batches) / (time.perf_counter() - started)
    return {"workers": args.workers, "images_per_second": measured}, dataset, training.model


def measure_evaluation(args, dataset, model):
    """Measure the embedding of images and the protocol of SYSU-MM01, at its size on a GPU, there and on the CPU."""
    device = args.device
    images = dataset.test_images(data.create_test_transform(**model.preprocessing))["visible"]
    started = time.perf_counter()
    evaluation.extract_embeddings(model, images, "visible", device=device, workers=args.workers)
    embedding = len(images) / (time.perf_counter() - started)
    per_camera = 20 if device.type == "cuda" else 2
    generator = torch.Generator().manual_seed(0)

    def draw(modality, cameras):
        identities = torch.arange(96).repeat_interleave(per_camera).repeat(len(cameras))
        rows = torch.randn(len(identities), 2048, generator=generator)
        places = torch.tensor(cameras).repeat_interleave(96 * per_camera)
        return evaluation.EmbeddingSet(rows, identities, places, modality)

    sets = [draw("infrared", (3, 6)), draw("visible", (1, 2, 4, 5))]
    protocol, seconds = evaluation.SYSUMM01Protocol("all"), {}
    for place in {torch.device("cpu"), device}:
        moved = [s._replace(embeddings=s.embeddings.to(place)) for s in sets]
        seconds[str(place)] = time_calls(partial(protocol.evaluate, *moved), place, 0)
    return {"images_per_second": embedding, "queries": len(sets[0].identities), "protocol_seconds": seconds}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, nargs=2, default=(288, 144))
    parser.add_argument(
        "--batch", type=int, nargs=2, default=(8, 4), metavar=("P", "K"), help="identities, pairs of each"
    )
    parser.add_argument(
        "--device", type=torch.device, default=torch.device("cuda" if torch.cuda.is_available() else "cpu")
    )
    parser.add_argument("--seconds", type=float, default=5, help="of every row (%(default)s)")
    parser.add_argument("--minutes", type=float, default=8, help="of the whole run (%(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="of the loader (%(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file of the figures")
    args = parser.parse_args()
    device, started = args.device, time.perf_counter()
    cuda = device.type == "cuda"
    card = torch.cuda.get_device_name(device) if cuda else f"CPU, {torch.get_num_threads()} threads"
    height, width = args.size
    print(
        f"{card}; PyTorch {torch.__version__}; {args.backbone}, {args.batch[0]} × {args.batch[1]} pairs of {height}×{width}"
    )

    figures = {
        "card": card,
        "torch": torch.__version__,
        "backbone": args.backbone,
        "size": [*args.size],
        "batch": [*args.batch],
    }
    figures |= {"ceilings": {}, "steps": [], "left_out": []}
    for precision in PRECISIONS:
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        ceiling = figures["ceilings"][precision] = measure_ceiling(precision, device, args.seconds / 5)
        print(f"matrix product, {precision:9} {ceiling / 1e12:8.3f} T multiply-adds a second")

    def fits(longest):
        return time.perf_counter() - started + longest <= 60 * args.minutes

    if fits(60):
        with tempfile.TemporaryDirectory() as folder:
            loading, dataset, model = measure_loader(args, Path(folder) / "synthetic")
            figures["loader"] = loading
            for name, rate in loading["images_per_second"].items():
                print(f"{name:26} {rate:8.0f} images a second, {args.workers} workers")
            figures["evaluation"] = measured = measure_evaluation(args, dataset, model)
            print(f"embedding, loader included {measured['images_per_second']:8.0f} images a second")
            for place, seconds in measured["protocol_seconds"].items():
                print(f"ten galleries of SYSU-MM01 for {measured['queries']} queries on {place}: {seconds:.2f} s")
    else:
        figures["left_out"].append("loader and evaluation")

    print(f"{'network':8}{'precision':10}{'format':15}{'images/s':>9}{'GiB':>7}{'ceiling':>9}{'syncs':>7}")
    for setting in SETTINGS:
        for name in ("B", "MUN"):
            row = f"{name:8}{setting[0]:10}{'channels last' if setting[1] else 'contiguous':15}"
            possible = cuda or not (setting[2] or setting[0] in {"tf32", "float16"})
            if not (possible and fits(args.seconds + (150 if setting[2] else 10))):
                figures["left_out"].append(f"{row} {'compiled' * setting[2]}".strip())
                continue
            step = measure_step(name, setting, args, figures["ceilings"])
            figures["steps"].append(step)
            memory = "" if step["peak_memory_gib"] is None else f"{step['peak_memory_gib']:.2f}"
            syncs = "" if step["synchronisations"] is None else step["synchronisations"]
            share = f"{100 * step['share_of_ceiling']:.0f} %"
            print(f"{row}{step['images_per_second']:9.0f}{memory:>7}{share:>9}{syncs:>7}", "compiled" * setting[2])
    for row in figures["left_out"]:
        print(f"{row}: left out")
    figures["seconds"] = time.perf_counter() - started
    print(f"{figures['seconds']:.0f} s in all")
    if args.output:
        args.output.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
