r"""Train MUN and evaluate it on identities that it has never seen, with the SYSU-MM01 protocol.

Without arguments it generates the synthetic data set, trains a small network from scratch and evaluates it before and
after, in a few minutes on two CPU cores:

    python examples/train.py

On SYSU-MM01 itself, with the sizes of the paper:

    python examples/train.py --root SYSU-MM01 --backbone resnet50 --pretrained --size 288 144 --iterations 62550 \
        --lr 2e-3 --backbone-lr-factor 0.1 --decay-at 0.333 0.667
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from vireid import MUN
from vireid.data import (
    SYSUMM01,
    CrossModalityIdentitySampler,
    PairedImages,
    PersonImages,
    check_images,
    create_test_transform,
    create_train_transform,
    generate_synthetic,
    read_image,
)
from vireid.evaluation import SYSUMM01Protocol, extract_embeddings
from vireid.losses import OverallLoss
from vireid.visualization import plot_curves, plot_rankings


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--root", type=Path, help="folder of SYSU-MM01; without it, synthetic data are generated on first use")
    add("--output", type=Path, default=Path("runs/train"), help="folder for metrics, figures and weights (%(default)s)")
    add("--backbone", default="test_resnet", help="a timm network (%(default)s)")
    add("--pretrained", action="store_true", help="start from timm's weights of the backbone")
    add("--size", type=int, nargs=2, default=(96, 48), metavar=("H", "W"), help="of the images, pixels (96 48)")
    add("--iterations", type=int, default=900, help="training steps (%(default)s)")
    add("--identities-per-batch", type=int, default=8, help="P (%(default)s)")
    add("--images-per-identity", type=int, default=4, help="K of each modality (%(default)s)")
    add("--lr", type=float, default=6e-3, help="learning rate of AdamW after the warm-up (%(default)s)")
    add("--backbone-lr-factor", type=float, default=1.0, help="on the backbone's rate; 0.1 if pretrained (%(default)s)")
    add(
        "--decay-at",
        type=float,
        nargs=2,
        default=(0.6, 0.85),
        metavar="SHARE",
        help="of the run, where the rate falls to a tenth (0.6 0.85)",
    )
    add("--workers", type=int, default=1, help="processes that load images (%(default)s)")
    add("--seed", type=int, default=0, help="of the weights, the batches and the augmentations (%(default)s)")
    return parser.parse_args()


def create_schedule(optimizer, iterations, decay_at):
    """Warm up linearly over a sixth of the run as the paper does, then fall to a tenth twice."""
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 1e-5, total_iters=max(1, iterations // 6))
    steps = torch.optim.lr_scheduler.MultiStepLR(optimizer, [int(share * iterations) for share in decay_at], gamma=0.1)
    return torch.optim.lr_scheduler.ChainedScheduler([warm_up, steps])


def prepare(args, device):
    """Make everything that can fail for the user's sake, before any training."""
    root = args.root or Path(f"data/synthetic-{args.size[0]}x{args.size[1]}")
    if args.root is None and not root.exists():
        print(f"Generating the synthetic data set in {root} …")
        generate_synthetic(root, size=tuple(args.size))
    dataset = SYSUMM01(root)
    check_images([*dataset.train, *dataset.test_infrared, *dataset.test_visible])
    transforms = [create_train_transform(modality, tuple(args.size)) for modality in ("visible", "infrared")]
    pairs = PairedImages(dataset.train, *transforms)
    sampler = CrossModalityIdentitySampler(
        pairs.visible_identities,
        pairs.infrared_identities,
        identities_per_batch=args.identities_per_batch,
        images_per_identity=args.images_per_identity,
        generator=torch.Generator().manual_seed(args.seed),
    )
    generator = torch.Generator().manual_seed(args.seed)
    batches = DataLoader(pairs, batch_sampler=sampler, num_workers=args.workers, generator=generator)
    torch.manual_seed(args.seed)
    model = MUN(pairs.num_identities, args.backbone, pretrained=args.pretrained, image_size=tuple(args.size)).to(device)
    pairs_per_batch = args.identities_per_batch * args.images_per_identity
    criterion = OverallLoss(model.embedding_dim, batch_size=pairs_per_batch, iterations=args.iterations).to(device)
    backbone, others = [], []
    for name, parameter in [*model.named_parameters(), *criterion.named_parameters()]:
        (backbone if name.startswith("backbone.") else others).append(parameter)
    groups = [{"params": backbone, "lr": args.lr * args.backbone_lr_factor}, {"params": others}]
    optimizer = torch.optim.AdamW(groups, lr=args.lr, weight_decay=0.01)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "metrics.json").touch()  # a folder that cannot be written to fails now rather than at the end
    return dataset, batches, model, criterion, optimizer


