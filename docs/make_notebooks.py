"""Build and execute the notebooks of ``docs/notebooks/`` from the tutorials: their text, and their blocks as cells.

python docs/make_notebooks.py
python docs/make_notebooks.py --text  # only renews the text of notebooks whose code is that of their pages

The data are synthetic and the network is trained briefly, so that a notebook takes minutes on a CPU: its numbers show
the form of a result, not a measurement.
"""

import argparse
import base64
import io
import json
import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

DOCS = Path(__file__).parent
BRIEFLY = "--epochs 2 --decay-at 1 2 --batches-per-epoch 80 --workers 0"
FILES = """# Stands for your images: synthetic people, filed as colour/<camera>/person-<number>_<frame>.jpg
from pathlib import Path
from vireid.data import SYSUMM01, generate_synthetic

counts = {"train_identities": 30, "test_identities": 30, "images_per_camera": 6}
people = SYSUMM01(generate_synthetic("people", **counts, size=(96, 48)))
for record in [*people.train, *people.test_visible, *people.test_infrared]:
    side = "thermal" if record.modality == "infrared" else "colour"
    camera = Path("data/own-cameras", side, f"camera-{record.camera}")
    camera.mkdir(parents=True, exist_ok=True)
    record.path.rename(camera / f"person-{record.identity}_{record.path.name}")"""
HEAD = """*Built by `python docs/make_notebooks.py` from [this page](../{page}.md). `$CLONE` is your clone.
The network is trained for 160 iterations only: longer training finds far more people.*"""
NOTEBOOKS = {  # a page: the sections that the notebook has, and a cell before the first block
    "quickstart": (("Quick start", "A trained network"), None),
    "own-cameras": (("From two folders to a ranked picture", "Which distance means the same person?"), FILES),
}


def cells(page):
    """Yield the type and source of each cell: a page's text, its Python blocks and its training command."""
    sections, first = NOTEBOOKS[page]
    yield "markdown", HEAD.format(page=page)
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    parts = {part.lstrip("# ").partition("\n")[0]: part for part in re.split(r"(?m)^(?=##? )", text)}
    pieces = re.split(r"(?ms)^(```.*?^```)$", "".join(parts[name] for name in sections))
    for piece in filter(str.strip, pieces):
        block = re.fullmatch(r"```(\w*)[^\n]*\n(.*)```", piece, re.DOTALL)
        if block is None:
            yield "markdown", re.sub(r"\]\((?!http)([^)]*)\)", r"](../\1)", piece.strip())
            continue
        if first:
            yield "code", first
            first = None
        if block[1] == "python":
            yield "code", block[2].rstrip()
            for picture in re.findall(r'savefig\("(.*?)"\)', block[2]):
                yield "code", f'from IPython.display import Image\n\nImage("{picture}", width=700)'
        command = re.search(r"^python (examples/train.py.*?)$", block[2].replace("\\\n", ""), re.MULTILINE)
        if block[1] == "sh" and command and "SYSU-MM01" not in command[1].partition("#")[0]:
            line = re.sub(r" +", " ", command[1])
            yield "code", f"!python $CLONE/{line} {BRIEFLY} 2> /dev/null | tail -n 9"


def shrink(output):
    """Keep a picture as a JPEG of at most 800 pixels."""
    png = output.get("data", {}).pop("image/png", None)
    if png is not None:
        image, file = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"), io.BytesIO()
        image.thumbnail((800, 800))
        image.save(file, "JPEG", quality=80)
        output["data"]["image/jpeg"] = base64.b64encode(file.getvalue()).decode()
    return output


def renew_text(page):
    """Set the text of an executed notebook to that of its page, unless its code has changed."""
    path, made = DOCS / "notebooks" / f"{page}.ipynb", [*cells(page)]
    notebook = json.loads(path.read_text(encoding="utf-8"))
    kept = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    code, known = ([source if kind == "code" else kind for kind, source in some] for some in (made, kept))
    if code != known:
        sys.exit(f"{page}: the code has changed. Run python docs/make_notebooks.py.")
    for cell, (_kind, source) in zip(notebook["cells"], made, strict=True):
        cell["source"] = source.splitlines(keepends=True)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def execute():
    """Execute each notebook in an empty folder and keep it with its output."""
    import nbformat  # noqa: PLC0415  (the text alone needs neither)
    from nbclient import NotebookClient  # noqa: PLC0415

    (DOCS / "notebooks").mkdir(exist_ok=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # the commands of this environment
    os.environ |= {"CLONE": str(DOCS.parent), "OMP_WAIT_POLICY": "PASSIVE", "PATH": path}
    new = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    for page in NOTEBOOKS:
        notebook = nbformat.v4.new_notebook(cells=[new[kind](source) for kind, source in cells(page)])
        for number, cell in enumerate(notebook.cells):
            cell["id"] = f"{page}-{number}"  # the same in every build
        with TemporaryDirectory() as folder:
            options = {"timeout": 1800, "kernel_name": "python3", "resources": {"metadata": {"path": folder}}}
            NotebookClient(notebook, **options).execute()
        for cell in notebook.cells:
            cell["metadata"] = {}
            if cell.cell_type == "code":  # without warnings, which name paths of this machine
                cell.outputs = [shrink(output) for output in cell.outputs if output.get("name") != "stderr"]
        nbformat.write(notebook, DOCS / "notebooks" / f"{page}.ipynb")
        print(f"{page}: {len(notebook.cells)} cells")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", action="store_true", help="renew the text alone, without executing anything")
    if parser.parse_args().text:
        for page in NOTEBOOKS:
            renew_text(page)
    else:
        execute()


if __name__ == "__main__":
    main()
