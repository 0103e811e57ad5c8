"""Train the rows of MUN's Tables 1 to 3 and of the field's baselines, and print them beside the paper's numbers.

    python examples/ablation.py                       # the paper's tables and the methods, on synthetic people
    python examples/ablation.py --tables 1 --seeds 0 1 2 3 4 --epochs 5
    python examples/ablation.py --tables module 1-helpful --preset pretrained  # what MUN's module adds to baselines
    python examples/ablation.py --tables module --rows 'AGW*' --preset pretrained  # to one of them
    python examples/ablation.py --dataset sysu --root SYSU-MM01 --preset paper --pretrained

A row is a method of methods.py, trained by train.py, which gets every option that is not listed below. All rows of a seed
share the initial weights and the batches, so that their differences vary less than they do. The same command resumes
where it was interrupted; finished rows are not trained again, whichever table asks for them. It writes tables.md,
ablation.json and ablation.png.
"""

import json
import shlex
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import fmean, stdev

from options import Parser, run_script

from vireid.visualization import plot_bars

BASELINES = {"B": "b", "one classifier": "b-one-classifier", "AGW": "agw", "AGW + J": "agw+j", "MMD-ReID": "mmd-reid"}
HELPFUL = "--alignment 1 --identity-alignment 2"  # the forms of L_ma and L_ia that help, and their weights
NONE = "--alignment 0 --identity-alignment 0"
MODULE = {  # losses of MUN's module, and the options that add them
    "": "",
    " + Aux + L_idc": f" --auxiliary inputs {NONE}",
    " + Aux + L_idc + 2 L_ia + L_ma": f" --auxiliary inputs {HELPFUL}",
    " + 2 L_ia + L_ma directly": f" --auxiliary direct {HELPFUL}",  # without a third modality
}
TABLES = {  # every row: its method, and the paper's rank-1 and mAP on SYSU-MM01 (all search) and RegDB, in percent
    "1": {
        "B": ("b", {"sysu": (57.49, 55.83), "regdb": (75.42, 71.93)}),
        "+ Aux": ("b+aux", {"sysu": (62.55, 58.42), "regdb": (79.26, 73.81)}),
        "+ Aux + L_idc": ("b+aux+idc", {"sysu": (66.58, 61.29), "regdb": (83.51, 79.79)}),
        "+ Aux + L_idc + L_ia": ("b+aux+idc+ia", {"sysu": (71.35, 65.54), "regdb": (89.42, 84.66)}),
        "+ Aux + L_idc + L_ma": ("b+aux+idc+ma", {"sysu": (69.77, 66.96), "regdb": (89.93, 84.02)}),
        "MUN": ("mun", {"sysu": (76.24, 73.81), "regdb": (95.19, 87.15)}),
    },
    "2": {
        "X-modality": ("mun-with-x", {"sysu": (66.17, 63.06), "regdb": (79.95, 74.28)}),
        "mixed modality": ("mun-with-mixed", {"sysu": (66.42, 62.85), "regdb": (79.43, 73.09)}),
        "syncretic modality": ("mun-with-syncretic", {"sysu": (72.95, 68.74), "regdb": (84.59, 79.11)}),
        "middle modality": ("mun-with-middle", {}),
        "auxiliary modality": ("mun", {"sysu": (76.24, 73.81), "regdb": (95.19, 87.15)}),
    },
    "3": {  # which of the two rows in the middle is which, the order of the paper's columns suggests
        "MMD of visible and infrared": ("mun-without-both", {"sysu": (69.02, 65.83), "regdb": (80.09, 73.97)}),
        "+ prototypes": ("mun-without-bridge", {"sysu": (74.15, 72.10), "regdb": (86.73, 77.24)}),
        "+ auxiliary bridge": ("mun-without-prototypes", {"sysu": (71.66, 68.35), "regdb": (83.92, 75.54)}),
        "+ both": ("mun", {"sysu": (76.24, 73.81), "regdb": (95.19, 87.15)}),
    },
    # Tables 1 to 3 with the forms of L_ia and L_ma that help, for pretrained networks; the paper has no numbers for them.
    "1-helpful": {
        "B": ("b", {}),
        "+ Aux": ("b+aux", {}),
        "+ Aux + L_idc": (f"b --auxiliary inputs {NONE}", {}),
        "+ Aux + L_idc + L_ia": ("b --auxiliary inputs --alignment 0 --identity-alignment 2", {}),
        "+ Aux + L_idc + L_ma": ("b --auxiliary inputs --alignment 1 --identity-alignment 0", {}),
        "MUN": (f"b --auxiliary inputs {HELPFUL}", {}),
    },
    "2-helpful": {
        "visible map": (f"b --auxiliary visible {HELPFUL}", {}),  # a control, which the paper lacks
        "X-modality": (f"mun-with-x {HELPFUL}", {}),
        "mixed modality": (f"mun-with-mixed {HELPFUL}", {}),
        "syncretic modality": (f"mun-with-syncretic {HELPFUL}", {}),
        "middle modality": (f"mun-with-middle {HELPFUL}", {}),
        "auxiliary modality": (f"b --auxiliary inputs {HELPFUL}", {}),
    },
    "3-helpful": {
        "MMD of visible and infrared": (f"mun-without-both {HELPFUL}", {}),
        "+ prototypes": (f"mun-without-bridge {HELPFUL}", {}),
        "+ auxiliary bridge": (f"mun-without-prototypes {HELPFUL}", {}),
        "+ both": (f"b --auxiliary inputs {HELPFUL}", {}),
    },
    "module": {  # by baseline: without MUN's module, with it, with its alignment losses, and with these alone
        f"{title}{losses}": (f"{method}{options}", {})
        for title, method in BASELINES.items()
        for losses, options in MODULE.items()
    },
    "methods": {  # the methods of the field, with the numbers of Table 4 as far as it has them
        "zero-padding": ("zero-padding", {"sysu": (14.80, 15.95), "regdb": (17.75, 18.90)}),
        "B": ("b", {"sysu": (57.49, 55.83), "regdb": (75.42, 71.93)}),
        "AGW": ("agw", {"sysu": (47.50, 47.65), "regdb": (70.05, 67.64)}),
        "AGW + Aux": (f"agw --auxiliary random {NONE}", {}),
        "AGW + RLE": ("agw+rle", {}),
        "AGW + J": ("agw+j", {}),
        "CAJ": ("caj", {"sysu": (69.88, 66.89), "regdb": (85.03, 79.14)}),
        "CAJ+": ("caj+", {}),
        "CIL": ("cil", {}),
        "PMT": ("pmt", {"sysu": (67.53, 64.98), "regdb": (84.83, 76.55)}),
        "HCT": ("hct", {}),
        "MMD-ReID": ("mmd-reid", {}),
        "MPANet": ("mpanet", {"sysu": (70.58, 68.24), "regdb": (83.70, 80.90)}),
        "SAAI": ("saai", {}),
        "DEEN": ("deen", {}),
        "MUN": ("mun", {"sysu": (76.24, 73.81), "regdb": (95.19, 87.15)}),
        "MUN, the losses that help": (f"mun {HELPFUL}", {}),
    },
}

