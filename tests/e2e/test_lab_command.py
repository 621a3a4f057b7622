"""`netfab lab FILE -- CMD`, for root and for a user who can gain no privileges; what needs root says so."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from lab import COMMAND, Lab, Result, child_of, throwaway_host
from machine import differences
from managers import until
from traffic import serving

NOBODY = 65534
NO_NEW_PRIVS, DUMPABLE = 38, 4  # linux/prctl.h; the second as after an execve, or /proc/self would be root's
PAIR = """\
name: pair
networks: {lan: {subnet: 10.1.0.0/24}}
nodes:
  a: {networks: {lan: {ip: 10.1.0.10}}}
  b: {networks: {lan: {ip: 10.1.0.11}}}
"""
# Nothing but that in this host's view of the machine's cgroups.
VERSION_1 = """\
mount -t tmpfs none /sys/fs/cgroup
mkdir /sys/fs/cgroup/freezer
mount -t cgroup -o freezer none /sys/fs/cgroup/freezer
"""
# The interpreter may lie where an ordinary user can't read: everything that it will need is imported first.
AS_NOBODY = f"""\
import ctypes, difflib, encodings, importlib, os, pkgutil, shlex, sqlite3, subprocess, sys, textwrap
import click, netfab, yaml
for package in (click, netfab, encodings):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name not in ("encodings.mbcs", "encodings.oem", "click._winconsole"):  # for Windows only
            importlib.import_module(module.name)
from netfab.cli.main import main
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
for option in ({NO_NEW_PRIVS}, {DUMPABLE}):
    ctypes.CDLL(None, use_errno=True).prctl(option, 1, 0, 0, 0)
sys.argv = ["netfab", *sys.argv[1:]]
sys.exit(main())
"""

# The same where nobody may make a user namespace: in one of these, that allows no more.
WITHOUT_NAMESPACES = f"""\
import os
here, there = os.pipe(), os.pipe()
child = os.fork()
if child:
    os.read(here[0], 1)
    for kind in ("uid", "gid"):
        with open(f"/proc/{{child}}/{{kind}}_map", "w") as file:
            file.write("0 0 65536")
    os.write(there[1], b"+")
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
import ctypes
ctypes.CDLL(None).unshare(0x10000000)  # CLONE_NEWUSER
os.write(here[1], b"+")
os.read(there[0], 1)
with open("/proc/sys/user/max_user_namespaces", "w") as file:
    file.write("0")
{AS_NOBODY}"""


PROGRAM = "name: one\nnodes: {a: {mode: none, command: [sleep, '1000'], ready: {exec: ['true']}}}\n"
NAMED_NAMESPACES = """
    ip netns add foo
    mkdir -p /run/docker/netns
    cd /run/docker/netns
    for name in abc def; do touch $name; mount --bind /proc/self/ns/net $name; done
    mount -t tmpfs tmpfs /run/docker/netns
    touch /run/docker/netns/abc
