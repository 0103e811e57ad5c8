"""Tables of README and of the pages are written from results, and agree with each other."""

import importlib
import json
import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
DECIMAL = re.compile(r"\d\.\d")
WRITTEN = re.compile(r"<!-- (?:table|evidence) .*?<!-- end -->", re.DOTALL)
BY_HAND = {  # a page, the first row of tables whose numbers are typed, and why they may be
    ("comparing-numbers.md", "| | rank-1 | rank-5 |"): "the whole page is written by compare_protocols.py",
    ("methods.md", "| name | network | loss |"): "weights of the losses, which are settings and not measured",
    ("paper-notes.md", "| | question | evidence |"): "prose: numbers within sentences",
}


@pytest.fixture(scope="module")
def tables():
    """Import ``make_tables.py``, and what it and the tests import."""
    before = [*sys.path]
    sys.path[:0] = [str(DOCS), str(ROOT / "examples")]
    try:
        for name in ("add_results", "corruption", "make_notebooks"):
            importlib.import_module(name)
        return importlib.import_module("make_tables")
    finally:
        sys.path[:] = before


def typed_tables(page):
    """Tables of a page with two or more decimal numbers that no script writes."""
    text = WRITTEN.sub("", page.read_text(encoding="utf-8"))
    found = re.findall(r"(?:^ *\|.*\n)+", text, re.MULTILINE)
    return [table.lstrip() for table in found if len(DECIMAL.findall(table)) >= 2]


def test_tables_of_numbers_are_not_typed_by_hand(tables):
    used = set()
    for page in tables.PAGES:
        for table in typed_tables(page):
            allowed = {key for key in BY_HAND if key[0] == page.name and table.startswith(key[1])}
            assert allowed, f"{page.name} has a table of numbers that no script writes:\n{table}"
            used |= allowed
    assert used == BY_HAND.keys(), "BY_HAND allows tables that are no longer there"


def test_a_table_that_is_typed_by_hand_is_found(tmp_path):
    page = tmp_path / "page.md"
    typed = "  | | rank-1 |\n  |---|---|\n  | B | 28.80 ± 4.46 |\n"
    page.write_text(f"<!-- table ablation-1 -->\n| B | 1.5 | 2.5 |\n<!-- end -->\n\n{typed}\n| b | 0.5 |\n")
    assert typed_tables(page) == [typed.lstrip()]


def test_published_numbers_are_those_that_the_examples_quote(tables):
    published = tables.read("published")
    rows = {row["trained as"]: row["numbers"] for row in published["rows"] if row["trained as"]}
    assert rows.keys() <= sys.modules["methods"].METHODS.keys()
    columns, compared = {"sysu": "SYSU all", "regdb": "RegDB visible → infrared"}, 0
    for table in tables.ablation.TABLES.values():
        for method, quoted in table.values():
            for dataset in quoted.keys() & columns.keys() if method in rows else ():
                assert tuple(rows[method][columns[dataset]]) == quoted[dataset], (method, dataset)
                compared += 1
    assert compared >= 10
    quoted = sys.modules["corruption"].TABLE_5
    for method in ("B", "MUN"):
        for dataset, column in {"sysu": "SYSU-MM01-C", "regdb": "RegDB-C"}.items():
            rank1, precision = published["corrupted"][method][column]
            assert f"{method} {rank1:.2f} / {precision:.2f}" in quoted[dataset]


def test_differences_of_the_ablation_are_those_of_its_rows(tables):
    record = tables.read("ablation")
    means = {row["method"]: row["rank-1"][0] for table in record["tables"].values() for row in table.values()}
    for row in record["differences of rank-1"].values():
        for other, (mean, _deviation) in row["over"].items():
            assert mean == pytest.approx(means[row["method"]] - means[other], abs=0.11)
    for table in record["tables"].values():
        for row in table.values():
            assert sum(row["seeds"]) / 3 == pytest.approx(row["rank-1"][0], abs=0.11)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (["48.03 ± 1.36", "–"], True),
        (["0.12 to 3.21 %", "−1.9 ± 3.4, +2.0 ± 3.4"], True),
        (["63.82/12.00 ¹", "", "7.0e-07"], True),
        (["3437 passed, 9 skipped"], False),
        (["`b`", "1.0"], False),
        (["2", "one"], False),
        (["–", ""], False),
    ],
)
def test_columns_of_numbers_stand_at_the_right(tables, column, expected):
    assert tables.markdown(["x"], [[cell] for cell in column]).splitlines()[1] == ("|---:|" if expected else "|---|")


