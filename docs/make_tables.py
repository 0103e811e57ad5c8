"""Write the tables of README and docs from the JSON files in ``docs/results/`` and from facts of the library.

python docs/make_tables.py           # writes them
python docs/make_tables.py --check   # fails where a page and its JSON differ

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->`` of any page; no number in it is typed by hand.
"""

import importlib
import inspect
import json
import re
import sys
from functools import partial
from pathlib import Path
from textwrap import indent

import benchmark_tables
import compare_protocols
import make_reference

from vireid.data import LLCM, SYSUMM01, RegDB

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent / "examples"), str(DOCS.parent / "benchmarks")]
import _record  # noqa: E402
import ablation  # noqa: E402

PAGES = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]
KEYS = ("rank-1", "rank-10", "mAP", "mINP")  # of a result
MARKERS = re.compile(r"(?m:^)( *)<!-- table ([\w-]+) -->\n.*?<!-- end -->", re.DOTALL)


def read(name):
    """Read a file of ``docs/results/``."""
    return json.loads((DOCS / "results" / f"{name}.json").read_text(encoding="utf-8"))


def write(name, record):
    """Write a file of ``docs/results/``."""
    _record.write(DOCS / "results" / f"{name}.json", record)


def markdown(head, rows):
    """Format a table, with numbers at the right of their columns: the site keeps such cells on one line."""
    sides = ["---:" if holds_numbers(column) else "---" for column in zip(*rows, strict=True)]
    return "\n".join(f"|{'|'.join(cells)}|" for cells in (pad(head), sides, *map(pad, rows)))


def pad(cells):
    """Set a space around each cell of a row."""
    return [f" {cell} " for cell in cells]


def holds_numbers(cells):
    """Tell whether each cell of a column is a number, perhaps with a sign, a deviation or a unit, or a dash."""
    filled = [cell for cell in cells if cell not in {"", "–"}]
    return bool(filled) and all(re.match(r"[-+−]?\d", c) and not re.search(r"[^\W\d]{4}|`", c) for c in filled)


def signed(value, digits=1):
    """Format a difference with its sign."""
    return f"{round(value, 6):+.{digits}f}".replace("-", "−")


def spread(mean, deviation, digits=2):
    """Format a mean ± a standard deviation."""
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def percent(result, key, digits=2):
    """Mean ± standard deviation over the trials of a result, in percent."""
    return spread(100 * result["mean"][key], 100 * result["std"][key], digits)


def main_job():
    """README's command: the record that ``python examples/train.py`` has written."""
    results = read("main-job")["results"]
    kept = [name for name in results if name != "untrained, indoor search"]
    return markdown(["", *KEYS], [[name, *(percent(results[name], key) for key in KEYS)] for name in kept])


def difficulty():
    """How hard synthetic people are: what ``measure_difficulty.py`` measured, and the main job."""
    results = read("main-job")["results"]
    rows = {
        **read("difficulty")["results"],
        "untrained network": results["untrained, all search"],
        "trained network, 875 iterations": results["trained, all search"],
    }
    return markdown(
        ["", "rank-1", "mAP"],
        [[name, *(percent(row, key, 1) for key in ("rank-1", "mAP"))] for name, row in rows.items()],
    )


def versions():
    """Versions with which the tests were run, one row for each environment."""
    rows = read("versions")
    keys = ("python", "torch", "torchvision", "timm", "numpy", "run", "tests")
    head = {"python": "Python", "run": "tests run", "tests": "result"}
    return markdown(
        [head.get(key, key) for key in keys], [[row[key].replace("tests/", "") for key in keys] for row in rows]
    )


def published_counts():
    """Published counts of the data sets, as ``check_dataset`` compares them."""
    sets = {"SYSU-MM01": SYSUMM01, "RegDB, each trial": RegDB, "LLCM": LLCM}
    keys = [
        f"{split} {what}"
        for split in ("training", "test")
        for what in ("identities", "visible images", "infrared images")
    ]
    rows = [[name, *(f"{reader.published[key]:,}" for key in keys)] for name, reader in sets.items()]
    return markdown(["", *keys], rows)


def names_of(package, *modules):
    """Public names of a package, or of some of its modules, with the first line of their docstrings."""
    exported = importlib.import_module(package)
    things = [(name, getattr(exported, name)) for name in exported.__all__]
    chosen = [(n, t) for n, t in things if inspect.isclass(t) and (not modules or t.__module__.endswith(modules))]
    return markdown(["", "what it does"], [[f"`{name}`", make_reference.summary(thing)] for name, thing in chosen])


