"""The structure of the package: imports go strictly downward, and one file each knows pmap and Orbax."""

import ast
from pathlib import Path

import jsep

PACKAGE = Path(jsep.__file__).parent
FLOORS = {
    "errors": 0,
    "files": 1,
    "native": 1,
    "trees": 2,
    "ops": 2,
    "boxes": 3,
    "layers": 3,
    "models": 4,
    "costs": 5,
    "port": 5,
    "results": 5,
    "data": 5,
    "compress": 6,
    "report": 7,
    "train": 7,
    "bench": 8,
    "tpu": 8,
    "runs": 8,
    "export": 9,
    "cli": 10,
    "__main__": 11,
}
EVERYWHERE = {"__init__"}  # jsep itself: its version and three names of jsep.models


def modules() -> list[tuple[str, Path]]:
    """Return the room and the file of every module."""
    files = sorted(PACKAGE.rglob("*.py"))
    return [(path.relative_to(PACKAGE).with_suffix("").parts[0], path) for path in files]


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_module_has_a_room_and_every_room_a_module():
    assert {room for room, _ in modules()} - EVERYWHERE == set(FLOORS)


def test_imports_go_strictly_downward():
    for room, path in modules():
        if room in EVERYWHERE:
            continue
        for name in imports(path):
            top, _, rest = name.partition(".")
            other = rest.split(".")[0]
            if top == "jsep" and other in FLOORS and other != room:
                assert FLOORS[other] < FLOORS[room], f"{path} imports {name}"


def test_the_ground_floor_knows_no_flax():
    for path in (PACKAGE / "ops").glob("*.py"):
        assert not [name for name in imports(path) if name.split(".")[0] in ("flax", "optax", "orbax")], path


def test_one_file_knows_pmap_and_one_knows_orbax():
    for word, home in {"jax.pmap(": "parallel.py", "import orbax": "checkpoint.py"}.items():
        assert [path.name for path in PACKAGE.rglob("*.py") if word in path.read_text()] == [home]