"""


@pytest.fixture
def open_directory(lab: Lab) -> Lab:
    """Everybody may read its directory; by relative paths only, as pytest keeps what is above it to root."""
    lab.directory.chmod(0o755)
    return lab


def as_nobody(lab: Lab, *words: str, **env: str) -> Result:
    """The command as an ordinary user of that host."""
    return lab.run(sys.executable, "-c", AS_NOBODY, *words, env={"SHELL": "/bin/sh", **env})


def test_a_lab_leaves_nothing_on_the_host(lab: Lab) -> None:
    lab.write(PAIR)
    before = lab.state()

    result = lab.netfab("lab", "topology.yaml", "--", "ls", "/sys/class/net", "/run/netns")

    assert "pair.a" in result.out
    assert differences(before, lab.state()) == []


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 42"], 42),
        (["sh", "-c", "kill -9 $$"], 137),
        (["/no/such/command"], 127),
        (["/etc/passwd"], 126),
        (["x" * 300], 126),
    ],
    ids=["true", "exit 42", "killed", "missing", "not executable", "no name"],
)
def test_a_lab_exits_with_its_commands_code(lab: Lab, command: list[str], code: int) -> None:
    lab.write(PAIR)

    result = lab.netfab("lab", "topology.yaml", "--", *command, code=code)

    assert (command[0] in result.err) == (code in (126, 127))


def test_a_lab_takes_the_file_and_a_name_as_others_do(lab: Lab) -> None:
    lab.write(PAIR, "a.yaml")
    lab.write(PAIR, "b.yaml")

    found = lab.netfab("lab", "-f", "b.yaml", "--name", "other", "--", "ls", "/run/netns")

    assert found.out.split() == ["other.a", "other.b"]


@pytest.mark.parametrize("words", [["--nonsense"], ["-x", "topology.yaml"], ["--nonsense", "--", "true"]])
def test_an_option_that_a_lab_does_not_have_is_wrong_usage(lab: Lab, words: list[str]) -> None:
    lab.write(PAIR)

    assert "No such option" in lab.netfab("lab", *words, code=2).err


def test_a_lab_finds_its_file_as_others_do(lab: Lab) -> None:
    lab.write(PAIR)

    lab.netfab("lab", "--", "true")


@contextmanager
def running_lab(process: subprocess.Popen[str]) -> Iterator[None]:
    """A lab that was started with WAITS, from when its topology is applied."""
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    try:
        yield
    finally:
        process.communicate("")
    assert process.returncode == 3


WAITS = ("sh", "-c", "echo up; read line; exit 3")
NODES = ("ls", "/run/netns")


def test_a_second_terminal_enters_a_running_lab_with_or_without_its_name(lab: Lab) -> None:
    lab.write(PAIR)
    before = lab.state()

    with running_lab(lab.start(*lab.words("lab", "topology.yaml", "--", *WAITS))):
        only = lab.netfab("lab", "--enter", "--", *NODES)
        named = lab.netfab("lab", "--enter", "pair", "--", "sh", "-c", f"{COMMAND} ls; exit 5", code=5)
        other = lab.netfab("lab", "--enter", "other", "--", *NODES, code=1)

    assert only.out.split() == ["pair.a", "pair.b"]
    assert "pair" in named.out
    assert "you have no lab other; there are pair (process " in other.err
    assert differences(before, lab.state()) == []


@pytest.mark.parametrize("paused", ["", " && {command} pause a"], ids=["running", "paused"])
def test_a_lab_whose_holder_is_killed_ends_with_all_that_runs_in_it(lab: Lab, paused: str) -> None:
    lab.write("name: pair\nnodes: {a: {command: [sleep, '1000']}}\n")
    before = lab.state()
    script = f"true{paused.format(command=COMMAND)}; echo up; sleep 1000"
    process = lab.start(*lab.words("lab", "topology.yaml", "--", "sh", "-c", script))
    assert process.stdout is not None
    while process.stdout.readline() not in ("up\n", ""):
        pass

    os.kill(child_of(process.pid), signal.SIGKILL)

    assert process.stdout.read() == ""  # everybody who could write has ended
    process.communicate()
    until(lambda: differences(before, lab.state()) == [], "the sandbox is gone")


def test_a_lab_ends_with_its_command_although_a_program_is_paused(lab: Lab) -> None:
    lab.write("name: pair\nnodes: {a: {command: [sleep, '1000']}}\n")
    mounted = lab.run("sh", "-ec", VERSION_1)
    if mounted.code:
        pytest.skip(f"this kernel has no cgroup freezer of version 1: {mounted.err}")

    result = lab.netfab("lab", "topology.yaml", "--", "sh", "-c", f"{COMMAND} pause a && {COMMAND} status")

    assert "paused" in result.out
    assert "netfab" not in lab.shell("ls /sys/fs/cgroup/freezer").split()


def test_without_a_lab_there_is_none_to_enter(lab: Lab) -> None:
    assert "no lab of yours runs here" in lab.netfab("lab", "--enter", code=1).err


def test_which_of_several_labs_is_asked_and_each_can_be_named_by_its_process(lab: Lab) -> None:
    lab.write(PAIR)
    words = lab.words("lab", "topology.yaml", "--", *WAITS)

    with running_lab(lab.start(*words)), running_lab(lab.start(*words)):
        asked = lab.netfab("lab", "--enter", "--", *NODES, code=1)
        process = re.findall(r"process (\d+)", asked.err)[1]
        entered = lab.netfab("lab", "--enter", process, "--", *NODES)

    assert "which lab? There are pair (process " in asked.err
    assert entered.out.split() == ["pair.a", "pair.b"]


def test_an_ordinary_user_enters_the_labs_of_that_user_and_no_others(open_directory: Lab) -> None:
    open_directory.write(PAIR)
    words = "lab", "topology.yaml", "--", *WAITS
    users = open_directory.start(sys.executable, "-c", AS_NOBODY, *words, env={"SHELL": "/bin/sh"})

    with running_lab(users):
        entered = as_nobody(open_directory, "lab", "--enter", "--", "sh", "-ec", "id -u; ls /run/netns")
        by_root = open_directory.netfab("lab", "--enter", code=1)
    with running_lab(open_directory.start(*open_directory.words(*words))):
        of_root = as_nobody(open_directory, "lab", "--enter")

    assert (entered.out.split(), entered.code) == (["0", "pair.a", "pair.b"], 0)
    assert "no lab of yours runs here" in by_root.err
    assert "no lab of yours runs here" in of_root.err


def test_an_ordinary_user_without_new_privileges_has_a_lab(open_directory: Lab) -> None:
    open_directory.write(PAIR)
    ask = "import socket; s = socket.socket(); s.settimeout(60); print(s.connect_ex(('10.1.0.11', 80)))"
    script = f'ip netns exec pair.a python3 -c "{ask}"; id -u; ls /run/netns'

    result = as_nobody(open_directory, "lab", "topology.yaml", "--", "sh", "-ec", script)

    assert result.err == ""
    assert result.out.split() == ["111", "0", "pair.a", "pair.b"]  # refused: a real answer of the other node
    assert result.code == 0


@pytest.mark.parametrize(
    "user", [[], ["unshare", "--user", "--map-root-user"]], ids=["root", "user namespace"]
)
def test_a_labs_programs_run_on_a_host_with_named_namespaces(lab: Lab, user: list[str]) -> None:
    lab.write(PROGRAM)
    lab.shell(NAMED_NAMESPACES)

    result = lab.run(*user, *lab.words("lab", "topology.yaml", "--", "true"))

    assert (result.code, result.err) == (0, "")


def test_a_program_runs_beside_a_hosts_namespaces_below_another_mount(lab: Lab) -> None:
    lab.write(PROGRAM)
    lab.shell(NAMED_NAMESPACES)

    lab.netfab("apply")


@pytest.mark.parametrize(
    "words", [["apply"], ["destroy", "pair"], ["drift", "pair"], ["reconcile", "pair"], ["recover"]]
)
def test_without_root_the_hint_says_what_to_do(open_directory: Lab, words: list[str]) -> None:
    open_directory.write(PAIR)

    result = as_nobody(open_directory, *words)

    assert result.code == 1
    assert (
        result.err
        == f"netfab: error: needs root\nhint: sudo netfab {words[0]} …, or `netfab lab`, which needs none\n"
    )


def test_a_plan_needs_no_root(open_directory: Lab) -> None:
    open_directory.write(PAIR)

    result = as_nobody(open_directory, "plan", "--exit-code")

    assert result.code == 2
    assert "Plan: " in result.out
    assert result.err == "compared with what was last applied; as root, with the kernel\n"


def test_the_status_of_what_root_applied_is_for_everybody(open_directory: Lab) -> None:
    open_directory.write(PAIR)
    open_directory.netfab("apply")

    status = as_nobody(open_directory, "status", "pair")
    plan = as_nobody(open_directory, "plan", "--exit-code")

    assert "10.1.0.10" in status.out
    assert plan.out == "No changes. The kernel matches topology.yaml as last applied.\n"
    assert (status.code, plan.code) == (0, 0)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("netfab exec ", ["one/a", "two/a", "b"]),
        ("netfab exec two/", ["two/a"]),
        ("netfab exec b ls ", []),
        ("netfab stop one/a ", ["two/a", "b"]),
        ("netfab status ", ["one", "two"]),
        ("netfab destroy tw", ["two", "tw (file)"]),
        ("netfab --run-dir /nowhere exec ", []),
    ],
)
def test_everybodys_shell_offers_the_names_of_nodes_and_fabrics(
    open_directory: Lab, typed: str, offered: list[str]
) -> None:
    for name, nodes in (("one", "{a: {}, b: {}}"), ("two", "{a: {}}")):
        file = open_directory.write(f"name: {name}\nnodes: {nodes}\n", f"{name}.yaml")
        open_directory.netfab("apply", file)

    asked = {"_NETFAB_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    answer = as_nobody(open_directory, **asked)
    found = [line.split(",") for line in answer.out.splitlines() if line]

    assert sorted(f"{word} ({kind})" if kind != "plain" else word for kind, word in found) == sorted(offered)


def test_the_file_that_was_applied_is_roots_to_see(open_directory: Lab) -> None:
    open_directory.write("name: shop\nnodes: {web: {env: {PASSWORD: secret}}}\n")
    open_directory.netfab("apply")

    refused = as_nobody(open_directory, "status", "-o", "topology")

    assert "secret" in open_directory.netfab("status", "-o", "topology").out
    assert (refused.code, refused.out) == (1, "")
    assert "needs root" in refused.err
    assert "secret" not in open_directory.shell("cat /run/netfab/shop.json")


def test_what_everybody_may_read_holds_no_environment(open_directory: Lab) -> None:
    secret = "env: {TOKEN: hush}, files: {/k: {content: hush}}"
    open_directory.write(f"name: x\nnodes: {{a: {{mode: none, command: [sleep, '1000'], {secret}}}}}\n")
    open_directory.netfab("apply")

    as_user = f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups"
    everything = "find /run/netfab /var/lib/netfab -type f -readable -exec grep -H . {} + 2>/dev/null || true"
    told = open_directory.shell(f"{as_user} sh -c '{everything}'")

    assert "/run/netfab/x.json:" in told
    assert "hush" not in told


PROGRAMS = """\
name: shop
networks: {lan: {}}
nodes:
  web: {networks: [lan], command: [sleep, '1000'], publish: ['127.0.0.1:8080:80']}
  client: {networks: [lan]}
