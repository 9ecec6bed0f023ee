"""The rules of the house that no linter holds: lengths, names, documentation, class depth, what an import pulls in."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "radfoundry"
FILES = sorted(SOURCE.rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "helpers", "common", "manager", "misc", "base", "v2"}


def body_lines(node):
    """Lines of a function without its docstring and blank lines."""
    first = node.body[0]
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    text_lines = first.end_lineno - first.lineno + 1 if has_docstring else 0
    return node.end_lineno - node.lineno + 1 - text_lines


@pytest.fixture(scope="module")
def said():
    """What the rules are about, of every source file in one pass: its lines, long functions, asserts and classes."""
    lines, long, asserts, parents = {}, [], [], {}
    for path in FILES:
        name, text = str(path.relative_to(SOURCE)), path.read_text()
        lines[name] = text.count("\n")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and body_lines(node) > 60:
                long.append(f"{name}: {node.name} ({body_lines(node)})")
            elif isinstance(node, ast.Assert):
                asserts.append(f"{name}:{node.lineno}")
            elif isinstance(node, ast.ClassDef):
                parents[node.name] = [base.id for base in node.bases if isinstance(base, ast.Name)]
    return lines, long, asserts, parents


def test_file_and_function_lengths(said):
    lines, long, _, _ = said
    assert len(lines) > 400
    assert [name for name, count in lines.items() if count > 400] == [], "outgrown one idea"
    assert long == []


def test_names_and_no_assert_for_input(said):
    lines, _, asserts, _ = said
    assert [name for name in lines if Path(name).stem in FORBIDDEN_NAMES] == []
    assert asserts == [], "raise InputError instead"


def test_own_class_depth_is_at_most_two(said):
    parents = said[3]
    assert len(parents) > 100

    def depth(name):
        return 1 + max((depth(base) for base in parents[name] if base in parents), default=0)

    assert {name for name in parents if depth(name) > 2} == set()


def imported_by(statement):
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(output.stdout.split())


def test_import_and_command_line_do_not_load_heavy_libraries():
    loaded = imported_by("import radfoundry, radfoundry.cli, radfoundry.registry")
    assert not loaded & {
        "torch",
        "sklearn",
        "scipy",
        "pandas",
        "matplotlib",
        "SimpleITK",
        "monai",
        "nilearn",
        "pydicom",
    }


def test_statistics_need_numpy_and_scipy_only():
    loaded = imported_by(
        "import pkgutil, importlib, radfoundry.stats as s; "
        "[importlib.import_module(f'radfoundry.stats.{m.name}') for m in pkgutil.iter_modules(s.__path__)]"
    )
    assert not loaded & {"torch", "sklearn", "pandas", "matplotlib", "SimpleITK", "statsmodels"}


def test_the_project_speaks_of_itself_alone():
    root = SOURCE.parents[1]
    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True).stdout.split("\n")
    words = ("/work/" + "main", "/work/" + "shared", "radfoundry" + "/shared")
    for name in tracked:
        path = root / name
        if path.is_file() and path.suffix in {".py", ".md", ".yaml", ".toml", ".json", ".html", ".txt"}:
            text = path.read_text(encoding="utf-8", errors="ignore")
            assert not any(word in text for word in words), name
