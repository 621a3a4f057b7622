"""The questions of diagnose/this_host.py about a fabric, put to another host's agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from netfab.diagnose.this_host import Here
from netfab.diagnose.trials import Trial, Verdict
from netfab.kernel.trace import Dropped, Match
from netfab.objects.decode import decoder, plain
from netfab.objects.view import View, Way
from netfab.remote.messages import BadMessage, Message, field, understood
from netfab.remote.party import Party
from netfab.tuples import NamedTuple
from netfab.where import Where

_TRIAL = decoder(Trial)
_MATCHES = decoder(tuple[Match, ...])
_DECODERS: Mapping[str, Callable[[Any], Any]] = {
    "look": decoder(View),
    "way": decoder(Way),
    "tried": decoder(Verdict),
    "passes": bool,
    "dropped": lambda found: [(host, node, Dropped(*end)) for host, node, end in found],
}


class There(NamedTuple):
    """A fabric on another host; `Here` is the same for this host."""

    party: Party
    host: str
    fabric: str

    def look(self) -> View:
        found: View = self._ask("look")
        return found

    def way(self, node: str, target: str, source: str, incoming: int) -> Way:
        found: Way = self._ask("way", node, target, source, incoming)
        return found

    def tried(self, trial: Trial) -> Verdict:
        found: Verdict = self._ask("tried", trial)
        return found

    def passes(self, node: str, address: str, size: int) -> bool:
        found: bool = self._ask("passes", node, address, size)
        return found

    def dropped(
        self, nodes: Mapping[str, Sequence[str]], matches: Sequence[Match], trial: Trial
    ) -> list[tuple[str, str, Dropped]]:
        """Trace on all hosts of the path; once they are ready, this one runs the trial."""
        others = {host: several for host, several in nodes.items() if host != self.host}
        words = {"verb": "trace", "fabric": self.fabric, "matches": plain(matches)}
        self.party.ask_all({host: words | {"nodes": list(several)} for host, several in others.items()})
        own: list[tuple[str, str, Dropped]] = self._ask(
            "dropped", {self.host: nodes.get(self.host, ())}, matches, trial
        )
        said = self.party.ask_all({host: {"verb": "traced"} for host in others})
        for host in others:
            with understood(host):
                own += [(host, node, Dropped(*end)) for node, end in said[host]["ends"]]
        return own

    def _ask(self, question: str, *words: Any) -> Any:
        arguments = {"fabric": self.fabric, "question": question, "words": plain(words)}
        said = self.party.call("ask", arguments, [self.host])[self.host]
        with understood(self.host):
            return _DECODERS[question](said)


class Traced:
    """The agent's side of a trace during another host's trial, until it is closed."""

    def __init__(self, fabric: str, message: Message, where: Where) -> None:
        nodes = [str(node) for node in field(message, "nodes", list)]
        matches = _MATCHES(field(message, "matches", list))
        self._stack = ExitStack()
        self._ends = self._stack.enter_context(Here(fabric, where).traced(nodes, matches))

    def ends(self) -> list[Any]:
        """Where packets were dropped so far: nodes and rules."""
        found: list[Any] = plain(self._ends())
        return found

    def close(self) -> None:
        """Stop tracing."""
        self._stack.close()


def answered(arguments: Message, where: Where) -> Any:
    """The agent's side. Raises BadMessage."""
    question, words = str(arguments["question"]), list(arguments["words"])
    if question not in _DECODERS:
        raise BadMessage(f"there is no question {question[:40]!r}")
    if question == "dropped":
        words[1] = _MATCHES(words[1])
    if question in ("tried", "dropped"):
        words[-1] = _TRIAL(words[-1])
    return plain(getattr(Here(str(arguments["fabric"]), where), question)(*words))
