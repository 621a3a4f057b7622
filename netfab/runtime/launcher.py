"""From a spec to all that its process needs: private layer, cgroup leaves, rights, and its script."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

from netfab.errors import Unsupported
from netfab.runtime import cgroups
from netfab.runtime.confine import Rights, rights_with
from netfab.runtime.layers import Layers, prepare_private_layer
from netfab.runtime.paths import Paths
from netfab.runtime.preexec import Arguments, Scripts, Setup
from netfab.runtime.spawn import Launch
from netfab.runtime.spec import INIT_PROGRAMS, Spec, capabilities_of


class Launcher:
    """What all containers of a fabric share at their start."""

    def __init__(self, paths: Paths, layers: Layers, open_files: tuple[int, int]) -> None:
        self._paths, self._layers = paths, layers
        self._scripts = Scripts(layers, open_files)
        self.hierarchies = cgroups.find_hierarchies(paths)
        cgroups.sweep_groups(self.hierarchies)
        self._held = cgroups.hold_group(self.hierarchies)
        self._rights: dict[frozenset[str], Rights] = {}

    def prepare(self, spec: Spec, netns: int) -> Launch:
        """Make its private layer and its cgroup leaves. Raises OSError, Unsupported."""
        layer = self._paths.layer(spec.name)
        parts = self._layers.of(spec.image)
        prepare_private_layer(layer, parts)
        leaves = cgroups.make_leaves(spec, self.hierarchies)
        setup = Setup(
            spec=spec,
            parts=parts,
            init=_init_program() if spec.init else "",
            rights=self._rights_of(capabilities_of(spec)),
            cgroup_files=tuple(cgroups.join_paths(leaves)),
            cgroup_mounts=cgroups.mounts_of(leaves, self.hierarchies),
        )
        return Launch(
            name=spec.name,
            scripts=self._scripts,
            script=self._scripts.of(setup),
            arguments=Arguments(
                spec.hostname or spec.name, layer, spec.hosts_file, spec.resolv_conf, netns=netns
            ),
            log=self._paths.log(spec.name),
            errors=self._paths.errors(spec.name) if spec.separate else "",
            stdin=_pipe(self._paths.stdin(spec.name)) if spec.stdin and not spec.terminal else "",
            endless=spec.stdin == "open",
            cgroup=next((leaf.path for leaf in leaves if not leaf.controllers), None),
        )

    def close(self) -> None:
        """Release all: no more launches."""
        cgroups.remove_group(self.hierarchies)

    def _rights_of(self, names: frozenset[str]) -> Rights:
        if names not in self._rights:
            self._rights[names] = rights_with(names)
        return self._rights[names]


def _pipe(path: str) -> str:
    """Made by the writer or by us, whoever comes first; pipes of earlier starts are reused."""
    with suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    return path


def _init_program() -> str:
    """A statically linked one: it runs on any root. Raises Unsupported."""
    for path in INIT_PROGRAMS:
        if os.access(path, os.X_OK):
            return path
    raise Unsupported(
        f"there is no init on this host, neither {' nor '.join(INIT_PROGRAMS)}",
        hint="apt-get install tini (or catatonit); or leave `init` out",
    )


def raise_open_files() -> tuple[int, int]:
    """Raise RLIMIT_NOFILE to the hard limit: a container takes two descriptors. Returns the old limits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft, hard
