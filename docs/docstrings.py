"""Extensions of mkdocstrings for this package."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Fence the examples in docstrings; Markdown takes `>>>` for a quotation."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            example = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)
            obj.docstring.value = example.sub(lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value)


class LinenModules(griffe.Extension):
    """Give Linen modules, which are classes with a `__call__`, the signature that their fields imply."""

    def on_class(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        if "__call__" not in cls.members:
            return
        fields = [member for member in cls.members.values() if member.is_attribute and member.annotation]
        word = griffe.ParameterKind.positional_or_keyword
        given = [griffe.Parameter(f.name, annotation=f.annotation, kind=word, default=f.value) for f in fields]
        cls.set_member("__init__", griffe.Function("__init__", parameters=griffe.Parameters(*given), parent=cls))
