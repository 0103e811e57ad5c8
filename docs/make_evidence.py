"""Write the tables and the picture of ``docs/does-it-help.md``, and README's, from ``docs/evidence/runs.json``.

python docs/make_evidence.py                   # writes them
python docs/make_evidence.py --add runs/module # also takes up the runs of ablation.py in a folder
python docs/make_evidence.py --check           # fails where the page and the runs differ

A table stands between ``<!-- evidence NAME -->`` and ``<!-- end -->``; no number in it is typed by hand.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from statistics import fmean

from make_tables import ablation, markdown

DOCS = Path(__file__).parent
PAGES = [DOCS / "does-it-help.md", DOCS.parent / "README.md"]
RUNS, PICTURE = DOCS / "evidence" / "runs.json", DOCS / "pictures" / "does-it-help.png"
MARKERS = re.compile(r"(<!-- evidence ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
KEYS = ("rank-1", "mAP")
REPORT = "5f0576b87111f81f"  # fingerprint of the people of the report
BASELINES = {  # the baseline and the same with MUN's module
    "two classifiers (B)": ("b", "b+aux+idc+ia"),
    "one classifier": ("b-one-classifier", "mun-one-classifier"),
    "AGW": ("agw", "agw --auxiliary inputs"),
    "AGW + J": ("agw+j", "agw+j --auxiliary inputs"),
    "MMD-ReID": ("mmd-reid", "mmd-reid --auxiliary inputs"),
}
FORMS = {  # of L_ma, with ImageNet weights
    "without L_ma": "b+aux+idc+ia",
    "the paper's: W trained, σ = 0.008": "mun",
    "without W, σ = 0.008": "mun-without-w",
    "without W, unbiased, σ = 0.25": "mun-unbiased",
}


def read_runs():
    """Read the record of every run."""
    return json.loads(RUNS.read_text(encoding="utf-8"))


def select(runs, data, method, *, trunk="short", iterations=None):
    """Return the results by seed, each a mapping from iterations to percentages, of the longest runs of a method."""
    fitting = [run for run in runs if (run["data"], run["method"], run["trunk"]) == (data, method, trunk)]
    length = iterations or max((run["iterations"] for run in fitting), default=0)
    return {run["seed"]: run["results"] for run in fitting if run["iterations"] == length}


def difference(results, reference, key):
    """Mean difference of the last results of the seeds that both have, with its 95 % interval."""
    seeds = sorted(results.keys() & reference.keys())
    return ablation.difference(*([last(of[seed])[key] for seed in seeds] for of in (results, reference)))


def last(results):
    """Return the results after the last iteration."""
    return results[max(results, key=int)]


def summary(runs):
    """The claims in short."""
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in claims(runs).splitlines()]
    kept = [
        head.index(name)
        for name in ("", "seeds", "rank-1 (%)", "with the module: rank-1 (%)", "paired difference, rank-1")
    ]
    return markdown([head[i] for i in kept], [[row[i] for i in kept] for row in rows])


def claims(runs):
    """The baselines with and without the module on the people of the report."""
    head = ["", "seeds", *(f"{key} (%)" for key in KEYS), *(f"with the module: {key} (%)" for key in KEYS)]
    rows = []
    for title, methods in BASELINES.items():
        plain, module = (select(runs, "report", method, iterations=750) for method in methods)
        seeds = sorted(plain.keys() & module.keys())
        if not seeds:
            continue
        cells = [title, ", ".join(map(str, seeds))]
        for results in (plain, module):
            cells += [f"{fmean(last(results[seed])[key] for seed in seeds):.2f}" for key in KEYS]
        cells += [difference(module, plain, key) for key in KEYS]
        rows.append(cells)
    return markdown([*head, *(f"paired difference, {key}" for key in KEYS)], rows)


def curve(runs, baseline="two classifiers (B)", length=1000):
    """A baseline with and without the module by iterations, on the people of the selection."""
    plain, module = (select(runs, "selection", method, iterations=length)[0] for method in BASELINES[baseline])
    rows = [
        [i, *(f"{results[i][key]:.2f}" for key in KEYS for results in (plain, module))]
        + [f"{module[i][key] - plain[i][key]:+.2f}" for key in KEYS]
        for i in sorted(plain.keys() & module.keys(), key=int)
    ]
    head = [name for key in KEYS for name in (key, f"{key} with the module")]
    return markdown(["iterations", *head, *(f"difference, {key}" for key in KEYS)], rows)


def curve_of_one_classifier(runs):
    """The same for the baseline with one classifier."""
    return curve(runs, "one classifier", 500)


def variants(runs):
    """Starts of the generator and forms of L_ma on the people of the selection, over B of the same length."""
    rows = []
    for trunk, length in (("whole", 375), ("short", 375)):
        chosen = [run for run in runs if (run["data"], run["trunk"], run["iterations"]) == ("selection", trunk, length)]
        chosen = [run for run in chosen if run["tool"] == "runx.py"]
        plain = [run for run in runs if (run["data"], run["trunk"], run["method"]) == ("selection", trunk, "b")]
        plain = {
            key: next(run["results"][str(length)][key] for run in plain if str(length) in run["results"])
            for key in KEYS
        }
        for run in chosen:
            result = last(run["results"])
            cells = [trunk, str(length), run["method"], run["settings"] or "–", *(f"{result[key]:.2f}" for key in KEYS)]
            rows.append([*cells, *(f"{result[key] - plain[key]:+.2f}" for key in KEYS)])
    head = ["trunk", "iterations", "method", "settings", *KEYS, *(f"over B: {key}" for key in KEYS)]
    return markdown(head, rows)


def alignment(runs):
    """Forms of L_ma, from scratch on the people of the selection, over the same without L_ma."""
    forms = {
        "without L_ma": "b+aux+idc",
        "the paper's: W trained, σ = 0.008": "b+aux+idc+ma",
        "without W, σ = 0.008": "b+aux+idc+ma-without-w",
        "without W, unbiased, σ = 0.25": "b+aux+idc+ma-prototypes-unbiased",
    }
    found = {
        title: select(runs, "selection", method, trunk="test_resnet from scratch") for title, method in forms.items()
    }
    plain = found["without L_ma"]
    rows = []
    for title, results in found.items():
        for seed in sorted(results.keys() & plain.keys()):
            cells = [f"{last(results[seed])[key]:.2f}" for key in KEYS]
            over = [f"{last(results[seed])[key] - last(plain[seed])[key]:+.2f}" for key in KEYS]
            rows.append([title, f"`{forms[title]}`", str(seed), *cells, *over])
    return markdown(["", "method", "seed", *KEYS, *(f"over the first: {key}" for key in KEYS)], rows)


def paired(runs, rows, over, data="report", iterations=750):
    """Methods by title, and what each makes of the one that the others are compared with."""
    reference = select(runs, data, over, iterations=iterations)
    lines = []
    for title, method in rows.items():
        results = select(runs, data, method, iterations=iterations)
        seeds = sorted(results.keys() & reference.keys())
        if seeds:
            cells = [f"{fmean(last(results[seed])[key] for seed in seeds):.2f}" for key in KEYS]
            gains = ["–" if method == over else difference(results, reference, key) for key in KEYS]
            lines.append([title, f"`{method}`", ", ".join(map(str, seeds)), *cells, *gains])
    head = ["", "method", "seeds", *(f"{key} (%)" for key in KEYS)]
    return markdown([*head, *(f"over `{over}`: {key}" for key in KEYS)], lines)


def gap(runs):
    """How far search across modalities lies behind search within one."""
    (run,) = (run for run in runs if run["method"] == "b-one-classifier" and "r>r" in last(run["results"]))
    names = {"infrared → visible": "rank-1", "infrared → infrared": "r>r", "visible → visible": "v>v"}
    rows = [[i, *(f"{run['results'][i][key]:.2f}" for key in names.values())] for i in sorted(run["results"], key=int)]
    return markdown(["iterations", *names], rows)


def attempts(runs):
    """Every run."""
    keys = ("data", "trunk", "iterations", "method", "settings", "seed", "tool")
    rows = [
        [
            *(str(run[key]) for key in keys),
            *(f"{last(run['results'])[key]:.2f}" for key in KEYS),
            str(run["cpu_seconds"]),
        ]
        for run in sorted(runs, key=lambda run: [str(run[key]).rjust(8) for key in keys])
    ]
    return markdown([*keys, *KEYS, "CPU s"], rows)


TABLES = {
    "summary": summary,
    "claims": claims,
    "curve": curve,
    "curve-one": curve_of_one_classifier,
    "variants": variants,
    "alignment": alignment,
    "gap": gap,
    "table-1": lambda runs: paired(runs, {title: row[0] for title, row in ablation.TABLES["1"].items()}, "b"),
    "forms": lambda runs: paired(runs, FORMS, "b+aux+idc+ia", "selection", 500),
    "forms-report": lambda runs: paired(runs, FORMS, "b+aux+idc+ia"),
    "attempts": attempts,
}


def render(text, runs):
    """Replace the tables of the page by those of the runs."""
    return MARKERS.sub(lambda found: f"{found[1]}{TABLES[found[2]](runs)}\n{found[4]}", text)


def plot(runs):
    """Draw every pair of runs, and the course of training."""
    import matplotlib as mpl  # noqa: PLC0415  (a check needs none)

    mpl.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, (pairs, course) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    colours = dict(zip(BASELINES, plt.rcParams["axes.prop_cycle"].by_key()["color"], strict=False))
    ticks, labels = [], []
    for title, methods in BASELINES.items():
        plain, module = (select(runs, "report", method, iterations=750) for method in methods)
        seeds = sorted(plain.keys() & module.keys())
        if not seeds:
            continue
        position = 2.5 * len(ticks) / 2
        for seed in seeds:
            ends = [last(results[seed])["rank-1"] for results in (plain, module)]
            pairs.plot([position, position + 1], ends, "o-", color=colours[title], markersize=4, linewidth=1)
        ticks += [position, position + 1]
        labels += [title, "+ module"]
    pairs.set_xticks(ticks, labels, rotation=20, ha="right")
    pairs.margins(x=0.2, y=0.5)
    pairs.set(ylabel="rank-1 (%)", title="200 unseen people, 750 iterations; a line is a seed")
    for title, methods in list(BASELINES.items())[:2]:
        for method, style, name in zip(methods, ("--", "-"), (title, f"{title} + module"), strict=True):
            results = select(runs, "selection", method).get(0, {})
            points = sorted((int(i), result["rank-1"]) for i, result in results.items())
            if points:
                course.plot(
                    *zip(*points, strict=True), style, marker="o", markersize=4, label=name, color=colours[title]
                )
    course.set(xlabel="iterations", ylabel="rank-1 (%)", title="60 unseen people, seed 0: what gains, gains late")
    course.legend()
    for axes in (pairs, course):
        axes.grid(alpha=0.3)
    figure.savefig(PICTURE, dpi=110)


def read_folder(folder):
    """Read the finished runs of ablation.py."""
    for path in sorted(Path(folder).glob("*/*/metrics.json")):
        metrics = json.loads(path.read_text(encoding="utf-8"))
        options, results = metrics["arguments"], metrics["results"]
        auxiliary = options.get("auxiliary", "None")
        yield {
            "data": "report" if options["data"] == REPORT else "selection",
            "trunk": "short" if options["backbone"] == "lite0" else f"{options['backbone']} from scratch",
            "method": options["method"] + ("" if auxiliary == "None" else f" --auxiliary {auxiliary}"),
            "settings": "",
            "seed": int(options["seed"]),
            "iterations": max(map(int, results)),
            "tool": "train.py",
            "cpu_seconds": "–",
            "command": [word.removeprefix("../") for word in metrics["command"]],
            "results": {
                i: {key: round(100 * result["all search"]["mean"][key], 2) for key in KEYS}
                for i, result in results.items()
            },
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", metavar="FOLDER", help="folder of ablation.py whose runs are taken up")
    parser.add_argument("--check", action="store_true", help="only tell whether the page agrees with the runs")
    args, runs = parser.parse_args(), read_runs()
    if args.add:
        known = {json.dumps(run["command"]): run for run in runs}
        runs = [*(known | {json.dumps(run["command"]): run for run in read_folder(args.add)}).values()]
        RUNS.write_text(
            "[\n" + ",\n".join(json.dumps(run, ensure_ascii=False) for run in runs) + "\n]\n", encoding="utf-8"
        )
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    if args.check:
        return int(any(render(text, runs) != text for text in texts.values()))
    for page, text in texts.items():
        page.write_text(render(text, runs), encoding="utf-8")
    plot(runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
