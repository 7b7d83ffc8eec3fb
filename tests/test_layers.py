"""The layering of the packages, and that importing sigssl costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sigssl

ROOT = Path(sigssl.__file__).parent
LAYERS = [
    {"errors", "types", "optional", "config", "native"},
    {"data", "features", "views", "nn", "objectives"},
    {"corpora", "methods"},
    {"training"},
    {"extract"},
    {"asr", "downstream"},
    {"reports", "interop"},
    {"cli", "__main__"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
STRANGERS = {"data", "features", "views", "nn", "objectives"}  # never import one another ...
FRIENDS = {("objectives", "nn")}  # ... but for these
LAZY = {
    "torchaudio",
    "mamba_ssm",
    "s3prl",
    "mne",
    "librosa",
    "transformers",
    "huggingface_hub",
    "lhotse",
    "yasa",
    "dask",
    "distributed",
    "espeakng_loader",
    "flashlight",
    "jiwer",
    "sentencepiece",
}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every dotted name that `path` imports, and whether at module level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield from ((f"{node.module}.{alias.name}", id(node) in top) for alias in node.names)


def room(dotted: str) -> str:
    return dotted.split(".")[1] if "." in dotted else "sigssl"


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(ROOT)) for p in FILES])
def test_imports_follow_the_layers(path: Path) -> None:
    mine = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for name, at_top in imports(path):
        head = name.split(".")[0]
        assert not (at_top and head in LAZY), f"{path}: {head} must be imported inside the function that needs it"
        if head == "jsonargparse":
            assert mine == "cli", f"{path}: jsonargparse belongs in cli/"
        if head != "sigssl" or mine == "__init__" or room(name) in (mine, "__version__", "load"):
            continue
        other = room(name)
        assert mine in RANK and other in RANK, f"{path}: {mine} or {other} has no layer"
        assert RANK[other] <= RANK[mine], f"{path}: {mine} may not import {other}"
        if {mine, other} <= STRANGERS:
            assert (mine, other) in FRIENDS, f"{path}: {mine} may not import {other}"
        if mine == "corpora":
            assert other in {"data", "errors", "optional"}, f"{path}: corpora knows data only"


@pytest.mark.parametrize("statement", ["import sigssl", "from sigssl.cli.main import main; main(['--help'])"])
def test_import_and_help_load_no_torch(statement: str) -> None:
    heavy = {"torch", "lightning", "sklearn", "matplotlib", "numpy"}
    code = f"{statement}\nimport sys; loaded = {heavy} & set(sys.modules); assert not loaded, loaded"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