"""
FOR_EVERYBODY = [
    *(["status"], ["status", "shop"], ["status", "-o", "json"], ["ls"], ["ls", "-o", "json"]),
    *(["inspect", "web"], ["inspect", "shop"], ["ip", "web"], ["graph"], ["bridges"], ["attachments"]),
    *(["plan"], ["plan", "--why"], ["validate"], ["config"], ["schema"], ["doctor"], ["version"]),
    *(["completion", "bash"], ["lab", "--help"]),
]
FOR_ROOT = [
    *(["apply"], ["destroy"], ["destroy", "shop"], ["destroy", "--everyone", "--yes"]),
    *(["drift"], ["reconcile"], ["reconcile", "--all"], ["recover"], ["watch"], ["plan", "--save", "p"]),
    *(["ps"], ["ps", "-a"], ["logs"], ["logs", "web"], ["logs", "-f", "web"], ["exec", "web", "true"]),
    *(["exec", "client", "true"], ["shell", "client"], ["start", "web"], ["stop", "web"], ["restart", "web"]),
    *(["kill", "web"], ["pause", "web"], ["unpause", "web"], ["attach", "br1", "web", "10.1.2.3/24"]),
    *(["attach", "route", "web", "show"], ["detach", "br1", "web"], ["bridge", "create", "br9"]),
    *(["bridge", "delete", "br9"],),
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A host on which root has applied a fabric with a program, in a directory that everybody may read."""
    with throwaway_host(tmp_path_factory.mktemp("shop")) as lab:
        lab.directory.chmod(0o755)
        lab.write(PROGRAMS)
        lab.netfab("apply")
        yield lab


