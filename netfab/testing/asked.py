"""Who reaches whom, and why not: sentences of `checks`, tried in a sandbox."""

from __future__ import annotations

from collections.abc import Sequence

from netfab.errors import Location, NetfabError
from netfab.testing.inside import Place, summary_of
from netfab.topology.checks import parsed_check
from netfab.topology.grammar import Wrong
from netfab.topology.schema import Check
from netfab.tuples import NamedTuple
from netfab.where import HERE


class Reached(NamedTuple):
    """What came of trying. `why`: the first thing that is wrong, with the way so far."""

    holds: bool
    reason: str
    why: str


def tried(place: Place, sentence: str, hosts: Sequence[str]) -> Reached:
    """What comes of a sentence of `checks`, and why, where it fails."""
    from netfab.diagnose.trials import trials_of

    check = _check(sentence)
    if hosts:
        from netfab import across

        entry = across.known(place.fabric)
        assert entry is not None
        (trial,) = trials_of([check], entry.summary)
        (verdict,) = across.tried(entry, [trial])
    else:
        from netfab.checks import tried

        (trial,) = trials_of([check], summary_of(place.fabric))
        (verdict,) = tried(place.fabric, [trial])
    if verdict.holds or not check.reaches:
        return Reached(verdict.holds, verdict.reason, "")
    return Reached(verdict.holds, verdict.reason, why(place, sentence, hosts))


def why(place: Place, sentence: str, hosts: Sequence[str]) -> str:
    """Whether one reaches the other, by which way, and what is wrong where not, as `netfab why` says it."""
    from netfab.looking import Here
    from netfab.why import lines, why

    check = _check(sentence)._replace(via="", within=None)
    if hosts:
        from netfab import across
        from netfab.remote.asking import There
        from netfab.remote.party import party

        entry = across.known(place.fabric)
        assert entry is not None
        with party(entry.hosts, HERE) as together:
            asked = {host: There(together, host, place.fabric) for host in entry.hosts}
            return "\n".join(lines(check, why(check, place.fabric, entry.summary, asked)))
    here = {"": Here(place.fabric)}
    return "\n".join(lines(check, why(check, place.fabric, summary_of(place.fabric), here)))


def _check(sentence: str) -> Check:
    try:
        return parsed_check(sentence, Location("the test", 1, 1, ""))
    except Wrong as wrong:
        raise NetfabError(str(wrong)) from wrong
