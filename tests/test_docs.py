"""The pages say what the program does: their command lines parse, their Python runs, the site builds."""

import dataclasses
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sample_rows import result

from jsep import create_model, list_models
from jsep.cli.main import COMMANDS
from jsep.data import CATALOG
from jsep.models import parse_options, registry
from jsep.report.protocol import by_conditions
from jsep.runs.experiments import find_experiment

ROOT = Path(__file__).parent.parent
WRITTEN = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *WRITTEN]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def load_hooks():
    """Import docs/hooks.py as MkDocs does, with its folder on the path."""
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


hooks = load_hooks()


def command_lines(page: Path) -> Iterator[list[str]]:
    """The words of every `jsep ...` in a fenced block or between backticks."""
    text = page.read_text()
    blocks = [block.replace("\\\n", " ") for language, block in FENCE.findall(text) if not language]
    typed = [line for block in blocks for line in block.splitlines()]
    for code in typed + re.findall(r"`([^`]+)`", FENCE.sub("", text)):
        for found in re.finditer(r"(?:^|\s)jsep ([^&|;]+)", code.replace("\n", " ")):
            yield shlex.split(found[1], comments=True)


LINES = [(page, words) for page in PAGES for words in command_lines(page)]


def placeholder(word: str) -> bool:
    """What a person fills in, such as MODEL or RUN."""
    return word.isupper()


def until_flag(words: list[str]) -> list[str]:
    first = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    return words[:first]


def values(words: list[str], flag: str) -> list[str]:
    return until_flag(words[words.index(flag) + 1 :]) if flag in words else []


@pytest.mark.parametrize(("page", "words"), LINES, ids=lambda part: part.name if isinstance(part, Path) else None)
def test_a_command_line_of_the_pages_can_be_typed(page, words):
    name, *rest = words
    if placeholder(name) or name.startswith("-"):
        assert name in ("COMMAND", "--help", "--version")
        return
    assert name in COMMANDS
    given = [word for word in until_flag(rest) if not placeholder(word)]
    explained = hooks.explained(name, *given)
    flags = re.findall(r"^  (?:-\w, )?(--[\w-]+)(?:, (--[\w-]+))?", explained, re.MULTILINE)
    known = {flag for names in flags for flag in names}
    assert {word for word in rest if word.startswith("--")} <= known
    for data in values(rest, "--data"):
        assert data in CATALOG or "PATH" in data or data.endswith(("/", ".csv"))
    if name == "compare":
        assert not given or find_experiment(given[0])
        for model in values(rest, "--models"):
            create_model(model.split()[0], **parse_options(model.split()[1:]))
    if name in ("show", "train", "bench", "port") and given:
        create_model(given[0], **parse_options(values(rest, "--options")))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_on_a_page_and_in_the_reference(name):
    assert any(words[0] == name for page, words in LINES if page in WRITTEN), f"no page under docs/ uses jsep {name}"
    section = hooks.commands().partition(f"\n## jsep {name}\n")[2].partition("\n## ")[0]
    assert f"usage: jsep {name}" in section
    assert "--help" in section


def test_the_page_of_networks_has_every_network():
    page = hooks.filled((ROOT / "docs" / "zoo.md").read_text())
    assert sorted(re.findall(r"^\| `(\w+)` \|", page.partition("## Table")[2], re.MULTILINE)) == list_models()


def test_every_row_file_is_shown_with_its_rows():
    """Tables come from csv files, which are named below them; no placeholder of a table is left."""
    pages = "".join(hooks.filled((ROOT / "docs" / page).read_text()) for page in ("results.md", "tpu_zoo.md"))
    assert "<!-- table" not in pages
    for folder in ("experiments", "studies"):
        for path in (ROOT / folder / "results").glob("*.csv"):
            assert f"`{path.relative_to(ROOT).as_posix()}`" in pages
    assert "| 2 | 97.55\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.07 | **151,370** |" in pages  # of two runs of one network
    assert "| `als` | 64.0 / 70.9 |" in pages


def test_a_comparison_on_the_page_has_its_pictures_and_what_was_not_run():
    text = hooks.table("protocol", "depthwise_separable_cnn")
    pictures = re.findall(r"\]\((\S+\.svg)\)", text)
    drawn = hooks.tables.fronts("depthwise_separable_cnn")
    assert set(pictures) <= drawn.keys()
    assert len(pictures) == 2 * 3  # of two data sets; on the third there is a single network
    assert "Not run under these conditions: `both_cnn width=0.125 momentum=0.9`" in text
    assert "| `both_cnn` | CIFAR-10 accuracy, epoch 150: 0.8390<br>" in text.partition("Published")[2]
    assert "**Not run yet:** `xception`, `inception_v3`." in hooks.table("protocol", "xception")


def test_detectors_stand_on_the_page_with_both_of_their_figures():
    rows = [dataclasses.replace(result("a", seed, options=""), ap=0.2, ap50=0.5 + seed / 10) for seed in range(2)]
    (entries,) = by_conditions(rows).values()
    heading, _, row = hooks.tables._entry_table(entries).splitlines()
    assert "| runs | AP, % | AP50, % | parameters |" in heading
    assert re.search(r"\| `a` \| 2 \| 20\.00\W*±\W*0\.00 \| 55\.00\W*±\W*7\.07 \|", row)
    assert not hooks.tables._published(["ssdlite320 backbone=mobilenet_v2"])  # figures of another network
    assert hooks.tables._published(["ssdlite320"])


def test_every_network_stands_with_its_family():
    page = hooks.models()
    assert sorted(re.findall(r"`(\w+)`", page.partition("## Families")[2])) == list_models()


PYTHON = [page for page in PAGES if "```python" in page.read_text()]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow if page.stem in ("README", "pytorch") else (), id=page.stem)
        for page in PYTHON
    ],
)
def test_the_python_of_a_page_runs(page, monkeypatch):
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))  # a page registers a network
    names: dict = {"__name__": page.stem}
    for language, block in FENCE.findall(page.read_text()):
        if language == "python":
            exec(compile(block, str(page), "exec"), names)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("material", reason="mkdocs-material is not installed: .[docs]")
    pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed: .[docs]")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    pages = [page for page in tmp_path.rglob("*.html") if page.name != "404.html"]
    assert len(pages) >= len(WRITTEN)
    for page in pages:  # nothing is fetched
        text = page.read_text()
        assert not re.findall(r'<(?:script|img|link rel="(?:style|pre))[^>]+(?:src|href)="(?:https?:)?//', text)
