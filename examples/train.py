r"""Train MUN or another method and evaluate it on identities that it has never seen, with the published protocols.

Without arguments it generates a synthetic data set, trains a small network from scratch and evaluates it before and
after, in a few minutes on two CPU cores. The same command goes on where a run was interrupted.

    python examples/train.py

On real data with the setting of the paper, and on two GPUs:

    python examples/train.py --dataset sysu --root SYSU-MM01 --preset paper --pretrained --mixed-precision bf16
    torchrun --nproc-per-node 2 examples/train.py --dataset sysu --root SYSU-MM01 --preset paper --pretrained
"""

import argparse
import csv
import json
import os
import sys
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from methods import METHODS, BaselineLoss
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from vireid.data import (
    CrossModalityIdentitySampler,
    PairedImages,
    PersonImages,
    check_images,
    create_dataset,
    create_test_transform,
    create_train_transform,
    generate_synthetic,
    read_rankings,
)
from vireid.evaluation import RetrievalResult, create_protocols, extract_embeddings, format_results
from vireid.models import load_training_state, save_training_state
from vireid.visualization import plot_curves, plot_rankings

PRESETS = {  # warm-up, decays and evaluations are counted in epochs
    "laptop": {"backbone": "test_resnet", "size": (96, 48), "epochs": 7, "lr": 6e-3, "backbone_lr_factor": 1.0}
    | {"warm_up": 1, "decay_at": (4, 6), "evaluate_every": 3},
    "paper": {"backbone": "resnet50", "size": (288, 144), "epochs": 90, "lr": 2e-3, "backbone_lr_factor": 0.1}
    | {"warm_up": 15, "decay_at": (30, 60), "evaluate_every": 10},
}


def at_least(least):
    """The type of a whole number with a lower bound."""

    def read(text):
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {text}")
        return int(text)

    read.__name__ = "whole number"
    return read


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--dataset", choices=("sysu", "regdb", "llcm"), default="sysu", help="whose layout and protocol (%(default)s)")
    add("--root", type=Path, help="folder of the data set; without it, synthetic data are generated on first use")
    add("--trial", type=at_least(1), default=1, help="of RegDB, 1 to 10 (%(default)s)")
    add("--method", choices=METHODS, default="mun", help="what to train: a line of methods.py (%(default)s)")
    add("--recipe", choices=("mun", "agw", "caj"), help="of the augmentation; by default that of the method")
    add("--output", type=Path, default=Path("runs/train"), help="folder for checkpoints, logs, figures (%(default)s)")
    add("--preset", choices=PRESETS, default="laptop", help="values of the options that follow (%(default)s)")
    add("--backbone", help="a timm network")
    add("--size", type=int, nargs=2, metavar=("H", "W"), help="of the images, pixels")
    add("--epochs", type=at_least(1))
    add("--lr", type=float, help="learning rate of AdamW after the warm-up")
    add("--backbone-lr-factor", type=float, help="on the backbone's rate")
    add("--warm-up", type=at_least(0), help="epochs over which the rate rises")
    add("--decay-at", type=int, nargs=2, help="epochs at which it falls to a tenth")
    add("--evaluate-every", type=at_least(1), help="epochs between evaluations; the last one is always evaluated")
    add("--keep-networks", action="store_true", help="keep the network of every evaluation, as folders epoch-N")
    add("--pretrained", action="store_true", help="start from timm's weights of the backbone, which may be downloaded")
    add("--identities-per-batch", type=int, default=8, help="P (%(default)s)")
    add("--images-per-identity", type=int, default=4, help="K of each modality (%(default)s)")
    add("--batches-per-epoch", type=int, help="of all processes together; by default one pass over the larger modality")
    add("--mixed-precision", choices=("no", "bf16"), default="no", help="(%(default)s)")
    add("--workers", type=at_least(0), default=1, help="processes that load images (%(default)s)")
    add("--seed", type=at_least(0), default=0, help="of weights, batches and augmentations (%(default)s)")
    parser.set_defaults(**PRESETS[parser.parse_known_args(arguments)[0].preset])
    return parser.parse_args(arguments)


def settings_of(args):
    """The arguments that tell one run from another."""
    return {k: str(v) for k, v in vars(args).items() if k not in {"output", "workers", "keep_networks"}}


class Step(nn.Module):
    """The network and its losses as one module, so that several processes keep both alike."""

    def __init__(self, model, criterion):
        super().__init__()
        self.model = model
        self.criterion = criterion

    def forward(self, visible, infrared, identities):
        """The loss and its terms; visible images may come in several views, b v 3 H W."""
        return self.criterion(self.model(visible.flatten(0, -4), infrared), identities)


