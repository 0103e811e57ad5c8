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
from pathlib import Path

import compare_protocols
import make_reference

from vireid.data import LLCM, SYSUMM01, RegDB

DOCS = Path(__file__).parent
PAGES = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]
MARKERS = re.compile(r"(<!-- table ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def read(name):
    """Read a file of ``docs/results/``."""
    return json.loads((DOCS / "results" / f"{name}.json").read_text(encoding="utf-8"))


def markdown(head, rows):
    """Format a table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def percent(result, key, digits=2):
    """Mean ± standard deviation over the trials of a result, in percent."""
    return f"{100 * result['mean'][key]:.{digits}f} ± {100 * result['std'][key]:.{digits}f}"


def main_job():
    """README's command: the record that ``python examples/train.py`` has written."""
    results = read("main-job")["results"]
    keys = ("rank-1", "rank-10", "mAP", "mINP")
    kept = [name for name in results if name != "untrained, indoor search"]
    return markdown(["", *keys], [[name, *(percent(results[name], key) for key in keys)] for name in kept])


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
    keys = ("python", "torch", "torchvision", "timm", "numpy")
    cells = [[*(row[key] for key in keys), row["tests"]] for row in rows]
    return markdown([*("Python" if key == "python" else key for key in keys), "tests"], cells)


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


TABLES = {
    "backbones": backbones,
    "losses": lambda: names_of("vireid.losses"),
    "augmentations": lambda: names_of("vireid.data", ".transforms", ".mixing"),
    "main-job": main_job,
    "difficulty": difficulty,
    "versions": versions,
    "published-counts": published_counts,
}


def render(text, page=""):
    """Replace the tables of a page by those of the results."""
    if page == "comparing-numbers.md":  # a page of tables alone
        return compare_protocols.format_page(read("protocols"))
    return MARKERS.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n{found[4]}", text)


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
