"""Who may import whom (design.md §3), read from the sources; heavy things stay out of --help."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("app", "streams", "pipeline", "ui")

FORBIDDEN = {
    "streams": ("torch", "transformers", "gradio", "fastapi", "pipeline", "ui", "app"),
    "pipeline": ("streams.sources", "streams.isolation", "ui", "app", "gradio", "fastapi"),
    "ui": ("app", "torch", "transformers", "streams.sources", "streams.isolation", "streams.scenes",
           "streams.simulation", "streams.recorder", "pipeline.captioner", "pipeline.models", "pipeline.vlms",
           "pipeline.drafters", "pipeline.decoding", "pipeline.decoder"),
    "app": (),
}
ONLY_IN = {"dv_processing": "streams/dv_child/", "aedat": "streams/dv_child/",
           "h5py": ("streams/hdf5_child.py", "streams/hdf5_writer.py")}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("package", PACKAGES)
def test_layers(package: str) -> None:
    assert modules(package)
    for path in modules(package):
        bad = [name for name in imports(path) for ban in FORBIDDEN[package] if within(name, ban)]
        assert not bad, f"{path.relative_to(ROOT)} imports {bad}"


def test_the_checker_sees_a_violation() -> None:
    assert any(within(name, "pipeline") for name in imports(ROOT / "app" / "compose.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_nobody_imports_app(package: str) -> None:
    if package != "app":
        assert not [p for p in modules(package) if any(within(name, "app") for name in imports(p))]


def test_dangerous_libraries_stay_in_their_file() -> None:
    for library, allowed in ONLY_IN.items():
        users = [str(p.relative_to(ROOT)) for package in PACKAGES for p in modules(package)
                 if any(within(name, library) for name in imports(p))]
        assert users
        assert all(user.startswith(allowed) for user in users), users


def test_every_module_says_what_it_is_for() -> None:
    for package in PACKAGES:
        for path in modules(package):
            assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


def test_help_imports_nothing_heavy() -> None:
    code = ("import sys, app.cli\n"
            "try: app.cli.main(['--help'])\n"
            "except SystemExit: pass\n"
            "print([m for m in ('torch', 'transformers', 'gradio', 'cv2', 'numpy') if m in sys.modules])")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("[]")
