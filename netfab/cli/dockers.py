"""Docker's words for what is not here, and what would be right.

Read once such a word was typed, and not before.
"""

from __future__ import annotations

import click

from netfab.errors import NetfabError

_FORMAT = "`-o json` prints all of it; `jq` takes out what is wanted"
_LABELS = "containers have no labels; `ps --filter name=…` finds them by --name"
_PLATFORM = "an image is this host's kind of processor's; NAME@sha256:… of another is refused by name"
_TRUST = "all that comes is checked by its digest; NAME@sha256:… is always the same"
_LEAVE = "ctrl-p ctrl-q leave a terminal"
_TIMES = "a log is what the program wrote, and no line has a time; `-n N`; `sh -c 'prog | ts'` writes times"
_SIGNAL = "`netfab kill -s SIGNAL` sends one, `stop -t` says for how long its end is waited for"
_HEALTH = "there are no health checks; `ready` in a topology file says when a node is"
_SPACES = "each container has all of its own namespaces; `--network` shares that of the network"
_DEVICES = "there are no devices but those that every container has"
_NAMES = "containers find each other by --name; `files` of a topology's node can be its /etc/hosts"
_TMPFS = "what it writes is its own and goes with it; with --read-only, -v shows a directory to write to"
_VOLUMES = "volumes are directories and files of the host, and stay as they are"
_SHARES = "--cpus and --memory limit each for itself"
_LOGS = "a log is one file, which is capped; `netfab logs` prints it"
_SECURE = "what a container may is fixed, and no less strict than docker's; see --cap-add and --cap-drop"

# By command: the hint, and the words that get it.
_ABSENT: dict[str, dict[str, str]] = {
    "run": {
        _LABELS: "--label -l --label-file --annotation",
        _PLATFORM: "--platform --isolation",
        _TRUST: "--disable-content-trust",
        _LEAVE: "--detach-keys",
        _HEALTH: "--health-cmd --health-interval --health-retries --health-start-interval"
        " --health-start-period --health-timeout --no-healthcheck",
        _SPACES: "--cgroupns --ipc --pid --userns --uts",
        _DEVICES: "--device --device-cgroup-rule --gpus",
        _NAMES: "--add-host --link --network-alias --domainname --dns-search --dns-option",
        _TMPFS: "--tmpfs --shm-size",
        _SHARES: "--cpu-shares -c --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-count"
        " --cpu-percent --cpuset-cpus --cpuset-mems --memory-swap --memory-swappiness --memory-reservation"
        " --kernel-memory --oom-kill-disable --oom-score-adj --cgroup-parent --blkio-weight"
        " --blkio-weight-device --device-read-bps --device-read-iops --device-write-bps --device-write-iops"
        " --io-maxbandwidth --io-maxiops",
        _LOGS: "--log-driver --log-opt",
        _SECURE: "--privileged --security-opt --runtime --use-api-socket",
        "`netfab stop -t` says it when it stops": "--stop-timeout",
        "its image's counts; `netfab kill -s SIGNAL` sends another": "--stop-signal",
        "-p publishes each port that it names; on a network every port is there": "--publish-all -P --expose",
        _VOLUMES: "--volumes-from --volume-driver --storage-opt",
        "-u USER:GROUP": "--group-add",
        "`netfab ps`, `inspect` and `exec` know it by its name": "--cidfile",
        "-i passes on what is typed, -d leaves it; what it writes is always shown": "--attach -a --sig-proxy",
        "the host's limits are its own; `sh -c 'ulimit -n 1024; exec prog'` lowers one": "--ulimit",
        "its addresses are those of its network": "--link-local-ip",
    },
    "exec": {_LEAVE: "--detach-keys"},
    "ps": {
        _FORMAT: "--format",
        "they are in the order of their names": "--last -n --latest -l",
        "`netfab stats` shows what they use": "--size -s",
    },
    "images": {_FORMAT: "--format --tree"},
    "logs": {_TIMES: "--since --until --timestamps -t", _LABELS: "--details"},
    "stop": {_SIGNAL: "--signal -s"},
    "restart": {_SIGNAL: "--signal -s"},
    "rm": {_VOLUMES: "--volumes", _NAMES: "--link -l"},
    "rmi": {"`netfab prune` removes what nothing names": "--no-prune", _PLATFORM: "--platform"},
    "start": {
        "`netfab logs -f` shows what it writes, `exec -it` goes in": "--attach -a --interactive -i",
        _LEAVE: "--detach-keys",
        "there are no checkpoints": "--checkpoint --checkpoint-dir",
    },
    "inspect": {
        "it is JSON; `jq` takes out what is wanted": "--format -f",
        "`netfab stats` shows what it uses": "--size -s",
        "FABRIC/NAME, or an image's id, is only one thing": "--type",
    },
    "stats": {
        _FORMAT: "--format",
        "only what runs uses anything; names are never shortened": "--all -a --no-trunc",
    },
    "cp": {
        "what comes here is the caller's own, what goes there its root's": "--archive -a",
        "links are copied; name what they lead to": "--follow-link -L",
    },
    "pull": {"name each tag": "--all-tags -a", _PLATFORM: "--platform", _TRUST: "--disable-content-trust"},
    "push": {"name each tag": "--all-tags -a", _PLATFORM: "--platform", _TRUST: "--disable-content-trust"},
    "search": {_FORMAT: "--format --no-trunc", "a part of the name finds it": "--filter -f"},
    "import": {_PLATFORM: "--platform", "NAME says what it is": "--message -m"},
    "load": {_PLATFORM: "--platform"},
    "prune": {
        "`netfab rm` and `rmi` take names": "--filter",
        _VOLUMES: "--volumes",
    },
    "version": {_FORMAT: "--format -f"},
    "info": {_FORMAT: "--format -f"},
}
_VERBS = {
    "build": "docker, podman or buildah make images; `netfab load` and `netfab import` take them",
    "commit": "docker, podman or buildah make images; `netfab load` and `netfab import` take them",
    "compose": "`netfab convert docker-compose.yml` makes a topology of it",
    "container": "`netfab ps`, `run`, `rm` … are each a command",
    "create": "`netfab run -d` makes and starts one",
    "events": "`netfab logs -f` and `netfab watch` follow what happens",
    "export": "`netfab cp NAME:/ DIR` copies its files",
    "history": "`netfab inspect IMAGE` shows its layers",
    "image": "`netfab images`, `pull`, `rmi` … are each a command",
    "login": "what `docker login` wrote counts: ~/.docker/config.json",
    "logout": "what `docker login` wrote counts: ~/.docker/config.json",
    "network": "`netfab bridges` lists them, `netfab bridge create` makes one, a topology file several",
    "port": "`netfab ps` shows published ports",
    "rename": "`netfab rm` it, and `run --name` another",
    "save": "`netfab push`, or skopeo, gives an image to others",
    "system": "`netfab info` and `netfab prune` are each a command",
    "top": "`netfab stats`, or `netfab exec NAME ps`",
    "update": "`netfab rm` it, and `run` it with other limits; in a topology file change them and `apply`",
    "volume": "-v shows a directory of the host",
}


def absent(error: click.ClickException) -> NetfabError | None:
    """The hint for an option of docker's that does not exist here; None for any other error."""
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return None
    command, option = error.ctx.info_name or "", error.option_name
    for hint, words in _ABSENT.get(command, {}).items():
        if option in words.split():
            return NetfabError(f"docker's {option} is not here", hint=hint)
    return None


def instead_of(verb: str) -> str:
    """The replacement for docker's command of that name; "" if there is none."""
    return _VERBS.get(verb, "")
