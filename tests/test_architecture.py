"""The shape of the package: imports go one way, types of tasks are known in one folder, files stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import polyhead
from polyhead import __all__ as public

ROOT = Path(polyhead.__file__).parent
ORDER = [
    *(
        "version",
        "errors",
        "drawing",
        "launch",
        "files",
        "claim",
        "processes",
        "hub",
        "data",
        "metrics",
        "outcomes",
        "text_metrics",
        "doc",
        "ranks",
        "nn",
        "answering",
        "runtime",
        "tasks",
        "intervals",
    ),
    *("model", "inherit", "stage", "encoder_spec", "explain", "recipe"),
    *(
        "predict",
        "loading",
        "scoring",
        "calibration",
        "card",
        "training",
        "exporting",
        "inspection",
        "output",
        "annotate",
        "bulk",
        "views",
        "studies",
        "advice",
        "reporting",
        "serving",
        "demo",
        "cli",
        "__main__",
    ),
]
"""Each file or folder of the package; it may import those before it, and itself."""
WITHOUT_TORCH = (
    "version",
    "errors",
    "drawing",
    "launch",
    "files",
    "hub",
    "data",
    "metrics",
    "outcomes",
    "text_metrics",
    "doc",
    "serving",
    "cli",
)
TASK_TYPES = {
    *("classification", "denoising", "lemmatization", "masked_lm", "ner", "parsing", "regression", "seq2seq"),
    "tagging",
}
FOR_THE_COMMAND_LINE = ("print", "exit", "quit", "sys.exit", "os._exit", "SystemExit")
MODULES = sorted(path for path in ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    """The dotted name of a module."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def unit_of(name: str) -> str:
    """The file or folder of the package that a module is or lies in; empty for the package itself."""
    return name.split(".")[1] if "." in name else ""


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Each module that is imported anywhere below a node, and the line. ``from a import b`` may mean ``a.b``."""
    known = {name_of(path) for path in MODULES}
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                yield (whole if whole in known else child.module or ""), child.lineno


def each_module(*left_out: str) -> list[object]:
    return [pytest.param(p, id=str(p.relative_to(ROOT))) for p in MODULES if unit_of(name_of(p)) not in left_out]


def test_the_order_names_everything() -> None:
    assert set(ORDER) == {unit_of(name_of(path)) for path in MODULES} - {""}


def test_no_module_hides_a_public_name() -> None:
    """Importing ``polyhead.train`` as a module would put it in the place of the function ``polyhead.train``."""
    assert not set(public) & set(ORDER)


@pytest.mark.parametrize("path", each_module(""))
def test_imports_go_one_way(path: Path) -> None:
    here = ORDER.index(unit_of(name_of(path)))
    for target, line in imports(tree_of(path)):
        if target.split(".")[0] == "polyhead":
            unit = unit_of(target)
            assert unit, f"{path}:{line} imports the public package"
            assert ORDER.index(unit) <= here, f"{path}:{line}: {ORDER[here]} imports {unit}"


def test_no_module_needs_itself() -> None:
    graph = {
        name_of(path): {
            target
            for statement in tree_of(path).body
            if isinstance(statement, ast.Import | ast.ImportFrom)
            for target, _ in imports(statement)
            if target.startswith("polyhead.") and target != name_of(path)
        }
        for path in MODULES
        if path.name != "__init__.py"
    }
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("path", each_module(*(set(ORDER) - set(WITHOUT_TORCH))))
def test_what_reads_data_needs_no_torch(path: Path) -> None:
    used = {target.split(".")[0] for target, _ in imports(tree_of(path))}
    assert not used & {"torch", "transformers", "tokenizers", "safetensors"}


@pytest.mark.parametrize(
    "module",
    ["polyhead", "polyhead.cli", "polyhead.data", "polyhead.doc", "polyhead.metrics", "polyhead.serving.server"],
)
def test_importing_is_cheap(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'transformers', 'spacy'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    assert all(getattr(polyhead, name) is not None for name in public)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = polyhead.nonsense


def concrete_types() -> set[str]:
    """The names of the classes of task types and their heads."""
    files = [ROOT / "tasks" / f"{name}.py" for name in TASK_TYPES]
    return {node.name for file in files for node in tree_of(file).body if isinstance(node, ast.ClassDef)}


def test_a_task_type_is_one_file() -> None:
    assert {path.stem for path in (ROOT / "tasks").glob("*.py")} == TASK_TYPES | {
        "__init__",
        "base",
        "head",
        "labels",
        "packing",
        "settings",
        "stepping",
        "writing",
        "writing_head",
    }
    assert {"Ner", "NerHead", "Parsing", "Classification"} <= concrete_types()


def _mentions(node: ast.AST, types: set[str]) -> Iterator[str]:
    """What shows that code knows a concrete task type: its class, its module, or a comparison with its name."""
    for child in ast.walk(node):
        if isinstance(child, ast.ImportFrom) and (child.module or "").startswith("polyhead.tasks."):
            if child.module != "polyhead.tasks.base":
                yield f"line {child.lineno}: imports {child.module}"
        elif isinstance(child, ast.Compare | ast.match_case):
            parts: list[ast.AST] = [child.pattern] if isinstance(child, ast.match_case) else [child]
            named = {n.value for part in parts for n in ast.walk(part) if isinstance(n, ast.Constant)}
            yield from (f"compares with {name!r}" for name in named & TASK_TYPES)
    imported = {a.name for n in ast.walk(node) if isinstance(n, ast.ImportFrom) for a in n.names if _is_tasks(n)}
    yield from (f"imports {name}" for name in imported & types)


def _is_tasks(node: ast.ImportFrom) -> bool:
    return (node.module or "").startswith("polyhead.tasks")


@pytest.mark.parametrize("path", each_module("tasks"))
def test_only_tasks_knows_the_types_of_tasks(path: Path) -> None:
    assert list(_mentions(tree_of(path), concrete_types())) == []


def test_the_walk_would_see_a_branch_on_a_type() -> None:
    for code in (
        "if task.type == 'ner': pass",
        "if kind in ('parsing', 'x'): pass",
        "from polyhead.tasks import Ner",
        "from polyhead.tasks.ner import NerHead",
        "match t:\n    case 'tagging': pass",
    ):
        assert list(_mentions(ast.parse(code), {"Ner", "NerHead"})), code


@pytest.mark.parametrize("path", each_module())
def test_files_and_functions_stay_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{path}:{node.lineno}: {node.name}"


@pytest.mark.parametrize("path", each_module("cli"))
def test_only_the_command_line_prints_or_exits(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in FOR_THE_COMMAND_LINE, f"{path}:{node.lineno}: {called}"


@pytest.mark.parametrize("path", each_module())
def test_nothing_is_unpickled_and_no_code_of_strangers_is_run(path: Path) -> None:
    assert not {target.split(".")[0] for target, _ in imports(tree_of(path))} & {"pickle", "dill", "joblib", "shelve"}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in ("torch.load", "torch.save", "eval", "exec"), f"{path}:{node.lineno}"
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
            assert isinstance(node.value, ast.Constant) and node.value.value is False, f"{path}:{node.value.lineno}"
