"""Pages of the site that come from the program itself, so that they cannot go stale."""

import contextlib
import functools
import io
import os
import re
import textwrap
import typing
from pathlib import Path

from jsep.cli import COMMANDS, HELP
from jsep.models import list_models, model_info

README = Path(__file__).parent.parent / "README.md"
COLUMNS = 88  # of the commands' help


def on_files(files: typing.Any, config: typing.Any) -> typing.Any:
    """mkdocs calls this when it knows the pages on disk."""
    from mkdocs.structure.files import File

    for name, page in {"commands.md": commands(), "zoo.md": zoo(), "api/models.md": models()}.items():
        files.append(File.generated(config, name, content=page))
    return files


def commands() -> str:
    """What every command says of itself."""
    listed = re.findall(r"^  (jsep (\w+).*?) {2,}(.+)$", HELP, re.MULTILINE)
    parts = ["# Commands\n", "What `jsep --help` and `jsep COMMAND --help` print.\n"]
    parts.append("| command | what it does |\n|---|---|")
    parts += [f"| [`{usage}`](#jsep-{name}) | {words} |" for usage, name, words in listed]
    parts.append("")
    parts += [f"## jsep {name}\n\n```text\n{explained(name)}```\n" for name in COMMANDS]
    return "\n".join(parts)


@functools.cache
def explained(name: str, *words: str) -> str:
    """The output of `jsep NAME WORDS --help`, as plain text."""
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(COLUMNS)
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            COMMANDS[name]([*words, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        os.environ.update({} if columns is None else {"COLUMNS": columns})
    return "\n".join(textwrap.fill(line, COLUMNS) for line in text.getvalue().splitlines()).strip() + "\n"


def zoo() -> str:
    """The networks' part of the README, whose table a test holds against `jsep models --table`."""
    words, _, rest = README.read_text().partition("## Networks\n")[2].partition("<!-- zoo: jsep models --table -->\n")
    table = rest.partition("<!-- /zoo -->")[0].replace("; ", "<br>")
    return f"---\nhide: [toc]\n---\n\n# Networks\n{words}{table}"


def models() -> str:
    """The registry, and each family with its names."""
    names: dict[str, list[str]] = {}
    for name in list_models():
        family = model_info(name).network_class()
        names.setdefault(f"{family.__module__}.{family.__name__}", []).append(name)
    parts = ["# Networks\n", "::: jsep.models\n    options:\n      members:"]
    registry = ("create_model", "list_models", "model_info", "ModelInfo", "register", "option", "Images")
    parts += [f"        - {member}" for member in (*registry, "parse_options", "format_options")]
    parts.append("\n::: jsep.models.stage.Stage\n\n::: jsep.models.network.Network\n")
    parts.append("\n## Families\n")
    parts.append("The class of a family explains its options. A name fixes some; a user may still set them.\n")
    for family in sorted(names):
        parts.append(f"### {family.rpartition('.')[2]}\n\n{', '.join(f'`{name}`' for name in names[family])}\n")
        parts.append(f"::: {family}\n    options:\n      members: false\n")
    return "\n".join(parts)
