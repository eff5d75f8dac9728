"""The recipes: what they make, and what the documents say of it."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path
from types import ModuleType

import pytest

import chogori.model

ROOT = Path(__file__).parent.parent
SCALE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


def recipe(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "recipes" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_scale_are_those_that_are_computed() -> None:
    tables = recipe("scale").tables()
    assert [table for table in tables if table not in SCALE] == []


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_the_documented_command_lines_are_those_of_the_recipes(engine: str) -> None:
    made = getattr(recipe(f"serve_{engine}"), f"serve_{engine}")
    documented = [
        shlex.split(line)
        for line in SCALE.replace("\\\n", " ").splitlines()
        if line.startswith(f"{engine} serve")
    ]
    assert documented
    for words in documented:
        vision = {"vision": True} if "--mm-encoder-tp-mode" in words else {}
        model = next(word for word in words if word.startswith("moonshotai/"))
        assert list(made(model, **vision)) == words


def test_the_sizes_are_those_of_the_package() -> None:
    models = recipe("models")
    for name in models.__all__:
        assert getattr(models, name) is getattr(chogori.model, name)
