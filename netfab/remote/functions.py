"""Functions of the API that concern one host only: `call {function, arguments}`.

Each imports what it needs when called: an agent that applies needs none of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netfab.engine.diff import describe
from netfab.objects.decode import decoder, plain
from netfab.remote.messages import Message
from netfab.where import Where


def _lifecycle(name: str) -> Callable[[Message, Where], Any]:
    def call(arguments: Message, where: Where) -> Any:
        from netfab.nodes import lifecycle

        function = getattr(lifecycle, name)
        more = {key: arguments[key] for key in ("timeout", "number") if key in arguments}
        return function(map(str, arguments.get("nodes", ())), where, **more)

    return call


def _inspect(arguments: Message, where: Where) -> dict[str, Any]:
    from netfab.queries.inspection import inspect

    return inspect(str(arguments["what"]), where)


def _wait(arguments: Message, where: Where) -> list[int | None]:
    from netfab.nodes import lifecycle

    return list(lifecycle.wait([str(arguments["node"])], where))


def _usage(arguments: Message, where: Where) -> list[Any]:
    from netfab.nodes.stats import usage

    return [[*key, *used] for key, used in usage(map(str, arguments["nodes"]), where).items()]


def _status(arguments: Message, where: Where) -> Any:
    from netfab.queries.status import status

    return status(str(arguments["fabric"]), where)


def _drift(arguments: Message, where: Where) -> Any:
    from netfab.fabric import drift
    from netfab.queries.status import described

    name = str(arguments["fabric"])
    return described(name, drift(name, where), where)


def _reconcile(arguments: Message, where: Where) -> Any:
    from netfab.fabric import reconcile
    from netfab.queries.status import described

    name = str(arguments["fabric"])
    return described(name, reconcile(name, where).changes, where)


def _destroy(arguments: Message, where: Where) -> Any:
    from netfab import fabric
    from netfab.imperative import adhoc

    name = str(arguments["fabric"])
    ended = (adhoc if arguments.get("force") is True else fabric).destroy(name, where)
    return describe(ended.changes)


def _confirm(arguments: Message, where: Where) -> Any:
    from netfab.unattended.confirm import confirm

    return confirm(str(arguments["fabric"]), where)


def _programs(_: Message, where: Where) -> Any:
    from netfab.nodes.by_name import programs

    return programs(where)


def _tried(arguments: Message, where: Where) -> Any:
    from netfab.diagnose.checks import tried
    from netfab.diagnose.trials import Trial

    trials = decoder(tuple[Trial, ...])(arguments["trials"])
    return plain(tried(str(arguments["fabric"]), trials, where))


def _asked(arguments: Message, where: Where) -> Any:
    from netfab.remote.asking import answered

    return answered(arguments, where)


FUNCTIONS: dict[str, Callable[[Message, Where], Any]] = {
    "status": _status,
    "drift": _drift,
    "reconcile": _reconcile,
    "confirm": _confirm,
    "programs": _programs,
    "destroy": _destroy,
    "tried": _tried,
    "ask": _asked,
    "inspect": _inspect,
    "wait": _wait,
    "usage": _usage,
    **{name: _lifecycle(name) for name in ("start", "stop", "restart", "kill", "pause", "unpause")},
}