def backbones():
    """Networks of timm, split and run by ``make_backbone_table.py``."""
    found = read("backbones")
    works, standard = (
        sum(test(row) for row in found["rows"]) for test in (lambda r: r[2] != "", lambda r: r[1] == "288×144")
    )
    summary = f"Of {len(found['rows'])} networks {works} split, {standard} of them with images of 288×144"
    summary += f" (timm {found['timm']})."
    head = ["Network", "Image size", "c at the cut", "d, last map", "Last stride", "Own parameters per modality"]
    return f"{summary}\n\n{markdown(head, found['rows'])}"


def published():
    """Numbers that papers print."""
    keys = ("SYSU all", "SYSU indoor", "RegDB visible → infrared", "RegDB infrared → visible")
    rows = []
    for row in read("published")["rows"]:
        notes = row.get("notes", {})
        numbers = {key: "/".join(f"{value:.2f}" for value in values) for key, values in row["numbers"].items()}
        cells = {key: numbers.get(key, row.get(key, "–")) for key in (*keys, "source", "at test", "here")}
        rows.append([row["method"], *(f"{cell} {notes.get(key, '')}".strip() for key, cell in cells.items())])
    return markdown(["method", *keys, "source", "at test", "here"], rows)


def published_corrupted():
    """The paper's numbers on corrupted images."""
    found = read("published")["corrupted"]
    sets = [*next(iter(found.values()))]
    cells = ([name, *("/".join(f"{value:.2f}" for value in row[key]) for key in sets)] for name, row in found.items())
    return markdown(["method", *sets], [*cells])


def corruption():
    """Networks on clean and on corrupted images beside the paper's, all search."""
    rows, paper = [], read("published")["corrupted"]
    for method, results in read("corruption")["rows"].items():
        measured = [results[f"all search, {state}"] for state in ("clean", "corrupted")]
        cells = [percent(result, key) for result in measured for key in ("rank-1", "mAP")]
        quoted = [f"{value:.2f}" for value in paper.get(method.upper(), {}).get("SYSU-MM01-C", ())] or ["–", "–"]
        rows.append([f"`{method}`", *cells, *quoted])
    states = ("clean", "corrupted", "the paper, corrupted")
    return markdown(["", *(cell for state in states for cell in (f"{state}: rank-1", "mAP"))], rows)


def methods():
    """Every method over its seeds, in the order of ``examples/ablation.py``."""
    kept = read("methods")["rows"]
    order = [method for method, _ in ablation.TABLES["methods"].values()]
    rows = []
    for method in sorted(kept, key=lambda name: order.index(name) if name in order else len(order)):
        columns = ([100 * result[key] for result in kept[method].values()] for key in KEYS)
        rows.append([f"`{method}`", ", ".join(sorted(kept[method])), *map(ablation.spread, columns)])
    return markdown(["method", "seeds", *KEYS], rows)


def exports():
    """Exported files against PyTorch."""
    rows = []
    for name, row in read("exports").items():
        compared = ["–", "–", "–"]
        if "same rank-1" in row:
            same = " / ".join(f"{share:.2%}" for share in row["same rank-1"])
            compared = [f"{row['largest difference']:.1e}", f"{row['smallest cosine']:.4f}", same]
        found = [f"{100 * result[key]:.2f}" for result in row["results"].values() for key in ("rank-1", "mAP")]
        rows.append([name, f"{row['MB']:.2f}", *compared, *found, f"{row['ms']:.2f}"])
    compared = ["largest difference", "smallest cosine", "same rank-1"]
    return markdown(["File", "MB", *compared, "all rank-1", "mAP", "indoor rank-1", "mAP", "ms"], rows)


def thresholds():
    """Whether thresholds keep their false-accept rate on other people."""
    rows = []
    for row in read("thresholds"):
        low, high = row["interval"]
        rates = f"{100 * row['mean']:.2f} % ({100 * row['least']:.2f}, {100 * row['largest']:.2f})"
        within = f"{row['within']} of {row['divisions']}"
        rows.append(
            [row["pair"], f"{100 * row['promised']:.1f} %", rates, within, f"{100 * low:.2f} to {100 * high:.2f} %"]
        )
    held_out = "held out: mean (least, largest)"
    return markdown(["pair", "promised rate", held_out, "within the interval", "mean interval"], rows)


