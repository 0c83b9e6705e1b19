"""The walls of the house: imports go downward, pmap and Orbax each live in one file."""

import ast
from pathlib import Path

import jsep

PACKAGE = Path(jsep.__file__).parent
FLOORS = {
    "ops": 0,
    "layers": 1,
    "models": 2,
    "costs": 3,
    "port": 3,
    "compress": 3,
    "data": 3,
    "report": 3,
    "bench": 4,
    "train": 4,
    "adopt": 5,
    "compare": 5,
    "decompose": 5,
    "tables": 5,
    "tpu": 5,
    "experiment": 5,
    "export": 5,
    "cli": 6,
}


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_imports_go_downward():
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        for name in imports(path):
            top, _, rest = name.partition(".")
            other = rest.split(".")[0]
            if top == "jsep" and room in FLOORS and other in FLOORS:
                assert FLOORS[other] <= FLOORS[room], f"{path} imports {name}"


def test_the_ground_floor_knows_no_flax():
    for path in (PACKAGE / "ops").glob("*.py"):
        assert not [name for name in imports(path) if name.split(".")[0] in ("flax", "optax", "orbax")], path


def test_one_file_knows_pmap_and_one_knows_orbax():
    for word, home in {"jax.pmap(": "parallel.py", "import orbax": "checkpoint.py"}.items():
        assert [path.name for path in PACKAGE.rglob("*.py") if word in path.read_text()] == [home]
