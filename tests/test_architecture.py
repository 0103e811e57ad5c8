"""The import rule of the house: arrows point down only, siblings never meet, and each library has one door."""

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest

import vireid

PACKAGE = Path(vireid.__file__).parent
ROOT = PACKAGE.parent
FOLDERS = {"models", "losses", "data", "evaluation", "visualization"}
GROUND = {"vireid.modality", "vireid.distances", "vireid.phases", "vireid._checks", "vireid._files"}
ABOVE = {  # the files above the folders, and what they alone may import; all else they take from `vireid`
    "_options.py": set(),
    "cli.py": {"vireid", "vireid._files", "vireid._options", *(f"vireid.{folder}" for folder in FOLDERS)},
    "__main__.py": {"vireid.cli"},
}
DOORS = {
    "timm": {"models/backbone.py"},
    "safetensors": {"_files.py"},
    "huggingface_hub": {"models/embedder.py", "models/backbone.py"},
    "PIL": {"data/"},
    "torchvision": {"data/"},
    "imagecorruptions": {"data/corruptions.py"},
    "tqdm": {"evaluation/extraction.py", "data/synthetic.py", "cli.py"},
    "onnx": {"models/export.py"},
    "onnxscript": {"models/export.py"},
    "onnxruntime": {"models/export.py"},
    "matplotlib": {"visualization/"},
    "sklearn": {"visualization/"},
    "captum": {"visualization/"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path):
    """Modules that a file imports, those given to `import_extra` included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_extra":
            yield ast.literal_eval(node.args[0])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    relative = path.relative_to(PACKAGE)
    folder = relative.parts[0] if len(relative.parts) > 1 else None
    for module in imports(path):
        library, *inner = module.split(".")
        if library == "vireid":
            if relative.as_posix() in ABOVE:
                assert module in ABOVE[relative.as_posix()], f"{relative} imports {module}, not a folder's public names"
            elif folder in FOLDERS:
                assert module in GROUND or inner[0] == folder, f"{relative} imports its sibling {module}"
            elif relative.name != "__init__.py":
                assert module in GROUND, f"{relative} imports {module} from above"
        else:
            doors = DOORS.get(library, {""})
            assert any(relative.as_posix().startswith(door) for door in doors), f"{relative} imports {library}"
            if folder == "losses" and library not in {"torch", "einops"}:
                assert library in sys.stdlib_module_names, f"losses need torch alone, not {library}"


@pytest.mark.parametrize(
    "path", [*FILES, *ROOT.glob("tests/**/*.py"), *ROOT.glob("examples/*.py")], ids=lambda path: path.name
)
def test_private_names_stay_at_home(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            private = [
                alias.name for alias in node.names if alias.name.startswith("_") and not alias.name.startswith("__")
            ]
            assert not private, f"{path.relative_to(ROOT)} imports {private} from {node.module}"


def names_of(path):
    """Names such as `vireid.data.Record` that a file takes from the folders, by attribute or by import."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            *folder, name = ast.unparse(node).split(".")
            if len(folder) == 2 and folder[0] == "vireid" and folder[1] in FOLDERS:
                yield folder[1], name
        elif isinstance(node, ast.ImportFrom) and node.module.partition(".")[2] in FOLDERS:
            yield from ((node.module.partition(".")[2], alias.name) for alias in node.names)


def test_the_command_line_uses_public_names_and_imports_nothing_before_a_command_runs():
    names = set(names_of(PACKAGE / "cli.py"))
    assert {folder for folder, _ in names} == FOLDERS - {"losses"}
    private = {(folder, name) for folder, name in names if name not in getattr(vireid, folder).__all__}
    assert not private
    own = {"vireid", "vireid.cli", "vireid._options"}
    for path in (PACKAGE / "cli.py", PACKAGE / "_options.py", PACKAGE / "__main__.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
                known = module in own or module.partition(".")[0] in sys.stdlib_module_names
                assert known, f"{path.name} imports {module} before a command runs"


def test_import_costs_little_more_than_torch():
    code = (
        "import sys, vireid, vireid.losses; print(*({'timm', 'torchvision', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_front_door_needs_no_further_import():
    code = "import vireid; assert 'MUN' in dir(vireid); print(vireid.data.Record.__name__, vireid.MUN.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Record", "MUN"]


def test_no_fact_twice_in_the_configuration():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    assert not {"metadata", "options"} & set(parser.sections())


def test_no_house_of_leftovers():
    assert not {"utils.py", "common.py", "helpers.py"} & {path.name for path in FILES}
