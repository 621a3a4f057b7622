"""Filters of frames: `tcp port 80` as instructions for the kernel, by libpcap (pcap-filter(7))."""

from __future__ import annotations

import ctypes
import socket
import struct

from netfab.errors import NetfabError

_LIBRARY = "libpcap.so.0.8"
_ETHERNET = 1  # DLT_EN10MB
WHOLE = 262144  # bytes of a frame that are kept
_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
_INSTRUCTION = struct.Struct("HBBI")  # struct sock_filter
_RETURN = 0x06  # BPF_RET | BPF_K, linux/bpf_common.h
NOTHING, EVERYTHING = (_INSTRUCTION.pack(_RETURN, 0, 0, kept) for kept in (0, WHOLE))
_ANY_NETMASK = 0xFFFFFFFF  # PCAP_NETMASK_UNKNOWN


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.c_void_p))


def compiled(expression: str) -> bytes:
    """Instructions, as struct sock_filter (linux/filter.h), for Ethernet frames.

    Raises NetfabError if the expression is invalid, or libpcap is missing.
    """
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        raise NetfabError(
            "a filter needs libpcap, which is not installed", hint="apt-get install libpcap0.8"
        ) from None
    library.pcap_open_dead.restype = ctypes.c_void_p
    library.pcap_geterr.restype = ctypes.c_char_p
    handle = ctypes.c_void_p(library.pcap_open_dead(_ETHERNET, WHOLE))
    program = _Program()
    try:
        if library.pcap_compile(
            handle, ctypes.byref(program), expression.encode(), 1, ctypes.c_uint(_ANY_NETMASK)
        ):
            said = library.pcap_geterr(handle).decode(errors="replace")
            raise NetfabError(
                f"`{expression}` is not a filter: {said}",
                hint="`tcp port 80`, `host 10.0.0.2 and icmp`; pcap-filter(7)",
            )
        found = ctypes.string_at(program.instructions, program.length * _INSTRUCTION.size)
        library.pcap_freecode(ctypes.byref(program))
    finally:
        library.pcap_close(handle)
    return found


def attach(door: socket.socket, program: bytes) -> None:
    """Let a socket receive only what the instructions let pass. Raises OSError."""
    code = ctypes.create_string_buffer(program)
    pointer = struct.pack("@HP", len(program) // _INSTRUCTION.size, ctypes.addressof(code))
    door.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)
