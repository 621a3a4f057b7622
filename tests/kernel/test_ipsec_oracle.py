"""ip-xfrm(8) is the judge of IPsec: what we send is what it sends. For that no kernel needs ESP."""

from __future__ import annotations

import re
import subprocess
from ipaddress import ip_address
from typing import Any

import pytest

from netfab.objects import xfrm
from netfab.objects.wire import parse
from netfab.objects.xfrm_policy import XfrmPolicy
from netfab.objects.xfrm_state import XfrmState

REQID, KEY = 7, "5a" * 36
ENDS = [("192.0.2.11", "192.0.2.12"), ("2001:db8::11", "2001:db8::12")]
SIZES = {xfrm.NEWSA: 224, xfrm.DELSA: 24, xfrm.NEWPOLICY: 168, xfrm.DELPOLICY: 64}


def sent_by_ip(words: str) -> tuple[int, bytes, dict[int, bytes]]:
    """Type, header and attributes of the message that `ip xfrm` sends, by strace(1)."""
    traced = subprocess.run(
        ["strace", "-xx", "-s", "4096", "-e", "trace=sendmsg", "ip", "xfrm", *words.split()],
        capture_output=True,
        text=True,
        check=False,
    ).stderr
    found = re.search(r'nlmsg_type=XFRM_MSG_(\w+),.*?}, "((?:\\x..)+)"', traced)
    assert found is not None, traced
    kind, data = getattr(xfrm, found[1]), bytes.fromhex(found[2].replace("\\x", ""))
    behind = SIZES[kind]
    return kind, data[:behind], parse(data, behind, len(data))


def ours(op: Any) -> tuple[int, bytes, dict[int, bytes]]:
    behind = SIZES[op.type]
    return op.type, op.body[:behind], parse(op.body, behind, len(op.body))


@pytest.mark.parametrize("ends", ENDS, ids=["IPv4", "IPv6"])
def test_states(ends: tuple[str, str]) -> None:
    state = XfrmState(ip_address(ends[0]), ip_address(ends[1]), 0x10203040, REQID, KEY)
    identity = f"src {ends[0]} dst {ends[1]} proto esp spi 0x10203040"
    more = f"reqid {REQID} mode transport flag esn replay-window 1024"

    (made,), (ended,) = state.create(), state.delete()

    assert ours(made) == sent_by_ip(f"state add {identity} {more} aead rfc4106(gcm(aes)) 0x{KEY} 128")
    assert ours(ended)[:2] == sent_by_ip(f"state delete {identity}")[:2]


@pytest.mark.parametrize("direction", ["in", "out"])
@pytest.mark.parametrize("ends", ENDS, ids=["IPv4", "IPv6"])
def test_policies(ends: tuple[str, str], direction: str) -> None:
    way = {"in": xfrm.IN, "out": xfrm.OUT}[direction]
    policy = XfrmPolicy(way, ip_address(ends[0]), ip_address(ends[1]), 4789, REQID)
    length = policy.source.max_prefixlen
    selector = f"src {ends[0]}/{length} dst {ends[1]}/{length} proto udp dport 4789 dir {direction}"
    template = f"tmpl src {ends[0]} dst {ends[1]} proto esp reqid {REQID} mode transport"

    (made,), (ended,) = policy.create(), policy.delete()

    assert ours(made) == sent_by_ip(f"policy add {selector} {template}")
    assert ours(ended)[:2] == sent_by_ip(f"policy delete {selector}")[:2]
