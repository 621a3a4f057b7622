"""`netfab why`: the cause of each fault is named, in the words of the file; a healthy pair's way is shown."""

from __future__ import annotations

import json

import pytest
from lab import COMMAND, Lab

SHOP = """\
name: shop
networks:
  front: {subnet: 10.1.0.0/24, gateway: r}
  back: {subnet: 10.2.0.0/24, gateway: r}
  island: {subnet: 10.3.0.0/24, internal: true}
nodes:
  r: {}
  web: {networks: [front]}
  db:
    networks: [back]
    command: [python3, -m, http.server, "80"]
    ready: tcp/80
  idle: {networks: [back]}
  lone: {networks: [island]}
"""
IN = "ip netns exec shop."
RULES = "add table inet theirs; add chain inet theirs {hook} {{ type filter hook {hook} priority 0; }};"

# What somebody did, what must be named, and the port that is asked for where that is not 80.
FAULTS = {
    "an interface is down": (f"{IN}db ip link set eth0 down", "eth0 of db is down"),
    "the asking node's own interface is down": (f"{IN}web ip link set eth0 down", "eth0 of web is down"),
    "the host's end is down": ("ip link set $(outer db) down", ", the other end of eth0 of db, is down"),
    "a port is off its bridge": (
        "ip link set $(outer db) nomaster",
        "the host's end of eth0 of db, is on no bridge",
    ),
    "a port is on another bridge": (
        "ip link set $(outer db) master br-front",
        "eth1 of r is on br-back, and eth0 of db is on br-front",
    ),
    "a port does not forward": (
        "bridge link set dev $(outer db) state 0",
        "of br-back, eth0 of db, does not forward",
    ),
    "the bridge is down": ("ip link set br-back down", "bridge br-back is down"),
    "an address is gone": (f"{IN}db ip address flush dev eth0", "eth0 of db does not have 10.2.0.2"),
    "the default route is gone": (f"{IN}web ip route del default", "web has no route to 10.2.0.2"),
    "the way back is gone": (
        f"{IN}db ip route del default",
        "on the way back, db has no route to 10.1.0.2",
    ),
    "a route swallows": (
        f"{IN}r ip route add blackhole 10.2.0.2/32",
        "a route of r to 10.2.0.2 swallows it",
    ),
    "a route leads to nobody": (
        f"{IN}web ip route add 10.2.0.0/24 via 10.1.0.99",
        "nobody has 10.1.0.99",
    ),
    "the router does not forward": (
        f"{IN}r sh -c 'for f in /proc/sys/net/ipv4/conf/*/forwarding; do echo 0 > $f; done'",
        "r does not forward IPv4",
    ),
    "the router is strict about where from": (
        f"{IN}r sh -c 'echo 1 > /proc/sys/net/ipv4/conf/eth0/rp_filter; "
        "ip route add 10.1.0.2/32 via 10.2.0.3'",
        "r drops what comes from 10.1.0.2 by eth0: its own route there uses another interface",
    ),
    "a neighbour is fixed elsewhere": (
        f"{IN}r ip neighbour replace 10.2.0.2 lladdr 02:00:00:00:00:99 dev eth1",
        "r takes 10.2.0.2 to be at 02:00:00:00:00:99",
    ),
    "the forwarding table is fixed elsewhere": (
        "bridge fdb replace $(mac db) dev $(outer idle) master static sticky",
        "eth0 of db, to be behind",
    ),
    "a rule of others in the router drops": (
        f"{IN}r nft '{RULES.format(hook='forward')} add rule inet theirs forward tcp dport 80 drop'",
        "chain forward of table inet theirs of r drops it: `tcp dport 80 drop`",
    ),
    "a rule of others in the node drops": (
        f"{IN}db nft '{RULES.format(hook='input')} add rule inet theirs input tcp dport 80 drop'",
        "chain input of table inet theirs of db drops it",
    ),
    "a rule of others drops what comes back": (
        f"{IN}db nft '{RULES.format(hook='output')} add rule inet theirs output tcp sport 80 drop'",
        "chain output of table inet theirs of db drops it",
    ),
    "the node sends from an address that is not its own": (
        f"{IN}web ip address add 10.1.0.77/24 dev eth0; "
        f"{IN}web ip route replace default via 10.1.0.1 src 10.1.0.77",
        "web sends what its port may not",
    ),
    "a link lets less pass": (
        "ip link set $(outer db) mtu 1300",
        "passes 1300 bytes, and eth1 of r sends up to 1500",
    ),
    "nobody listens": ("true", "nothing listens on tcp/81 in db", "tcp/81"),
    "nobody listens, behind a rule that drops": (
        f"{IN}db nft '{RULES.format(hook='input')} add rule inet theirs input tcp dport 81 drop'",
        "chain input of table inet theirs of db drops it",
        "tcp/81",
    ),
    "the program has ended": ("netfab stop db", "the program of db has ended"),
    "the program is paused": ("netfab pause db", "the program of db is paused"),
    "the hosts file says otherwise": (
        "sed -i 's/10.2.0.2/10.2.0.9/' $(hosts)",
        "web takes db to be at 10.2.0.9, and it is at 10.2.0.2",
    ),
    "the namespace is gone": ("ip netns del shop.db", "the namespace of db is gone"),
}
MENDED = {  # by `netfab reconcile`, because it is what others changed of netfab's own
    "an interface is down",
    "the asking node's own interface is down",
    "the host's end is down",
    "a port is off its bridge",
    "a port is on another bridge",
    "the bridge is down",
    "an address is gone",
    "the default route is gone",
    "the way back is gone",
    "the router does not forward",
    "the router is strict about where from",
    "a link lets less pass",
    "the hosts file says otherwise",
    "the namespace is gone",
}
HELPERS = f"""
netfab() {{ {COMMAND} "$@"; }}
outer() {{ ip -o link show group $(ip -o link show br-back | sed 's/.*group \\([^ ]*\\).*/\\1/') |
    sed -n "s/^[0-9]*: \\(nf[0-9a-f]*\\)@.*link-netns shop.$1.*/\\1/p"; }}
mac() {{ ip netns exec shop.$1 cat /sys/class/net/eth0/address; }}
hosts() {{ netfab status shop -o json | sed -n 's/.*"hosts": "\\(.*\\)".*/\\1/p' | sort -u; }}
"""


