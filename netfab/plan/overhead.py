"""Encapsulation overhead between hosts, in bytes: the packet size of a frame, and what fits into a packet."""

from __future__ import annotations

OVERHEAD = {4: 50, 6: 70}  # of IP, UDP, VXLAN and Ethernet; RFC 7348, section 5
_IP = {4: 20, 6: 40}
# ESP with AES-GCM: SPI and sequence number, nonce, check value; RFC 4303, RFC 4106. The plaintext ends with a
# two-byte trailer, padded to a multiple of four.
_ESP, _TRAILER, _BLOCK = 8 + 8 + 16, 2, 4


def packet_around(inner: int, family: int, encrypted: bool) -> int:
    """The largest packet on the underlay, for an inner MTU."""
    clear = inner + OVERHEAD[family]
    if not encrypted:
        return clear
    inside = clear - _IP[family] + _TRAILER
    return _IP[family] + _ESP + inside + -inside % _BLOCK


def overlay_mtu(underlay: int, family: int, encrypted: bool = False) -> int:
    """Largest inner MTU that VXLAN carries unfragmented over an underlay of that MTU."""
    if not encrypted:
        return underlay - OVERHEAD[family]
    inside = underlay - _IP[family] - _ESP
    return inside - inside % _BLOCK - _TRAILER - (OVERHEAD[family] - _IP[family])
