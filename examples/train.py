"""Train MUN or another method and evaluate it on unseen identities; the same command resumes an interrupted run.

python examples/train.py  # generates synthetic people; a small network from scratch, minutes on two CPU cores
python examples/train.py --dataset sysu --root SYSU-MM01 --preset paper --pretrained  # the setting of the paper
python examples/train.py --dataset table --root people.csv  # your own images; docs/own-cameras.md has the details
python examples/train.py --dataset regdb --root RegDB --trial all --preset paper --pretrained  # mean of ten trials
torchrun --nproc-per-node 2 examples/train.py --dataset sysu --root SYSU-MM01 --preset paper --pretrained
"""

import csv
import json
import math
import os
import sys
from contextlib import nullcontext
from types import SimpleNamespace

from options import choose_method, create_transforms, parse_arguments, rate_factor, reading_of, run_script, settings_of
from runs import card_of, diagnose, is_whole, judge_auxiliary, load_weights, panels_of, read_state
from sources import open_dataset

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait slow down all that share a core
if __name__ == "__main__":
    ARGUMENTS = parse_arguments(__doc__)  # --help and typos are answered before torch is imported, which takes seconds

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, tqdm

from vireid import data, evaluation, models, set_epoch, visualization


class Step(torch.nn.Module):
    """The network and its losses as one module, so that several processes keep both alike."""

    def __init__(self, model, criterion):
        super().__init__()
        self.model, self.criterion = model, criterion

    def forward(self, visible, infrared, identities):
        """Compute the loss, its terms and diagnostics; visible images may come in several views, b v 3 H W."""
        visible = torch.cat(visible.unbind(1)) if visible.ndim == 5 else visible  # view after view
        output = self.model(visible, infrared)
        total, terms = self.criterion(output, identities)
        return total, terms | diagnose(output, identities, self.criterion)


def build(args, accelerator):
    """Build everything that may raise on bad input, before any training."""
    method, size = choose_method(args), tuple(args.image_size)
    with accelerator.main_process_first():
        dataset, protocols, notes = open_dataset(args, report=accelerator.is_main_process)
    torch.manual_seed(args.seed)
    num_identities = len({record.identity for record in dataset.train})
    model = method.network(num_identities, args.backbone, pretrained=args.pretrained, image_size=size)
    if args.init_from:
        accelerator.print(load_weights(model, args.init_from))
    transforms = create_transforms(args, model.preprocessing)
    pairs = data.PairedImages(dataset.train, *transforms, **reading_of(args))
    sampler = data.CrossModalityIdentitySampler(
        pairs.visible_identities,
        pairs.infrared_identities,
        identities_per_batch=args.identities_per_batch,
        images_per_identity=args.images_per_identity,
        batches_per_epoch=args.batches_per_epoch,
        num_replicas=accelerator.num_processes,
        rank=accelerator.process_index,
        generator=torch.Generator().manual_seed(args.seed),
    )
    batches = torch.utils.data.DataLoader(pairs, batch_sampler=sampler, num_workers=args.workers)
    batch_size, iterations = args.identities_per_batch * args.images_per_identity, args.epochs * len(batches)
    step = Step(model, method.create_loss(model.embedding_dim, batch_size=batch_size, iterations=iterations))
    groups = [{"params": [], "lr": args.lr * args.backbone_lr_factor}, {"params": []}]
    for name, parameter in step.named_parameters():
        groups[0 if method.is_slow(name) else 1]["params"].append(parameter)
    optimizer = torch.optim.AdamW(groups, lr=args.lr, weight_decay=args.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate_factor(args, len(batches)))
    run = SimpleNamespace(accelerator=accelerator, dataset=dataset, protocols=protocols, batches=batches, plain=step)
    run.step, run.optimizer = accelerator.prepare(step, optimizer)
    run.schedule, run.output, run.history, run.results, run.transforms = schedule, args.output, [], {}, transforms
    run.network = {"method": args.method, "backbone": args.backbone, "image_size": list(size), "notes": notes}
    run.network |= {"num_identities": num_identities, "auxiliary": args.auxiliary, "preprocessing": model.preprocessing}
    return run


def train_step(run, batch):
    """Update the weights on a batch; return the loss terms and the learning rate."""
    visible, infrared, identities = (part.to(run.accelerator.device) for part in batch)
    with run.accelerator.autocast():
        loss, terms = run.step(visible, infrared, identities)
    values = dict(zip(["total", *terms], torch.stack([loss, *terms.values()]).tolist(), strict=True))
    if not math.isfinite(values["total"]):
        path, found = run.output / "failed.pt", f"{values} in iteration {run.schedule.last_epoch + 1}"
        models.save_training_state(path, {"step": run.plain.state_dict(), "batch": list(batch), "terms": values})
        raise ValueError(f"the loss must be finite, got {found}. {path} holds the batch.")
    run.optimizer.zero_grad()
    run.accelerator.backward(loss)
    run.optimizer.step()
    values["lr"] = run.schedule.get_last_lr()[-1]
    run.schedule.step()
    return values


