"""Keep what the examples measured in ``docs/results/``, from which ``make_tables.py`` writes the tables.

python docs/add_results.py main-job runs/train      # of train.py with its defaults
python docs/add_results.py methods runs/methods     # of train.py or ablation.py: METHOD/seed-N/metrics.json
python docs/add_results.py corruption runs/corruption

Finished runs of ``methods`` join those that are kept; the other files are replaced.
"""

import argparse
import json
import shutil
from pathlib import Path

import make_tables
from methods import name_of

SHARED = ("data", "preset", "backbone", "epochs")  # settings that runs of one table have in common


def load(path):
    """Read a JSON file of a run."""
    return json.loads(path.read_text(encoding="utf-8"))


def main_job(folder):
    """Return the record of ``train.py``."""
    return load(folder / "run.json")


def methods(folder):
    """Add the last results of each method and seed, all search, to those that are kept."""
    kept = make_tables.read("methods")
    for path in sorted(folder.glob("*/seed-*/metrics.json")):
        metrics = load(path)
        options, results = metrics["arguments"], metrics["results"]
        settings = {key: options[key] for key in SHARED}
        if kept["rows"] and settings != kept["settings"]:
            raise SystemExit(f"{path} must have the settings {kept['settings']}, got {settings}.")
        mean = results[max(results, key=int)]["all search"]["mean"]
        seeds = kept["rows"].setdefault(name_of(options), {})
        seeds[options["seed"]] = {key: mean[key] for key in make_tables.KEYS}
        kept["settings"] = settings
    return kept


def corruption(folder):
    """Return mean and deviation of each network, by its name, and copy the picture."""
    shutil.copy(folder / "corruption.png", make_tables.DOCS / "pictures")
    rows = {
        name: {
            row: {statistic: {key: result[statistic][key] for key in make_tables.KEYS} for statistic in ("mean", "std")}
            for row, result in results.items()
        }
        for name, results in load(folder / "corruption.json").items()
    }
    return {"rows": rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("main-job", "methods", "corruption"), help="file of docs/results/")
    parser.add_argument("folder", type=Path, help="output of the example")
    args = parser.parse_args()
    take = {"main-job": main_job, "methods": methods, "corruption": corruption}[args.what]
    make_tables.write(args.what, take(args.folder))


if __name__ == "__main__":
    main()
