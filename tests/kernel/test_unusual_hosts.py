"""Hosts that are set up otherwise than a fresh one: hardened, a router, few open files, a narrow umask."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
import shop
from descriptors import settled_descriptors
from examples import FABRIC, FILE, fabric, namespace, veth
from machine import differences, snapshot
from test_damage import WHOLE

from netfab import fabric as api
from netfab.engine.apply import apply
from netfab.errors import NoAnswer, Unsupported
from netfab.hosts.local import LocalHost
from netfab.kernel import daemon, openvswitch
from netfab.kernel.dumps import links
from netfab.kernel.facts import gather
from netfab.objects.base import HOST, Name, node_space
from netfab.objects.guest import Guest
from netfab.objects.veth import Veth
from netfab.plan.subnets import Reservation
from netfab.where import need_kernel


@pytest.mark.parametrize(
    "setting",
    [
        "net.ipv6.conf.default.accept_ra=0",
        "net.ipv6.conf.default.accept_redirects=0",
        "net.ipv6.conf.default.addr_gen_mode=1",
        "net.ipv6.conf.all.forwarding=1",
        "net.ipv4.ip_forward=1",
        "net.ipv4.conf.all.rp_filter=1",
        "net.ipv4.conf.default.rp_filter=2",
        "net.ipv4.conf.default.promote_secondaries=0",
        "net.ipv4.conf.default.forwarding=1",
    ],
)
def test_a_hosts_own_defaults_neither_hinder_a_fabric_nor_change(host: LocalHost, setting: str) -> None:
    subprocess.run(["/usr/sbin/sysctl", "-qw", setting], check=True)
    before = snapshot()

    apply(WHOLE, host)

    assert host.observe(FABRIC, [WHOLE]).own == WHOLE
    apply(fabric(), host, [WHOLE])
    assert differences(before, snapshot()) == []


@pytest.fixture
def _narrow_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_narrow_umask")
def test_everybody_may_read_the_files_of_nodes_whatever_the_callers_umask(host: LocalHost) -> None:
    apply(WHOLE, host)

    modes = [os.stat(path).st_mode & 0o777 for path in ("/run/netfab", os.path.dirname(FILE), "/run/netns")]
    assert modes == [0o755, 0o755, 0o755]
    assert os.stat(FILE).st_mode & 0o777 == 0o644


@pytest.fixture
def _few_open_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    there = len(settled_descriptors())
    resource.setrlimit(resource.RLIMIT_NOFILE, (there + 150, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _cables(nodes: Iterable[str]) -> Iterator[Veth]:
    """One from the host to each."""
    for node in nodes:
        a = veth().a._replace(link=Name("host", f"nf{node}"))
        b = veth().b._replace(link=Name(node_space(FABRIC, node), "eth0"))
        yield veth()._replace(a=a, b=b)


@pytest.mark.usefixtures("_few_open_files")
def test_there_may_be_more_nodes_than_files_that_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)  # the hard limit, as it were
    nodes = [f"n{number}" for number in range(200)]
    many = fabric(*map(namespace, nodes), *_cables(nodes))

    with LocalHost(FABRIC) as host:
        apply(many, host)

        assert host.observe(FABRIC).own == many
        apply(fabric(), host)


@pytest.mark.usefixtures("_few_open_files")
def test_there_may_be_more_guests_than_files_that_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    names = [f"n{number}" for number in range(160)]
    subprocess.run(["ip", "-b", "-"], input="".join(f"netns add {n}\n" for n in names), text=True, check=True)
    paths = {name: f"/run/netns/{name}" for name in names}
    guests = (
        Guest(Name("namespace", f"{FABRIC}.{name}"), f"netns:{name}", path, 0, str(os.stat(path).st_ino))
        for name, path in paths.items()
    )
    many = fabric(*guests, *_cables(names))

    with LocalHost(FABRIC) as host:
        apply(many, host)

        assert host.observe(FABRIC, [many]).own == many


@pytest.mark.parametrize("kind", ["blackhole", "unreachable", "prohibit"])
@pytest.mark.parametrize("prefix", ["10.0.0.0/16", "fd00:1::/48"])
def test_what_the_host_refuses_to_route_is_not_free(host: LocalHost, kind: str, prefix: str) -> None:
    family = "-6" if ":" in prefix else "-4"
    for route in (prefix, "default"):
        subprocess.run(["ip", family, "route", "add", kind, route], check=True)

    taken = host.facts().reservations

    assert Reservation(ip_network(prefix), f"refused by a {kind} route of this host") in taken
    assert [held for held in taken if held.prefix.prefixlen == 0] == []


TRAPS = {
    "a pipe that nobody writes to": "mkfifo {}",
    "a device": "ln -s /dev/zero {}",
    "deep": "yes '[' | head -n 100000 > {}",
    "no UTF-8": "head -c 100 /dev/urandom > {}",
    "nonsense": """echo '[7, null, {{"subnets": [{{"subnet": 5}}, 7]}}]' > {}""",
}


@pytest.mark.parametrize("path", ["/etc/containers/networks/a.json", "/etc/resolv.conf", "/etc/machine-id"])
@pytest.mark.parametrize("trap", TRAPS)
def test_files_of_others_are_neither_waited_for_nor_believed(host: LocalHost, path: str, trap: str) -> None:
    before = host.facts().reservations
    directory = os.path.dirname(path)
    subprocess.run(
        ["sh", "-ec", f"mount -t tmpfs none /etc; mkdir -p {directory}; {TRAPS[trap].format(path)}"],
        check=True,
    )
    signal.alarm(60)  # ends a wait, and the test

    after = host.facts().reservations

    signal.alarm(0)
    assert [held for held in after if held not in before] == []


def as_on(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = os.uname()
    told = os.uname_result((found.sysname, found.nodename, release, found.version, found.machine))
    monkeypatch.setattr(os, "uname", lambda: told)


@pytest.mark.parametrize("release", ["5.15.0-91-generic", "6.0.19", "4.18.0-553.el8.x86_64"])
def test_a_kernel_that_is_too_old_is_refused_by_name_and_hinders_no_destroy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, release: str
) -> None:
    topology, file = shop.topology(tmp_path)
    before = snapshot()
    api.apply(topology, file)
    as_on(release, monkeypatch)

    for command in (lambda: api.apply(topology, file), lambda: api.reconcile("shop")):
        with pytest.raises(Unsupported, match=rf"this kernel is {release}, and netfab needs 6\.1 or newer"):
            command()
    api.destroy("shop")

    assert [line for line in differences(before, snapshot()) if "/var/lib/netfab" not in line] == []


@pytest.mark.parametrize("release", ["6.1.0-18-amd64", "6.18.5", "10.0", "unheard of"])
def test_a_kernel_that_is_new_enough_is_not(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    as_on(release, monkeypatch)

    need_kernel()


def test_a_way_out_that_comes_while_the_host_is_read_is_seen_the_next_time() -> None:
    with LocalHost(FABRIC) as host:
        before = links(host._namespaces.socket(HOST))
        for words in ("link add up0 type veth peer name far", "link set up0 up", "link set far up"):
            subprocess.run(["ip", *words.split()], check=True)
        subprocess.run(["ip", "route", "add", "default", "dev", "up0"], check=True)

        assert gather(FABRIC, host._namespaces.socket(HOST), before).uplinks == ()
        assert host.facts().uplinks == ("up0",)


def test_an_open_vswitch_that_answers_nonsense_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = subprocess.CompletedProcess([], 0, '{"headings": 3}\n{}\n', "")
    monkeypatch.setattr(openvswitch, "_run", lambda words, seconds: ran)
    monkeypatch.setattr(os.path, "exists", lambda path: True)
    monkeypatch.setattr(daemon, "listens", lambda path: True)

    with pytest.raises(NoAnswer, match="gives an invalid answer"):
        openvswitch.read()
