"""What others do to a fabric: `drift` names it, `reconcile` mends it, running programs keep their PIDs."""

from __future__ import annotations

import pytest
from lab import SUPERVISORS, Lab
from machine import differences

FILE = """\
name: shop
networks: {lan: {subnet: 10.1.0.0/24}}
nodes:
  web: {networks: {lan: {ip: 10.1.0.10}}, command: [sleep, '1000'], publish: ['8080:80']}
  client: {networks: {lan: {ip: 10.1.0.11}}}
"""
# The host's end of web's cable, by the index that the node's end names: `eth0@if7`.
PORT = (
    "index=$(ip -o -n shop.web link show eth0 | sed 's/.*@if\\([0-9]*\\).*/\\1/'); "
    "port=$(ip -o link show | awk -F '[:@ ]+' -v i=$index '$1 == i { print $2 }'); "
)
DAMAGE = {
    "link down": (PORT + "ip link set $port down", "web"),
    "bridge down": ("ip link set br-lan down", "bridge br-lan"),
    "port off its bridge": (PORT + "ip link set $port nomaster", "(eth0 of web)"),
    "mac": ("ip -n shop.web link set eth0 address 02:00:00:00:00:99", "web"),
    "mtu": ("ip -n shop.client link set eth0 mtu 1300", "client"),
    "address gone": ("ip -n shop.web address delete 10.1.0.10/24 dev eth0", "10.1.0.10"),
    "gateway gone": ("ip address delete 10.1.0.1/24 dev br-lan", "10.1.0.1"),
    "route gone": ("ip -n shop.web route delete default", "default"),
    "flush": ("nft flush ruleset", "netfab-shop"),
    "table gone": ("nft delete table inet netfab-shop", "netfab-shop"),
    "chain policy": ("nft 'chain inet netfab-shop forward { policy drop; }'", "netfab-shop"),
    "rule gone": ("nft flush chain inet netfab-shop postrouting", "netfab-shop"),
    "set element": ("nft flush set inet netfab-shop inside", "netfab-shop"),
    "published port": ("nft flush map inet netfab-shop published4-address", "netfab-shop"),
    "bridge sysctl": ("sysctl -qw net.ipv4.conf.br-lan.forwarding=0", "br-lan"),
    "hosts file": ("echo 1.2.3.4 web > $(ls /run/netfab/shop/etc/hosts.* | head -1)", "hosts"),
    "node's bridge": ("ip link delete br-lan", "br-lan"),
    "client's namespace": ("umount -l /run/netns/shop.client; rm /run/netns/shop.client", "client"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named_and_mended_under_a_running_program(lab: Lab, damage: str) -> None:
    script, named = DAMAGE[damage]
    lab.write(FILE)
    lab.netfab("apply")
    before, pid = lab.state(), lab.pid_of("web")

    lab.shell(script)
    drift = lab.netfab("drift", code=2).out
    lab.netfab("reconcile")

    assert named in drift
    assert lab.netfab("drift").out.startswith("No changes.")
    assert lab.pid_of("web") == pid
    assert differences(steady(before), steady(lab.state())) == []


def steady(state: dict[str, frozenset[object]]) -> dict[str, frozenset[object]]:
    """Without what making a thing again must change: the indexes of links, and what mentions them."""
    return {
        what: things
        for what, things in state.items()
        if what not in ("links", "addresses", "routes", "firewall")
    }


def test_a_namespace_that_is_gone_takes_its_program_along_and_both_come_back(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("apply")
    pid = lab.pid_of("web")

    lab.shell("umount -l /run/netns/shop.web; rm /run/netns/shop.web")
    lab.netfab("drift", code=2)
    lab.netfab("reconcile")

    assert lab.netfab("drift").out.startswith("No changes.")
    assert lab.pid_of("web") != pid


def test_a_killed_supervisor_kills_no_program_and_is_replaced(lab: Lab) -> None:
    lab.write(FILE)
    lab.netfab("apply")
    pid = lab.pid_of("web")

    lab.kill(SUPERVISORS)
    lab.netfab("drift", code=2)
    lab.netfab("reconcile")

    assert lab.netfab("drift").out.startswith("No changes.")
    assert lab.pid_of("web") == pid


def test_published_ports_without_any_program_are_held_again_and_let_go(lab: Lab) -> None:
    before = lab.state()
    lab.write(FILE.replace("command: [sleep, '1000'], ", ""))
    lab.netfab("apply")

    lab.kill(SUPERVISORS)
    drift = lab.netfab("drift", code=2).out
    lab.netfab("reconcile")

    assert "ports held for shop: ports none -> tcp/0.0.0.0/8080" in drift
    assert lab.netfab("drift").out.startswith("No changes.")
    lab.netfab("destroy", "shop")
    assert differences(before, lab.state()) == []


def test_a_program_that_was_killed_is_drift_only_where_it_should_run(lab: Lab) -> None:
    lab.write(FILE.replace("publish:", "restart: always, publish:"))
    lab.netfab("apply")
    pid = lab.pid_of("web")

    lab.kill(f"{pid}")
    lab.netfab("reconcile")

    again = pid
    while again in (pid, None):  # its policy starts it when its end is seen, and a tenth of a second later
        again = lab.netfab("status", "shop", "-o", "json").json["nodes"]["web"]["pid"]
    assert lab.netfab("drift").out.startswith("No changes.")


def test_what_is_destroyed_after_damage_leaves_nothing(lab: Lab) -> None:
    before = lab.state()
    lab.write(FILE)
    lab.netfab("apply")

    lab.shell(
        "nft flush ruleset; ip link delete br-lan; "
        "umount -l /run/netns/shop.client; rm /run/netns/shop.client"
    )
    lab.netfab("destroy")

    assert differences(before, lab.state()) == []


def test_drift_of_all_fabrics_is_shown_of_each_and_exits_with_2_for_one(lab: Lab) -> None:
    for name in ("one", "two"):
        lab.write(
            f"name: {name}\nnetworks: {{lan: {{}}}}\nnodes: {{web: {{networks: [lan]}}}}\n", f"{name}.yaml"
        )
        lab.netfab("apply", f"{name}.yaml")
    assert "matches one" in lab.netfab("drift", "--all").out
    lab.shell("ip -n two.web link set eth0 down")

    found = lab.netfab("drift", "--all", "-o", "json", code=2).json["fabrics"]

    assert {one["fabric"]: bool(one["changes"]) for one in found} == {"one": False, "two": True}
    assert lab.netfab("drift", "one", "--all", code=1).err.endswith("Error: --all takes no NAME\n")
