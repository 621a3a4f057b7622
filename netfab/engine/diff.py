"""What differs between two fabrics, and in which order to change it.

Pure, and independent of the kinds of objects. The three rules of order are in `order`; nothing else in netfab
decides what comes before what.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from netfab.objects.base import EVERY, LASTING, Fabric, Name, Op
from netfab.objects.difference import difference
from netfab.tuples import NamedTuple

_NOTHING: Mapping[Name, str] = {}


class Change(NamedTuple):
    """A change of one object: a create has no before, a delete no after; a replacement is one of each."""

    before: Any
    after: Any
    why: str = ""
    silent: bool = False  # a delete that sends nothing: the object ends with another that is deleted

    @property
    def object(self) -> Any:
        """The object as it will be, or was."""
        return self.before if self.after is None else self.after

    @property
    def action(self) -> str:
        """create, update or delete."""
        return "create" if self.before is None else "delete" if self.after is None else "update"

    def ops(self) -> list[Op]:
        """The steps that carry it out, in order."""
        if self.silent:
            return []
        if self.before is None:
            return list(self.after.create())
        if self.after is None:
            return list(self.before.delete())
        return list(self.after.update(self.before))


def diff(desired: Fabric, actual: Fabric) -> list[Change]:
    """Every change that makes `actual` equal `desired`, in the order of `desired`, deletes last."""
    remade = _remade(desired, actual)
    changes = []
    for name, wanted in desired.items():
        found = actual.get(name)
        if found is None:
            changes.append(Change(None, wanted))
        elif name in remade:
            changes.append(Change(found, None, remade[name]))
            changes.append(Change(None, wanted, remade[name]))
        elif not _is_as_wanted(found, wanted):
            changes.append(Change(found, wanted, difference(found, wanted)))
    changes += [Change(found, None) for name, found in actual.items() if name not in desired]
    ending = {name for change in changes if change.after is None for name in change.before.names}
    return [
        Change(change.before, None, change.why, silent=True)
        if change.after is None and (within := change.before.within) and ending.issuperset(within)
        else change
        for change in changes
    ]


def _remade(desired: Fabric, actual: Fabric) -> dict[Name, str]:
    """The identity of each object that must be replaced, with the reason.

    An object is replaced when what is fixed in it changes, and when a name that it needs, before and after,
    gets another holder: what depended on the old one is gone with it.
    """
    why: dict[Name, str] = {}
    fresh: list[Any] = []  # objects whose names get a new holder
    for name, wanted in desired.items():
        found = actual.get(name)
        if found is None:
            fresh.append(wanted)
        elif type(found) is not type(wanted) or (
            not _is_as_wanted(found, wanted) and (found.fixed != wanted.fixed or found.names != wanted.names)
        ):
            why[name] = difference(found, wanted)
            fresh.append(wanted)
    dependants = _dependants(desired, actual) if fresh and actual else {}
    while fresh and dependants:
        holder = fresh.pop()
        for held in holder.names:
            for name in dependants.get(held, ()):
                if name not in why and held in actual[name].needs:
                    why[name] = f"{holder} is made anew"
                    fresh.append(desired[name])
    return why


def _is_as_wanted(found: Any, wanted: Any) -> bool:
    """Whether it is equal, or good enough by the wanted one's own judgement."""
    if found == wanted:
        return True
    satisfied = getattr(wanted, "is_satisfied_by", None)
    return satisfied is not None and type(found) is type(wanted) and bool(satisfied(found))


def _dependants(desired: Fabric, actual: Fabric) -> dict[Name, list[Name]]:
    """Existing objects, by each name that they need."""
    found: dict[Name, list[Name]] = defaultdict(list)
    for name, wanted in desired.items():
        if name in actual:
            for need in wanted.needs:
                found[need].append(name)
    return found


def as_applied(changes: Iterable[Change], last: Fabric) -> tuple[Change, ...]:
    """The changes, for people: deleted objects as they were applied, not as far as they could be read."""
    return tuple(
        change._replace(before=last.get(change.before.names[0], change.before))
        if change.after is None
        else change
        for change in changes
    )


def counts_of(changes: Iterable[Change]) -> Mapping[str, int]:
    """How many are created, updated, deleted and replaced, counted as `describe` lists them."""
    counts: Counter[str] = Counter()
    ended: set[Name] = set()
    for change in changes:
        action = change.action
        if action == "delete":
            ended.add(change.before.names[0])
        elif action == "create" and ended and change.after.names[0] in ended:
            counts["delete"] -= 1
            action = "replace"
        counts[action] += 1
    return +counts


def describe(changes: Iterable[Change], called: Mapping[Name, str] = _NOTHING) -> list[dict[str, Any]]:
    """Changes as plain data, for people and for JSON: a replacement is one, not a delete and a create.

    called: names for people of links that the changes don't create and whose own names say nothing.
    """
    found: dict[Name, dict[str, Any]] = {}
    changes = list(changes)
    called = {**called, **dict(_called(change.object for change in changes))}
    for change in changes:
        identity = change.object.names[0]
        before = found.get(identity)
        kind, _, name = str(change.object).partition(" ")
        if (link := getattr(change.object, "link", None)) in called:
            name += f" ({called[link]})"
        found[identity] = {
            "action": change.action if before is None else "replace",
            "kind": kind,
            "name": name,
            "why": change.why,
            "restarts": bool(getattr(change.object, "restarts", False))
            and (before is not None or change.after is None),
        }
    return list(found.values())


def _called(objects: Iterable[Any]) -> Iterator[tuple[Name, str]]:
    """Links with generated names, and their names for people: nf8f58744ebaf5 is `eth0 of web`."""
    for one in objects:
        said = str(one).partition(" ")[2]
        yield from ((name, said) for name in one.names if name.text not in said)


