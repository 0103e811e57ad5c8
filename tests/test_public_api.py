"""Every public name is documented, and its documented arguments are those of its signature."""

import importlib
import inspect
import re

import pytest

import vireid

MODULES = ["vireid", *(f"vireid.{name}" for name in ("models", "losses", "data", "evaluation", "visualization"))]


def public():
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            yield f"{module.__name__}.{name}", getattr(module, name)


def callables():
    """Public functions, classes and the methods that classes define themselves."""
    for name, thing in public():
        yield name, thing, thing
        if inspect.isclass(thing):
            for key, method in vars(thing).items():
                if inspect.isfunction(method) and not key.startswith("_"):
                    yield f"{name}.{key}", method, method


def documented(docstring):
    """Names under Args, in order."""
    section = re.search(r"^( *)Args:\n((?:\1 .*\n|\n)*)", inspect.cleandoc(docstring) + "\n", re.MULTILINE)
    return re.findall(r"^    (\w+):", section[2], re.MULTILINE) if section else []


@pytest.mark.parametrize(
    ("name", "thing", "_"), list(callables()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_documented(name, thing, _):
    assert inspect.getdoc(thing), f"{name} has no docstring"
    first = inspect.getdoc(thing).split("\n")[0]
    assert first.endswith("."), f"{name}: the first line is a sentence"


@pytest.mark.parametrize(
    ("name", "thing"),
    [(name, thing) for name, thing, _ in callables() if "Args:" in (inspect.getdoc(thing) or "")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_documented_arguments_are_those_of_the_signature(name, thing):
    parameters = [parameter for parameter in inspect.signature(thing).parameters if parameter != "self"]
    assert documented(inspect.getdoc(thing)) == parameters


@pytest.mark.parametrize(
    ("name", "thing"),
    [(name, thing) for name, thing in public() if inspect.isfunction(thing) or hasattr(thing, "forward")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_functions_and_modules_document_every_argument(name, thing):
    parameters = [parameter for parameter in inspect.signature(thing).parameters if parameter != "self"]
    described = len(documented(inspect.getdoc(thing)))
    assert described == len(parameters) or (described == 0 and inspect.isfunction(thing) and len(parameters) <= 2)


def test_top_level_names_are_the_same_objects():
    models = importlib.import_module("vireid.models")
    assert vireid.MUN is models.MUN
    assert set(vireid.__all__) <= set(dir(vireid))
    assert all(getattr(vireid, name) is not None for name in vireid.__all__)
    with pytest.raises(AttributeError, match="module 'vireid' has no attribute 'NUM'"):
        vireid.NUM  # noqa: B018