def prepare(args, accelerator):
    """Make everything that can fail for the user's sake, before any training."""
    root = args.root or Path("data") / f"synthetic-{args.dataset}-{args.size[0]}x{args.size[1]}"
    with accelerator.main_process_first():
        if args.root is None and not root.exists():
            print(f"Generating a synthetic data set in {root} …")
            generate_synthetic(root, args.dataset, size=tuple(args.size))
    dataset = create_dataset(args.dataset, root, trial=args.trial)
    if accelerator.is_main_process:
        check_images([*dataset.train, *dataset.test_visible, *dataset.test_infrared])
    method, size = METHODS[args.method], tuple(args.size)
    recipe = args.recipe or method.recipe
    transforms = [create_train_transform(modality, size, recipe=recipe) for modality in ("visible", "infrared")]
    pairs = PairedImages(dataset.train, *transforms)
    sampler = CrossModalityIdentitySampler(
        pairs.visible_identities,
        pairs.infrared_identities,
        identities_per_batch=args.identities_per_batch,
        images_per_identity=args.images_per_identity,
        batches_per_epoch=args.batches_per_epoch,
        num_replicas=accelerator.num_processes,
        rank=accelerator.process_index,
        generator=torch.Generator().manual_seed(args.seed),
    )
    batches = DataLoader(pairs, batch_sampler=sampler, num_workers=args.workers)
    torch.manual_seed(args.seed)
    model = method.network(pairs.num_identities, args.backbone, pretrained=args.pretrained, image_size=size)
    sizes = {"embedding_dim": model.embedding_dim, "iterations": args.epochs * len(batches)}
    step = Step(model, method.loss(**sizes, batch_size=args.identities_per_batch * args.images_per_identity))
    if recipe == "caj" and not (isinstance(step.criterion, BaselineLoss) and step.criterion.auxiliary is None):
        raise ValueError(
            f"--recipe must be mun or agw for {args.method}, which needs pairs: caj has two views an image."
        )
    groups = [{"params": [], "lr": args.lr * args.backbone_lr_factor}, {"params": []}]
    for name, parameter in step.named_parameters():
        groups[0 if name.startswith("model.backbone.") else 1]["params"].append(parameter)
    optimizer = torch.optim.AdamW(groups, lr=args.lr, weight_decay=0.01)
    warm_up = max(1, args.warm_up * len(batches))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda i: min(1, (i + 1) / warm_up) * 0.1 ** sum(i >= epoch * len(batches) for epoch in args.decay_at),
    )
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "log.csv").touch()  # a folder that cannot be written to fails now rather than at the end
    return dataset, batches, *accelerator.prepare(step, optimizer), schedule


def evaluate(model, dataset, protocols, args):
    """Embed the test images; return each protocol's result, and its queries and gallery."""
    transform = create_test_transform(tuple(args.size))
    embeddings = {
        modality: extract_embeddings(model, PersonImages(records, transform), modality, workers=args.workers)
        for modality, records in (("visible", dataset.test_visible), ("infrared", dataset.test_infrared))
    }
    pairs = {name: (embeddings[p.query_modality], embeddings[p.gallery_modality]) for name, p in protocols.items()}
    return {name: protocol.evaluate(*pairs[name]) for name, protocol in protocols.items()}, pairs


