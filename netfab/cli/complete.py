"""What the shell offers for a fabric's or node's name: those that everybody may read of in the run directory.

A shell asks at every tab: little is imported, and what can't be read is offered nothing for.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from netfab.runtime.paths import RUN_DIRECTORY

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def fabrics(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Fabrics that were applied on this host."""
    return [name for name in _applied(ctx) if name.startswith(incomplete)]


def files_and_fabrics(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Fabrics, and the shell's own file completion."""
    from click.shell_completion import CompletionItem

    return [*map(CompletionItem, fabrics(ctx, param, incomplete)), *files(ctx, param, incomplete)]


def files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The shell's own file completion."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def nodes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Their nodes; FABRIC/NODE if several fabrics have the name, or if the word begins like that."""
    by_fabric = _applied(ctx)
    often = Counter(name for names in by_fabric.values() for name in names)
    words = [
        f"{fabric}/{name}" if "/" in incomplete or often[name] > 1 else name
        for fabric, names in by_fabric.items()
        for name in names
    ]
    given = ctx.params.get(str(param.name)) if param.nargs == -1 else ()
    return [word for word in words if word.startswith(incomplete) and word not in (given or ())]


def first_node(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """A node; the command after it is left to the shell."""
    return [] if ctx.params.get(str(param.name)) else nodes(ctx, param, incomplete)


def objects(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Fabrics and nodes."""
    return [*fabrics(ctx, param, incomplete), *nodes(ctx, param, incomplete)]


def _applied(ctx: click.Context) -> dict[str, list[str]]:
    """The nodes of each fabric applied here, by its name."""
    directory = ctx.find_root().params.get("run_dir") or RUN_DIRECTORY
    found: dict[str, list[str]] = {}
    with suppress(OSError):
        for file in sorted(os.listdir(directory)):
            if file.endswith(".json"):
                with suppress(OSError, ValueError, LookupError, TypeError):
                    found[file.removesuffix(".json")] = _nodes_in(f"{directory}/{file}")
    return found


def _nodes_in(path: str) -> list[str]:
    """The nodes in a file of store/public.py."""
    with open(path) as file:
        public: Any = json.load(file)
    _, _, _, _, summary, *_ = public["record"]
    return list(json.loads(summary)["nodes"])