def order(changes: Sequence[Change]) -> Iterator[tuple[Change, ...]]:
    """Phases: the changes of one may run in any order, or at once.

    - Creating and updating wait for the creation, or the update, of what is needed and of what comes before:
      a route needs its link up, a port's rules must exist before the port does.
    - Deleting, and an update that releases a name, waits for all that needed it, and for the deletion of
      what came after it.
    - Creating a name waits until its former holder has released it; a silent delete releases it when what it
      ends with is deleted.
    """
    prerequisites = _prerequisites(changes)
    blocks: list[list[int]] = [[] for _ in prerequisites]
    for index, others in enumerate(prerequisites):
        for other in others:
            blocks[other].append(index)
    left = [len(others) for others in prerequisites]
    ready = [index for index, _ in enumerate(changes) if left[index] == 0]
    done = 0
    while ready:
        yield tuple(changes[index] for index in ready)
        done += len(ready)
        following: list[int] = []
        while ready:
            for waiting in blocks[ready.pop()]:
                left[waiting] -= 1
                if left[waiting] == 0:  # a whole space is part of no phase: look at its dependants now
                    (following if waiting < len(changes) else ready).append(waiting)
        ready = sorted(following)
    if done < len(changes):
        stuck = [str(change.object) for change, count in zip(changes, left, strict=False) if count]
        raise AssertionError(f"these changes wait for each other: {', '.join(stuck)}")


def for_peers(changes: Sequence[Change]) -> tuple[list[Change], list[Change]]:
    """Changes that other hosts rely on, with their prerequisites; and the rest. Both keep their order.

    A kind says so by `for_peers`. Nobody relies on what is deleted: deletes are in the rest.
    """
    prerequisites = _prerequisites(changes)
    found: set[int] = set()
    left = [index for index, change in enumerate(changes) if getattr(change.after, "for_peers", False)]
    while left:
        index = left.pop()
        if index not in found:
            found.add(index)
            left += prerequisites[index]
    numbered = list(enumerate(changes))
    return (
        [change for index, change in numbered if index in found],
        [change for index, change in numbered if index not in found],
    )


def _prerequisites(changes: Sequence[Change]) -> list[set[int]]:
    """For each change, the indexes of those that must be done before it, by the three rules.

    Entries after the last change stand for whole spaces: done when all changes in the space are, and part of
    no phase.
    """
    makers = _by_name(() if change.after is None else change.after.names for change in changes)
    enders = _by_name(map(_released, changes))
    prerequisites: list[set[int]] = [set() for _ in changes]
    _wait_for_what_is_needed(changes, makers, prerequisites)
    _wait_for_dependants(changes, enders, prerequisites)
    _wait_for_names(changes, makers, enders, prerequisites)
    for index, others in enumerate(prerequisites):
        others.discard(index)
    return prerequisites


def _by_name(names: Iterable[Iterable[Name]]) -> dict[Name, list[int]]:
    """The indexes of changes, by each of their names."""
    found: defaultdict[Name, list[int]] = defaultdict(list)
    for index, those in enumerate(names):
        for name in those:
            found[name].append(index)
    return found


def _released(change: Change) -> Iterable[Name]:
    """The names that the change releases."""
    if change.before is None:
        return ()
    if change.after is None:
        held: tuple[Name, ...] = change.before.names
        return held
    kept = change.after.names
    return (name for name in change.before.names if name not in kept)


def _wait_for_what_is_needed(
    changes: Sequence[Change], makers: dict[Name, list[int]], prerequisites: list[set[int]]
) -> None:
    """The first rule."""
    asking: defaultdict[str, list[int]] = defaultdict(list)  # by space: the changes that wait for all of it
    for index, change in enumerate(changes):
        if change.after is not None:
            for name in (*change.after.needs, *change.after.after):
                if name.text in (EVERY, LASTING):
                    asking[name.space].append(index)
                elif name in makers:
                    prerequisites[index].update(makers[name])
    members: dict[str, set[int]] = {space: set() for space in asking}
    for name, making in makers.items() if asking else ():
        if name.space in members:
            members[name.space].update(making)
    for space, those in asking.items():
        if members[space]:
            for index in those:
                prerequisites[index].add(len(prerequisites))
            prerequisites.append(members[space])


def _wait_for_dependants(
    changes: Sequence[Change], enders: dict[Name, list[int]], prerequisites: list[set[int]]
) -> None:
    """The second rule; a silent delete does not wait for those that needed it."""
    users = _by_name(
        () if change.before is None or change.silent else change.before.needs for change in changes
    )
    followers = _by_name(() if change.after is not None else change.before.after for change in changes)
    for name, those in (*users.items(), *followers.items()):
        for index in enders.get(name, ()):
            if not changes[index].silent:
                prerequisites[index].update(those)
    whole: dict[str, int] = {}  # by space: the entry for all changes that come after it
    for name, those in followers.items():
        if name.text == LASTING:
            whole[name.space] = len(prerequisites)
            prerequisites.append(set(those))
    for name, ending in enders.items() if whole else ():
        for index in ending:
            if name.space in whole and not changes[index].silent:
                prerequisites[index].add(whole[name.space])


def _wait_for_names(
    changes: Sequence[Change],
    makers: dict[Name, list[int]],
    enders: dict[Name, list[int]],
    prerequisites: list[set[int]],
) -> None:
    """The third rule."""
    for name in makers.keys() & enders.keys():
        for maker in makers[name]:
            prerequisites[maker].update(enders[name])
    for index, change in enumerate(changes):
        if change.silent:
            for name in change.before.within:
                prerequisites[index].update(enders[name])
