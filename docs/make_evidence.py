"""Write the tables of does-it-help.md, what-was-tried.md and README, and a picture, from evidence/runs.json.

python docs/make_evidence.py                   # writes them
python docs/make_evidence.py --add runs/module # also takes up the runs of ablation.py in a folder
python docs/make_evidence.py --add-corrupted runs/corruption  # and what corruption.py made of them
python docs/make_evidence.py --check           # fails where the page and the runs differ

A table stands between ``<!-- evidence NAME -->`` and ``<!-- end -->``; no number in it is typed by hand.
"""

import argparse
import json
import re
import sys
from functools import partial
from pathlib import Path
from statistics import fmean

from make_tables import ablation, markdown
from methods import name_of

DOCS = Path(__file__).parent
PAGES = [DOCS / "does-it-help.md", DOCS / "what-was-tried.md", DOCS.parent / "README.md"]
RUNS, PICTURE = DOCS / "evidence" / "runs.json", DOCS / "pictures" / "does-it-help.png"
MARKERS = re.compile(r"(<!-- evidence ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
KEYS = ("rank-1", "mAP")
REPORT = "5f0576b87111f81f"  # fingerprint of the people of the report
STRONG = ablation.HELPFUL  # 2 L_ia of unit length, and L_ma without W, unbiased
WEAK = "--alignment 0.25 --identity-alignment 0.5"  # of the same forms
WITHOUT_IA = "--alignment 0.25 --identity-alignment 0"
FULL, SMALL, ALONE = (f"b --auxiliary inputs {weights}" for weights in (STRONG, WEAK, ablation.NONE))


def methods_of(table, weights=STRONG):
    """Return the methods of a table of ablation.py by title, the losses that help with these weights."""
    return {title: method.replace(STRONG, weights) for title, (method, _) in ablation.TABLES[table].items()}


def with_each_baseline(losses):
    """Return titles and methods of every baseline, alone and with losses of the module, which are options by title."""
    return [
        [(f"{title}{name}", f"{method}{options}") for name, options in ({"": ""} | losses).items()]
        for title, method in ablation.BASELINES.items()
    ]


BASELINES = with_each_baseline(ablation.MODULE)
SMALL_BASELINES = with_each_baseline(
    {
        " + Aux + L_idc + ¼ L_ma": f" --auxiliary inputs {WITHOUT_IA}",
        " + Aux + L_idc + ½ L_ia + ¼ L_ma": f" --auxiliary inputs {WEAK}",
    }
)
MODALITIES = methods_of("2-helpful") | {"no third modality": BASELINES[0][-1][1]}
COURSES = {  # of training: a baseline, the same with the module, the length, and the script that ran both
    "two classifiers (B)": ("b", "b+aux+idc+ia", 1000, "runx.py"),
    "one classifier": ("b-one-classifier", "mun-one-classifier", 500, "runx.py"),
    "AGW": ("agw", f"agw --auxiliary inputs {ablation.NONE}", 1500, "train.py"),
    "one classifier, 2 L_ia + L_ma": (
        "b-one-classifier",
        f"b-one-classifier --auxiliary inputs {STRONG}",
        500,
        "train.py",
    ),
    "AGW, L_ma": ("agw", f"agw --auxiliary inputs {WITHOUT_IA}", 1500, "train.py"),
}
FORMS = {  # of L_ma and L_ia, with ImageNet weights
    "no L_ma": "b+aux+idc+ia",
    "L_ma as printed: W trained, σ = 0.008": "mun",
    "L_ma without W, unbiased, σ = ¼": "mun --alignment 0.25",
    "this L_ma, no L_ia": f"b --auxiliary inputs {WITHOUT_IA}",
    "this L_ma, L_ia as a mean over the people": "mun-mean --alignment 0.25",
    "this L_ma, ½ L_ia of unit length": SMALL,
}
FORMS_OF_ONE = {  # L_ma without W, unbiased
    "one classifier": "b-one-classifier",
    "+ Aux + L_idc + ½ L_ia, raw": "mun-one-classifier",
    "+ Aux + L_idc + ¼ L_ma": f"b-one-classifier --auxiliary inputs {WITHOUT_IA}",
    "+ Aux + L_idc + ½ L_ia, raw, + ¼ L_ma": "mun-one-classifier --alignment 0.25",
    "+ Aux + L_idc + ½ L_ia + ¼ L_ma": f"b-one-classifier --auxiliary inputs {WEAK}",
    "+ visible map + L_idc + ½ L_ia + ¼ L_ma": f"b-one-classifier --auxiliary visible {WEAK}",
    "+ Aux + L_idc + 2 L_ia + L_ma": f"b-one-classifier --auxiliary inputs {STRONG}",
    "+ visible map + L_idc + 2 L_ia + L_ma": f"b-one-classifier --auxiliary visible {STRONG}",
    "+ ¼ L_ma of visible and infrared, no third modality": "mun-one-classifier-direct",
}
TABLE_1_SMALL = methods_of("1-helpful", WEAK) | {
    "+ Aux + L_idc + L_ia": "b --auxiliary inputs --alignment 0 --identity-alignment 0.5",
    "+ Aux + L_idc + L_ma": f"b --auxiliary inputs {WITHOUT_IA}",
}
STRENGTHS = {  # of B + Aux + L_idc
    "+ ½ L_ia + ¼ L_ma": SMALL,
    "+ L_ia + ¼ L_ma": "b --auxiliary inputs --alignment 0.25 --identity-alignment 1",
    "+ L_ia + ½ L_ma": "b --auxiliary inputs --alignment 0.5 --identity-alignment 1",
    "+ L_ia + L_ma": "b --auxiliary inputs --alignment 1 --identity-alignment 1",
    "+ 2 L_ia + ¼ L_ma": "b --auxiliary inputs --alignment 0.25 --identity-alignment 2",
    "+ 2 L_ia + L_ma": FULL,
    "+ 4 L_ia + 2 L_ma": "b --auxiliary inputs --alignment 2 --identity-alignment 4",
}
CONTROLS = {  # in the generator's place
    "generator, ½ L_ia + ¼ L_ma": SMALL,
    "infrared map, ½ L_ia + ¼ L_ma": f"b --auxiliary infrared {WEAK}",
    "visible map, ½ L_ia + ¼ L_ma": f"b --auxiliary visible {WEAK}",
    "generator, 2 L_ia + L_ma": FULL,
    "mean of both maps, 2 L_ia + L_ma": f"b --auxiliary mean {STRONG}",
    "visible map, 2 L_ia + L_ma": f"b --auxiliary visible {STRONG}",
}
TRAINING = {  # of the generator, and of the network with the alignment losses
    "B + Aux + L_idc + 2 L_ia + L_ma": FULL,
    "the generator at a quarter of its rate": f"mun-slow-generator {STRONG}",
    "L_ia and L_ma only after 125 iterations": f"mun-late-alignment {STRONG}",
}
TABLE_5 = {
    "B": "b",
    "+ Aux + L_idc + ½ L_ia, raw": "b+aux+idc+ia",
    "+ Aux + L_idc + ½ L_ia, raw, + ¼ L_ma": "mun --alignment 0.25",
    "+ Aux + L_idc + ½ L_ia + ¼ L_ma": SMALL,
    "+ Aux + L_idc + 2 L_ia + L_ma": FULL,
}
CLASSIFIERS = {
    "B": "b",
    "+ Aux + L_idc + ½ L_ia, raw": "b+aux+idc+ia",
    "+ Aux + L_idc + ½ L_ia, raw, + ¼ L_ma": "mun --alignment 0.25",
    "+ Aux + L_idc + ½ L_ia + ¼ L_ma": SMALL,
    "+ Aux + L_idc + 2 L_ia + L_ma": FULL,
    "one classifier for both": "b-one-classifier",
}


def read_runs():
    """Read the record of every run."""
    return json.loads(RUNS.read_text(encoding="utf-8"))


def write_runs(runs):
    """Write the record of every run, one a line."""
    lines = ",\n".join(json.dumps(run, ensure_ascii=False) for run in runs)
    RUNS.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def join(runs, added):
    """Add runs to those that are known; one of a known command replaces that, but for what measure_gap.py has found."""
    known = {json.dumps(run["command"]): run for run in runs}
    for run in added:
        command = json.dumps(run["command"])
        known[command] = known.get(command, {}) | run
    return [*known.values()]


def select(runs, data, method, *, trunk="short", iterations=None, tool="train.py"):
    """Return the results by seed, each a mapping from iterations to percentages, of the longest runs of a method."""
    kind = {"data": data, "method": method, "trunk": trunk, "tool": tool}
    fitting = [run for run in runs if kind.items() <= run.items()]
    length = iterations or max((run["iterations"] for run in fitting), default=0)
    return {run["seed"]: run["results"] for run in fitting if run["iterations"] == length}


def difference(results, reference, key):
    """Mean difference of the last results of the seeds that both have, with its 95 % interval."""
    return ablation.interval(gains(results, reference, key))


def last(results):
    """Return the results after the last iteration."""
    return results[max(results, key=int)]


def gains(results, reference, key):
    """Percentage points that the seeds of both gain."""
    return [last(results[seed])[key] - last(reference[seed])[key] for seed in sorted(results.keys() & reference.keys())]


def summary(runs):
    """The baselines, what MUN's module and losses make of them, and what the losses alone do."""
    lines = []
    for (title, plain), _, (_, module), (_, alone) in BASELINES:
        results = [select(runs, "report", method, iterations=750) for method in (plain, module, alone)]
        seeds = sorted(set.intersection(*map(set, results)))
        results = [{seed: of[seed] for seed in seeds} for of in results]
        if seeds:
            means = [f"{fmean(last(result)['rank-1'] for result in of.values()):.2f}" for of in results]
            gained = [difference(of, results[0], "rank-1") for of in results[1:]]
            lines.append([title, ", ".join(map(str, seeds)), means[0], means[1], gained[0], means[2], gained[1]])
    head = ["", "seeds", "rank-1 (%)", "with MUN's module and losses", "difference", "with the losses alone"]
    return markdown([*head, "difference"], lines)


def claims(runs, baselines=BASELINES):
    """The baselines with and without the module on the people of the report."""
    lines = [line for rows in baselines for line in paired_lines(runs, dict(rows), rows[0][1])]
    return tabulate(lines, "the baseline")


def course(runs, name):
    """Return the results of a baseline without and with the module by iterations, on the people of the selection."""
    *methods, length, tool = COURSES[name]
    both = (select(runs, "selection", method, iterations=length, tool=tool)[0] for method in methods)
    return [{int(i): result for i, result in results.items() if i != "0"} for results in both]


def curve(runs, name):
    """A baseline with and without the module by iterations."""
    plain, module = course(runs, name)
    rows = [
        [str(i), *(f"{results[i][key]:.2f}" for key in KEYS for results in (plain, module))]
        + [f"{module[i][key] - plain[i][key]:+.2f}" for key in KEYS]
        for i in sorted(plain.keys() & module.keys())
    ]
    head = [name for key in KEYS for name in (key, f"{key} with the module")]
    return markdown(["iterations", *head, *(f"difference, {key}" for key in KEYS)], rows)


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
        "without W, σ = 0.008": "b+aux+idc+ma-without-w",
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


def paired_lines(runs, rows, over, data="report", iterations=750, **kind):
    """Methods by title, and what each makes of the one that the others are compared with."""
    reference = select(runs, data, over, iterations=iterations, **kind)
    for title, method in rows.items():
        results = select(runs, data, method, iterations=iterations, **kind)
        if seeds := sorted(results.keys() & reference.keys()):
            cells = [f"{fmean(last(results[seed])[key] for seed in seeds):.2f}" for key in KEYS]
            over_it = ["–" if method == over else difference(results, reference, key) for key in KEYS]
            yield [title, f"`{method}`", ", ".join(map(str, seeds)), *cells, *over_it]


def tabulate(lines, reference):
    """A table of paired lines, over what they are compared with."""
    head = ["", "method", "seeds", *(f"{key} (%)" for key in KEYS)]
    return markdown([*head, *(f"over {reference}: {key}" for key in KEYS)], [*lines])


def paired(runs, rows, over, **kind):
    """A table of them."""
    (reference,) = (title for title, method in rows.items() if method == over)
    return tabulate(paired_lines(runs, rows, over, **kind), f"“{reference}”")


def without_generator(runs):
    """The losses without a third modality, and with the visible map as one, on each baseline that was run so."""
    lines = []
    for (title, plain), _, (_, module), direct in BASELINES:
        visible = f"{title} + visible map + L_idc + 2 L_ia + L_ma", f"{plain} --auxiliary visible {STRONG}"
        mixed = f"{title} + visible map + L_idc + 2 L_ia, L_ma directly", f"{plain}-visible-pair"
        lines += paired_lines(runs, dict([visible, mixed, direct]), module)
    return tabulate(lines, "the generator's")


def gap(runs):
    """How far search across modalities lies behind search within one."""
    (run,) = (run for run in runs if run["method"] == "b-one-classifier" and "r>r" in last(run["results"]))
    names = {"infrared → visible": "rank-1", "infrared → infrared": "r>r", "visible → visible": "v>v"}
    rows = [[i, *(f"{run['results'][i][key]:.2f}" for key in names.values())] for i in sorted(run["results"], key=int)]
    return markdown(["iterations", *names], rows)


def classifiers(runs):
    """How alike a person's vectors in the two classifiers are after training, on the people of the report."""
    lines = []
    for title, method in CLASSIFIERS.items():
        chosen = {"data": "report", "method": method, "iterations": 750}.items()
        found = {run["seed"]: run["classifiers"] for run in runs if chosen <= run.items() and "classifiers" in run}
        if found:
            lines.append([title, f"`{method}`", ", ".join(map(str, sorted(found))), f"{fmean(found.values()):.2f}"])
    return markdown(["", "method", "seeds", "mean cosine"], lines)


def third(runs):
    """Where the modalities of Table 2 lie after training: how far apart a person's centres in two modalities are."""
    lines, gained = [], {line[0]: line[5] for line in paired_lines(runs, MODALITIES, FULL)}
    for title, method in MODALITIES.items():
        found = {run["seed"]: run["gap"] for run in runs if run["method"] == method and "gap" in run}
        if found:
            widths = [gap["visible to infrared"] for gap in found.values()]
            sides = [sorted(gap[name] for name in gap if "third" in name) for gap in found.values()]
            means = [f"{fmean(distances):.3f}" for distances in (*zip(*sides, strict=True), widths)]
            lines.append([title, ", ".join(map(str, sorted(found))), *["–"] * (3 - len(means)), *means, gained[title]])
    head = ["", "seeds", "to the nearer modality", "to the farther one", "from visible to infrared"]
    return markdown([*head, "rank-1 over the auxiliary modality"], lines)


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
    "claims-small": partial(claims, baselines=SMALL_BASELINES),
    "curve": partial(curve, name="two classifiers (B)"),
    "curve-one": partial(curve, name="one classifier"),
    "curve-one-strong": partial(curve, name="one classifier, 2 L_ia + L_ma"),
    "curve-agw": partial(curve, name="AGW"),
    "curve-agw-aligned": partial(curve, name="AGW, L_ma"),
    "classifiers": classifiers,
    "variants": variants,
    "alignment": alignment,
    "gap": gap,
    "third": third,
    "without-generator": without_generator,
    "table-1": partial(paired, rows=methods_of("1") | {"+ Aux + L_idc": ALONE}, over="b"),
    "table-1-helpful": partial(paired, rows=methods_of("1-helpful"), over="b"),
    "table-1-small": partial(paired, rows=TABLE_1_SMALL, over="b"),
    "table-2": partial(paired, rows=methods_of("2-helpful"), over=FULL),
    "table-2-small": partial(paired, rows=methods_of("2-helpful", WEAK), over=SMALL),
    "table-3": partial(paired, rows=methods_of("3-helpful"), over=FULL),
    "table-3-small": partial(paired, rows=methods_of("3-helpful", WEAK), over=SMALL),
    "table-5": partial(paired, rows=TABLE_5, over="b", data="report, corrupted", tool="corruption.py"),
    "forms": partial(paired, rows=FORMS, over="b+aux+idc+ia", data="selection", iterations=500),
    "forms-report": partial(paired, rows=FORMS, over="b+aux+idc+ia"),
    "forms-one-report": partial(paired, rows=FORMS_OF_ONE, over="b-one-classifier"),
    "forms-one": partial(paired, rows=FORMS_OF_ONE, over="b-one-classifier", data="selection", iterations=500),
    "strengths": partial(paired, rows=STRENGTHS, over=SMALL, data="selection", iterations=500),
    "training": partial(paired, rows=TRAINING, over=FULL, data="selection", iterations=500),
    "controls": partial(paired, rows=CONTROLS, over=SMALL, data="selection", iterations=500),
    "attempts": attempts,
}


