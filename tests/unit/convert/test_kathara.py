"""Kathara labs become topologies that load and plan: startup files too."""

from __future__ import annotations

import pytest
from converted import left, loaded, planned
from damage import damaged
from hypothesis import given
from hypothesis import strategies as st

from netfab.convert.kathara import Lab, kathara
from netfab.errors import NetfabError

CONF = """\
LAB_NAME="Two Routers"
LAB_AUTHOR=x
# comment
pc1[0]="A"
pc1[image]="kathara/base"
pc1[mem]="64m"
r1[0]="A"
r1[1]="B/02:00:00:00:00:09"
r1[sysctl]="net.ipv4.conf.all.rp_filter=0"
pc2[0]=B
pc2[port]="8080:80/tcp"
pc2[num_terms]=2
what is this
"""
STARTUPS = {
    "pc1.startup": "ip address add 195.11.14.5/24 dev eth0\nip route add default via 195.11.14.1\n",
    "r1.startup": "ifconfig eth0 195.11.14.1/24 up\nifconfig eth1 100.0.0.9 netmask 255.255.255.252 up\n"
    "systemctl start frr\nfor i in 1 2; do\necho $i\ndone\n",
    "pc2.startup": "ip a add 100.0.0.10/30 dev eth0\nroute add default gw 100.0.0.9 dev eth0\n",
}


def lab(conf: str = CONF, **changes: str) -> Lab:
    startups = {**STARTUPS, **{f"{name}.startup": text for name, text in changes.items()}}
    return Lab(
        conf.encode(),
        "lab.conf",
        {name: text.encode() for name, text in startups.items()},
        {"r1": ["etc/frr/frr.conf"]},
    )


def test_devices_are_nodes_and_collision_domains_networks() -> None:
    found = planned(kathara(lab(), "lab"))

    assert found.name == "two-routers"
    assert list(found.nodes) == ["pc1", "r1", "pc2"]
    assert [str(found.networks[name].subnets[0]) for name in ("a", "b")] == ["195.11.14.0/24", "100.0.0.8/30"]
    router = found.nodes["r1"]
    assert router.forward
    assert [str(each.port.addresses[0]) for each in router.attachments] == ["195.11.14.1/24", "100.0.0.9/30"]
    assert router.attachments[1].port.mac == "02:00:00:00:00:09"
    assert [(file.path, file.source) for file in router.files] == [
        ("/etc/frr/frr.conf", "/lab/r1/etc/frr/frr.conf")
    ]
    assert found.nodes["pc1"].image == "kathara/base:latest"
    assert found.nodes["pc1"].command == ("sleep", "infinity")


def test_routes_are_keys_and_what_is_left_of_a_startup_file_is_run_in_one_piece() -> None:
    found = planned(kathara(lab(), "lab"))

    assert [str(each.via) for node in ("pc1", "pc2") for each in found.nodes[node].routes] == [
        "195.11.14.1",
        "100.0.0.9",
    ]
    assert found.nodes["r1"].exec == (("sh", "-c", "systemctl start frr\nfor i in 1 2; do\necho $i\ndone"),)


def test_what_is_not_carried_over_is_named_with_its_line() -> None:
    assert left(kathara(lab(), "lab")) == {
        "LAB_NAME": "1: the fabric is called two-routers here",
        "LAB_AUTHOR": "2: not carried over",
        "pc1[0]": "4: the network is called a here",
        "r1[1]": "8: the network is called b here",
        "pc2[port]": "11: not carried over: a port is published to where its device is `bridged`",
        "pc2[num_terms]": "12: not carried over",
        "": '13: not carried over: it is not of the form `pc1[0]="A"`',
    }


def test_a_bridged_device_has_a_way_out_and_publishes() -> None:
    found = planned(kathara(lab(CONF + "pc2[bridged]=true\n"), "lab"))

    assert [attachment.network for attachment in found.nodes["pc2"].attachments] == ["b", "outside"]
    assert found.nodes["pc2"].publish[0].host_port == 8080


def test_a_device_without_a_startup_file_has_no_addresses() -> None:
    found = planned(kathara(Lab(b"a[0]=X\nb[0]=X\n", "lab.conf"), "lab"))

    assert found.networks["x"].subnets == ()
    assert not found.nodes["a"].auto_routes


def test_a_lab_of_two_hundred_devices_is_converted_whole() -> None:
    conf = "".join(f"pc{n}[0]=lan{n // 10}\npc{n}[1]=core\n" for n in range(200))
    result = kathara(Lab(conf.encode(), "lab.conf"), "lab")

    assert len(planned(result).nodes) == 200
    assert result.left == ()


@pytest.mark.parametrize("conf", ["", "services: {}", "\xff"])
def test_what_is_no_lab_is_said(conf: str) -> None:
    with pytest.raises(NetfabError, match="is not such a file"):
        kathara(Lab(conf.encode("latin-1"), "lab.conf"), "lab")


@given(st.integers())
def test_a_damaged_lab_gives_no_traceback_and_what_it_gives_loads(seed: int) -> None:
    said = ""
    found = None
    startups = {name: damaged(text, seed) for name, text in STARTUPS.items()}
    try:
        found = kathara(Lab(damaged(CONF, seed), "lab.conf", startups), "lab")
    except NetfabError as error:
        said = str(error)

    assert found is None or loaded(found)
    assert said == "" or said.replace("\n", "").isprintable()


def test_a_device_that_is_on_a_domain_twice_is_there_once_and_that_is_said() -> None:
    found = kathara(lab('pc1[0]="a"\npc1[1]="a"\n', pc1="ip address add 10.0.0.1/24 dev eth0\n"), "lab")

    assert [attachment.port.name for attachment in planned(found).nodes["pc1"].attachments] == ["eth0"]
    assert left(found) == {"pc1[1]": "2: not carried over: the device is on a already"}