@pytest.mark.parametrize("words", FOR_EVERYBODY, ids=" ".join)
def test_looking_needs_no_root(shop: Lab, words: list[str]) -> None:
    result = as_nobody(shop, *words)

    assert (result.code, "error" in result.err) == (0, False), result.err


@pytest.mark.parametrize("words", FOR_ROOT, ids=" ".join)
def test_what_needs_root_says_so_and_nothing_else(shop: Lab, words: list[str]) -> None:
    result = as_nobody(shop, *words)

    assert (result.code, result.err[:25]) == (1, "netfab: error: needs root"), result.err


def test_the_shell_of_a_lab_says_that_it_is_one(lab: Lab) -> None:
    lab.write(PAIR)

    shell = lab.netfab("lab", input="exit 5\n", code=5, env={"SHELL": "/bin/sh"})
    command = lab.netfab("lab", "--", "true")

    assert shell.err == "pair is up, in a sandbox that ends with this shell: `exit` leaves it\n"
    assert command.err == ""


def test_a_lab_that_is_interrupted_while_it_applies_ends_with_130(lab: Lab) -> None:
    lab.write(PROGRAM.replace("{exec: ['true']}", "{tcp: 80, within: 600s}"))
    process = lab.start(*lab.words("lab", "topology.yaml", "--", "true"))
    assert process.stderr is not None
    assert process.stderr.readline() == "waiting for a (tcp 80)\n"

    assert lab.interrupt(process, signal.SIGINT).code == 130