@pytest.fixture
def shop(lab: Lab) -> Lab:
    lab.write(SHOP)
    lab.netfab("apply")
    return lab


@pytest.mark.parametrize("fault", FAULTS)
def test_the_cause_is_named(shop: Lab, fault: str) -> None:
    done, cause, port = (*FAULTS[fault], "tcp/80")[:3]
    shop.shell(HELPERS + done)

    answer = shop.netfab("why", "web", "db", port, "-o", "json", code=1).json

    assert cause in answer["cause"]["what"]
    assert (answer["cause"]["cure"] == "netfab reconcile shop") == (fault in MENDED)


def test_the_way_of_a_healthy_pair_is_shown(shop: Lab) -> None:
    assert shop.netfab("why", "web", "db", "tcp/80").out == (
        "web reaches db on tcp/80\n"
        "the way:\n"
        "  web eth0 -> br-front -> eth0 r\n"
        "  r eth1 -> br-back -> eth0 db\n"
    )


def test_what_was_changed_elsewhere_is_no_cause(shop: Lab) -> None:
    shop.shell(f"{IN}idle ip link set eth0 down")

    told = shop.netfab("why", "web", "db", "tcp/81", "-o", "json", code=1).json["cause"]

    assert (told["what"], told["cure"]) == ("nothing listens on tcp/81 in db", "")


def test_a_rule_of_netfab_is_told_in_words_and_where_the_file_says_so(lab: Lab) -> None:
    lab.write("networks: {one: {}, two: {}}\nnodes: {a: {networks: [one]}, b: {networks: [two]}}\n")
    lab.netfab("apply")
    file = lab.directory / "topology.yaml"

    assert lab.netfab("why", "a", "b", code=1).out.startswith(
        "a does not reach b\n"
        f"  the host leads nothing from network one ({file}:1:12) to network two ({file}:1:21):"
        " networks are apart where no node joins them\n"
        "hint: a node that is the `gateway` of both, or `publish` of b\n"
    )


def test_a_node_of_another_fabric_is_asked_for(lab: Lab) -> None:
    for name in ("one", "two"):
        lab.write(
            f"name: {name}\nnetworks: {{lan: {{}}}}\nnodes: {{a: {{networks: [lan]}}}}\n", f"{name}.yaml"
        )
        lab.netfab("apply", f"{name}.yaml")
    lab.write("networks: {near: {external: one/lan}}\nnodes: {b: {networks: [near]}}\n", "three.yaml")
    lab.netfab("apply", "three.yaml")

    apart = lab.netfab("why", "one/a", "two/a", code=1).out
    joined = lab.netfab("why", "three/b", "one/a").out

    assert "the host lets nobody outside of network two/lan open connections to two/a" in apart
    assert "hint: `publish` of two/a\n" in apart
    address = lab.netfab("ip", "two/a").out.strip()
    unnamed = lab.netfab("why", "one/a", address, code=1).out
    assert f"lets nobody outside of the networks of fabric two open connections to {address}" in unnamed
    assert joined.splitlines()[-1] == "  b eth0 -> br-lan -> eth0 one/a"


