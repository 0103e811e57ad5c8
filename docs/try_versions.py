"""Run the tests with other versions of Python, torch and timm, and record them in ``docs/results/versions.json``.

python docs/try_versions.py python3.10 python3.13
python docs/try_versions.py python3.11 --with torch==2.6.* torchvision==0.21.* timm==1.0.15

Each interpreter gets an environment of its own with the extra ``test``. A row replaces that of the same versions. Then
``python docs/make_tables.py`` writes the table.
"""

import argparse
import json
import re
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "docs" / "results" / "versions.json"
PACKAGES = ("torch", "torchvision", "timm", "numpy")
PROBE = f"""
import json, platform
from importlib.metadata import version
print(json.dumps({{"python": platform.python_version(), **{{name: version(name) for name in {PACKAGES}}}}}))
"""


def try_interpreter(interpreter, constraints):
    """Install into a new environment, run the tests, and return the row: the versions and the last line of pytest."""
    with TemporaryDirectory() as folder:
        subprocess.run([interpreter, "-m", "venv", folder], check=True)
        python = str(Path(folder, "bin", "python"))
        packages = [f"{ROOT}[test]", *constraints]
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--editable", *packages], check=True)
        row = json.loads(subprocess.run([python, "-c", PROBE], check=True, capture_output=True, text=True).stdout)
        tests = subprocess.run([python, "-m", "pytest"], cwd=ROOT, check=False, capture_output=True, text=True)
        return row | {"tests": summarise(tests.stdout)}


def summarise(output):
    """Return what pytest counted, without warnings and times."""
    counts = re.findall(r"\d+ (?:passed|failed|skipped|errors?)", output.strip().splitlines()[-1] if output else "")
    return ", ".join(counts) or "did not run"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("interpreters", nargs="+", metavar="PYTHON", help="such as python3.12")
    parser.add_argument("--with", nargs="+", default=[], dest="constraints", metavar="PACKAGE==VERSION")
    args = parser.parse_args()
    rows = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else []
    for interpreter in args.interpreters:
        new = try_interpreter(interpreter, args.constraints)
        keys = ("python", *PACKAGES)
        rows = [row for row in rows if any(row[key] != new[key] for key in keys)] + [new]
        rows.sort(key=lambda row: [[int(n) for n in re.findall(r"\d+", row[key])] for key in keys])
        RECORD.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        print(new)


if __name__ == "__main__":
    main()
