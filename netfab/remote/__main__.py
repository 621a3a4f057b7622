"""The entry point on a remote host, once it has netfab's modules: the agent, or one command in a node."""

from __future__ import annotations

import gc
import os
from typing import Any


def main(arguments: Any) -> None:
    """`{}`: run the agent; `{"exec": …}`: call execute() with these, and exit with its status."""
    gc.disable()
    if "exec" in arguments:
        _execute(**arguments["exec"])
    from netfab.remote.serve import serve

    serve(0, 1)


def _execute(node: str, argv: list[str], env: list[list[str]], **options: Any) -> None:
    from netfab.errors import ContainerFailed, NetfabError
    from netfab.nodes.by_name import execute

    try:
        code = execute(node, tuple(argv), env=tuple((name, value) for name, value in env), **options)
    except NetfabError as error:
        code = error.exit_code if isinstance(error, ContainerFailed) else 1
        os.write(2, f"netfab: error: {error}\n".encode())
        if error.hint:
            os.write(2, f"hint: {error.hint}\n".encode())
    os._exit(code)