def evaluate(model, dataset, args):
    """Embed the test images and return the result, and the rankings of the first gallery for the figure."""
    query, gallery = (
        extract_embeddings(
            model,
            PersonImages(records, create_test_transform(tuple(args.size))),
            modality,
            workers=args.workers,
        )
        for records, modality in ((dataset.test_infrared, "infrared"), (dataset.test_visible, "visible"))
    )
    protocol = SYSUMM01Protocol(search="all")
    return protocol.evaluate(query, gallery), protocol.rank(query, gallery, k=10)


def main():
    args = parse_arguments()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    started = time.perf_counter()
    try:
        dataset, batches, model, criterion, optimizer = prepare(args, device)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"train.py: {error}")
    schedule = create_schedule(optimizer, args.iterations, args.decay_at)

    untrained, _ = evaluate(model, dataset, args)
    history = {}
    model.train()
    progress = tqdm(total=args.iterations, desc="training", unit="it", dynamic_ncols=True)
    while progress.n < args.iterations:
        for visible, infrared, identities in batches:
            output = model(visible.to(device), infrared.to(device))
            loss, terms = criterion(output, identities.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            for name, term in {"total": loss, **terms}.items():
                history.setdefault(name, []).append(term.item())
            progress.set_postfix({name: f"{values[-1]:.2f}" for name, values in history.items()}, refresh=False)
            progress.update()
            if progress.n == args.iterations:
                break
    progress.close()
    trained, (found, correct) = evaluate(model, dataset, args)

    identities = {record.identity for record in dataset.test_visible}
    print(f"\n{trained.protocol}, {len(identities)} unseen identities, chance rank-1 {100 / len(identities):.1f} %")
    print(f"{'':12}" + "".join(f"{name:>14}" for name in trained.summary()))
    for name, result in {"untrained": untrained, "trained": trained}.items():
        cells = (f"{100 * mean:.2f} ± {100 * std:.2f}" for mean, std in result.summary().values())
        print(f"{name:12}" + "".join(f"{cell:>14}" for cell in cells))

    shown = range(0, len(dataset.test_infrared), max(1, len(dataset.test_infrared) // 8))[:8]
    figure = plot_rankings(
        [read_image(dataset.test_infrared[i].path) for i in shown],
        [[read_image(dataset.test_visible[j].path) for j in found[i].tolist() if j >= 0] for i in shown],
        [[hit for j, hit in zip(found[i].tolist(), correct[i].tolist(), strict=True) if j >= 0] for i in shown],
    )
    figure.savefig(args.output / "rankings.png", dpi=110)
    plot_curves({"loss terms": history}, smoothing=20).savefig(args.output / "curves.png", dpi=110)
    torch.save(model.state_dict(), args.output / "model.pt")
    metrics = {"untrained": untrained.to_dict(), "trained": trained.to_dict(), "losses": history}
    metrics |= {"seconds": time.perf_counter() - started, "arguments": {k: str(v) for k, v in vars(args).items()}}
    (args.output / "metrics.json").write_text(json.dumps(metrics, indent=1))
    print(f"\n{metrics['seconds']:.0f} s. Wrote metrics.json, curves.png, rankings.png and model.pt to {args.output}.")


if __name__ == "__main__":
    main()
