"""Who knows guests on this host, and where: sockets, directories, and netfab's own nodes.

Says who is asked and in which order; asks nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from netfab.guests.guest import Source
from netfab.guests.namespaces import NamedNamespaces, Node, Nodes
from netfab.kernel.facts import DAEMONS
from netfab.tuples import NamedTuple

LISTED = ("docker", "podman", "crun", "runc", "lxc", "netfab", "netns")  # kinds of guests that can be listed


def _no_nodes() -> Iterable[Node]:
    return ()


class Sources(NamedTuple):
    """The sources of this host's guests."""

    docker: tuple[str, ...] = DAEMONS[:1]  # sockets of its API
    podman: tuple[str, ...] = DAEMONS[1:]  # sockets of its API, if that runs
    storage: tuple[str, ...] = ("/var/lib/containers/storage", "/run/containers/storage")  # Podman's
    storage_conf: str = "/etc/containers/storage.conf"  # which may override it
    crun: str = "/run/crun"  # the runtimes' --root
    runc: str = "/run/runc"
    lxc: str = "/var/lib/lxc"
    netns: str = "/run/netns"
    nodes: Callable[[], Iterable[Node]] = _no_nodes  # raises what the store raises

    def of(self, kind: str) -> Iterator[Source]:
        """The sources of guests of that kind, of any for ""; in the order in which they are asked."""
        for each in (kind,) if kind else LISTED:
            yield from self._of_one(each)

    def _of_one(self, kind: str) -> Iterator[Source]:
        match kind:
            case "docker":
                yield from _engines(kind, self.docker)
            case "podman":
                from netfab.guests.oci import Podman, crun, runc

                yield from _engines(kind, self.podman)
                yield Podman(self.storage, (crun(self.crun), runc(self.runc)), self.storage_conf)
            case "crun":
                from netfab.guests.oci import crun

                yield crun(self.crun)
            case "runc":
                from netfab.guests.oci import runc

                yield runc(self.runc)
            case "lxc":
                from netfab.guests.lxc import Lxc

                yield Lxc(self.lxc)
            case "netfab":
                yield Nodes(self.nodes)
            case "netns":
                yield NamedNamespaces(self.netns)


def _engines(kind: str, sockets: Iterable[str]) -> Iterator[Source]:
    from netfab.guests.engine import Engine

    return (Engine(kind, path) for path in sockets)


def sources_of(environment: Mapping[str, str]) -> Sources:
    """This host's, and those that the commands of Docker and Podman would use in that environment.

    A DOCKER_HOST that is not a unix socket is on another host, where nothing can be attached.
    """
    found = Sources()
    scheme, _, path = environment.get("DOCKER_HOST", "").partition("://")
    if scheme == "unix" and path.startswith("/"):
        found = found._replace(docker=(path,))
    user = environment.get("XDG_RUNTIME_DIR", "")
    if user.startswith("/"):
        found = found._replace(podman=(*found.podman, f"{user}/podman/podman.sock"))
    if configured := environment.get("CONTAINERS_STORAGE_CONF"):
        found = found._replace(storage_conf=configured)
    return found
