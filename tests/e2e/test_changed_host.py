"""The host changes around a fabric: what comes in its way is said, though nothing of the fabric changed."""

from __future__ import annotations

import pytest
from lab import Lab

TEXT = """\
name: shop
networks: {lan: {}}
nodes: {web: {networks: [lan]}}
"""
VPN = """
ip link add tun0 type veth peer name other
ip link set tun0 up
ip link set other up
ip route add 10.0.0.0/16 dev tun0
"""
SHADOWED = "10.0.0.0/24 of lan is now also 10.0.0.0/16, routed via tun0 on this host; nothing moves by itself"
DROP = "nft 'table ip ufw { chain FORWARD { type filter hook forward priority 0; policy drop; }; }'"
DROPPED = "chain FORWARD of nft table ip ufw drops what this host forwards: its policy is drop"


@pytest.fixture
def shop(lab: Lab) -> Lab:
    lab.outside()
    lab.write(TEXT)
    lab.netfab("apply")
    return lab


@pytest.mark.parametrize("words", [["plan"], ["status"], ["drift"]], ids=str)
@pytest.mark.parametrize(("change", "told"), [(VPN, SHADOWED), (DROP, DROPPED)], ids=["a VPN", "a firewall"])
def test_what_came_in_the_way_since_the_last_apply_is_a_warning(
    shop: Lab, change: str, told: str, words: list[str]
) -> None:
    assert shop.netfab(*words).err == ""

    shop.shell(change)

    assert f"warning: {told}\n" in shop.netfab(*words).err
    assert told in shop.netfab(*words, "-o", "json").json["warnings"]


def test_apply_without_changes_is_refused_where_a_chain_of_others_would_drop_its_traffic(shop: Lab) -> None:
    shop.netfab("apply")
    shop.shell(DROP)

    refused = shop.netfab("apply", code=1)
    shop.shell("nft delete table ip ufw")
    again = shop.netfab("apply")

    assert f"netfab: error: {DROPPED}\n" in refused.err
    assert again.out.startswith("No changes.")
