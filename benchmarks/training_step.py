"""What a training step of MUN costs beside that of the two-stream baseline, and beside their counted operations.

    python benchmarks/training_step.py [--backbone resnet50] [--pairs 8] [--size 288 144] [--device cuda]

The baseline is MUN without generator and auxiliary rows: identity and triplet losses on visible and infrared images.
Both take forward, backward and an AdamW step in turn in one process. Multiply-adds are counted by PyTorch on one
forward pass; 1.98 is their ratio for ResNet-50 at 288×144. The excess is a ratio of time over that of operations;
processor time suffers least from other programs.
"""

import argparse
import statistics
import time
from functools import partial

import _record
import torch
from options import keep_memory
from torch.utils.flop_counter import FlopCounterMode

from vireid import MUN
from vireid.losses import BatchHardTripletLoss, IdentityLoss, MUNLoss


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--size", type=int, nargs=2, default=(288, 144))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--channels-last", action="store_true", help="weights and images in that memory format")
    parser.add_argument(
        "--keep-memory", action="store_true", help="tell glibc to keep freed memory, as the examples do"
    )
    parser.add_argument("--together", action="store_true", help="the auxiliary third in the pass of the other two")
    parser.add_argument("--operators", action="store_true", help="also time every operator of the generator alone")
    args = _record.parse(parser)

    if args.keep_memory:
        keep_memory()
    torch.manual_seed(0)
    statistics_of = "shared" if args.together else "own"
    model = MUN(4, args.backbone, image_size=tuple(args.size), auxiliary_statistics=statistics_of).to(args.device)
    images = torch.randn(2, args.pairs, 3, *args.size, device=args.device).unbind()
    if args.channels_last:
        model.to(memory_format=torch.channels_last)
        images = [batch.to(memory_format=torch.channels_last) for batch in images]
    identities = (torch.arange(args.pairs, device=args.device) // 2) % 4
    criterion = MUNLoss(model.embedding_dim, batch_size=args.pairs, iterations=1000).to(args.device)
    identity, triplet = IdentityLoss(), BatchHardTripletLoss()
    optimizer = torch.optim.AdamW([*model.parameters(), *criterion.parameters()], lr=1e-5)

    def forward_baseline():
        embedder = model.embedder
        maps = [embedder.backbone.first_stages(x, m) for x, m in zip(images, ("visible", "infrared"), strict=True)]
        embeddings = embedder.pool(embedder.backbone.shared_stages(torch.cat(maps)))
        visible, infrared = embedder.neck(embeddings).chunk(2)
        loss = identity(model.visible_classifier(visible), identities)
        loss = loss + identity(model.infrared_classifier(infrared), identities)
        return loss + triplet(embeddings, identities.repeat(2))

    def forward_mun():
        return criterion(model(*images), identities).total

    def step(forward):
        optimizer.zero_grad()
        forward().backward()
        optimizer.step()
        if args.device == "cuda":
            torch.cuda.synchronize()

    ways = {"baseline": forward_baseline, "MUN": forward_mun}
    operations, times, processor = {}, {name: [] for name in ways}, {name: [] for name in ways}
    for name, forward in ways.items():
        with FlopCounterMode(display=False) as counter:
            forward()
        operations[name] = counter.get_total_flops() / 2 / args.pairs / 1e9
        step(forward)  # warm up
    with _record.measuring(args) as figures:
        for name, forward in list(ways.items()) * args.repeats:
            started = time.perf_counter(), time.process_time()
            step(forward)
            times[name].append(time.perf_counter() - started[0])
            processor[name].append(time.process_time() - started[1])
        for name in ways:
            figures[name] = {"s": _record.spread(times[name]), "processor, s": _record.spread(processor[name])}
            figures[name]["GMAC a pair, forward"] = round(operations[name], 2)
        counted = operations["MUN"] / operations["baseline"]
        figures["ratio"] = {"of operations": round(counted, 2)}
        for what, of in {"time": times, "processor time": processor}.items():
            figures["ratio"][f"of {what}"] = _record.ratio(of["MUN"], of["baseline"])
            figures["ratio"][f"excess of {what}"] = _record.ratio(of["MUN"], [counted * x for x in of["baseline"]])
        if args.operators:
            rate = 3 * args.pairs * operations["baseline"] / statistics.median(times["baseline"])
            figures.update(time_operators(model, images[0], args.repeats, rate))
            figures.update(time_the_rest(model, criterion, images[0], identities, args.repeats))


def time_operators(model, images, repeats, rate):
    """Forward and backward of each operator alone, beside the time at the baseline's rate of operations."""
    layout = torch.channels_last if images.device.type == "cpu" else torch.preserve_format  # the generator's own
    with torch.no_grad():
        feature_map = model.embedder.backbone.first_stages(images, "visible").to(memory_format=layout)
    learner, cross = model.generator.visible_learner, model.generator.cross_learner
    wide, halves = learner.expand(feature_map).detach(), feature_map.chunk(2, dim=1)
    both = torch.cat([feature_map, feature_map])
    stacked = feature_map.repeat(1, cross.fuse[0].num_features // feature_map.shape[1], 1, 1).to(memory_format=layout)
    operators = {  # how often, operator, input
        **{f"depth-wise: {m.kernel_size[0]}×{m.kernel_size[0]}": (2, m, halves[0]) for m in learner.depthwise},
        "depth-wise: 3×3, wide": (2, learner.spatial, wide),
        "normalisation: c channels": (2, learner.expand[0], feature_map),
        "normalisation: wide": (2, learner.reduce[0], wide),
        "normalisation: all scales": (1, cross.fuse[0], stacked),
        "convolution: widening": (2, learner.expand[1], feature_map),
        "convolution: narrowing": (2, learner.reduce[1], wide),
        "convolution: all scales": (1, cross.fuse[1], stacked),
        "other: ReLU": (2, torch.relu, wide),
        "other: sum": (2, lambda x: x + wide, wide),
        "other: scale": (3, learner.scale, feature_map),
        "other: concatenation": (1, lambda x: torch.cat([x, x], dim=1), stacked.chunk(2, dim=1)[0]),
    }
    for pool, rebuild in zip(cross.pyramid, cross.rebuild, strict=True):
        operators[f"other: pooling by {pool.kernel_size}"] = 1, pool, both
        operators[f"convolution: transposed by {pool.kernel_size}"] = 1, rebuild, pool(both).detach()
    figures = {}
    for name, (count, operator, values) in operators.items():
        rows = values.detach().requires_grad_()
        with FlopCounterMode(display=False) as counter:
            gradient = torch.ones_like(operator(rows))
        work = 3 * count * counter.get_total_flops() / 2e9  # the backward pass takes twice the forward one
        call = partial(lambda operator, rows, gradient: operator(rows).backward(gradient), operator, rows, gradient)
        times = [count * seconds for seconds in time_calls(call, repeats)]
        figures[name] = {"s": _record.spread(times), "s at the baseline's rate": float(f"{work / rate:.3g}")}
    return figures


def time_calls(call, repeats):
    """Return the seconds of each call after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return times[1:]


def time_the_rest(model, criterion, images, identities, repeats):
    """What else MUN has beside the baseline: a third of the shared stages, two losses, weights to update."""
    with torch.no_grad():
        maps = model.embedder.backbone.first_stages(images, "visible").repeat(3, 1, 1, 1)
    embeddings = torch.randn(3, len(images), model.embedding_dim, requires_grad=True)

    def shared(thirds):
        rows = maps[: thirds * len(images)].detach().requires_grad_()
        model.embedder.backbone.shared_stages(rows).sum().backward()

    def alignment():
        loss = criterion.identity_alignment(*embeddings, identities)
        (loss + criterion.modality_alignment(*embeddings, identities)).backward()

    extra = [*model.generator.parameters(), *criterion.parameters()]
    for parameter in extra:
        parameter.grad = torch.zeros_like(parameter)
    two, three = (time_calls(partial(shared, thirds), repeats) for thirds in (2, 3))
    times = {
        "shared stages: auxiliary third": [b - a for a, b in zip(two, three, strict=True)],
        "losses: alignment": time_calls(alignment, repeats),
        "AdamW: generator and W": time_calls(torch.optim.AdamW(extra).step, repeats),
    }
    return {name: {"s": _record.spread(values)} for name, values in times.items()}


if __name__ == "__main__":
    main()
