"""Networks over simulated hosts whose packets are encrypted; most of it waits for a kernel that has ESP."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lacking import skip_with, skip_without
from simulated_hosts import Hosts, fleet
from test_overlay import Begun, begun, ping, strangers_counted, vni

from netfab import fabric
from netfab.engine import apply as engine
from netfab.errors import Unsupported
from netfab.hosts import simulated
from netfab.hosts.local import LocalHost
from netfab.multihost import across
from netfab.objects.base import Fabric
from netfab.objects.firewall import Firewall, table_name
from netfab.objects.xfrm import FEATURE
from netfab.plan.firewall_rules import in_the_clear
from netfab.plan.names import host_link
from netfab.plan.underlay import NAME

__all__ = ["begun"]

ENCRYPTED = fleet(2, network="{encrypt: true}")
KEYS = Path("/var/lib/netfab/controller/lab.key")
ETH_P_ALL, ETH_P_IP, ESP, UDP = 0x0003, 0x0800, 50, 17


@contextmanager
def protocols(host: str) -> Iterator[list[tuple[int, int]]]:
    """(protocol, length) of each IPv4 packet from and to a host by the underlay, once this is over."""
    seen: list[tuple[int, int]] = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as packets:
        packets.bind((host_link(NAME, host, "eth0"), 0))
        packets.setblocking(False)
        yield seen
        while True:
            try:
                frame = packets.recv(65535)
            except BlockingIOError:
                return
            if int.from_bytes(frame[12:14]) == ETH_P_IP:
                seen.append((frame[23], int.from_bytes(frame[16:18])))


def states(hosts: Hosts, host: str) -> set[str]:
    """The SPIs that a host has."""
    said = hosts.run(host, "ip", "xfrm", "state")
    return {word for line in said.splitlines() if "spi" in line for word in line.split() if "0x" in word}


@pytest.fixture
def encrypted(begun: Begun) -> Hosts:
    skip_without(FEATURE)
    return begun(ENCRYPTED)


def test_a_kernel_without_esp_is_named_before_anything_is_changed(begun: Begun) -> None:
    skip_with(FEATURE)
    hosts = begun(fleet(2))
    before = hosts.run("h1", "ip", "link"), hosts.run("h2", "nft", "list", "ruleset")

    with pytest.raises(Exception, match="lan is encrypted, and h1's kernel lacks ESP") as caught:
        hosts.apply(ENCRYPTED)

    errors = getattr(caught.value, "errors", (caught.value,))
    assert all(isinstance(error, Unsupported) for error in errors)
    assert before == (hosts.run("h1", "ip", "link"), hosts.run("h2", "nft", "list", "ruleset"))
    assert not KEYS.exists()


def test_nothing_but_esp_is_on_the_wire(encrypted: Hosts) -> None:
    with protocols("h1") as seen:
        assert ping(encrypted, "n1", "n2")

    kinds = {protocol for protocol, _ in seen}
    assert ESP in kinds
    assert UDP not in kinds


def test_a_packet_of_exactly_the_mtu_fills_the_underlay(encrypted: Hosts) -> None:
    with protocols("h1") as seen:
        assert ping(encrypted, "n1", "n2", 1416 - 28)
    with pytest.raises(OSError, match="Message too long"):
        ping(encrypted, "n1", "n2", 1416 - 28 + 1)

    assert max(length for protocol, length in seen if protocol == ESP) == 1500


def test_an_ipv6_underlay_is_encrypted_too(begun: Begun) -> None:
    skip_without(FEATURE)
    text = ENCRYPTED.replace("192.0.2.1}", "'2001:db8::1'}").replace("192.0.2.2}", "'2001:db8::2'}")

    hosts = begun(text)

    assert ping(hosts, "n1", "n2", 1396 - 28)


def test_a_second_apply_changes_nothing_while_packets_go(encrypted: Hosts) -> None:
    fd = encrypted.call("n1", lambda: os.open("/proc/self/ns/net", os.O_RDONLY))
    enter = f"--net=/proc/{os.getpid()}/fd/{fd}"
    flood = ("nsenter", enter, "ping", "-q", "-f", "-w", "20", encrypted.address("n2"))

    with subprocess.Popen(flood, stdout=subprocess.DEVNULL) as pinging:
        for _ in range(3):
            encrypted.apply(ENCRYPTED)
            assert not encrypted.changes
        pinging.terminate()
    os.close(fd)


def test_what_comes_in_the_clear_as_a_peer_is_dropped(encrypted: Hosts) -> None:
    before = strangers_counted(encrypted, "h1")
    frame = bytes.fromhex("ffffffffffff 0200deadbeef 0806") + bytes(46)
    datagram = b"\x08\0\0\0" + vni(encrypted).to_bytes(3, "big") + b"\0" + frame

    with simulated.inside("h2"), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        length = 28 + len(datagram)
        udp = (12345).to_bytes(2) + (4789).to_bytes(2) + (8 + len(datagram)).to_bytes(2) + b"\0\0"
        header = b"\x45\0" + length.to_bytes(2) + b"\0\0\0\0\x40\x11\0\0"
        ends = socket.inet_aton("192.0.2.2") + socket.inet_aton("192.0.2.1")
        subprocess.run(["ip", "xfrm", "policy", "flush"], check=True)  # or ours would refuse to send it
        raw.sendto(header + ends + udp + datagram, ("192.0.2.1", 0))

    assert strangers_counted(encrypted, "h1") == before + 1
    assert "deadbeef" not in encrypted.run("h1", "bridge", "fdb").replace(":", "")


def test_a_tunnel_sends_nothing_in_the_clear_to_whom_no_policy_is_for() -> None:
    underlay = """
        ip link add eth0 up type veth peer name wire; ip link set wire up
        ip address add 192.0.2.1/24 dev eth0
        ip neighbour add 192.0.2.66 dev eth0 lladdr 02:00:00:00:00:66
        ip link add vx7 type vxlan id 7 dev eth0 local 192.0.2.1 dstport 4789 nolearning
        sysctl -qw net.ipv6.conf.vx7.disable_ipv6=1 # else the kernel sends its own groups' reports by it
        ip link set vx7 up
        bridge fdb append 00:00:00:00:00:00 dev vx7 dst 192.0.2.66
    """
    subprocess.run(["sh", "-ec", underlay], check=True)
    chain = in_the_clear((4789,), (7,))

    with LocalHost("lab") as host:
        engine.apply(Fabric("lab", [Firewall("inet", table_name("lab"), (chain,), ())]), host)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as packets:
            packets.sendto(b"\xff" * 6 + bytes(52), ("vx7", 0))

    assert (
        '"packets": 1'
        in subprocess.run(
            ["nft", "-j", "list", "chain", "inet", "netfab-lab", "clear"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )


def test_without_its_key_a_host_sends_nothing(encrypted: Hosts) -> None:
    encrypted.run("h1", "ip", "xfrm", "state", "flush")

    with protocols("h1") as seen:
        encrypted.node("n1", "ping", "-c1", "-W1", encrypted.address("n2"), check=False)

    assert UDP not in {protocol for protocol, _ in seen}


def test_states_made_anew_on_one_host_have_new_keys_after_the_next_apply(encrypted: Hosts) -> None:
    for _ in range(3):
        assert ping(encrypted, "n1", "n2")
    before = states(encrypted, "h1")
    encrypted.run("h1", "ip", "xfrm", "state", "flush")
    with simulated.inside("h1"):
        fabric.reconcile("lab")
    assert states(encrypted, "h1") == before

    encrypted.apply(ENCRYPTED)

    assert ping(encrypted, "n1", "n2")
    assert ping(encrypted, "n2", "n1")
    assert states(encrypted, "h1") == states(encrypted, "h2")
    assert states(encrypted, "h1").isdisjoint(before)


def test_a_secret_that_was_removed_is_made_anew_and_all_keys_with_it(encrypted: Hosts) -> None:
    before, secret = states(encrypted, "h1"), KEYS.read_text()
    KEYS.unlink()

    encrypted.apply(ENCRYPTED)

    assert KEYS.read_text() != secret
    assert states(encrypted, "h2").isdisjoint(before)
    assert ping(encrypted, "n1", "n2")


def test_keys_are_where_only_root_reads(encrypted: Hosts) -> None:
    assert KEYS.stat().st_mode & 0o777 == 0o600
    key = encrypted.run("h1", "ip", "xfrm", "state").split("rfc4106(gcm(aes)) 0x")[1][:72]

    with simulated.inside("h1"):
        readable = [
            path for path in Path("/run/netfab").rglob("*") if path.is_file() and path.stat().st_mode & 0o044
        ]
        assert readable
        assert not any(key in path.read_text() for path in readable)


def test_a_network_that_is_encrypted_from_now_on_and_no_more_is_reached(begun: Begun) -> None:
    skip_without(FEATURE)
    hosts = begun(fleet(2))

    hosts.apply(ENCRYPTED)
    assert ping(hosts, "n1", "n2", 1416 - 28)
    hosts.apply(fleet(2))

    assert ping(hosts, "n1", "n2", 1450 - 28)
    assert hosts.run("h1", "ip", "xfrm", "state") + hosts.run("h1", "ip", "xfrm", "policy") == ""


def test_destroy_leaves_neither_state_nor_policy_nor_key(encrypted: Hosts) -> None:
    entry = across.known("lab")
    assert entry is not None
    across.destroy(entry)

    for host in ("h1", "h2"):
        assert encrypted.run(host, "ip", "xfrm", "state") + encrypted.run(host, "ip", "xfrm", "policy") == ""
    assert not KEYS.exists()