def fit(args, accelerator, watch):
    """Train and evaluate one network; return the results of the last epoch by protocol."""
    run, main = build(args, accelerator), accelerator.is_main_process
    transform = data.create_test_transform(**run.plain.model.preprocessing)
    images = run.dataset.test_images(transform, **reading_of(args))
    settings = settings_of(args) | {"processes": str(accelerator.num_processes), "data": run.dataset.fingerprint()}
    last, best, length, finished, told = run.output / "last.pt", run.output / "best", len(run.batches), 0, False
    with models.lock_folder(run.output) if main else nullcontext():
        accelerator.init_trackers(run.output.name, settings)
        if last.exists():
            state = read_state(last, settings)
            finished, run.history, run.results = state["epoch"], state["history"], state["results"]
            for name in ("plain", "optimizer", "schedule"):
                getattr(run, name).load_state_dict(state[name])
        repair = finished > 0 and not is_whole(best, accelerator.print)
        progress = tqdm(total=args.epochs * length, initial=finished * length, unit="batch")
        for epoch in range(finished, args.epochs + 1):  # counted by what is finished: 0 is the untrained network
            broadcast([*run.plain.buffers()])  # each process has its own statistics since the last step
            iteration, state = str(epoch * length), {**run.network, "plain": run.plain.state_dict()}
            if (epoch == args.epochs or epoch % args.evaluate_every == 0) and (repair or iteration not in run.results):
                results = evaluation.evaluate(run.plain.model, images, run.protocols, workers=args.workers)
                run.results[iteration] = {name: result.to_dict() for name, result in results.items()}
                quality = [next(iter(of_epoch.values()))["mean"]["mAP"] for of_epoch in run.results.values()]
                if main and (repair or quality[-1] == max(quality)):
                    run.plain.model.embedder.save_pretrained(best, **card_of(run, results))
                    (best / "training.json").write_text(json.dumps({**run.network["notes"], "epoch": epoch}))
                    repair = False
                if main and args.keep_networks:
                    models.save_training_state(run.output / f"epoch-{epoch}.pt", state)
            if main and epoch > finished:
                state |= {"settings": settings, "epoch": epoch, "history": run.history, "results": run.results}
                state |= {"optimizer": run.optimizer.state_dict(), "schedule": run.schedule.state_dict()}
                models.save_training_state(last, state)
            if epoch == args.epochs:
                break
            # All that is random in an epoch follows from its number, so that a resumed run draws what any other does.
            torch.manual_seed((args.seed * 10_000 + epoch) * 1_000 + accelerator.process_index)
            set_epoch(epoch, run.batches.batch_sampler, *run.transforms, run.plain)
            run.step.train()
            for batch in run.batches:
                values = train_step(run, batch)
                run.history.append(values)
                accelerator.log(values, step=len(run.history))
                terms = {name: f"{value:.2g}" for name, value in values.items() if not name.startswith("auxiliary ")}
                progress.set_postfix(terms, refresh=False)
                progress.update()
                watch(run, epoch)
            told = told or (epoch >= args.warm_up and judge_auxiliary(run.history, length, accelerator.print))
        progress.close()
        if main:
            report(run, settings)
    accelerator.free_memory()
    return {name: evaluation.RetrievalResult.from_dict(r) for name, r in run.results[iteration].items()}


def report(run, settings):
    """Write metrics.json, run.json, log.csv and the curves, and print the results."""
    names = dict.fromkeys(name for values in run.history for name in values)  # some terms may come later, or leave
    history = {name: [values.get(name, 0.0) for values in run.history] for name in names}
    metrics = {"results": run.results, "history": history, "arguments": settings, "command": sys.argv[1:]}
    (run.output / "metrics.json").write_text(json.dumps(metrics, indent=1))
    with (run.output / "log.csv").open("w", newline="") as file:
        rows = ((i // len(run.batches) + 1, i + 1, *row) for i, row in enumerate(zip(*history.values(), strict=True)))
        csv.writer(file).writerows([("epoch", "iteration", *history), *rows])
    panels = panels_of(history, run.results)
    visualization.plot_curves(panels, smoothing=20).savefig(run.output / "curves.png", dpi=110)
    rows = {
        f"{stage}, {name}": evaluation.RetrievalResult.from_dict(result)
        for stage, i in {"untrained": "0", "trained": [*run.results][-1]}.items()
        for name, result in run.results[i].items()
    }
    about = {"fingerprint": settings["data"], "counts": run.dataset.counts(), "settings": settings, "command": sys.argv}
    (run.output / "run.json").write_text(json.dumps(evaluation.describe_run(rows, **about), indent=1))
    people = len({record.identity for record in run.dataset.test_visible})
    print(f"\n{evaluation.format_results(rows)}\n{people} unseen identities: rank-1 by chance is {100 / people:.1f} %.")
    print(f"{run.output} holds {', '.join(sorted(path.name for path in run.output.glob('[!.]*')))}.")


def main(args, watch=lambda run, epoch: None):
    """Train one network, or one for each trial of RegDB; `watch` is called after every step."""
    options = {"mixed_precision": args.mixed_precision, "log_with": args.tracker, "project_dir": args.output}
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), step_scheduler_with_optimizer=False, **options)
    if args.trial != "all":
        fit(args, accelerator, watch)
    else:
        changes = [{"trial": trial, "output": args.output / f"trial-{trial}"} for trial in range(1, 11)]
        trials = [fit(SimpleNamespace(**{**vars(args), **change}), accelerator, watch) for change in changes]
        means = {name: evaluation.RetrievalResult.average([trial[name] for trial in trials]) for name in trials[0]}
        accelerator.print(f"\nall trials\n{evaluation.format_results(means)}")
        if accelerator.is_main_process:
            saved = {"results": {name: mean.to_dict() for name, mean in means.items()}}
            (args.output / "metrics.json").write_text(json.dumps(saved, indent=1))
    accelerator.end_training()


if __name__ == "__main__":
    run_script(main, ARGUMENTS)
