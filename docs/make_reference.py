"""Write ``docs/reference/``: a page for every module with public names, and an index; ``conf.py`` calls it.

python docs/make_reference.py
"""

import importlib
import inspect
from pathlib import Path

FOLDER = Path(__file__).with_name("reference")
PACKAGES = ("models", "losses", "data", "evaluation", "visualization")
MODULES = ("modality", "distances", "phases", "cli")  # modules of the top level


def pages():
    """Yield each page: its title, the module that it documents, and the names by which its parts are imported."""
    for name in MODULES:
        module = importlib.import_module(f"vireid.{name}")
        parts = [part for part, thing in vars(module).items() if is_public(part, thing, module)]
        yield module.__name__, module, [f"{module.__name__}.{part}" for part in parts]
    for package in PACKAGES:
        exported = importlib.import_module(f"vireid.{package}")
        homes = {}
        for part in exported.__all__:
            homes.setdefault(home(exported, part), []).append(f"{exported.__name__}.{part}")
        for source in sorted(homes):
            yield source, importlib.import_module(source), homes[source]


def is_public(name, thing, module):
    """Whether a name of a module is one of its own functions or classes for users."""
    own = getattr(thing, "__module__", None) == module.__name__
    return own and not name.startswith("_") and (inspect.isclass(thing) or inspect.isfunction(thing))


def home(package, name):
    """Name the module that defines a name of a package."""
    thing = getattr(package, name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        private = thing.__module__.rpartition(".")[2].startswith("_")
        return package.__name__ if private else thing.__module__
    return next(m.__name__ for m in vars(package).values() if inspect.ismodule(m) and name in vars(m))


def summary(thing):
    """The first line of a docstring, for a table."""
    return (inspect.getdoc(thing) or "").partition("\n")[0].replace("|", "\\|").replace("``", "`")


def directive(path):
    """Document a name: a class, a function or a constant."""
    module, _, name = path.rpartition(".")
    thing = getattr(importlib.import_module(module), name)
    kind = "class" if inspect.isclass(thing) else "function" if inspect.isfunction(thing) else "data"
    return f".. auto{kind}:: {path}\n"


def main():
    FOLDER.mkdir(exist_ok=True)
    known, index = set(), ["# Reference\n\nThe public names, a page for each module. `from vireid import …` gives:\n"]
    top = importlib.import_module("vireid")
    headlines = [name for name in top.__all__ if not inspect.ismodule(getattr(top, name))]
    index += ["| name | |", "|---|---|"]
    where = {path.rpartition(".")[2]: title for title, _module, paths in pages() for path in paths}
    for name in headlines:
        index.append(f"| [`vireid.{name}`]({where[name]}.md) | {summary(getattr(top, name))} |")
    index += ["", "| module | contents |", "|---|---|"]
    for title, module, paths in pages():
        text = inspect.getdoc(module) or ""
        names = ", ".join(f"`{path.rpartition('.')[2]}`" for path in paths)
        index.append(f"| [`{title}`]({title}.md) | {names} |")
        body = "\n".join(directive(path) for path in paths)
        package = title.split(".")[1]
        note = f"\nImport these names from `vireid.{package}`.\n" if package in PACKAGES else ""
        page = f"# {title}\n\n{text.partition(chr(10))[0].replace('``', '`')}\n{note}\n```{{eval-rst}}\n{body}```\n"
        write(FOLDER / f"{title}.md", page)
        known.add(f"{title}.md")
    toctree = "\n".join(sorted(name.removesuffix(".md") for name in known))
    write(FOLDER / "index.md", "\n".join(index) + f"\n\n```{{toctree}}\n:hidden:\n{toctree}\n```\n")
    for page in FOLDER.glob("*.md"):
        if page.name not in known | {"index.md"}:
            page.unlink()


def write(path, text):
    """Write a page unless it is the same, which would make sphinx read it again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
