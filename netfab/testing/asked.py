"""Reachability: who reaches whom, and why not. Sentences of `checks`, tried in a sandbox."""

from __future__ import annotations

from collections.abc import Sequence

from netfab.errors import Location, NetfabError
from netfab.testing.inside import summary_of
from netfab.topology.checks import parsed_check
from netfab.topology.grammar import Wrong
from netfab.topology.schema import Check
from netfab.tuples import NamedTuple
from netfab.where import HERE


class Reached(NamedTuple):
    """The result of a check. `why`: the first thing that is wrong, with the path up to there."""

    holds: bool
    reason: str
    why: str


def tried(fabric: str, sentences: Sequence[str], hosts: Sequence[str]) -> list[Reached]:
    """The results of sentences of `checks`, tried concurrently, with the reason for each failure."""
    from netfab.diagnose.trials import refuse_unknown_ends, trials_of

    checks = [_check(sentence) for sentence in sentences]
    if hosts:
        from netfab.multihost import across

        entry = across.known(fabric)
        assert entry is not None
        refuse_unknown_ends(checks, entry.summary)
        verdicts = across.tried(entry, list(trials_of(checks, entry.summary)))
    else:
        from netfab.diagnose.checks import tried

        summary = summary_of(fabric)
        refuse_unknown_ends(checks, summary)
        verdicts = tried(fabric, list(trials_of(checks, summary)))
    return [
        Reached(
            bool(verdict.holds),
            verdict.reason,
            "" if verdict.holds or not check.reaches else why(fabric, sentence, hosts),
        )
        for sentence, check, verdict in zip(sentences, checks, verdicts, strict=True)
    ]


def why(fabric: str, sentence: str, hosts: Sequence[str]) -> str:
    """Whether one reaches the other, by which path, or else what is wrong, as `netfab why` prints it."""
    from netfab.diagnose.answer import lines
    from netfab.diagnose.this_host import Here
    from netfab.diagnose.why import why

    check = _check(sentence)._replace(via="", within=None)
    if hosts:
        from netfab.multihost import across
        from netfab.remote.asking import There
        from netfab.remote.party import party

        entry = across.known(fabric)
        assert entry is not None
        with party(entry.hosts, HERE) as together:
            asked = {host: There(together, host, fabric) for host in entry.hosts}
            told = lines(check, why(check, fabric, entry.summary, asked))
    else:
        told = lines(check, why(check, fabric, summary_of(fabric), {"": Here(fabric)}))
    return "\n".join(told).replace(f"netfab reconcile {fabric}", "heal()")  # its name in a test


def _check(sentence: str) -> Check:
    try:
        return parsed_check(sentence, Location("the test", 1, 1, ""))
    except Wrong as wrong:
        raise NetfabError(str(wrong)) from wrong
