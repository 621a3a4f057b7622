"""What names and placeholders mean inside the nodes, and in whose namespace each program runs."""

from __future__ import annotations

from typing import Any

from planning import container, file_of, of_kind, planned

from netfab.objects.container import Container
from netfab.objects.namespace import Namespace
from netfab.plan.planner import summary
from netfab.topology.load import load

TWO = """
    name: lab
    networks: {a: {}, b: {}}
    nodes:
      x: {networks: [a]}
      y: {networks: [b]}
      both: {networks: [a, b]}
"""


def test_a_name_is_the_address_on_a_shared_network_else_the_first() -> None:
    found = planned(TWO)

    assert file_of(found, "x", "hosts") == [
        "10.0.0.1\thost",
        "10.0.0.2\tx",
        "10.0.1.2\ty",
        "10.0.0.3\tboth",
    ]
    assert "10.0.1.3\tboth" in file_of(found, "y", "hosts")


def test_a_name_is_the_loopback_first() -> None:
    found = planned(TWO.replace("[a, b]", "[a, b], loopback: 10.9.0.1"))

    assert "10.9.0.1\tboth" in file_of(found, "x", "hosts")
    assert not [line for line in file_of(found, "x", "hosts") if line.startswith("10.0.0.3")]


def test_a_name_has_an_address_of_each_family() -> None:
    found = planned(
        "{name: lab, networks: {a: {subnet: [10.5.0.0/24, 'fd00:5::/64']}}, nodes: {x: {networks: [a]}}}"
    )

    assert file_of(found, "x", "hosts") == [
        "10.5.0.1\thost",
        "fd00:5::1\thost",
        "10.5.0.2\tx",
        "fd00:5::2\tx",
    ]


def test_the_base_name_of_a_scale_means_all_of_them_in_file_order() -> None:
    found = planned("{name: lab, networks: {a: {}}, nodes: {web: {networks: [a], scale: 2}}}")

    assert file_of(found, "web-1", "hosts")[1:] == ["10.0.0.2\tweb-1 web", "10.0.0.3\tweb-2 web"]


def test_host_is_the_bridge_where_the_host_has_an_address_there() -> None:
    found = planned(
        "{name: lab, networks: {a: {}, b: {gateway: none}}, nodes: {x: {networks: [a]}, y: {networks: [b]}}}"
    )

    assert [line for line in file_of(found, "y", "hosts") if line.endswith("\thost")] == []
    assert "10.0.0.1\thost" in file_of(found, "x", "hosts")


def test_a_node_in_the_hosts_namespace_is_the_host() -> None:
    found = planned("""
        name: lab
        networks: {a: {}, b: {}}
        nodes: {x: {networks: [b]}, agent: {mode: host, command: [sleep, infinity]}}
    """)

    assert "10.0.1.1\tagent" in file_of(found, "x", "hosts")


def test_nodes_on_the_same_networks_share_a_hosts_file_that_keeps_its_name() -> None:
    more = planned(TWO.replace("x:", "w: {networks: [a]}\n      x:"))

    assert more.names["w"].hosts == more.names["x"].hosts == planned(TWO).names["x"].hosts
    assert more.names["x"].hosts.startswith("/run/netfab/lab/etc/hosts.")
    assert more.names["y"].hosts != more.names["x"].hosts


UPSTREAM: dict[str, Any] = {"nameservers": ("192.0.2.53",)}


def test_a_node_with_a_way_out_has_the_hosts_upstreams() -> None:
    found = planned("{name: lab, networks: {a: {}}, nodes: {x: {networks: [a]}}}", **UPSTREAM)

    assert file_of(found, "x", "resolv") == ["nameserver 192.0.2.53"]


def test_a_way_out_may_lead_through_routers() -> None:
    text = """
        name: lab
        networks: {wan: {}, lan: {gateway: r}}
        nodes: {r: {networks: [wan], forward: true}, x: {networks: [lan]}, y: {}}
        links: [[r, y]]
    """
    found = planned(text, **UPSTREAM)
    alone = planned(text.replace("wan: {}", "wan: {gateway: none}"), **UPSTREAM)

    assert [file_of(found, node, "resolv") for node in "rxy"] == [["nameserver 192.0.2.53"]] * 3
    assert [file_of(alone, node, "resolv") for node in "rxy"] == [[]] * 3


def test_a_router_that_we_do_not_run_is_a_way_out() -> None:
    found = planned(
        """
        name: lab
        networks: {a: {subnet: 10.5.0.0/24, gateway: {external: 10.5.0.1}}}
        nodes: {x: {networks: [a]}}
        """,
        **UPSTREAM,
    )

    assert file_of(found, "x", "resolv") == ["nameserver 192.0.2.53"]


def test_an_internal_network_has_no_upstreams() -> None:
    found = planned("{name: lab, networks: {a: {internal: true}}, nodes: {x: {networks: [a]}}}", **UPSTREAM)

    assert file_of(found, "x", "resolv") == []


def test_a_default_route_to_the_host_of_an_internal_network_is_no_way_out() -> None:
    found = planned(
        """
        name: lab
        networks: {a: {internal: true}}
        nodes: {x: {networks: [a], routes: [default via 10.0.0.1]}}
        """,
        **UPSTREAM,
    )

    assert file_of(found, "x", "resolv") == []


