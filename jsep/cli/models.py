"""`jsep models`: the list of networks."""

from collections.abc import Sequence
from typing import Annotated

from tyro.conf import Positional, arg

from jsep.cli.console import new_table, print_table, size
from jsep.cli.flags import parse
from jsep.errors import UserError, nearest
from jsep.models import ModelInfo, Task, format_options, list_models, model_info


def run(argv: Sequence[str]) -> None:
    """Run the command."""
    parse(models, "models", argv)


def models(
    pattern: Annotated[Positional[str], arg(metavar="[PATTERN]")] = "*",
    task: Task | None = None,
    table: bool = False,
    weights: bool = False,
) -> None:
    """List the networks that match a wildcard.

    Args:
        pattern: A shell wildcard, such as '*separable*'.
        task: Only networks for this task.
        table: Print Markdown, with the published figures and the PyTorch references.
        weights: List the published weights of the networks instead, by the names that jsep train --init, jsep eval and
            other commands take.
    """
    names = list_models(pattern, task)
    if not names:
        what = f"network for {task}" if task else "network"
        raise UserError(f"No {what} matches {pattern!r}; {nearest(pattern.strip('*'), list_models(task=task))}")
    if weights:
        return _print_weights(pattern)
    infos = [model_info(name) for name in names]
    if table:
        print(markdown(infos), end="")
        return
    listing = new_table("model", "input", numbers=("parameters", "MACs"), then=("facts", "what it is"))
    for info in infos:
        listing.add_row(info.name, *_counts(info), info.certainty, info.summary)
    print_table(listing)


def _print_weights(pattern: str) -> None:
    from jsep.port.tags import known_weights

    found = list(known_weights(pattern))
    if not found:
        raise UserError(f"jsep knows of no published weights for {pattern}; jsep models --weights lists all")
    listing = new_table("model", "options", "weights")
    for one in found:
        listing.add_row(one.model, format_options(one.options), one.name)
    print_table(listing)


def markdown(infos: Sequence[ModelInfo]) -> str:
    """Return the table of networks as Markdown."""
    headings = ("network", "input", "parameters", "MACs", "facts", "source", "published", "outputs equal")
    lines = [f"| {' | '.join(headings)} |", "|---|---|--:|--:|---|---|---|---|"]
    for info in infos:
        published = "; ".join(f"{name}: {figure}" for name, figure in info.published.items())
        equal = ", ".join(
            f"{torch} ({format_options(options)})" if options else torch for torch, options in info.references.items()
        )
        cells = [f"`{info.name}`", *_counts(info), info.certainty, info.paper, published or "-", equal or "-"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _counts(info: ModelInfo) -> list[str]:
    """Return input, parameters and MACs. Those of jsep's own networks are stored; others are counted."""
    params, macs = info.params, info.macs
    if params is None or macs is None:
        from jsep.costs import count
        from jsep.models import create_model

        costs = count(create_model(info.name), info.input_shape)
        params, macs = costs.params, costs.macs
    return [size(info.input_shape), f"{params:,}", f"{macs:,}"]
