"""Pages and tables of the site that come from the program and its measured rows, so that they cannot go stale."""

import contextlib
import functools
import io
import os
import re
import textwrap
import typing

import tables

from jsep.cli.main import COMMANDS, HELP, run_command
from jsep.models import list_models, model_info

COLUMNS = 88  # width of the commands' help
TABLE = re.compile(r"^<!-- table: (\w+)((?: \w+)*) -->$", re.MULTILINE)


def on_files(files: typing.Any, config: typing.Any) -> typing.Any:
    """Add the pages and pictures that are generated as a whole; MkDocs calls this when it knows the pages on disk."""
    from mkdocs.structure.files import File

    generated = {"commands.md": commands(), "api/models.md": models()}
    for name in re.findall(r"table: protocol (\w+)", (tables.ROOT / "docs" / "results.md").read_text()):
        generated |= tables.fronts(name)
    for name, content in generated.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(text: str, **_: typing.Any) -> str:
    """Replace the comments that ask for a table; MkDocs calls this for every page."""
    return filled(text)


def filled(text: str) -> str:
    """Replace each line `<!-- table: NAME ARGUMENTS -->` by the table of that function."""
    return TABLE.sub(lambda found: table(found[1], *found[2].split()), text)


def table(name: str, *words: str) -> str:
    """Return the zoo, or the table that a function of `tables` makes."""
    return zoo(*words) if name == "zoo" else getattr(tables, name)(*words)


def zoo(task: str) -> str:
    """Return what `jsep models --table` prints of a task, with one published figure a line."""
    return output("models", "--task", task, "--table").replace("; ", "<br>")


def commands() -> str:
    """Return the page of all commands, with the help of each."""
    listed = re.findall(r"^  (jsep (\w+).*?) {2,}(.+)$", HELP, re.MULTILINE)
    parts = ["# Commands\n", "The output of `jsep --help` and `jsep COMMAND --help`.\n"]
    parts.append("| command | purpose |\n|---|---|")
    parts += [f"| [`{usage}`](#jsep-{name}) | {words} |" for usage, name, words in listed]
    parts.append("")
    parts += [f"## jsep {name}\n\n```text\n{explained(name)}```\n" for name in COMMANDS]
    return "\n".join(parts)


@functools.cache
def explained(name: str, *words: str) -> str:
    """Return the output of `jsep NAME WORDS --help` as plain text."""
    lines = output(name, *words, "--help").splitlines()
    return "\n".join(textwrap.fill(line, COLUMNS) for line in lines).strip() + "\n"


def output(name: str, *words: str) -> str:
    """Return what a command prints on a terminal of `COLUMNS` columns."""
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(COLUMNS)
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            run_command(name, list(words))
    finally:
        os.environ.pop("COLUMNS")
        os.environ.update({} if columns is None else {"COLUMNS": columns})
    return text.getvalue()


def models() -> str:
    """Return the reference of the registry, and of each family with its names."""
    names: dict[str, list[str]] = {}
    for name in list_models():
        family = model_info(name).network_class()
        names.setdefault(f"{family.__module__}.{family.__name__}", []).append(name)
    parts = ["# Networks\n", "::: jsep.models\n    options:\n      members:"]
    registry = ("create_model", "list_models", "model_info", "ModelInfo", "register", "option", "Images")
    parts += [f"        - {member}" for member in (*registry, "parse_options", "format_options")]
    bases = ("stage.Stage", "network.Network", "detector.Answers", "detector.Detector")
    for base in (*bases, "segmenter.Maps", "segmenter.Segmenter"):
        parts.append(
            f"\n## {base.rpartition('.')[2]}\n\n::: jsep.models.{base}\n    options:\n      heading_level: 3\n"
        )
    parts.append("\n## Families\n")
    parts.append(
        "The class of a family documents its options. A registered name fixes some; a user may still set them.\n"
    )
    for family in sorted(names):
        parts.append(f"### {family.rpartition('.')[2]}\n\n{', '.join(f'`{name}`' for name in names[family])}\n")
        parts.append(f"::: {family}\n    options:\n      members: false\n")
    return "\n".join(parts)