QUANTILES = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}  # Student's t, 95 %


def parse_arguments():
    parser = Parser(__doc__)
    add = parser.add_argument
    every = [name for name in TABLES if name != "module" and not name.endswith("-helpful")]
    add("--tables", nargs="+", choices=TABLES, default=every, help="(%(default)s)")
    add("--rows", nargs="+", default=["*"], metavar="PATTERN", help="titles, such as 'AGW*'; by default every row")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the runs of every row (%(default)s)")
    add("--output", type=Path, default=Path("runs/ablation"), help="folder for runs and results (%(default)s)")
    add("--launcher", default=sys.executable, help="what runs train.py, such as 'torchrun --nproc-per-node 2'")
    args, args.training = parser.parse_known_args()
    return args


def finished(run, command):
    """Return the metrics of a run if this very command has finished it."""
    path = run / "metrics.json"
    metrics = json.loads(path.read_text()) if path.exists() else {}
    return metrics if metrics.get("command") == command else None


def train(method, seed, args):
    """Train a method unless that is done; return its metrics."""
    name, *options = method.split()
    run = args.output / method.replace(" --", "+").replace(" ", "-") / f"seed-{seed}"
    command = [*args.training, "--method", name, "--seed", str(seed), "--output", str(run), *options]
    if finished(run, command) is None:
        print(f"\n{method}, seed {seed}", flush=True)
        script = Path(__file__).with_name("train.py")
        done = subprocess.run([*shlex.split(args.launcher), str(script), *command], check=False)
        if done.returncode:
            raise ValueError(
                f"{method}, seed {seed}, has failed; once it is mended, the same command resumes from here."
            )
    metrics = finished(run, command)
    if metrics is None:
        raise ValueError(f"{run} must hold the results of {method}, seed {seed}, got none.")
    return metrics


def spread(values):
    """Mean ± standard deviation of percentages."""
    return f"{fmean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def reach(values):
    """Return how far the 95 % interval of the mean reaches to either side by Student's t; None for a single value."""
    if len(values) < 2:
        return None
    return QUANTILES.get(len(values) - 1, 2.23) * stdev(values) / len(values) ** 0.5


