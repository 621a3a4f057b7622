"""bgpd's configuration as objects: read from what it prints, changed by the fewest statements."""

from __future__ import annotations

import pytest

from netfab.objects.base import EMPTY, Fabric
from netfab.objects.bgp import Bgp, Statement
from netfab.objects.bgp_peer import BgpPeer
from netfab.objects.difference import difference
from netfab.objects.kinds import KINDS
from netfab.objects.ops import TellBgp

ROUTER, EVPN = "router bgp 64512", "address-family l2vpn evpn"
# As FRR 8.4 prints it, less one of two peers.
PRINTED = """\
frr version 8.4.4
frr defaults traditional
!
hostname h1
log stdout
!
router bgp 64512
 bgp router-id 192.0.2.1
 no bgp default ipv4-unicast
 neighbor 192.0.2.2 remote-as 64512
 neighbor 192.0.2.2 timers 3 9
 !
 address-family l2vpn evpn
  neighbor 192.0.2.2 activate
  advertise-all-vni
 exit-address-family
!
exit
!
bgp extcommunity-list standard netfab seq 42 permit rt 64512:42
!
route-map netfab permit 1
 match extcommunity netfab
exit
!
end
"""
OWN = Bgp(
    "lab",
    (
        ("bgp extcommunity-list standard netfab seq 42 permit rt 64512:42",),
        ("route-map netfab permit 1",),
        ("route-map netfab permit 1", "match extcommunity netfab"),
        (ROUTER,),
        (ROUTER, EVPN, "advertise-all-vni"),
        (ROUTER, "bgp router-id 192.0.2.1"),
        (ROUTER, "no bgp default ipv4-unicast"),
    ),
)
PEER = BgpPeer(
    "lab",
    "192.0.2.2",
    (
        (ROUTER, EVPN, "neighbor 192.0.2.2 activate"),
        (ROUTER, "neighbor 192.0.2.2 remote-as 64512"),
        (ROUTER, "neighbor 192.0.2.2 timers 3 9"),
    ),
)


def stated(ops: list[object]) -> list[Statement]:
    (op,) = ops
    assert isinstance(op, TellBgp)
    return list(op.statements)


def test_what_bgpd_prints_is_read_as_what_it_was_told() -> None:
    dump = EMPTY._replace(fabric="lab", bgp=PRINTED)

    assert [*Bgp.read(dump), *BgpPeer.read(dump)] == [OWN, PEER]


@pytest.mark.parametrize("printed", ["", "frr version 8.4.4\nhostname h1\n!\nend\n"])
def test_one_that_was_told_nothing_has_nothing(printed: str) -> None:
    dump = EMPTY._replace(fabric="lab", bgp=printed)

    assert not [*Bgp.read(dump), *BgpPeer.read(dump)]


def test_what_others_stand_under_and_whom_they_are_about_is_said_first() -> None:
    said = stated(OWN.create())
    assert said.index((ROUTER,)) < said.index((ROUTER, "bgp router-id 192.0.2.1"))
    assert stated(PEER.create())[0] == (ROUTER, "neighbor 192.0.2.2 remote-as 64512")


def test_a_change_says_nothing_of_what_stays() -> None:
    other = PEER._replace(statements=(*PEER.statements[:2], (ROUTER, "neighbor 192.0.2.2 timers 1 3")))

    assert stated(other.update(PEER)) == [
        (ROUTER, "no neighbor 192.0.2.2 timers 3 9"),
        (ROUTER, "neighbor 192.0.2.2 timers 1 3"),
    ]


def test_what_somebody_negated_is_said_again_without_a_second_no() -> None:
    found = OWN._replace(statements=(*OWN.statements, (ROUTER, "no bgp ebgp-requires-policy")))

    assert stated(OWN.update(found)) == [(ROUTER, "bgp ebgp-requires-policy")]
    assert difference(found, OWN) == "without `no bgp ebgp-requires-policy`"


def test_a_peer_is_let_go_of_by_its_address_alone() -> None:
    assert stated(PEER.delete()) == [(ROUTER, "no neighbor 192.0.2.2")]


def test_they_are_the_same_when_they_were_kept() -> None:
    fabric = Fabric("lab", [OWN, PEER])

    assert Fabric.from_json(fabric.to_json(), KINDS) == fabric
