"""Every option of docker's is one of netfab's, or refused by its name with what would be right."""

from __future__ import annotations

import click
import pytest

from netfab.cli.dockers import absent, instead_of
from netfab.cli.main import cli
from netfab.cli.volumes import mounts_of
from netfab.errors import NetfabError

# `docker COMMAND --help` of 28.2, without those that are the command's own idea of how to print help.
OPTIONS = {
    "run": """
        --add-host --annotation -a --attach --blkio-weight --blkio-weight-device --cap-add --cap-drop
        --cgroup-parent --cgroupns --cidfile --cpu-count --cpu-percent --cpu-period --cpu-quota
        --cpu-rt-period --cpu-rt-runtime -c --cpu-shares --cpus --cpuset-cpus --cpuset-mems -d --detach
        --detach-keys --device
        --device-cgroup-rule --device-read-bps --device-read-iops --device-write-bps --device-write-iops
        --disable-content-trust --dns --dns-option --dns-search --domainname --entrypoint -e --env --env-file
        --expose --gpus --group-add --health-cmd --health-interval --health-retries --health-start-interval
        --health-start-period --health-timeout -h --hostname --init -i --interactive --io-maxbandwidth
        --io-maxiops --ip --ip6 --ipc --isolation --kernel-memory -l --label --label-file --link
        --link-local-ip --log-driver --log-opt --mac-address -m --memory --memory-reservation --memory-swap
        --memory-swappiness --mount --name --network --network-alias --no-healthcheck --oom-kill-disable
        --oom-score-adj --pid --pids-limit --platform --privileged -p --publish -P --publish-all --pull -q
        --quiet --read-only --restart --rm --runtime --security-opt --shm-size --sig-proxy --stop-signal
        --stop-timeout --storage-opt --sysctl --tmpfs -t --tty --ulimit --use-api-socket -u --user --userns
        --uts -v --volume --volume-driver --volumes-from -w --workdir
    """,
    "exec": "-d --detach --detach-keys -e --env --env-file -i --interactive --privileged -t --tty -u --user"
    " -w --workdir",
    "ps": "-a --all -f --filter --format -n --last -l --latest --no-trunc -q --quiet -s --size",
    "images": "-a --all --digests -f --filter --format --no-trunc -q --quiet --tree",
    "logs": "--details -f --follow --since -n --tail -t --timestamps --until",
    "stop": "-s --signal -t --timeout",
    "restart": "-s --signal -t --timeout",
    "kill": "-s --signal",
    "rm": "-f --force -l --link -v --volumes",
    "rmi": "-f --force --no-prune --platform",
    "start": "-a --attach --checkpoint --checkpoint-dir --detach-keys -i --interactive",
    "inspect": "-f --format -s --size --type",
    "stats": "-a --all --format --no-stream --no-trunc",
    "cp": "-a --archive -L --follow-link -q --quiet",
    "pull": "-a --all-tags --disable-content-trust --platform -q --quiet",
    "push": "-a --all-tags --disable-content-trust --platform -q --quiet",
    "search": "-f --filter --format --limit --no-trunc",
    "import": "-c --change -m --message --platform",
    "load": "-i --input --platform -q --quiet",
    "prune": "-a --all --filter -f --force --volumes",
    "version": "-f --format",
    "info": "-f --format",
}
COMMANDS = """
    run exec ps build pull push images login logout search version info container image network system volume
    attach commit cp create diff events export history import inspect kill load logs pause port rename restart
    rm rmi save start stats stop tag top unpause update wait compose
"""


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_is_known_or_refused_with_what_would_be_right(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    ctx = click.Context(command, info_name=name)
    known = {
        option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
    }

    for option in OPTIONS[name].split():
        told = absent(click.NoSuchOption(option, ctx=ctx))
        assert (told is None) is (option in known), option


def test_each_command_is_known_or_something_takes_its_place() -> None:
    for name in COMMANDS.split():
        known = cli.get_command(click.Context(cli), name) is not None
        assert known is not bool(instead_of(name)), name


@pytest.mark.parametrize(
    ("mount", "same"),
    [
        ("type=bind,source=/a,target=/b", "/a:/b:rw"),
        ("type=bind,src=/a,dst=/b,readonly", "/a:/b:ro"),
        ("destination=/b,type=bind,source=/a,ro=true", "/a:/b:ro"),
        ("type=bind,source=/a,target=/b,readonly=false", "/a:/b:rw"),
    ],
)
def test_a_mount_is_a_volume_in_other_words(mount: str, same: str) -> None:
    assert list(mounts_of(("/c:/d",), (mount,))) == ["/c:/d", same]


@pytest.mark.parametrize(
    ("mount", "told"),
    [
        ("source=/a,target=/b", "type=volume is not here"),
        ("type=tmpfs,target=/b", "docker's type=tmpfs is not here"),
        ("type=bind,target=/b", "lacks a source or a target"),
        ("type=bind,source=/a,target=/b,readonly=maybe", "readonly is true or false, not `maybe`"),
        ("type=bind,source=/a,target=/b,bind-propagation=shared", "docker's `bind-propagation` is not here"),
        ("type=bind,source=/a:ro,target=/b", "has a colon in a path"),
    ],
)
def test_a_mount_that_there_is_not_is_refused_in_its_words(mount: str, told: str) -> None:
    with pytest.raises(NetfabError, match=told):
        list(mounts_of((), (mount,)))
