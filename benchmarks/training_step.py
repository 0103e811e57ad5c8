"""What a training step of MUN costs beside that of the two-stream baseline, and beside their counted operations.

    python benchmarks/training_step.py [--backbone resnet50] [--pairs 8] [--size 288 144] [--device cuda]

The baseline is MUN without generator and auxiliary rows: identity and triplet losses on visible and infrared images.
Both take forward, backward and an AdamW step in turn in one process; the times are medians. Multiply-adds are counted
by PyTorch on one forward pass; 1.98 is their ratio for ResNet-50 at 288×144.
"""

import argparse
import ctypes
import statistics
import time

import torch
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
    parser.add_argument("--operators", action="store_true", help="also time every operator of the generator alone")
    args = parser.parse_args()

    if args.keep_memory:
        for option, size in {-3: 2**31 - 1, -1: 2**31 - 1, -2: 2**28}.items():  # thresholds of mmap and trim, padding
            ctypes.CDLL(None).mallopt(option, size)
    torch.manual_seed(0)
    model = MUN(4, args.backbone, image_size=tuple(args.size)).to(args.device)
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
    operations, times = {}, {name: [] for name in ways}
    for name, forward in ways.items():
        with FlopCounterMode(display=False) as counter:
            forward()
        operations[name] = counter.get_total_flops() / 2 / args.pairs / 1e9
        step(forward)  # warm up
    for _ in range(args.repeats):
        for name, forward in ways.items():
            start = time.perf_counter()
            step(forward)
            times[name].append(time.perf_counter() - start)
    height, width = args.size
    layout = "channels last" if args.channels_last else "channels first"
    print(
        f"{args.backbone}, {args.pairs} pairs of {height}×{width}, {layout}, {args.device}, {torch.get_num_threads()} threads"
    )
    for name in ways:
        print(f"{name:9} {statistics.median(times[name]):7.3f} s a step   {operations[name]:6.2f} GMAC a pair, forward")
    ratio = statistics.median(times["MUN"]) / statistics.median(times["baseline"])
    counted = operations["MUN"] / operations["baseline"]
    print(f"ratio     {ratio:7.2f} of time     {counted:6.2f} of operations   {100 * (ratio / counted - 1):+.0f} %")
    if args.operators:
        rate = 3 * args.pairs * operations["baseline"] / statistics.median(times["baseline"])
        time_operators(model, images[0], args.repeats, rate)
        time_the_rest(model, criterion, images[0], identities, args.repeats)


def time_operators(model, images, repeats, rate):
    """Forward and backward of each operator alone, beside the time at the baseline's rate of operations."""
    with torch.no_grad():
        feature_map = model.embedder.backbone.first_stages(images, "visible")
    learner, cross = model.generator.visible_learner, model.generator.cross_learner
    wide, halves = learner.expand(feature_map).detach(), feature_map.chunk(2, dim=1)
    both = torch.cat([feature_map, feature_map])
    stacked = feature_map.repeat(1, cross.fuse[0].num_features // feature_map.shape[1], 1, 1)
    operators = [(f"2 × depth-wise {m.kernel_size[0]}×{m.kernel_size[0]}", 2, m, halves[0]) for m in learner.depthwise]
    operators += [
        ("2 × batch norm", 2, learner.expand[0], feature_map),
        ("2 × 1×1, widening", 2, learner.expand[1], feature_map),
        ("2 × ReLU", 2, torch.relu, wide),
        ("2 × depth-wise 3×3, wide", 2, learner.spatial, wide),
        ("2 × sum", 2, lambda x: x + wide, wide),
        ("2 × batch norm, wide", 2, learner.reduce[0], wide),
        ("2 × 1×1, narrowing", 2, learner.reduce[1], wide),
        ("3 × scale", 3, learner.scale, feature_map),
    ]
    for pool, rebuild in zip(cross.pyramid, cross.rebuild, strict=True):
        operators.append((f"pooling by {pool.kernel_size}", 1, pool, both))
        operators.append((f"transposed {pool.kernel_size}×{pool.kernel_size}", 1, rebuild, pool(both).detach()))
    operators += [
        ("concatenation", 1, lambda x: torch.cat([x, x], dim=1), stacked.chunk(2, dim=1)[0]),
        ("batch norm of all scales", 1, cross.fuse[0], stacked),
        ("1×1 of all scales", 1, cross.fuse[1], stacked),
    ]
    print(f"\n{'operator of the generator':28}{'GMAC':>8}{'ms':>8}{'ms at the baseline rate':>26}")
    total = [0, 0, 0]
    for name, count, operator, values in operators:
        rows = values.detach().requires_grad_()
        with FlopCounterMode(display=False) as counter:
            operator(rows)
        work = 3 * count * counter.get_total_flops() / 2e9  # the backward pass takes twice the forward one
        samples = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            operator(rows).sum().backward()
            samples.append(count * (time.perf_counter() - start))
        row = work, 1000 * statistics.median(samples[1:]), 1000 * work / rate
        total = [a + b for a, b in zip(total, row, strict=True)]
        print(f"{name:28}{row[0]:8.2f}{row[1]:8.0f}{row[2]:26.0f}")
    print(f"{'all':28}{total[0]:8.2f}{total[1]:8.0f}{total[2]:26.0f}")


def time_the_rest(model, criterion, images, identities, repeats):
    """What else MUN has beside the baseline: a third of the shared stages, two losses, weights to update."""
    with torch.no_grad():
        maps = model.embedder.backbone.first_stages(images, "visible").repeat(3, 1, 1, 1)
    embeddings = torch.randn(3, len(images), model.embedding_dim, requires_grad=True)

    def shared(thirds):
        rows = maps[: thirds * len(images)].detach().requires_grad_()
        model.embedder.backbone.shared_stages(rows).sum().backward()

    def alignment():
        loss = criterion.identity_alignment(*embeddings, identities) + criterion.modality_alignment(
            *embeddings, identities
        )
        loss.backward()

    extra = [*model.generator.parameters(), *criterion.parameters()]
    for parameter in extra:
        parameter.grad = torch.zeros_like(parameter)
    update = torch.optim.AdamW(extra).step
    times = {}
    for name, work in {"2": lambda: shared(2), "3": lambda: shared(3), "losses": alignment, "update": update}.items():
        samples = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            work()
            samples.append(1000 * (time.perf_counter() - start))
        times[name] = statistics.median(samples[1:])
    print(f"{'third of the shared stages':28}{times['3'] - times['2']:16.0f}")
    print(f"{'alignment losses':28}{times['losses']:16.0f}")
    print(f"{'update of generator and W':28}{times['update']:16.0f}")


if __name__ == "__main__":
    main()
