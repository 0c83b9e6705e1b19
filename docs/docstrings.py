"""What mkdocstrings needs to be told of this package."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Examples of docstrings are code: a fence around each, or Markdown takes `>>>` for a quotation."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            example = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)
            obj.docstring.value = example.sub(lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value)


class LinenModules(griffe.Extension):
    """Linen modules are dataclasses, though no decorator says so: their fields are what they are called with."""

    def on_class(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        if not any(str(base).endswith("Module") for base in cls.bases):
            return
        fields = [member for member in cls.members.values() if member.is_attribute and member.annotation]
        word = griffe.ParameterKind.positional_or_keyword
        given = [griffe.Parameter(f.name, annotation=f.annotation, kind=word, default=f.value) for f in fields]
        cls.set_member("__init__", griffe.Function("__init__", parameters=griffe.Parameters(*given), parent=cls))
