"""The kernel's words for IPsec: structs and attributes of NETLINK_XFRM (linux/xfrm.h).

Addresses in them are sixteen bytes, of which IPv4 fills four.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct

from netfab.objects.wire import AF_INET, AF_INET6, attributes, no_name
from netfab.tuples import NamedTuple

NEWSA, DELSA, GETSA, NEWPOLICY, DELPOLICY, GETPOLICY = 16, 17, 18, 19, 20, 21
TEMPLATES, AEAD, REPLAY_ESN = 5, 18, 23  # XFRMA_TMPL, XFRMA_ALG_AEAD, XFRMA_REPLAY_ESN_VAL
ESP, UDP = 50, 17  # linux/in.h
TRANSPORT = 0  # XFRM_MODE_TRANSPORT
IN, OUT = 0, 1  # XFRM_POLICY_*
FEATURE = "ESP"
STATES, POLICIES = "esp", "ipsec"  # the spaces of their names

# xfrm_selector: daddr, saddr, dport, mask, sport, mask, family, both lengths, proto, ifindex, user
SELECTOR = Struct("=16s16s2s2s2s2sHBBB3xiI")
ID = Struct("=16s4sB3x")  # xfrm_id: daddr, spi, proto
STATE_ID = Struct("=16s4sHBx")  # xfrm_usersa_id: daddr, spi, family, proto
# xfrm_usersa_info, after selector and id: saddr, limits, counters, statistics, seq, reqid, family, mode,
# replay window, flags
STATE = Struct("=16s64s32s12sIIHBBB7x")
# xfrm_userpolicy_info, after the selector: limits, counters, priority, index, dir, action, flags, share
POLICY = Struct("=64s32sIIBBBB4x")
POLICY_ID = Struct("=IB3x")  # xfrm_userpolicy_id, after the selector: index, direction
# xfrm_user_tmpl, after the id: family, saddr, reqid, mode, share, optional, algorithms of three kinds
TEMPLATE = Struct("=H2x16sIBBBxIII")
ALGORITHM = Struct("=64sII")  # xfrm_algo_aead: name, bits of the key and of the check value
REPLAY = Struct("=IIIIII")  # xfrm_replay_state_esn: words of the bitmap, oseq, seq, their high halves, window
UNLIMITED = b"\xff" * 32 + bytes(32)  # xfrm_lifetime_cfg: bytes and packets, then times

AnyAddress = IPv4Address | IPv6Address


class XfrmMessage(NamedTuple):
    """A state or a policy from a dump."""

    type: int  # NEWSA, NEWPOLICY
    header: bytes
    attrs: dict[int, bytes]


def body(header: bytes, *attrs: tuple[int, bytes]) -> bytes:
    """The body of a message."""
    return header + attributes(attrs, no_name)


def packed(address: AnyAddress) -> bytes:
    """The address in sixteen bytes."""
    return address.packed.ljust(16, b"\0")


def unpacked(data: bytes, family: int) -> AnyAddress:
    """The address in sixteen bytes."""
    return ip_address(data[:4] if family == AF_INET else data)


def family_of(address: AnyAddress) -> int:
    """Its AF_*."""
    return AF_INET if address.version == 4 else AF_INET6