def test_guests_of_attach_are_ends_by_what_people_call_them(shop: Lab) -> None:
    for name, *words in (("red", "br9", "10.9.0.1/24"), ("blue", "br-front", "10.1.0.50/24@10.1.0.1")):
        shop.shell(f"ip netns add {name}")
        shop.netfab("attach", words[0], name, words[1])

    assert shop.netfab("why", "blue", "db", "tcp/80").out == (
        "blue reaches db on tcp/80\n"
        "the way:\n"
        "  blue eth1 -> br-front -> eth0 shop/r\n"
        "  shop/r eth1 -> br-back -> eth0 shop/db\n"
    )
    assert shop.netfab("why", "web", "netns:blue").out.startswith("web reaches blue\n")
    assert "nothing in the file joins br9, where red is" in shop.netfab("why", "red", "web", code=1).out
    shop.shell("ip -n blue link set eth1 down")
    assert "eth1 of blue is down\nhint: netfab rec" in shop.netfab("why", "blue", "db", code=1).out


def test_a_nic_that_leads_out_since_the_apply_is_named_and_another_apply_mends_it(lab: Lab) -> None:
    lab.write("name: shop\nnetworks: {lan: {}}\nnodes: {a: {networks: [lan]}}\n")
    lab.netfab("apply")
    lab.shell(
        "ip link add up0 type veth peer name far; ip link set far up; ip link set up0 up;"
        " ip address add 198.51.100.2/24 dev up0; ip route replace default via 198.51.100.1"
    )

    said = lab.netfab("why", "a", "198.51.100.1", code=1).out
    warned = lab.netfab("drift").err
    lab.netfab("apply")
    after = lab.netfab("drift").err

    assert (
        "\n  the host does not forward what comes by up0, so no answer comes back\nhint: `netfab apply` again"
        in said
    )
    assert warned.startswith("warning: up0 leads out of this host, and did not when shop was applied: no ")
    assert warned.endswith("topology.yaml`\n")
    assert after == ""
    assert lab.shell("cat /proc/sys/net/ipv4/conf/up0/forwarding") == "1\n"


def test_networks_that_nothing_joins_are_told_from_broken_ones(shop: Lab) -> None:
    said = shop.netfab("why", "lone", "db", code=1).out

    assert "nothing in the file joins island, where lone is, and back, where db is" in said


def test_nothing_is_changed_by_asking(shop: Lab) -> None:
    shop.shell(f"{IN}r nft '{RULES.format(hook='forward')} add rule inet theirs forward tcp dport 80 drop'")
    before = shop.state()

    shop.netfab("why", "web", "db", "tcp/80", code=1)
    shop.netfab("why", "web", "db", "tcp/81", code=1)

    assert shop.state() == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["web", "nobody"], "there is no node nobody"),
        (["nobody", "web"], "there is no node nobody"),
        (["web", "db", "tcp"], "is not a check"),
    ],
)
def test_what_can_not_be_asked_is_told(shop: Lab, words: list[str], told: str) -> None:
    assert told in shop.run(*shop.words("why", *words)).err


def test_lines_of_a_hosts_file_without_an_address_say_nothing(shop: Lab) -> None:
    shop.shell(HELPERS + r"for file in $(hosts); do printf '\377 nobody db\n1.2.3 db\n' >> $file; done")

    assert shop.netfab("why", "web", "db", "tcp/80").out.startswith("web reaches db on tcp/80\n")


DUAL = """\
name: dual
networks:
  six: {subnet: "fd00:6::/64", gateway: r}
  both: {subnet: [10.2.0.0/24, "fd00:2::/64"], gateway: r}
nodes:
  r: {}
  a: {networks: [six]}
  b: {networks: [both]}
  h: {mode: host, command: [sleep, "1000"]}
"""


def test_of_several_addresses_the_way_is_to_one_that_the_source_has_a_route_to(lab: Lab) -> None:
    lab.write(DUAL)
    lab.netfab("apply")

    assert "r eth1 -> br-both -> eth0 b" in lab.netfab("why", "a", "b").out
    assert "nothing listens on tcp/80 in b" in lab.netfab("why", "a", "b", "tcp/80", code=1).out
    for source in ("host", "b"):
        said = lab.netfab("why", source, "h", code=1).out
        assert "h has no address of its own: its network is the host's" in said


