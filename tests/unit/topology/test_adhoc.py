"""What `netfab attach` asked for, as a topology."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfab.topology.adhoc import Asked, Attachment, Standing, in_subnet, topology_of
from netfab.topology.schema import PLANNED


def attachment(interface: str = "eth1", guest: str = "netns:blue", **fields: object) -> Attachment:
    made = Attachment(guest, interface, "br0", "blue", ("10.0.0.2/24",), number=1)
    return made._replace(**fields)


def asked(*attachments: Attachment) -> Asked:
    return Asked({one.key: one for one in attachments})


@given(
    st.builds(
        Attachment,
        *[st.text()] * 4,
        st.lists(st.text()).map(tuple),
        st.lists(st.text()).map(tuple),
        st.text(),
        st.integers(),
        st.text(),
        st.text(),
        st.lists(st.text()).map(tuple),
        st.integers(),
        st.integers(),
        st.text(),
        st.integers(),
    )
)
def test_an_attachment_is_kept_and_read_back(one: Attachment) -> None:
    assert Attachment.from_json(one.to_json()) == one


def test_a_guest_is_one_node_with_all_its_interfaces() -> None:
    topology = topology_of(asked(attachment(), attachment("eth2", number=2)), {"netns:blue"}, {})

    assert [seat.port.name for seat in topology.nodes["netns:blue"].attachments] == ["eth1", "eth2"]


def test_a_guest_that_does_not_run_is_kept_and_not_planned() -> None:
    topology = topology_of(asked(attachment()), (), {})

    assert topology.nodes == {}
    assert [kind for kind, _, _ in topology.asked] == ["attachment"]


def test_the_last_gateway_of_a_family_counts() -> None:
    first = attachment(gateways=("10.0.0.1",), number=7)
    last = attachment("eth2", addresses=("10.0.1.2/24",), gateways=("10.0.1.1",), number=8)
    six = attachment("eth3", addresses=("fd00::2/64",), gateways=("fd00::1",), number=3)

    (node,) = topology_of(asked(last, first, six), {"netns:blue"}, {}).nodes.values()

    assert {(spec.via, spec.dev) for spec in node.routes} == {
        (ip_address("10.0.1.1"), "eth2"),
        (ip_address("fd00::1"), "eth3"),
    }


def test_a_gateway_outside_the_subnet_has_a_way_of_its_own() -> None:
    one = attachment(gateways=("192.168.9.9",))

    (node,) = topology_of(asked(one), {"netns:blue"}, {}).nodes.values()

    assert [(spec.destination, spec.via) for spec in node.routes] == [
        (ip_network("192.168.9.9/32"), None),
        (None, ip_address("192.168.9.9")),
    ]


@pytest.mark.parametrize(
    ("standing", "external", "mtu"),
    [
        ({}, False, PLANNED),
        ({"br0": Standing(False, 1400)}, True, 1400),
        ({"br0": Standing(True, 1500)}, False, PLANNED),
    ],
    ids=["none yet", "somebody else's", "ours"],
)
def test_a_bridge_that_is_there_is_somebody_elses_unless_we_made_it(
    standing: dict[str, Standing], external: bool, mtu: object
) -> None:
    network = topology_of(asked(attachment()), {"netns:blue"}, standing).networks["br0"]

    assert (network.external, network.mtu) == (external, mtu)


def test_a_bridge_of_ours_that_others_use_stays() -> None:
    assert "br7" in topology_of(Asked(), (), {"br7": Standing(True, 1500, shared=True)}).networks


def test_an_address_takes_its_length_from_the_bridges_subnet() -> None:
    subnets = [ip_interface("fd00::1/64"), ip_interface("10.0.0.1/22")]

    assert in_subnet(ip_address("10.0.3.9"), subnets) == ip_interface("10.0.3.9/22")
    assert in_subnet(ip_address("10.0.4.9"), subnets) is None
