"""What can't be planned, named with its place."""

from __future__ import annotations

import pytest
from planning import of_kind, planned, read, routes

from netfab.errors import PlanError, Several, Unsupported
from netfab.objects.base import Name
from netfab.objects.bridge import Bridge
from netfab.objects.sysctl import Sysctl
from netfab.objects.veth import Veth
from netfab.plan.facts import Facts
from netfab.plan.refusals import refuse_before
from netfab.plan.seats import seats_of

RESERVED = {
    "delay": "networks: {a: {delay: 5ms}}",
    "jitter": "networks: {a: {jitter: 1ms}}",
    "loss": "networks: {a: {loss: 1%}}",
    "duplicate": "links: [{endpoints: [x, y], duplicate: 1%}]",
    "reorder": "links: [{endpoints: [x, y], reorder: 1%}]",
    "corrupt": "links: [{endpoints: [x, y], corrupt: 1%}]",
    "masquerade": "nodes: {x: {networks: {a: {masquerade: true}}}}",
    "devices": "nodes: {x: {devices: [/dev/net/tun]}}",
}
SHARED = {
    "name": "name: lab",
    "networks": "networks: {a: {}}",
    "nodes": "nodes: {x: {}, y: {}}",
}


def whole(line: str) -> str:
    """A file that has all that the line refers to."""
    said = {part.partition(":")[0] for part in line.splitlines()}
    rest = [text for key, text in SHARED.items() if key not in said]
    return "\n".join([*rest, line])


@pytest.mark.parametrize("key", RESERVED)
def test_a_key_without_effect_yet_is_refused_by_name_and_place(key: str) -> None:
    with pytest.raises((Unsupported, Several)) as caught:
        planned(whole(RESERVED[key]))

    errors = caught.value.errors if isinstance(caught.value, Several) else (caught.value,)
    (error,) = [error for error in errors if error.message == f"`{key}` is not supported yet"]
    assert error.at is not None
    assert error.at.line >= 3


def test_all_keys_without_effect_are_named_at_once() -> None:
    with pytest.raises(Several) as caught:
        planned("{name: lab, networks: {n: {delay: 5ms, jitter: 1ms, loss: 1%}}}")

    assert len(caught.value.errors) == 3


def test_a_network_of_more_interfaces_than_a_bridge_has_ports_is_refused_by_name() -> None:
    text = "{{name: lab, networks: {{lan: {{}}}}, nodes: {{n1..{}: {{networks: [lan]}}}}}}"

    planned(text.format(1023))
    with pytest.raises(PlanError, match="1024 interfaces on network lan, and a bridge has 1023 ports"):
        planned(text.format(1024))


@pytest.mark.parametrize(
    "text",
    [
        "networks: {a: {gateway: none}}\nnodes: {x: {networks: {a: {gateway: true}}}}",
        "networks: {a: {internal: true}}\nnodes: {x: {networks: {a: {gateway: true}}}}",
        "networks: {a: {gateway: x}}\nnodes: {x: {networks: {a: {gateway: true}}}}",
        "nodes: {x: {}, y: {}}\nlinks: [[{node: x, gateway: true}, y]]",
    ],
)
def test_a_default_route_where_nobody_takes_it_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="where there is no gateway and no router") as caught:
        planned(f"name: lab\n{text}")

    assert caught.value.at is not None
    assert caught.value.at.path.endswith("gateway")


def test_a_default_route_by_a_router_beside_it_is_planned() -> None:
    found = planned("""
        name: lab
        networks: {a: {gateway: none}}
        nodes: {x: {networks: {a: {gateway: true}}}, r: {networks: [a], forward: true}}
    """)

    assert routes(found, "x") == ["default via 10.0.0.3 dev eth0"]


def test_a_gateway_that_masquerades_towards_its_own_members_is_refused() -> None:
    topology = read(
        "{name: lab, networks: {a: {gateway: r}}, nodes: {r: {networks: {a: {masquerade: true}}}}}"
    )
    seats = {"a": seats_of(topology)}

    with pytest.raises(PlanError, match="r is the gateway of a, and what lies behind"):
        refuse_before(topology, seats, Facts())