def render(text, runs):
    """Replace the tables of the page by those of the runs."""
    return MARKERS.sub(lambda found: f"{found[1]}{TABLES[found[2]](runs)}\n{found[4]}", text)


def plot(runs):
    """Draw what the module makes of each baseline, and the course of training."""
    import matplotlib as mpl  # noqa: PLC0415  (a check needs none)

    mpl.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, (forest, courses) = plt.subplots(1, 2, figsize=(14, 4.5), layout="constrained", width_ratios=(1.2, 1))
    labels = []
    for colour, ((_, plain), *forms) in enumerate(BASELINES):
        for title, method in forms:
            both = (select(runs, "report", name, iterations=750) for name in (method, plain))
            if points := gains(*both, "rank-1"):
                middle, reach = fmean(points), ablation.reach(points)
                forest.errorbar(middle, len(labels), xerr=reach, fmt="D", color=f"C{colour}", capsize=3)
                forest.plot(points, [len(labels) + 0.25] * len(points), ".", color=f"C{colour}", alpha=0.6)
                labels.append(title)
    forest.axvline(0, color="black", linewidth=1)
    forest.set_yticks(range(len(labels)), labels)
    forest.invert_yaxis()
    forest.set(xlabel="rank-1 over the baseline (points)", title="200 unseen people: seeds, means, 95 % intervals")

    def draw(results, style, label, colour):
        rates = [result["rank-1"] for result in results.values()]
        courses.plot([*results], rates, style, markersize=4, label=label, color=colour)

    added = " + L_idc + raw L_ia", " + L_idc + raw L_ia", " + L_idc"  # to the first three
    for colour, (name, what) in enumerate(zip(COURSES, added, strict=False)):
        for results, style, losses in zip(course(runs, name), ("o--", "o-"), ("", what), strict=True):
            draw(results, style, f"{name}{losses}", f"C{colour}")
    draw(course(runs, "one classifier, 2 L_ia + L_ma")[1], "s:", "one classifier + L_idc + 2 L_ia + L_ma", "C1")
    draw(course(runs, "AGW, L_ma")[1], "s:", "AGW + L_idc + ¼ L_ma", "C2")
    courses.set(xlabel="iterations", ylabel="rank-1 (%)", title="60 unseen people, seed 0")
    courses.legend(loc="upper left", bbox_to_anchor=(1, 1))
    for axes in (forest, courses):
        axes.grid(alpha=0.3)
    figure.savefig(PICTURE, dpi=110)


