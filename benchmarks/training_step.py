"""What a training step of MUN costs beside that of the two-stream baseline, and beside their counted operations.

    python benchmarks/training_step.py [--backbone resnet50] [--pairs 8] [--size 288 144] [--device cuda]

The baseline is MUN without generator and auxiliary rows: identity and triplet losses on visible and infrared images.
Both take forward, backward and an AdamW step in turn in one process; the times are medians. Multiply-adds are counted
by PyTorch on one forward pass; 1.98 is their ratio for ResNet-50 at 288×144.
"""

import argparse
import statistics
import time

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from vireid import MUN
from vireid.losses import BatchHardTripletLoss, IdentityLoss, OverallLoss


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--size", type=int, nargs=2, default=(288, 144))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--operators", action="store_true", help="show where the time of both goes")
    args = parser.parse_args()

    torch.manual_seed(0)
    model = MUN(4, args.backbone, image_size=tuple(args.size)).to(args.device)
    images = torch.randn(2, args.pairs, 3, *args.size, device=args.device)
    identities = (torch.arange(args.pairs, device=args.device) // 2) % 4
    overall = OverallLoss(model.embedding_dim, batch_size=args.pairs, iterations=1000).to(args.device)
    identity, triplet = IdentityLoss(), BatchHardTripletLoss()
    optimizer = torch.optim.AdamW([*model.parameters(), *overall.parameters()], lr=1e-5)

    def forward_baseline():
        maps = [model.backbone.first_stages(x, m) for x, m in zip(images, ("visible", "infrared"), strict=True)]
        embeddings = model.pool(model.backbone.shared_stages(torch.cat(maps)))
        visible, infrared = model.neck(embeddings).chunk(2)
        loss = identity(model.visible_classifier(visible), identities)
        loss = loss + identity(model.infrared_classifier(infrared), identities)
        return loss + triplet(embeddings, identities.repeat(2))

    def forward_mun():
        return overall(model(*images), identities).total

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
    print(f"{args.backbone}, {args.pairs} pairs of {height}×{width}, {args.device}, {torch.get_num_threads()} threads")
    for name in ways:
        print(f"{name:9} {statistics.median(times[name]):7.3f} s a step   {operations[name]:6.2f} GMAC a pair, forward")
    ratio = statistics.median(times["MUN"]) / statistics.median(times["baseline"])
    counted = operations["MUN"] / operations["baseline"]
    print(f"ratio     {ratio:7.2f} of time     {counted:6.2f} of operations   {100 * (ratio / counted - 1):+.0f} %")
    if args.operators:
        for name, forward in ways.items():
            with profile(activities=[ProfilerActivity.CPU]) as profiler:
                step(forward)
            print(
                f"\n{name}\n"
                + profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=40)
            )


if __name__ == "__main__":
    main()
