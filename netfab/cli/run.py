"""`run`: a container by the words of one command, as docker has them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import click

from netfab.cli.context import need_terminal, where_of
from netfab.cli.failures import show_error
from netfab.cli.options import env_file_option, env_option, lock_option, variables
from netfab.errors import RUN, ContainerFailed, Interrupted, NetfabError, Several

if TYPE_CHECKING:
    from netfab.images import Image

FAILED = 125  # exit status for errors before the program runs: docker's
_OPTIONS = {  # keys of a topology file, and the options here
    "mac": "--mac-address", "mode": "--network", "pids": "--pids-limit", "sysctls": "--sysctl",
}  # fmt: skip
_OF_SEVERAL = {  # keys of several options, by the words of their values
    "ip": {"ip": "--ip", "ip6": "--ip6"},
    "mounts": {"volumes": "--volume", "mounts": "--mount"},
}
_UNLIMITED = {"memory": ("0",), "cpus": ("0",), "pids": ("0", "-1")}  # as in docker
_AS_TYPED = ("memory", "cpus", "pids", "user", "workdir", "hostname", "restart")  # keys of a topology file
_LISTS = ("publish", "cap_add", "cap_drop", "dns")
_FLAGS = ("read_only", "init")


@click.command("run", context_settings={"allow_interspersed_args": False, "help_option_names": ["--help"]})
@click.option("-d", "--detach", is_flag=True, help="Print its name, and leave it running.")
@click.option("-i", "--interactive", is_flag=True, help="Pass on standard input.")
@click.option("-t", "--tty", "terminal", is_flag=True, help="Give it a terminal.")
@click.option("--rm", "remove", is_flag=True, help="Remove it when it has ended.")
@click.option("--name", default="", help="Default: a generated one.")
@click.option(
    "--network", "--net", default="bridge", show_default=True, metavar="NET",
    help="host, none, container:NAME, or a network: by its name, FABRIC/NETWORK, or its bridge.",
)  # fmt: skip
@click.option("--ip", default="", help="Its address there. Default: a planned one.")
@click.option("--ip6", default="", help="Its IPv6 address there.")
@click.option("--mac-address", "mac", default="", help="Its MAC there.")
@click.option(
    "-p", "--publish", multiple=True, metavar="PORTS", help="[ADDRESS:]HOSTPORT:PORT[/udp], or ranges."
)
@click.option("-v", "--volume", "volumes", multiple=True, metavar="PATHS", help="SOURCE:TARGET[:ro].")
@click.option(
    "--mount", "mounts", multiple=True, metavar="FIELDS", help="type=bind,source=PATH,target=PATH[,readonly]."
)
@env_option
@env_file_option
@click.option("-m", "--memory", default="", help="Memory limit: 512m; 0: none.")
@click.option("--cpus", default="", help="CPU limit: 1.5.")
@click.option("--pids-limit", "pids", default="", help="Limit of processes and threads; -1: none.")
@click.option("-u", "--user", default="", help="USER[:GROUP].")
@click.option("-w", "--workdir", default="", help="Working directory.")
@click.option("-h", "--hostname", default="", help="Default: its name.")
@click.option("--read-only", is_flag=True, help="Make its root file system read-only.")
@click.option(
    "--init", is_flag=True, help="Run an init as process 1, which reaps zombies and forwards signals."
)
@click.option("--restart", default="", metavar="POLICY", help="no, always, unless-stopped, on-failure[:N].")
@click.option("--cap-add", multiple=True, metavar="NAME", help="Add a capability.")
@click.option("--cap-drop", multiple=True, metavar="NAME", help="Drop a capability.")
@click.option("--dns", multiple=True, metavar="ADDRESS", help="A DNS server.")
@click.option("--sysctl", "sysctls", multiple=True, metavar="NAME=VALUE", help="Set a sysctl of its network.")
@click.option(
    "--pull", type=click.Choice(["missing", "always", "never"]), default="missing", show_default=True,
    help="When to pull the image.",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Show no progress of a pull.")
@click.option("--entrypoint", default=None, help="Replace the image's entrypoint.")
@lock_option
@click.argument("image", type=click.Path(), metavar="IMAGE")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run_command(ctx: click.Context, /, detach: bool, lock_timeout: float, quiet: bool, **words: Any) -> None:
    """Run a program in a container of its own: IMAGE is `host`, a directory, or an image.

    Exits as the program does, with 128 + N where signal N ended it; 125 where netfab failed, 126 or 127 when
    the program can't be run or isn't there. ctrl-p ctrl-q leaves a terminal.
    """
    ctx.obj["quiet"] = ctx.obj["quiet"] or quiet
    where = where_of(ctx, lock_timeout)
    try:
        code = _run(words, detach, where)
    except ContainerFailed as error:
        show_error(error)
        code = error.exit_code if error.step == RUN else FAILED
    except Interrupted:
        raise
    except NetfabError as error:
        show_error(_in_words_of_options(error, words))
        code = FAILED
    raise SystemExit(code)


def _run(words: dict[str, Any], detach: bool, where: Any) -> int:
    from netfab.imperative import containers
    from netfab.nodes.by_name import NoSuchNode
    from netfab.runtime import foreground
    from netfab.runtime.paths import Paths
    from netfab.topology.default import NAME
    from netfab.where import need_root

    need_root("run")
    paths, view = Paths(NAME, where.run, where.state), foreground.View(None, terminal=words["terminal"])

    def made(name: str) -> None:
        nonlocal view
        if words["interactive"] and not detach:
            view = view._replace(stdin=0)
            view = view if view.terminal else view._replace(pipe=foreground.pipe_to(paths, name))

    with _image_stays(words["image"], where):
        name = containers.run(_wanted(words, detach, where), where, made)
    if detach:
        click.echo(name)
        return 0
    try:
        with foreground.minding(paths, name) if words["remove"] else nullcontext():
            found = foreground.look_at(paths, name, view)
    except foreground.Detached:
        return 0
    if words["remove"]:
        with suppress(NoSuchNode):  # a `prune` came first
            containers.remove([name], where)
    if found.oom:
        click.echo(f"{name} was killed: it was out of memory", err=True)
    if found.exit_code is None:
        raise NetfabError(f"how {name} ended is not known: its supervisor was killed")
    return found.exit_code


def _image_stays(image: str, where: Any) -> AbstractContextManager[object]:
    """A context in which nobody removes it: once the container exists, it is in use."""
    if image == "host":
        return nullcontext()
    from netfab.images.locks import using

    return using(where)


def _wanted(words: dict[str, Any], detach: bool, where: Any) -> Any:
    """What the words mean, with the image by its digest."""
    from netfab.imperative import containers
    from netfab.topology.default import Wanted
    from netfab.topology.schema import ByCommand

    if words["terminal"] and words["interactive"] and not detach:
        need_terminal()
    if words["remove"] and words["restart"] not in ("", "no"):
        raise NetfabError("conflicting options: --restart and --rm")
    return Wanted(
        words["name"],
        {key: value for key, value in {**_keys(words), **_network(words)}.items() if value},
        _image(words, where),
        words["image"],
        words["command"] or None,
        tuple(variables(words["env"], words["env_files"])),
        "" if _is_mode(words["network"]) else containers.network(words["network"], where),
        ByCommand(
            terminal=words["terminal"],
            stdin=("open" if detach else "once") if words["interactive"] else "",
            separate=not (detach or words["terminal"]),
            remove=words["remove"] and detach,
        ),
    )


def _keys(words: dict[str, Any]) -> dict[str, Any]:
    """The keys that a topology file would have, except for those of its network."""
    typed = (key for key in _AS_TYPED if words[key] not in _UNLIMITED.get(key, ()))
    keys: dict[str, Any] = {key: words[key] for key in typed}
    keys |= {key: list(words[key]) for key in _LISTS}
    keys |= {key: "true" for key in _FLAGS if words[key]}
    keys["mounts"] = _mounts(words)
    keys["sysctls"] = dict(_setting(text) for text in words["sysctls"])
    if words["entrypoint"] is not None:
        keys["entrypoint"] = [words["entrypoint"]] if words["entrypoint"] else "none"
    return keys


def _mounts(words: dict[str, Any]) -> list[str]:
    if not (words["volumes"] or words["mounts"]):
        return []
    from netfab.cli.volumes import mounts_of

    return list(mounts_of(words["volumes"], words["mounts"]))


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise NetfabError(f"--sysctl: `{text}` sets nothing", hint="--sysctl net.ipv4.tcp_syncookies=0")
    return name, value


def _network(words: dict[str, Any]) -> dict[str, Any]:
    """Its mode, or its port on a network. Raises NetfabError if both are given."""
    from netfab.topology.default import on_its_network

    port = {"mac": words["mac"], "ip": [words[key] for key in _addresses(words)]}
    port = {key: value for key, value in port.items() if value}
    if not _is_mode(words["network"]):
        return on_its_network(port)
    if port:
        option = "--mac-address" if "mac" in port else f"--{_addresses(words)[0]}"
        raise NetfabError(f"conflicting options: {option} and --network {words['network']}")
    return {"mode": words["network"]}


def _addresses(words: dict[str, Any]) -> list[str]:
    """The typed addresses. Raises NetfabError for one of the other family."""
    for key, family, other in (("ip", 4, "ip6"), ("ip6", 6, "ip")):
        text = words[key]
        if text and (":" in text) != (family == 6):
            raise NetfabError(
                f"--{key}: `{text}` is not an IPv{family} address", hint=f"--{other} takes the others"
            )
    return [key for key in ("ip", "ip6") if words[key]]


def _is_mode(network: str) -> bool:
    return network in ("host", "none") or network.startswith("container:")


def _image(words: dict[str, Any], where: Any) -> str:
    """`host`, a directory, or the id of an image that is here. Raises NetfabError if no program is given."""
    image, program = words["image"], words["entrypoint"] or words["command"]
    if image != "host":
        found = _brought(image, words["pull"], where)
        image, program = found.digest, program or found.config.argv
    if not program:
        raise NetfabError(f"which program? {words['image']} names none", hint="netfab run IMAGE CMD…")
    return str(image)


def _brought(image: str, when: str, where: Any) -> Image:
    from netfab.images import find, renew, resolve

    if when != "never":
        return renew(where, image) if when == "always" else resolve(where, image)
    found = find(where, image)
    if found is None:
        raise NetfabError(f"there is no image {image} on this host", hint="`--pull missing` brings it")
    return found


def _in_words_of_options(error: NetfabError, words: dict[str, Any]) -> NetfabError:
    """An error about a key, as one about the option that it came from."""
    from netfab.topology.default import WrongWord

    for each in error.errors if isinstance(error, Several) else (error,):
        if isinstance(each, WrongWord) and each.key:
            option = _OPTIONS.get(each.key, f"--{each.key.replace('_', '-')}")
            if several := _OF_SEVERAL.get(each.key):
                option = ", ".join(name for word, name in several.items() if words[word])
            each.args = (f"{option}: {each.message}",)
            each.message = each.args[0]
    return error