INTERNET = """
    ip netns add internet
    ip link add ens3 type veth peer name ens3 netns internet
    ip link set ens3 addrgenmode none up; ip -n internet link set ens3 up; ip -n internet link set lo up
    ip address add 198.51.100.2/24 dev ens3; ip -n internet address add 198.51.100.1/24 dev ens3
    ip -n internet address add 203.0.113.9/32 dev lo
    ip route add default via 198.51.100.1
    mount -t tmpfs tmpfs /dev/net; mknod /dev/net/tun c 10 200; chmod 666 /dev/net/tun # as it is on a desktop
"""
ASKS = ("ip", "netns", "exec", "pair.a", "bash", "-c", "cat </dev/tcp/203.0.113.9/80; cat /etc/resolv.conf")


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_a_lab_with_an_uplink_goes_out_as_this_machine_and_changes_nothing_of_it(
    open_directory: Lab, user: str
) -> None:
    lab = open_directory
    lab.write(PAIR)
    lab.shell(INTERNET)
    before = lab.state()

    with serving(lab, "internet"):
        words = ("lab", "--uplink", "topology.yaml", "--", *ASKS)
        result = as_nobody(lab, *words) if user == "nobody" else lab.netfab(*words)

    assert result.err == ""
    assert result.out == "198.51.100.2nameserver 10.0.2.3\n"
    assert differences(before, lab.state()) == []


def test_what_serves_the_uplink_of_a_lab_has_a_root_of_its_own_and_few_system_calls(lab: Lab) -> None:
    lab.write(PAIR)
    lab.shell(INTERNET)
    process = lab.start(*lab.words("lab", "--uplink", "topology.yaml", "--", "sh", "-c", "echo; read it"))
    assert process.stdout is not None
    assert process.stdout.readline() == "\n"

    found = lab.shell("""
        server=$(dirname $(grep -lx slirp4netns /proc/[0-9]*/comm))
        grep '^Seccomp:' $server/status; ls $server/root
    """)

    assert found.split() == ["Seccomp:", "2", "etc", "run"]
    process.communicate("\n", timeout=60)


