"""Apply on a host that fails as the test says: what is undone, and what is told when that fails, too."""

from __future__ import annotations

from collections.abc import Sequence, Set
from errno import ENOSPC

import pytest
from examples import BR1, FILE, WEB_ETH0, bridge, fabric, namespace, veth

from netfab.engine.apply import Observed, apply
from netfab.engine.diff import Change
from netfab.errors import ApplyFailed, ForeignObject, KernelRefused
from netfab.objects.base import HOST, Fabric, Name
from netfab.objects.file import File


class MemoryHost:
    """A host in memory that carries out its phases until one fails as it was told."""

    def __init__(self, there: Fabric, failures: Sequence[Exception] = ()) -> None:
        self.there = there
        self.foreign: dict[Name, str] = {}
        self.failures = list(
            failures
        )  # the first of its kind is what a change fails with, later ones are raised
        self.phases = 0

    def observe(self, name: str, known: Sequence[Fabric], spaces: Set[str] | None = None) -> Observed:
        return Observed(Fabric(name, self.there.values()), self.foreign)

    def prepare(self, changes: Sequence[Change]) -> None:
        pass

    def run(self, phase: Sequence[Change]) -> list[Exception | None]:
        self.phases += 1
        if self.failures and self.phases > 1:
            raise self.failures[-1]
        for change in phase:
            if change.after is None:
                del self.there[change.before.names[0]]
            else:
                self.there[change.after.names[0]] = change.after
        return [*self.failures[:1], *[None] * len(phase)][: len(phase)]

    def wait(self, seconds: float, links: Set[Name]) -> None:
        raise AssertionError("nothing here takes time")


class SlowHost(MemoryHost):
    """A host in memory on which a link takes a while until it carries traffic."""

    def __init__(self, *unsettled: Name, looks: int = 1) -> None:
        super().__init__(fabric())
        self.unsettled = frozenset(unsettled)
        self.looks = looks
        self.read: list[Set[str] | None] = []

    def observe(self, name: str, known: Sequence[Fabric], spaces: Set[str] | None = None) -> Observed:
        self.read.append(spaces)
        return super().observe(name, known)._replace(unsettled=self.unsettled)

    def wait(self, seconds: float, links: Set[Name]) -> None:
        self.looks -= 1
        if not self.looks:
            self.unsettled = frozenset()


BEFORE = fabric(bridge())
AFTER = fabric(bridge(mtu=1400), bridge(BR1, mac="02:00:00:00:00:02"), File(FILE, "secret"))


def test_an_error_of_the_system_is_told_with_what_was_being_done_and_without_the_files_content() -> None:
    host = MemoryHost(fabric(), [OSError(ENOSPC, "No space left on device", FILE), RuntimeError()])

    with pytest.raises(ApplyFailed) as failed:
        apply(fabric(File(FILE, "secret")), host)

    assert str(failed.value).startswith(
        f"create file {FILE}: {FILE}: No space left on device (ENOSPC); and undoing"
    )


@pytest.mark.parametrize("second", [OSError(ENOSPC, "No space left on device"), RuntimeError("out of luck")])
def test_an_undo_that_fails_however_is_told_together_with_the_first_failure(second: Exception) -> None:
    host = MemoryHost(Fabric("shop", BEFORE.values()), [KernelRefused("first", ENOSPC, ""), second])

    with pytest.raises(ApplyFailed) as failed:
        apply(AFTER, host)

    assert str(failed.value) == f"first: No space left on device (ENOSPC); and undoing it failed: {second}"
    assert "netfab destroy" in failed.value.hint


def test_while_a_link_settles_only_its_own_namespace_is_read_again() -> None:
    host = SlowHost(WEB_ETH0)

    apply(fabric(bridge(), namespace(), veth()), host)

    assert host.read == [None, {HOST, WEB_ETH0.space}, {WEB_ETH0.space}]


def test_while_the_host_is_not_ready_no_node_is_read_again() -> None:
    host = SlowHost(veth().a.link, WEB_ETH0, looks=3)

    apply(fabric(bridge(), namespace(), veth()), host)

    everything, again = {HOST, WEB_ETH0.space}, {HOST}
    assert host.read == [None, everything, again, again, again, {WEB_ETH0.space}]


def test_where_nothing_should_be_all_that_is_left_is_read_back() -> None:
    host = SlowHost(WEB_ETH0)
    host.there = fabric(bridge(), namespace(), veth())

    apply(fabric(), host, back=lambda: fabric(bridge()))

    assert host.read == [{HOST}, None]


def test_what_is_in_the_way_is_refused_before_anything_is_run() -> None:
    host = MemoryHost(fabric())
    host.foreign = {BR1: "a bridge that netfab did not make"}

    with pytest.raises(
        ForeignObject, match="can't create bridge br1: br1 is a bridge that netfab did not make"
    ):
        apply(AFTER, host)

    assert host.phases == 0


def test_a_name_that_our_own_object_gives_up_is_not_in_the_way() -> None:
    moved = veth(a=veth().a._replace(link=Name("host", "nfother")))
    host = MemoryHost(fabric(namespace(), veth()))
    host.foreign = {WEB_ETH0: "an end that lost its mark, and is known by the other"}

    apply(fabric(namespace(), moved), host)

    assert host.there == fabric(namespace(), moved)