def resume(path, settings, step, optimizer, schedule):
    """Take up a checkpoint if there is one; return the finished epochs, the history and the results so far."""
    if not path.exists():
        return 0, {}, {}
    state = load_training_state(path)
    theirs = state["settings"]
    other = [f"{name} {theirs.get(name)}, not {value}" for name, value in settings.items() if theirs.get(name) != value]
    if other:
        raise ValueError(f"{path} is of a run with {'; '.join(other)}. Choose another --output, or delete it.")
    step.load_state_dict(state["step"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return state["epoch"], state["history"], state["results"]


def train(batches, step, optimizer, schedule, accelerator, args):
    """Go through the batches and yield the values of the loss terms."""
    step.train()
    for batch in batches:
        visible, infrared, identities = (part.to(accelerator.device) for part in batch)
        with accelerator.autocast():
            loss, terms = step(visible, infrared, identities)
        values = {name: term.item() for name, term in {"total": loss, **terms}.items()}
        if not loss.isfinite():
            state = {"step": accelerator.unwrap_model(step).state_dict(), "batch": batch, "terms": values}
            save_training_state(args.output / "failed.pt", state)
            found = f"got {values} in iteration {schedule.last_epoch + 1}"
            raise ValueError(f"the loss must be finite, {found}. {args.output / 'failed.pt'} holds the batch.")
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        yield {**values, "lr": schedule.get_last_lr()[-1]}
        schedule.step()


def report(args, dataset, protocols, pairs, history, results):
    """Write metrics.json, the log and the figures."""
    metrics = {"results": results, "history": history, "arguments": settings_of(args)}
    (args.output / "metrics.json").write_text(json.dumps(metrics, indent=1))
    with (args.output / "log.csv").open("w", newline="") as file:
        csv.writer(file).writerows([tuple(history), *zip(*history.values(), strict=True)])
    losses = {name: values for name, values in history.items() if name != "lr"}
    measured = {
        f"{key}, {name}": {int(i): 100 * result[name]["mean"][key] for i, result in results.items()}
        for name in protocols
        for key in ("rank-1", "mAP")
    }
    figure = plot_curves({"loss terms": losses, "unseen identities (%)": measured}, smoothing=20)
    figure.savefig(args.output / "curves.png", dpi=110)
    name, protocol = next(iter(protocols.items()))
    records = {"visible": dataset.test_visible, "infrared": dataset.test_infrared}
    query, gallery = records[protocol.query_modality], records[protocol.gallery_modality]
    figure = plot_rankings(*read_rankings(query, gallery, *protocol.rank(*pairs[name], k=10)))
    figure.savefig(args.output / "rankings.png", dpi=110)


def main(args):
    cpu = not torch.cuda.is_available()
    accelerator = Accelerator(mixed_precision=args.mixed_precision, cpu=cpu, step_scheduler_with_optimizer=False)
    started = time.perf_counter()
    dataset, batches, step, optimizer, schedule = prepare(args, accelerator)
    protocols = create_protocols(args.dataset, trial=args.trial, trained_on=args.trial)
    plain, last, best = accelerator.unwrap_model(step), args.output / "last.pt", args.output / "best"
    settings = {**settings_of(args), "processes": str(accelerator.num_processes)}
    finished, history, results = resume(last, settings, plain, optimizer, schedule)
    images = 2 * args.identities_per_batch * args.images_per_identity * accelerator.num_processes
    progress = tqdm(total=args.epochs * len(batches) * images, initial=finished * len(batches) * images, unit="img")
    progress.disable = not accelerator.is_main_process

    for epoch in range(finished, args.epochs + 1):  # counted by what is finished: 0 is the untrained network
        broadcast([*plain.buffers()])  # each process has its own statistics since the last step
        iteration = str(epoch * len(batches))
        if epoch == args.epochs or (epoch % args.evaluate_every == 0 and iteration not in results):
            evaluated, pairs = evaluate(plain.model, dataset, protocols, args)
            results[iteration] = {name: result.to_dict() for name, result in evaluated.items()}
            quality = [next(iter(result.values()))["mean"]["mAP"] for result in results.values()]
            if accelerator.is_main_process:
                kept = [args.output / f"epoch-{epoch}"] * args.keep_networks + [best] * (quality[-1] == max(quality))
                for folder in kept:
                    plain.model.save_pretrained(folder)
                    (folder / "training.json").write_text(json.dumps({"dataset": args.dataset, "trial": args.trial}))
        if accelerator.is_main_process and epoch > finished:
            state = {"settings": settings, "epoch": epoch, "history": history, "results": results}
            state |= {"model": plain.model.config, "step": plain.state_dict()}
            save_training_state(last, {**state, "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()})
        if epoch < args.epochs:
            # All that is random in an epoch follows from its number, so that a resumed run draws what any other does.
            torch.manual_seed((args.seed * 10_000 + epoch) * 1_000 + accelerator.process_index)
            batches.batch_sampler.set_epoch(epoch)
            for values in train(batches, step, optimizer, schedule, accelerator, args):
                for name, value in values.items():
                    history.setdefault(name, []).append(value)
                progress.set_postfix({name: f"{value:.2g}" for name, value in values.items()}, refresh=False)
                progress.update(images)
    progress.close()

    if accelerator.is_main_process:
        report(args, dataset, protocols, pairs, history, results)
        stages = {"untrained": results["0"], "trained": results[iteration]}
        rows = {
            f"{stage}, {name}": RetrievalResult.from_dict(result)
            for stage, of_stage in stages.items()
            for name, result in of_stage.items()
        }
        people = len({record.identity for record in dataset.test_visible})
        print(f"\n{format_results(rows)}\n{people} unseen identities: rank-1 by chance is about {100 / people:.1f} %.")
        print(
            f"{time.perf_counter() - started:.0f} s. {args.output} holds {', '.join(sorted(os.listdir(args.output)))}."
        )
    accelerator.end_training()


if __name__ == "__main__":
    try:
        main(parse_arguments())
    except (ValueError, OSError, ImportError) as mistake:  # of the user, or of the machine: the message says it all
        sys.exit(f"train.py: {mistake}")
    except KeyboardInterrupt:
        sys.exit("train.py: stopped. The same command goes on after the last epoch that is in last.pt.")