def own_cameras():
    """What thresholds decide with the network of ``examples/own_cameras.py``."""
    rows = []
    for row in read("own-cameras")["rows"]:
        shares = [*(row["known"][name] for name in ("right", "nobody", "wrong")), row["unknown, nobody"]]
        rows.append([f"{100 * row['false-accept rate']:g} %", *(f"{100 * share:.0f} %" for share in shares)])
    return markdown(["false-accept rate", "known people: right", "nobody", "wrong", "unknown people: nobody"], rows)


def targets():
    """The paper's rank-1 and mAP on SYSU-MM01 for each method, as ``examples/ablation.py`` quotes them."""
    rows = [row for table in ablation.TABLES.values() for row in table.values()]
    return {method: numbers["sysu"] for method, numbers in rows if "sysu" in numbers}


def ablation_table(title):
    """A table of the ablation beside the paper's."""
    rows, paper = [], targets()
    for name, row in read("ablation")["tables"][title].items():
        quoted = [f"{value:.2f}" for value in paper.get(row["method"], ())] or ["–", "–"]
        rows.append([name, f"`{row['method']}`", *(spread(*row[key]) for key in ("rank-1", "mAP")), *quoted])
    return markdown(["", "method", "rank-1 (%)", "mAP (%)", "the paper: rank-1", "the paper: mAP"], rows)


def ablation_differences():
    """Paired differences of the ablation beside those of the paper's numbers."""
    rows, paper = [], targets()
    for title, row in read("ablation")["differences of rank-1"].items():
        method, others = row["method"], row["over"]
        here = [f"{signed(mean)} ± {deviation:.1f}" for mean, deviation in others.values()]
        pairs = [(paper.get(method), paper.get(other)) for other in others]
        there = [signed(mine[0] - theirs[0]) if mine and theirs else "–" for mine, theirs in pairs]
        rows.append([title, ", ".join(here), ", ".join(there)])
    return markdown(["", "here", "the paper"], rows)


def ablation_alignment():
    """Forms of L_ma."""
    forms = read("ablation")["forms of L_ma"]
    return markdown([*forms], [[f"{value:.1f}" for value in forms.values()]])


def statistics():
    """What statistics of its own do for the auxiliary modality."""
    rows = read("ablation")["statistics"]
    methods = [*next(iter(rows.values()))]
    head = ["rank-1 (%), all search, seeds 0 and 1", *(f"`{method}`" for method in methods)]
    return markdown(head, [[name, *(spread(*row[method]) for method in methods)] for name, row in rows.items()])


def benchmark(name):
    """A table of the benchmarks."""
    try:
        return markdown(*benchmark_tables.TABLES[name](read("benchmarks")))
    except benchmark_tables.NotMeasuredError as command:
        return f"No figure of `{command}` yet."


TABLES = {
    "backbones": backbones,
    "losses": lambda: names_of("vireid.losses"),
    "augmentations": lambda: names_of("vireid.data", ".transforms", ".mixing"),
    "main-job": main_job,
    "difficulty": difficulty,
    "versions": versions,
    "published-counts": published_counts,
    "published": published,
    "published-corrupted": published_corrupted,
    "corruption": corruption,
    "methods": methods,
    "exports": exports,
    "thresholds": thresholds,
    "own-cameras": own_cameras,
    "ablation-1": lambda: ablation_table("Table 1"),
    "ablation-2": lambda: ablation_table("Table 2"),
    "ablation-3": lambda: ablation_table("Table 3"),
    "ablation-methods": lambda: ablation_table("methods"),
    "ablation-differences": ablation_differences,
    "ablation-alignment": ablation_alignment,
    "statistics": statistics,
    "benchmark-conditions": lambda: benchmark_tables.conditions(read("benchmarks")),
    **{f"benchmark-{name}": partial(benchmark, name) for name in benchmark_tables.TABLES},
}


def render(text, page=""):
    """Replace the tables of a page by those of the results."""
    if page == "comparing-numbers.md":  # a page of tables alone
        return compare_protocols.format_page(read("protocols"))
    return MARKERS.sub(lambda found: indent(fence(found[2], TABLES[found[2]]()), found[1]), text)


def fence(name, table):
    """Set the markers around a table."""
    return f"<!-- table {name} -->\n{table}\n<!-- end -->"


def main():
    stale = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if render(text, page.name) != text:
            stale.append(page.name)
            if "--check" not in sys.argv:
                page.write_text(render(text, page.name), encoding="utf-8")
    print(*(f"{name}: {'differs' if '--check' in sys.argv else 'written'}" for name in stale), sep="\n")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
