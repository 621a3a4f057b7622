"""Who knows guests on this host, and where: sockets, directories, and netfab's own nodes.

Says who is asked and in which order; asks nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from netfab.guests.guest import Source
from netfab.guests.namespaces import NamedNamespaces, Node, Nodes
from netfab.kernel.facts import DAEMONS
from netfab.tuples import NamedTuple


def _no_nodes() -> Iterable[Node]:
    return ()


class Sources(NamedTuple):
    """Where this host's guests are known."""

    docker: tuple[str, ...] = DAEMONS[:1]  # sockets of its API
    podman: tuple[str, ...] = DAEMONS[1:]  # sockets of its API, where that runs
    storage: tuple[str, ...] = ("/var/lib/containers/storage", "/run/containers/storage")  # Podman's
    crun: str = "/run/crun"  # the runtimes' --root
    runc: str = "/run/runc"
    lxc: str = "/var/lib/lxc"
    netns: str = "/run/netns"
    nodes: Callable[[], Iterable[Node]] = _no_nodes  # raises what the store raises

    def all(self) -> tuple[Source, ...]:
        """Everybody who has a list of guests, in the order in which they are asked."""
        from netfab.guests.engine import Engine
        from netfab.guests.lxc import Lxc
        from netfab.guests.oci import Podman, crun, runc

        runtimes = crun(self.crun), runc(self.runc)
        return (
            *(Engine("docker", path) for path in self.docker),
            *(Engine("podman", path) for path in self.podman),
            Podman(self.storage, runtimes),
            *runtimes,
            Lxc(self.lxc),
            Nodes(self.nodes),
            NamedNamespaces(self.netns),
        )


def sources_of(environment: Mapping[str, str]) -> Sources:
    """This host's, and the sockets that the commands of Docker and Podman would use in that environment.

    A DOCKER_HOST that is no unix socket is another host's, where nothing can be attached.
    """
    found = Sources()
    scheme, _, path = environment.get("DOCKER_HOST", "").partition("://")
    if scheme == "unix" and path.startswith("/"):
        found = found._replace(docker=(path,))
    user = environment.get("XDG_RUNTIME_DIR", "")
    if user.startswith("/"):
        found = found._replace(podman=(*found.podman, f"{user}/podman/podman.sock"))
    return found