def test_what_keeps_a_lab_from_having_an_uplink_is_told(lab: Lab) -> None:
    lab.write("hosts: {h1: {address: 192.0.2.1}}\nname: spread\nnodes: {a: {}}\n")
    simulated = lab.netfab("lab", "--uplink", "topology.yaml", "--", "true", code=1)
    lab.write(PAIR)
    lab.shell("mount --bind /bin/false /usr/bin/slirp4netns")
    failed = lab.netfab("lab", "--uplink", "topology.yaml", "--", "true", code=1)

    assert simulated.err.startswith("netfab: error: --uplink: simulated hosts have no way out yet\n")
    assert failed.err == "netfab: error: --uplink: slirp4netns: it ended\n"


WITH_PRIVILEGES = AS_NOBODY.replace(f"({NO_NEW_PRIVS}, {DUMPABLE})", f"({DUMPABLE},)")
AS_33 = (
    "setpriv",
    "--reuid=33",
    "--regid=33",
    "--groups=34",
    "sh",
    "-c",
    "id -u; id -G; cat /proc/self/uid_map",
)


def test_a_lab_of_a_user_with_numbers_of_his_own_has_other_users(open_directory: Lab) -> None:
    lab = open_directory
    lab.write(PAIR)
    lab.shell("""mount -t tmpfs tmpfs /mnt; echo nobody:500000:65536 >/mnt/sub
                 mount --bind /mnt/sub /etc/subuid; mount --bind /mnt/sub /etc/subgid""")

    words = ("lab", "topology.yaml", "--", *AS_33)
    result = lab.run(sys.executable, "-c", WITH_PRIVILEGES, *words, env={"SHELL": "/bin/sh"})

    assert result.err == ""
    assert result.out.split() == ["33", "33", "34", "0", "65534", "1", "1", "500000", "65536"]


def test_a_program_of_a_user_that_is_not_in_the_lab_says_what_would_have_him(lab: Lab) -> None:
    lab.write("name: one\nnodes: {a: {mode: none, user: '33:33', command: [sleep, '1000']}}\n")

    alone = ("unshare", "--user", "--map-root-user")
    result = lab.run(*alone, *lab.words("lab", "topology.yaml", "--", "true"))

    assert result.code == 1
    assert "/etc/subuid" in result.err


def test_where_no_user_may_have_a_sandbox_the_setting_is_named(open_directory: Lab) -> None:
    open_directory.write(PAIR)

    said = open_directory.run(sys.executable, "-c", WITHOUT_NAMESPACES, "lab", "topology.yaml", "--", "true")

    assert said.code == 1
    assert said.err == (
        "netfab: error: this host does not let ordinary users create user namespaces:"
        " No space left on device\n"
        "hint: sudo sysctl user.max_user_namespaces=1000, or run it as root\n"
    )


def test_where_no_user_may_have_a_sandbox_sudo_without_a_password_serves(open_directory: Lab) -> None:
    open_directory.write(PAIR)
    open_directory.write('#!/bin/sh\necho "sudo $*"\n', "sudo")
    open_directory.run("chmod", "755", "sudo")
    command = [sys.executable, "-c", WITHOUT_NAMESPACES, "lab", "topology.yaml", "--", "true"]

    said = open_directory.run(*command, env={"PATH": ".:/usr/bin:/bin"})

    assert said.code == 0
    assert (
        said.err == "netfab: this host does not let ordinary users create user namespaces: as root, by sudo\n"
    )
    assert said.out.startswith(f"sudo -n --preserve-env {sys.executable} -c ")
    assert said.out.endswith(" lab topology.yaml -- true\n")