def alikeness(state):
    """Compute the mean cosine between a person's vectors in the two classifiers of a training state."""
    from torch import cosine_similarity  # noqa: PLC0415  (a check needs none)

    from vireid.models import load_training_state  # noqa: PLC0415

    weights = load_training_state(state)["plain"]
    names = (f"{modality}_classifier.weight" for modality in ("visible", "infrared"))
    both = (next(value for name, value in weights.items() if name.endswith(ending)) for ending in names)
    return round(cosine_similarity(*both).mean().item(), 3)


def command_of(metrics):
    """Return the command of a run as the records have it."""
    return [word.removeprefix("../") for word in metrics["command"]]


def read_folder(folder):
    """Read the finished runs of ablation.py."""
    trunk = "whole" if Path(folder).name == "whole" else "short"  # by a clone whose lite0.py names no last_module
    for path in sorted(Path(folder).glob("*/*/metrics.json")):
        metrics = json.loads(path.read_text(encoding="utf-8"))
        options, results = metrics["arguments"], metrics["results"]
        yield {
            "data": "report" if options["data"] == REPORT else "selection",
            "trunk": trunk if options["backbone"] == "lite0" else f"{options['backbone']} from scratch",
            "method": name_of(options),
            "settings": "",
            "seed": int(options["seed"]),
            "iterations": max(map(int, results)),
            "tool": "train.py",
            "cpu_seconds": "–",
            "command": command_of(metrics),
            "results": {
                i: {key: round(100 * result["all search"]["mean"][key], 2) for key in KEYS}
                for i, result in results.items()
            },
            "classifiers": alikeness(path.with_name("last.pt")),
        }