@pytest.mark.parametrize(
    "text",
    [
        "networks: {a: {ipv6: true}}",
        "networks: {a: {subnet: 'fd00::/64'}}",
        "nodes: {x: {loopback: 'fd00::1'}}",
    ],
)
def test_ipv6_on_a_host_without_it_is_refused(text: str) -> None:
    with pytest.raises(Unsupported, match="this host has no IPv6"):
        planned(f"name: lab\n{text}", ipv6=False)


def test_a_network_without_addresses_needs_no_ipv6() -> None:
    text = "{name: lab, networks: {a: {subnet: none}}, nodes: {x: {networks: [a]}}}"

    assert not [thing for thing in planned(text, ipv6=False).fabric.values() if "fe80" in str(thing)]


def test_an_mtu_too_small_for_the_ipv6_there_is_refused() -> None:
    with pytest.raises(PlanError, match=r"at least 1280 .*, not 1000, which x has on a"):
        planned("{name: lab, networks: {a: {ipv6: true}}, nodes: {x: {networks: {a: {mtu: 1000}}}}}")


@pytest.mark.parametrize(("ipv6", "mtu"), [(False, 1500), (True, 1279)])
def test_links_that_can_have_no_ipv6_are_told_nothing_of_it(ipv6: bool, mtu: int) -> None:
    text = f"""
        name: lab
        networks: {{a: {{mtu: {mtu}}}, b: {{subnet: none, mtu: {mtu}}}}}
        nodes: {{x: {{networks: [a, b], forward: true}}, y: {{}}}}
        links:
          - {{endpoints: [x, y], mtu: {mtu}}}
          - {{endpoints: [{{node: y, mtu: {mtu}}}, {{node: "host:lab0", mtu: {mtu}}}]}}
    """
    found = planned(text, ipv6=ipv6, sysctls={"net/ipv6/conf/all/force_forwarding": "0"}).fabric.values()

    links = [thing for thing in found if isinstance(thing, Bridge)]
    links += [end for thing in found if isinstance(thing, Veth) for end in thing.ends]
    assert len(links) == 10
    assert {link.settings for link in links} == {link.settings.without_ipv6() for link in links}


def test_publishing_on_the_ipv6_loopback_is_refused() -> None:
    with pytest.raises(Exception, match=r"`\[::1\]` can't be published"):
        planned("{name: lab, networks: {a: {}}, nodes: {x: {networks: [a], publish: ['[::1]:80:80']}}}")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (
            "net.ipv4.conf.eth7.proxy_arp",
            "lab.yaml:4:39: nodes.web.sysctls: web has no interface eth7",
        ),
        (
            "net.ipv4.conf.eth0.rp_filter",
            "lab.yaml:4:39: nodes.web.sysctls: netfab sets net.ipv4.conf.eth0.rp_filter itself",
        ),
    ],
)
def test_a_sysctl_is_of_an_interface_that_the_node_has_and_not_netfabs_own(key: str, said: str) -> None:
    with pytest.raises(PlanError) as caught:
        planned(f"""
            name: lab
            networks: {{a: {{}}}}
            nodes: {{web: {{networks: [a], sysctls: {{{key}: 1}}}}}}
        """)

    assert str(caught.value) == said


def test_a_sysctl_may_say_what_netfab_sets_anyway() -> None:
    found = planned("""
        name: lab
        networks: {a: {}}
        nodes: {web: {networks: [a], sysctls: {net.ipv4.conf.eth0.rp_filter: 0}}}
    """)

    assert [sysctl.key for sysctl in of_kind(found, Sysctl)] == ["net/ipv4/conf/eth0/rp_filter"]


def test_a_sysctl_of_a_vlan_is_made_when_that_is_there() -> None:
    found = planned("""
        name: lab
        networks: {a: {}}
        nodes: {web: {networks: [{a: {name: eth0.10}}], sysctls: {net.ipv4.conf.eth0.10.proxy_arp: 1}}}
    """)
    (sysctl,) = of_kind(found, Sysctl)

    assert sysctl.key == "net/ipv4/conf/eth0.10/proxy_arp"
    assert sysctl.needs == (Name("node lab.web", "eth0.10"),)


def test_keys_that_wait_for_a_command_are_told_and_a_default_is_not() -> None:
    nodes = "nodes: {a: {restart: always}, b: {restart: no}, c: {user: nobody, env: {A: b}}}"

    assert planned(nodes).warnings == (
        "a has no command, so `restart` has no effect",
        "c has no command, so `env`, `user` have no effect",
    )