OWN_ROUTES = """\
name: shop
networks: {front: {gateway: r1}, back: {gateway: r2}}
nodes:
  r1..2: {forward: true, loopback: true, routes: none}
  a: {networks: [front]}
  b: {networks: [back]}
links: [[r1, r2]]
"""


def test_where_routers_have_their_own_ways_the_one_that_lacks_it_is_named(lab: Lab) -> None:
    lab.write(OWN_ROUTES)
    lab.netfab("apply")
    loopback = lab.run("ip", "-n", "shop.r2", "-4", "-o", "address", "show", "lo", "scope", "global").out
    address = loopback.split()[3].removesuffix("/32")

    said = [lab.netfab("why", *ends, code=1).out for ends in (("r1", "r2"), ("a", "b"))]

    assert f"r1 has no route to {address}" in said[0]
    assert "r1 has no route to 10." in said[1]


PAIR = """\
name: pair
hosts: {h1: {address: 192.0.2.11}, h2: {address: 192.0.2.12, ssh: root@192.0.2.12}}
networks: {lan: {subnet: 10.1.0.0/24}}
nodes:
  a: {networks: [lan]}
  b: {networks: {lan: {ip: 10.1.0.11}}, runs_on: h2}
"""
# What was done on one of two hosts, and what must be named.
FAR_FAULTS = {
    "ip link set vx1 down": ("h1", "vx1, the tunnel of br-lan on h1, is down"),
    "bridge fdb del $mac dev vx1 dst 192.0.2.12; bridge fdb del 00:00:00:00:00:00 dev vx1 dst 192.0.2.12": (
        "h1",
        "vx1 on h1 does not know of h2, 192.0.2.12",
    ),
    "bridge fdb del $mac dev vx1 dst 192.0.2.12; bridge fdb add $mac dev vx1 dst 192.0.2.99": (
        "h1",
        "to 192.0.2.99, not to h2, 192.0.2.12",
    ),
    "ip link set vx1 mtu 1300": ("h1", "passes 1300 bytes, and eth0 of a sends up to 1450"),
    "nft flush set inet netfab-pair peers4": ("h2", "h2 takes no tunnel's packets from h1"),
    f'ip netns exec pair.b nft "{RULES.format(hook="input")} add rule inet theirs input drop"': (
        "h2",
        "chain input of table inet theirs of b drops it: `drop`",
    ),
    f'nft "{RULES.format(hook="input")} add rule inet theirs input udp dport 4789 drop"': (
        "h2",
        "chain input of table inet theirs of host h2 drops it: `udp dport 4789 drop`",
    ),
    "ip link set eth0 down": ("h2", "h1 does not reach h2 at 192.0.2.12"),
}


CLEAN = (
    "for node in '' 'ip netns exec pair.b'; do {inside} $node nft delete table inet theirs 2> /dev/null ||"
    " :; done"
)


def test_the_cause_is_named_across_hosts(lab: Lab) -> None:
    lab.write(PAIR)
    script = "mac=$(ip netns exec underlay.h2 nsenter --mount=/run/netfab-hosts/h2 ip netns exec pair.b"
    script += " cat /sys/class/net/eth0/address)\n"
    for done, (host, _) in FAR_FAULTS.items():
        inside = f"nsenter --net=/run/netns/underlay.{host} --mount=/run/netfab-hosts/{host}"
        script += f"mac=$mac {inside} sh -ec '{done}'; {COMMAND} why a b -o json | tr -d '\\n' || :; echo\n"
        script += f"{inside} ip link set eth0 up; {CLEAN.format(inside=inside)}\n"
        script += f"{COMMAND} -q reconcile pair > /dev/null\n"

    far = "nsenter --net=/run/netns/underlay.h2 --mount=/run/netfab-hosts/h2"
    script += f"{COMMAND} why a b; {COMMAND} why h2 a; {far} ip link set br-lan down; {COMMAND} why host a"

    result = lab.netfab("lab", "topology.yaml", "--", "bash", "-ec", script, code=1)

    *answers, healthy, head, way, named, _, from_named, each, what, _ = result.out.splitlines()
    causes = [json.loads(answer)["cause"]["what"] for answer in answers]
    for (_, expected), cause in zip(FAR_FAULTS.values(), causes, strict=True):
        assert expected in cause
    assert (healthy, head) == ("a reaches b", "the way:")
    assert way == "  a eth0 -> br-lan -> vx1 -> br-lan of h2 -> eth0 b"
    assert named == "h2 reaches a"
    assert from_named == "  host h2 br-lan -> br-lan -> vx1 -> br-lan of h1 -> eth0 a"
    assert each == "host does not reach a"
    assert what == "  br-lan of host h2 is down"