def read_corrupted(folder, runs):
    """Read what corruption.py made of the last.pt of runs that are known."""
    for path, results in json.loads((Path(folder) / "corruption.json").read_text(encoding="utf-8")).items():
        state = Path(path.removeprefix("../"))
        (run,) = (run for run in runs if str(state.parent) in run["command"])
        found = results["all search, corrupted"]["mean"]
        yield run | {
            "data": f"{run['data']}, corrupted",
            "tool": "corruption.py",
            "command": [str(state), "--draws", str(len(results["all search, corrupted"]["trials"]["mAP"]))],
            "results": {str(run["iterations"]): {key: round(100 * found[key], 2) for key in KEYS}},
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", metavar="FOLDER", help="folder of ablation.py whose runs are taken up")
    parser.add_argument(
        "--add-corrupted", metavar="FOLDER", help="folder of corruption.py, called with their best or last.pt"
    )
    parser.add_argument("--check", action="store_true", help="only tell whether the page agrees with the runs")
    args, runs = parser.parse_args(), read_runs()
    added = [*read_folder(args.add)] if args.add else []
    added += [*read_corrupted(args.add_corrupted, runs)] if args.add_corrupted else []
    if added:
        runs = join(runs, added)
        write_runs(runs)
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    if args.check:
        return int(any(render(text, runs) != text for text in texts.values()))
    for page, text in texts.items():
        page.write_text(render(text, runs), encoding="utf-8")
    plot(runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
