"""DHCP clients: the host's own programs, one per interface, each in the network of a node or guest.

A client runs in the foreground of its own session, with private /run, /var/lib/dhcp and resolv.conf, so that
it does not write to the host's. It is identified by a file; a process that is not the one named there is not
ours.

<directory>/<key>.json     what was asked for, and which process does it
<directory>/<key>/         its leases, its output
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from time import monotonic
from typing import Any

from netfab.errors import NetfabError, Unsupported
from netfab.kernel.netlink import Monitor
from netfab.runtime.become import reset_signals
from netfab.system import linux
from netfab.system.calls import at_once
from netfab.system.poll import readable
from netfab.system.proc import boot_id, start_ticks
from netfab.system.process import close_on_exec_from
from netfab.system.replace import replace_file
from netfab.tuples import NamedTuple

LONG = 2.0  # seconds of waiting, after which we say so
PATIENCE = 30.0  # seconds until a lease must be obtained
FAREWELL = 5.0  # seconds to release it
_PROGRAMS = {
    "udhcpc": (
        ("/sbin/udhcpc",),
        ("/usr/sbin/udhcpc",),
        ("/bin/busybox", "udhcpc"),
        ("/usr/bin/busybox", "udhcpc"),
    ),
    "dhclient": (("/sbin/dhclient",), ("/usr/sbin/dhclient",)),
    "dhcpcd": (("/sbin/dhcpcd",), ("/usr/sbin/dhcpcd",)),
}
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_PRIVATE = ("/run", "/var/lib/dhcp", "/var/lib/dhcpcd", "/var/lib/dhcpcd5")
# Our script, called by each of the three in its own terms: an address was obtained, or lost.
_SCRIPT = """\
#!/bin/sh
gateway={gateway} bound={bound}
case ${reason:-$1} in
    bound|renew|BOUND|RENEW|REBIND|REBOOT)
        address=${ip:-$new_ip_address} length=${mask:-$new_subnet_cidr} router=${router:-$new_routers}
        if [ -z "$length" ]; then  # 255.255.255.0
            length=0
            for byte in $(echo "$new_subnet_mask" | tr . ' '); do
                while [ "$byte" -gt 0 ]; do length=$((length + byte % 2)); byte=$((byte / 2)); done
            done
        fi
        ip -4 address replace "$address/$length" broadcast + dev "$interface"
        for old in $(ip -4 -o address show dev "$interface" | awk '{print $4}'); do
            [ "$old" = "$address/$length" ] || ip -4 address del "$old" dev "$interface"
        done
        if [ "$gateway" = 1 ] && [ -n "$router" ]; then
            ip -4 route del default dev "$interface" 2>/dev/null
            ip -4 route prepend default via "${router%% *}" dev "$interface"
        fi
        : >"$bound"
        ;;
    deconfig|EXPIRE|FAIL|RELEASE|STOP|NAK|nak)
        ip -4 address flush dev "$interface"
        ;;
esac
exit 0
"""


class Client(NamedTuple):
    """A running client: what was requested, as its object's fields, and its program."""

    asked: list[Any]
    program: str
    pid: int
    ticks: int
    boot: str

    @property
    def lives(self) -> bool:
        """Whether its process is still the one that was started."""
        return self.boot == boot_id() and start_ticks(self.pid) == self.ticks


class Wanted(NamedTuple):
    """What to start."""

    key: str
    interface: str
    client: str
    options: tuple[str, ...]
    hostname: str
    gateway: bool
    asked: tuple[Any, ...]


def key_of(space: str, link: str) -> str:
    """A name for an interface's files."""
    return sha256(f"{space} {link}".encode()).hexdigest()[:16]