def test_dns_names_nodes_and_addresses_instead() -> None:
    found = planned(
        """
        name: lab
        networks: {a: {}}
        nodes: {x: {networks: [a], dns: [y, 9.9.9.9]}, y: {networks: [a]}}
        """,
        **UPSTREAM,
    )

    assert file_of(found, "x", "resolv") == ["nameserver 10.0.0.3", "nameserver 9.9.9.9"]


MODES = """
    name: lab
    networks: {a: {}}
    nodes:
      own: {networks: [a]}
      alone: {mode: none, command: [sleep, infinity]}
      agent: {mode: host, command: [sleep, infinity]}
      sidecar: {mode: container:own, command: [sleep, infinity]}
      second: {mode: container:sidecar}
"""


def test_only_nodes_with_a_network_of_their_own_have_a_namespace() -> None:
    assert [thing.name.text for thing in of_kind(planned(MODES), Namespace)] == ["lab.own", "lab.alone"]


def test_a_program_runs_in_the_namespace_that_its_mode_says() -> None:
    found = planned(MODES)

    assert {thing.name: thing.netns for thing in of_kind(found, Container)} == {
        "alone": "/run/netns/lab.alone",
        "agent": "",
        "sidecar": "/run/netns/lab.own",
    }
    assert (container(found, "agent").hosts_file, container(found, "agent").resolv_conf) == ("", "")


def test_every_node_can_be_entered_by_its_name() -> None:
    text = "\n".join(line[4:] for line in MODES.splitlines())
    topology = load(text.encode(), "lab.yaml", "/lab", {}, None)

    nodes = summary(topology, planned(MODES))["nodes"]

    assert {name: node["namespace"] for name, node in nodes.items()} == {
        "own": "/run/netns/lab.own",
        "alone": "/run/netns/lab.alone",
        "agent": "",
        "sidecar": "/run/netns/lab.own",
        "second": "/run/netns/lab.own",
    }


def test_the_name_of_a_second_name_is_the_address_of_the_first() -> None:
    assert file_of(planned(MODES), "own", "hosts")[1:] == [
        "10.0.0.2\town",
        "10.0.0.1\tagent",
        "10.0.0.2\tsidecar",
        "10.0.0.2\tsecond",
    ]


def asked(*texts: str) -> tuple[str, ...]:
    """What x's command becomes with those arguments."""
    found = planned(f"""
        name: lab
        networks: {{a: {{subnet: [10.5.0.0/24, "fd00:5::/64"]}}, b: {{subnet: 10.6.0.0/24}}}}
        nodes:
          x: {{networks: [a], command: {["echo", *texts]!r}}}
          y: {{networks: [b, a], loopback: 10.9.0.1}}
          z: {{networks: [b, a]}}
          far: {{networks: [b]}}
        links: [["x:cross", "z:cross"]]
    """)
    return container(found, "x").argv[1:]


def test_placeholders_are_what_was_planned() -> None:
    assert asked("{node} {n}") == ("x 1",)
    assert asked("{ip:a}", "{ip6:a}", "{ip:eth0}", "{ip:cross}") == (
        "10.5.0.2",
        "fd00:5::2",
        "10.5.0.2",
        "10.0.0.0",
    )
    assert asked("{ip:y}", "{ip:z}", "{ip:far}", "{ip:b}") == ("10.9.0.1", "10.5.0.4", "10.6.0.4", "10.6.0.1")
    assert asked("{net:a}", "{net:b}", "{peer:cross}") == ("10.5.0.0/24", "10.6.0.0/24", "10.0.0.1")


def test_a_placeholder_knows_an_interface_by_the_name_that_it_gets_beside_a_vlan() -> None:
    found = planned("""
        name: lab
        networks: {a: {}, b: {subnet: 10.6.0.0/24}}
        nodes: {x: {networks: {a: {name: eth0.10}, b: {}}, command: ["run", "{ip:eth1}"]}}
    """)

    assert container(found, "x").argv == ("run", "10.6.0.2")


def test_braces_that_mean_nothing_stay_as_they_are() -> None:
    assert asked("{} {x} $${y} {ip}") == ("{} {x} ${y} {ip}",)


def test_placeholders_stand_in_files_env_and_exec() -> None:
    found = planned("""
        name: lab
        networks: {a: {}}
        nodes:
          x:
            networks: [a]
            command: [sleep, infinity]
            env: {ADDR: "{ip:a}"}
            files: {/etc/app.conf: {content: "addr={ip:eth0}"}}
            exec: [[echo, "{net:a}"]]
    """)

    program = container(found, "x")
    assert program.env == (("ADDR", "10.0.0.2"),)
    assert program.files == (("/etc/app.conf", "addr=10.0.0.2", 0o644, "0:0"),)
    assert program.exec == (("echo", "10.0.0.0/24"),)


def test_a_second_program_in_a_namespace_has_that_nodes_addresses() -> None:
    found = planned(
        MODES.replace(
            "sidecar: {mode: container:own, command: [sleep",
            "sidecar: {mode: container:own, command: [echo, '{ip:a}'",
        )
    )

    assert container(found, "sidecar").argv == ("echo", "10.0.0.2", "infinity")
    assert container(found, "sidecar").addresses == ("10.0.0.2",)
