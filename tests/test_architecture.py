"""The map of the package: which way is down, how long things may be, what is refused."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent / "src" / "tunesmith"

MAY_IMPORT = {  # written bottom-up
    "threads": "",
    "errors": "",
    "types": "errors",
    "store": "errors",
    "config": "types errors",
    "templates": "types errors",
    "compute": "types errors",
    "data": "templates config store types errors",
    "models": "compute config store types errors",
    "infer": "models templates compute config types errors",
    "stages": "infer models data templates compute config types errors",
    "training": "stages models data templates compute config store types errors",
    "eval": "infer models data templates compute config store types errors",
    "export": "infer models templates compute config store types errors",
    "serve": "infer models data templates compute config store types errors",
    "cli": "training eval export serve infer data models templates compute config store types "
    "errors",
    "__init__": "threads cli training config errors",
    "__main__": "cli",
}


def _imports(tree: ast.AST) -> set[str]:
    """First-level rooms of tunesmith that a module imports, lazily or not."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            module = node.module or ""
            names = [f"{module}.{a.name}" if module == "tunesmith" else module for a in node.names]
        else:
            continue
        parts = [name.split(".") for name in names]
        found |= {p[1] for p in parts if p[0] == "tunesmith" and len(p) > 1}
    return found - {"__version__"}


def _modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def test_imports_point_down():
    bad = []
    for path in _modules():
        here = path.relative_to(ROOT).parts[0].removesuffix(".py")
        allowed = {here, *MAY_IMPORT.get(here, "").split()}
        there = _imports(ast.parse(path.read_text(encoding="utf8")))
        bad += [f"{path}: {name}" for name in sorted(there - allowed)]
    assert not bad, "\n".join(bad)


def test_files_and_functions_stay_short():
    bad = []
    for path in _modules():
        text = path.read_text(encoding="utf8")
        limit = 40 if path.name == "__init__.py" else 400
        if text.count("\n") > limit:
            bad.append(f"{path}: {text.count(chr(10))} lines, at most {limit}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[1] if ast.get_docstring(node) and node.body[1:] else node.body[0]
                length = (node.end_lineno or 0) - first.lineno + 1
                if length > 60:
                    bad.append(
                        f"{path}:{node.lineno} {node.name}: {length} lines of code, at most 60"
                    )
    assert not bad, "\n".join(bad)


def test_every_module_has_its_test_file():
    tests = Path(__file__).parent
    missing = [
        str(path.relative_to(ROOT))
        for path in _modules()
        if path.stem not in ("__init__", "__main__")
        and not (tests / path.relative_to(ROOT).parent / f"test_{path.stem}.py").exists()
    ]
    assert not missing, f"without a test file: {missing}"


def test_no_pickle_and_no_code_from_data():
    refused = {"pickle", "joblib", "dill", "marshal", "shelve"}
    calls = {"eval", "exec"}
    attributes = {("torch", "load"), ("torch", "save"), ("yaml", "load"), ("os", "system")}
    bad = []
    for path in _modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                bad += [where for alias in node.names if alias.name.split(".")[0] in refused]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in refused:
                bad.append(where)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                bad += [where] if node.func.id in calls else []
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                bad += [where] if (node.value.id, node.attr) in attributes else []
    assert not bad, "\n".join(bad)
