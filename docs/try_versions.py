"""Run tests with other versions of Python and of the packages, and record them in ``docs/results/versions.json``.

python docs/try_versions.py python3.10 python3.13
python docs/try_versions.py python3.10 --oldest
python docs/try_versions.py python3.12 --with torch==2.8.* torchvision==0.23.* --tests tests/models tests/losses

Each interpreter gets an environment of its own with the extra ``test``, which is removed afterwards. ``--oldest``
installs the lower bounds of ``pyproject.toml``. A row replaces that of the same versions. Then
``python docs/make_tables.py`` writes the table.
"""

import argparse
import json
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "docs" / "results" / "versions.json"
PACKAGES = ("torch", "torchvision", "timm", "numpy")
TOOLS = ("pytest", "pytest-xdist", "hypothesis")  # run the tests; the library does not import them
PROBE = f"""
import json, platform
from importlib.metadata import version
print(json.dumps({{"python": platform.python_version(), **{{name: version(name) for name in {PACKAGES}}}}}))
"""


def oldest():
    """Return the lower bounds of the core and of the extras that the tests need: ``torch>=2.6`` -> ``torch==2.6.*``."""
    bounds = [re.match(r"([\w-]+)>=([\d.]+)(?:; extra == ['\"](\w+)['\"])?$", text) for text in requires("vireid")]
    kept = [found for found in bounds if found and found[1] not in TOOLS and found[3] not in {"docs", "dev"}]
    return [f"{found[1]}=={found[2]}.*" for found in kept]


def make_environment(interpreter, folder, constraints):
    """Install vireid and what its tests need into a new environment; return its Python."""
    subprocess.run([interpreter, "-m", "venv", folder], check=True)
    python = str(Path(folder, "bin", "python"))
    packages = [f"{ROOT}[test]", *constraints]
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--editable", *packages], check=True)
    return python


def run_tests(python, tests):
    """Run the tests and return the row: the versions, the tests, and the last line of pytest."""
    row = json.loads(subprocess.run([python, "-c", PROBE], check=True, capture_output=True, text=True).stdout)
    done = subprocess.run([python, "-m", "pytest", *tests], cwd=ROOT, check=False, capture_output=True, text=True)
    print(*re.findall(r"(?m)^(?:FAILED|ERROR) .*", done.stdout), done.stderr, sep="\n", file=sys.stderr)
    return row | {"run": " ".join(tests) or "all", "tests": summarise(done.stdout)}


def summarise(output):
    """Return what pytest counted, without warnings and times."""
    counts = re.findall(r"\d+ (?:passed|failed|skipped|errors?)", output.strip().splitlines()[-1] if output else "")
    return ", ".join(counts) or "did not run"


def record(new):
    """Add a row to the record, in place of that of the same versions."""
    keys = ("python", *PACKAGES)
    rows = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else []
    rows = [row for row in rows if any(row[key] != new[key] for key in keys)] + [new]
    rows.sort(key=lambda row: [[int(n) for n in re.findall(r"\d+", row[key])] for key in keys])
    RECORD.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("interpreters", nargs="+", metavar="PYTHON", help="such as python3.12")
    parser.add_argument("--with", nargs="+", default=[], dest="constraints", metavar="PACKAGE==VERSION")
    parser.add_argument("--oldest", action="store_true", help="with the oldest versions that pyproject.toml allows")
    parser.add_argument("--tests", nargs="+", default=[], metavar="PATH", help="the tests to run; by default all")
    args = parser.parse_args()
    constraints = [*args.constraints, *(oldest() if args.oldest else [])]
    for interpreter in args.interpreters:
        with TemporaryDirectory() as folder:
            new = run_tests(make_environment(interpreter, folder, constraints), args.tests)
        record(new)
        print(new)


if __name__ == "__main__":
    main()
