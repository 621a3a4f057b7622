"""Which guest a word means, among all that are known on this host.

Knows precedence and ambiguity, not how a manager is asked. What a word means never depends on which manager
is slow today: while one is running and does not answer, a word without a prefix is refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from errno import EACCES, ECONNREFUSED, ENOENT, ENOTDIR, EPERM
from functools import cache, cached_property, partial

from netfab.errors import NetfabError, NoAnswer, NoGuest, UnknownGuest
from netfab.guests.guest import Candidate, Guest, Source, is_full_id
from netfab.guests.namespaces import NamedNamespaces, Processes
from netfab.guests.sources import LISTED, Sources

KINDS = (*LISTED, "pid")
_LISTED = 8  # candidates that an error names
_WORDS = f"a name, the beginning of an id, or one of {', '.join(f'{kind}:…' for kind in KINDS)}"


def find(word: str, sources: Sources) -> Guest:
    """The guest that is meant by `docker:web`, `web`, `3f2a`, `shop/web`, `netns:x`, `/a/path`, `pid:1234`.

    A whole id or a name takes precedence over a prefix of an id. Raises NoGuest, GuestGone, NoAnswer.
    """
    return finder(sources)(word)


def finder(sources: Sources) -> Callable[[str], Guest]:
    """`find` for many words: each source is asked for its list only once."""
    ask = _asked_once(sources)

    def found(word: str) -> Guest:
        candidate = _meant(word, sources, ask)
        try:
            return candidate.guest()
        except OSError as error:
            raise NoGuest(f"{candidate}: {error.strerror or error}") from error

    return found


def meant(word: str, sources: Sources) -> Candidate:
    """The candidate that `find` would choose, running or not. Raises NoGuest."""
    return _meant(word, sources, _asked_once(sources))


def _asked_once(sources: Sources) -> Callable[[str], _Answers]:
    return cache(partial(_Answers, sources=sources))


def _meant(word: str, sources: Sources, ask: Callable[[str], _Answers]) -> Candidate:
    kind, name = _kind_and_name(word)
    if not name or not name.isprintable():
        raise NoGuest(f"{word!r} names no guest", hint=_WORDS)
    return _given(kind, name, sources) or _chosen(name, ask(kind))


def everyone(sources: Sources) -> Iterator[Guest]:
    """Every running guest; those that don't answer or can't be entered are left out.

    So are names that `ip netns` lists for namespaces listed already: Podman's, netfab's.
    """
    seen: set[int] = set()
    for candidate in _Answers("", sources).candidates:
        if candidate.may_run and (guest := _running(candidate)) is not None:
            if guest.kind != "netns" or int(guest.started) not in seen:
                yield guest
            with suppress(PermissionError, FileNotFoundError):
                seen.add(os.stat(guest.path).st_ino)


def _running(candidate: Candidate) -> Guest | None:
    with suppress(NetfabError, OSError):
        return candidate.guest()
    return None


def _kind_and_name(word: str) -> tuple[str, str]:
    kind, colon, name = word.partition(":")
    if colon and kind in KINDS:
        return kind, name
    return ("netns", word) if word.startswith("/") else ("", word)


def _given(kind: str, name: str, sources: Sources) -> Candidate | None:
    """A candidate that needs no list: a PID, a path."""
    if kind == "pid":
        return Candidate(Processes(), name)
    if kind == "netns" and name.startswith("/"):
        return NamedNamespaces(sources.netns).at(name)
    return None


class _Answers:
    """The answers of all sources of guests of that kind, or of any for ""."""

    def __init__(self, kind: str, sources: Sources) -> None:
        self.kind = kind
        self.candidates: list[Candidate] = []
        self.failures: list[NetfabError] = []
        self._said: dict[str, str] = {}
        for source in sources.of(kind):
            self._ask(source)

    def _ask(self, source: Source) -> None:
        # Podman's containers are listed by its service, its files and the runtime: keep one of each.
        known = {candidate.id for candidate in self.candidates if is_full_id(candidate.id)}
        try:
            found = [candidate for candidate in source.candidates() if candidate.id not in known]
        except NetfabError as error:
            self._fail(source, error)
        except OSError as error:
            if error.errno in (ENOENT, ENOTDIR, ECONNREFUSED):
                self._said.setdefault(source.kind, "not running" if source.kind == "docker" else "none")
            elif error.errno in (EACCES, EPERM):
                self._said[source.kind] = "root's to ask"
            else:
                self._fail(source, NoAnswer(source.kind, f"can't be asked: {error.strerror or error}"))
        else:
            self.candidates += found
            count = sum(candidate.source.kind == source.kind for candidate in self.candidates)
            self._said[source.kind] = f"{count} known"

    def called(self, word: str) -> Sequence[Candidate]:
        """Those whose whole id, or a name, is the word."""
        return self._by_name.get(word, ())

    def beginning(self, word: str) -> Sequence[Candidate]:
        """Those with a long id that begins with the word."""
        return [one for one in self.candidates if is_full_id(one.id) and one.id.startswith(word)]

    @cached_property
    def _by_name(self) -> Mapping[str, Sequence[Candidate]]:
        found: dict[str, list[Candidate]] = {}
        for candidate in self.candidates:
            for name in {candidate.id, *candidate.names}:
                found.setdefault(name, []).append(candidate)
        return found

    def _fail(self, source: Source, failure: NetfabError) -> None:
        self.failures.append(failure)
        self._said[source.kind] = "no answer"

    @property
    def certain(self) -> bool:
        """Whether a guest that nobody listed does not exist: containers may outlive their daemon."""
        return not {"not running", "root's to ask"} & set(self._said.values())

    def __str__(self) -> str:
        return ", ".join(f"{kind} ({said})" for kind, said in self._said.items())


def _chosen(name: str, answers: _Answers) -> Candidate:
    """The one that is meant. Raises NoGuest, also if a source that might know another does not answer."""
    if answers.failures:
        raise NoGuest(
            f"what {name} means can't be told: {answers.failures[0]}",
            hint="" if answers.kind else f"say whose it is, and nobody else is asked: {_WORDS}",
        )
    for known in (answers.called, answers.beginning):
        found = known(name)
        if len(found) > 1:
            more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
            names = ", ".join(str(candidate) for candidate in found[:_LISTED])
            raise NoGuest(f"{name} may mean {names}{more}", hint="name one of these")
        if found:
            return found[0]
    hint = f"pid:{name} is the process of that number" if name.isdigit() else _WORDS
    unknown = UnknownGuest if answers.certain else NoGuest
    raise unknown(f"no guest {name}: asked {answers}", hint=hint)