def write_run(folder, method, seed, rank1, **settings):
    """Write what a finished run of train.py leaves."""
    mean = {"rank-1": rank1, "rank-10": 0.9, "mAP": rank1 / 2, "mINP": 0.25}
    results = {i: {"all search": {"mean": {**mean, "rank-1": rank1 * share}}} for i, share in (("0", 0.1), ("875", 1))}
    arguments = {"method": method, "seed": str(seed), "data": "fafe", "preset": "laptop", "backbone": "test_resnet"}
    arguments |= {"epochs": "7", **settings}
    run = folder / method / f"seed-{seed}"
    run.mkdir(parents=True)
    (run / "metrics.json").write_text(json.dumps({"arguments": arguments, "results": results}))


def test_runs_of_the_methods_are_taken_up(tables, tmp_path, monkeypatch):
    add_results = sys.modules["add_results"]
    monkeypatch.setattr(tables, "DOCS", tmp_path)
    (tmp_path / "results").mkdir()
    tables.write("methods", {"settings": {}, "rows": {}})
    for method, seed, rank1 in (("mun", 0, 0.5), ("b", 0, 0.25), ("b", 2, 0.35)):
        write_run(tmp_path / "runs", method, seed, rank1)
    write_run(tmp_path / "runs", "b", 3, 0.5, alignment="1.0")
    (tmp_path / "runs" / "mun" / "seed-1").mkdir()  # not finished
    monkeypatch.setattr(sys, "argv", ["add_results.py", "methods", str(tmp_path / "runs")])
    add_results.main()
    assert tables.methods().splitlines()[2:] == [
        "| `b` | 0, 2 | 30.00 ± 7.07 | 90.00 ± 0.00 | 15.00 ± 3.54 | 25.00 ± 0.00 |",
        "| `mun` | 0 | 50.00 | 90.00 | 25.00 | 25.00 |",
        "| `b --alignment 1` | 3 | 50.00 | 90.00 | 25.00 | 25.00 |",
    ]
    write_run(tmp_path / "runs", "agw", 1, 0.5, epochs="3")
    with pytest.raises(SystemExit, match=r"agw/seed-1/metrics.json must have the settings .*'epochs': '7'"):
        add_results.main()


def test_results_on_corrupted_images_are_taken_up(tables, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "DOCS", tmp_path)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "corruption.png").write_bytes(b"a picture")
    clean = {"mean": dict.fromkeys(("rank-1", "rank-10", "mAP", "mINP"), 0.5), "std": {}, "trials": {"cmc": [[0.5]]}}
    clean["std"] = dict.fromkeys(clean["mean"], 0.125)
    results = {"b": {"all search, clean": clean, "fog": clean}}
    (tmp_path / "corruption.json").write_text(json.dumps(results))
    kept = sys.modules["add_results"].corruption(tmp_path)
    short = {statistic: clean[statistic] for statistic in ("mean", "std")}
    assert kept == {"rows": {"b": {"all search, clean": short, "fog": short}}}
    assert (tmp_path / "pictures" / "corruption.png").read_bytes() == b"a picture"


def test_the_benchmark_of_thresholds_writes_what_the_table_takes(tables, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tables, "DOCS", tmp_path)
    (tmp_path / "results").mkdir()
    arguments = ["--seeds", "2", "--people", "12", "--json", str(tmp_path / "results" / "thresholds.json")]
    monkeypatch.setattr(sys, "argv", ["thresholds.py", *arguments])
    runpy.run_path(str(ROOT / "benchmarks" / "thresholds.py"), run_name="__main__")
    printed = [line.replace("%", " %").split("|")[3].split()[0] for line in capsys.readouterr().out.splitlines()[2:]]
    written = [line.split("|")[3].split()[0] for line in tables.thresholds().splitlines()[2:]]
    assert printed == written
    assert len(set(written)) > 2


def test_notebooks_have_the_cells_of_their_pages(tables):
    make_notebooks = sys.modules["make_notebooks"]
    for page in make_notebooks.NOTEBOOKS:
        notebook = json.loads((DOCS / "notebooks" / f"{page}.ipynb").read_text(encoding="utf-8"))
        kept = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
        assert kept == [*make_notebooks.cells(page)], f"{page}: run python docs/make_notebooks.py (--text)."


@pytest.mark.parametrize(
    ("others", "row"),
    [(0.01, "idle"), (0.1, "idle"), (0.604, "idle, others 60 %"), (None, "idle, others unknown")],
)
def test_a_measurement_that_others_disturbed_is_marked(tables, others, row):
    kept = {"python benchmarks/x.py": {"idle": {"others": others, "figures": {"a": 1}}}}
    assert tables.benchmark_tables.states_of(kept, "x.py") == [(row, {"a": 1})]