def read(directory: str) -> Iterator[Client]:
    """Every running client."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(directory) as entries:
        for name in sorted(entry.name for entry in entries if entry.name.endswith(".json")):
            client = _client(f"{directory}/{name}")
            if client is not None and client.lives:
                yield client


def _client(path: str) -> Client | None:
    try:
        with open(path, encoding="utf-8") as file:
            return Client(*json.load(file))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def start(
    directory: str,
    wanted: Wanted,
    netns: int,
    check: Callable[[], None],
    waiting_for: Callable[[str], None] = lambda _: None,
) -> None:
    """Start a client in that network namespace, and return when it has a lease.

    `check` is called while we wait, and raises when a signal has come;
    `waiting_for` is called, once, if it takes long. Raises Unsupported without a client,
    NetfabError if nobody offers a lease.
    """
    name, command = _program(wanted.client)
    stop(directory, wanted.key)  # what a killed command left
    place = f"{directory}/{wanted.key}"
    os.makedirs(place, 0o700, exist_ok=True)
    script = _SCRIPT.replace("{gateway}", str(int(wanted.gateway))).replace("{bound}", f"{place}/bound")
    for file, text in (("script", script), ("conf", _configuration(name, wanted.hostname))):
        with open(f"{place}/{file}", "w") as opened:
            opened.write(text)
    os.chmod(f"{place}/script", 0o700)
    argv = [*command, *_arguments(name, wanted, place)]
    child = os.fork()
    if child == 0:
        _become(argv, directory, wanted, name, netns)
    try:
        _wait_for_lease(wanted, netns, child, check, waiting_for, place)
    except BaseException:
        stop(directory, wanted.key)
        with suppress(ChildProcessError):  # it has ended, and was reaped
            if os.waitpid(child, os.WNOHANG) == (0, 0):  # it had not recorded itself yet
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            stop(directory, wanted.key)
        raise


def _program(client: str) -> tuple[str, tuple[str, ...]]:
    """The first client that is installed, and its command. Raises Unsupported."""
    for name in _PROGRAMS if client == "dhcp" else (client,):
        for command in _PROGRAMS[name]:
            if os.access(command[0], os.X_OK):
                return name, command
    raise Unsupported(
        f"no DHCP client is installed: {client if client != 'dhcp' else ', '.join(_PROGRAMS)}",
        hint="install udhcpc, isc-dhcp-client or dhcpcd-base",
    )


def _arguments(name: str, wanted: Wanted, place: str) -> list[str]:
    """To run it in the foreground, with our script, and its files in a private place."""
    script, conf = f"{place}/script", f"{place}/conf"
    if name == "udhcpc":
        patience = ["-t", "10", "-T", "1", "-A", "2"]  # ten requests, a second apart; again after two
        told = ["-x", f"hostname:{wanted.hostname}"] if wanted.hostname else []
        return ["-f", "-R", *patience, "-s", script, *told, *wanted.options, "-i", wanted.interface]
    if name == "dhclient":
        files = ["-lf", f"{place}/leases", "-pf", f"{place}/pid", "-cf", conf]
        return ["-4", "-d", "-sf", script, *files, *wanted.options, wanted.interface]
    return ["-4", "-B", "-f", conf, "-c", script, *wanted.options, wanted.interface]


def _configuration(name: str, hostname: str) -> str:
    """Settings without an option: our script sets the address, which needs no duplicate detection."""
    if name == "dhclient":
        told = f'send host-name "{hostname}";\n' if hostname else ""
        return f"{told}request subnet-mask, routers;\n"
    return f"noconfigure\nnoarp\n{f'hostname {hostname}' if hostname else ''}\n"


def _become(argv: list[str], directory: str, wanted: Wanted, name: str, netns: int) -> None:
    """In the child: enter the namespace, record ourselves, and become the client. Never returns."""
    try:
        os.setsid()
        linux.setns(netns, linux.CLONE_NEWNET)
        linux.unshare(linux.CLONE_NEWNS)
        linux.mount("", "/", flags=linux.MS_SLAVE | linux.MS_REC)
        _hide_the_hosts_files(directory)
        me = os.getpid()
        ticks = start_ticks(me)
        client = Client(list(wanted.asked), name, me, ticks or 0, boot_id())
        replace_file(f"{directory}/{wanted.key}.json", json.dumps(client))
        log = os.open(f"{directory}/{wanted.key}/log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        nothing = os.open("/dev/null", os.O_RDONLY)
        for source, number in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, number)
        close_on_exec_from(3)
        at_once(reset_signals)
        os.chdir("/")
        os.execve(argv[0], argv, _ENVIRONMENT)
    finally:
        os._exit(127)


def _hide_the_hosts_files(directory: str) -> None:
    """Its /run, state and resolv.conf are private: leases of two guests' eth1 must not be mixed up."""
    ours = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    for path in _PRIVATE:
        if os.path.isdir(path):
            linux.mount("tmpfs", path, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=0755")
    os.makedirs(directory, 0o700, exist_ok=True)
    linux.mount(f"/proc/self/fd/{ours}", directory, flags=linux.MS_BIND)
    resolv = os.path.realpath("/etc/resolv.conf")
    if os.path.exists(resolv):
        linux.mount("/dev/null", resolv, flags=linux.MS_BIND)


def _wait_for_lease(
    wanted: Wanted,
    netns: int,
    child: int,
    check: Callable[[], None],
    waiting_for: Callable[[str], None],
    place: str,
) -> None:
    """Wait until the script has applied a lease. Raises NetfabError, and what `check` raises."""
    now, silent = monotonic(), True  # before each check: what came while we were not scheduled counts
    deadline = now + PATIENCE
    with linux.in_network(netns):
        monitor = Monitor()
    try:
        while not os.path.exists(f"{place}/bound"):
            check()
            if silent and now > deadline - PATIENCE + LONG:
                silent = False
                waiting_for(f"a DHCP lease for {wanted.asked[0]}")
            if os.waitpid(child, os.WNOHANG)[0]:
                raise NetfabError(f"{wanted.interface}: the DHCP client ended: {_last_words(place)}")
            if now > deadline:
                raise NetfabError(
                    f"{wanted.interface}: no DHCP server offered a lease within {PATIENCE:.0f} s",
                    hint=f"the client's last words: {_last_words(place)}",
                )
            monitor.wait(0.05)
            now = monotonic()
    finally:
        monitor.close()


def _last_words(place: str) -> str:
    with suppress(OSError), open(f"{place}/log", errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
        return lines[-1][:200] if lines else "it said nothing"
    return "it said nothing"


def stop(directory: str, key: str) -> None:
    """Release the lease, if the network still exists, and end the client, if there is one."""
    client, place = _client(f"{directory}/{key}.json"), f"{directory}/{key}"
    if client is not None and client.lives:
        if client.program == "dhclient":
            _release(client, place)
        _end(client)
    shutil.rmtree(place, ignore_errors=True)
    for name in (f"{key}.json", f"{key}.json.new"):
        with suppress(FileNotFoundError):
            os.unlink(f"{directory}/{name}")
    with suppress(OSError):  # others' files are there
        os.rmdir(directory)
        os.rmdir(os.path.dirname(directory))


def _release(client: Client, place: str) -> None:
    """dhclient releases a lease by a second process, in the network of the first; dhclient(8), -r."""
    name, command = _program(client.program)
    interface = client.asked[0][1]
    wanted = Wanted("", interface, name, (), "", False, ())
    child = os.fork()
    if child == 0:
        try:
            netns = os.open(f"/proc/{client.pid}/ns/net", os.O_RDONLY)
            linux.setns(netns, linux.CLONE_NEWNET)
            log = os.open(f"{place}/log", os.O_WRONLY | os.O_APPEND)
            for number in (1, 2):
                os.dup2(log, number)
            close_on_exec_from(3)
            at_once(reset_signals)
            os.execve(command[0], [*command, "-r", *_arguments(name, wanted, place)], _ENVIRONMENT)
        finally:
            os._exit(127)
    if not _ends_within(os.pidfd_open(child), FAREWELL):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _ends_within(pidfd: int, seconds: float) -> bool:
    """Whether that process ends in time; the descriptor is closed."""
    try:
        return bool(readable([pidfd], seconds))
    finally:
        os.close(pidfd)


def _end(client: Client) -> None:
    """Ask it to release the lease and end; after a while, kill it."""
    asked = signal.SIGALRM if client.program == "dhcpcd" else signal.SIGTERM  # dhcpcd(8): release and exit
    for number in (asked, signal.SIGKILL):
        with suppress(ProcessLookupError):
            pidfd = os.pidfd_open(client.pid)
            if client.lives:  # else its PID may be another's by now
                signal.pidfd_send_signal(pidfd, number)
            if _ends_within(pidfd, FAREWELL if client.lives else 0):
                break
    with suppress(ChildProcessError):  # it is this command's child
        os.waitpid(client.pid, 0)