def interval(values):
    """The mean, with its 95 % interval where there are two values or more."""
    mean, margin = fmean(values), reach(values)
    return f"{mean:+.2f} ({mean - margin:+.2f} to {mean + margin:+.2f})" if margin is not None else f"{mean:+.2f}"


def difference(values, reference):
    """Mean of the paired differences, with its interval."""
    return interval([value - other for value, other in zip(values, reference, strict=True)])


def choose_rows(name, patterns):
    """Return the rows of a table whose titles match a pattern."""
    return {
        title: row for title, row in TABLES[name].items() if any(fnmatchcase(title, pattern) for pattern in patterns)
    }


def baseline_of(title):
    """Return the title of the row that one of the module table is compared with."""
    return max((name for name in BASELINES if title.startswith(name)), key=len)


def format_table(name, rows, dataset, seeds):
    """A table in Markdown: beside the numbers those of the paper, or the difference that the module makes."""
    paired, keys = name == "module", ("rank-1", "mAP")
    head = ["", "method", *(f"{key} (%)" for key in keys)]
    head += [f"over the baseline: {key}" if paired else f"the paper on {dataset}: {key}" for key in keys]
    lines = [head, ["---"] * len(head)]
    for title, row in rows.items():
        method, targets = TABLES[name][title]
        cells = [f"`{method}`", *(spread(row[key]) for key in keys)]
        baseline = rows.get(baseline_of(title)) if paired else None
        if baseline not in (None, row):
            cells += [difference(row[key], baseline[key]) for key in keys]
        lines.append([title, *cells, *(f"{value:.2f}" for value in targets.get(dataset, ()))])
        lines[-1] += ["–"] * (len(head) - len(lines[-1]))
    caption = {"methods": "Methods", "module": "What the auxiliary modality adds"}.get(name, f"Table {name}")
    caption += f". Mean ± standard deviation over the seeds {', '.join(map(str, seeds))}."
    return "\n".join([caption, "", *(f"| {' | '.join(line)} |" for line in lines)])


def main(args):
    for option, own in {"--method": "--tables", "--seed": "--seeds"}.items():
        if option in {given.split("=")[0] for given in args.training}:
            raise ValueError(f"{option} must be left to the rows, got one. Take {own}.")
    chosen = {name: rows for name in args.tables if (rows := choose_rows(name, args.rows))}
    if not chosen:
        titles = [title for name in args.tables for title in TABLES[name]]
        raise ValueError(f"--rows must match one of {titles}, got {args.rows}.")
    args.output.mkdir(parents=True, exist_ok=True)
    args.seeds = list(dict.fromkeys(args.seeds))
    runs = {}
    for seed in args.seeds:  # seed by seed, so that an interrupted ablation has something to compare
        for rows in chosen.values():
            for method, _targets in rows.values():
                runs.setdefault(method, {})[seed] = train(method, seed, args)
    finals = {method: [[*run["results"].values()][-1] for run in of.values()] for method, of in runs.items()}
    protocol = next(iter(next(iter(finals.values()))[0]))
    settings = next(iter(next(iter(runs.values())).values()))["arguments"]
    dataset = settings["dataset"]
    tables = {
        name: {
            title: {key: [100 * final[protocol]["mean"][key] for final in finals[method]] for key in ("rank-1", "mAP")}
            for title, (method, _targets) in rows.items()
        }
        for name, rows in chosen.items()
    }
    texts = [format_table(name, rows, dataset, args.seeds) for name, rows in tables.items()]
    where = "" if any(option.startswith("--root") for option in args.training) else "synthetic people in the layout of "
    head = f"Measured on {where}{dataset}, {protocol}, by `{shlex.join(['ablation.py', *sys.argv[1:]])}`."
    text = "\n\n".join([head, *texts])
    print(f"\n{text}")
    (args.output / "tables.md").write_text(text + "\n")
    (args.output / "ablation.json").write_text(json.dumps({"protocol": protocol, "tables": tables}, indent=1))
    panels, references = {}, {}
    for name, rows in tables.items():
        panel = name if name in {"methods", "module"} else f"Table {name}"
        targets = {title: paper.get(dataset) for title, (_method, paper) in chosen[name].items()}
        panels[panel] = {title: row["rank-1"] for title, row in rows.items()}
        references[panel] = {title: target[0] for title, target in targets.items() if target}
    labels = {"label": "rank-1 (%), here", "reference_label": f"rank-1 (%), {dataset}"}
    figure = plot_bars(panels, references=references, reference_name="the paper, real data", **labels)
    figure.savefig(args.output / "ablation.png", dpi=110)
    print(f"\n{args.output} holds tables.md, ablation.json and ablation.png.")


if __name__ == "__main__":
    run_script(main, parse_arguments())
