"""What looking.py answers of a fabric, asked of another host's agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from netfab.diagnose.trials import Trial, Verdict
from netfab.kernel.trace import Dropped
from netfab.looking import Here
from netfab.objects.decode import decoder, plain
from netfab.objects.view import View, Way
from netfab.remote.messages import BadMessage, Message
from netfab.remote.party import Party
from netfab.tuples import NamedTuple
from netfab.where import Where

_TRIAL = decoder(Trial)
_DECODERS: Mapping[str, Callable[[Any], Any]] = {
    "look": decoder(View),
    "way": decoder(Way),
    "tried": decoder(Verdict),
    "passes": bool,
    "dropped": lambda found: [(host, node, Dropped(*end)) for host, node, end in found],
}


class There(NamedTuple):
    """A fabric on another host, as `Here` is one on this."""

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
        self, nodes: Mapping[str, Sequence[str]], packets: str, frames: str, trial: Trial
    ) -> list[tuple[str, str, Dropped]]:
        """All hosts of the way trace at once; this one tries meanwhile."""
        said = {
            host: self._said(
                "dropped", {host: several}, packets, frames, trial if host == self.host else None
            )
            for host, several in nodes.items()
        }
        answers = self.party.calls("ask", said)
        return [end for host in nodes for end in _DECODERS["dropped"](answers[host])]

    def _ask(self, question: str, *words: Any) -> Any:
        answers = self.party.calls("ask", {self.host: self._said(question, *words)})
        return _DECODERS[question](answers[self.host])

    def _said(self, question: str, *words: Any) -> dict[str, Any]:
        return {"fabric": self.fabric, "question": question, "words": plain(words)}


def answered(arguments: Message, where: Where) -> Any:
    """The agent's side. Raises BadMessage."""
    question, words = str(arguments["question"]), list(arguments["words"])
    if question not in _DECODERS:
        raise BadMessage(f"there is no question {question[:40]!r}")
    if question in ("tried", "dropped"):
        words[-1] = words[-1] and _TRIAL(words[-1])
    return plain(getattr(Here(str(arguments["fabric"]), where), question)(*words))
