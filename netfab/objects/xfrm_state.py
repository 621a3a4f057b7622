"""XfrmState: one direction of ESP between two hosts, in transport mode (RFC 4303) with AES-GCM (RFC 4106)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Self

from netfab.objects import xfrm
from netfab.objects.base import Dump, Name, Op
from netfab.objects.ops import Xfrm
from netfab.objects.wire import NEW
from netfab.tuples import NamedTuple

ALGORITHM = "rfc4106(gcm(aes))"
KEY = 36  # bytes: of AES-256, and the salt of its nonces
_CHECK = 128  # bits of the integrity check value
_ESN = 128  # XFRM_STATE_ESN: 64-bit sequence numbers, which no link exhausts
WINDOW = 1024  # packets by which another may be overtaken


class XfrmState(NamedTuple):
    """A key, and the sequence number of its packets.

    Its reqid, which policies require, marks it as the fabric's. One that only sends needs no replay window,
    and has one of 1 packet: with ESN the kernel refuses 0.
    """

    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    spi: int
    reqid: int
    key: str  # hexadecimal; a secret
    window: int = WINDOW

    @property
    def for_peers(self) -> bool:
        """The receiving state exists before the peer sends with it."""
        return self.window > 1

    @property
    def fixed(self) -> Hashable:
        return self  # a key that was in use can't be changed

    @property
    def names(self) -> tuple[Name, ...]:
        return (state_name(self.destination, self.spi),)

    @property
    def needs(self) -> tuple[Name, ...]:
        return ()

    @property
    def after(self) -> tuple[Name, ...]:
        return ()

    @property
    def within(self) -> tuple[Name, ...]:
        return ()

    @property
    def feature(self) -> str:
        """A feature that not every kernel has."""
        return xfrm.FEATURE

    @property
    def public(self) -> Self:
        """Without the key."""
        return self._replace(key="")

    def differs_from(self, before: Self) -> Iterator[str]:
        """The differences, for people: of keys only that they differ."""
        if self.key != before.key:
            yield "key"
        for field in ("source", "reqid", "window"):
            old, new = getattr(before, field), getattr(self, field)
            if old != new:
                yield f"{field} {old} -> {new}"

    def create(self) -> list[Op]:
        return [self.request()]

    def request(self) -> Xfrm:
        """The message that creates it."""
        family, key = xfrm.family_of(self.source), bytes.fromhex(self.key)
        header = (
            bytes(xfrm.SELECTOR.size)
            + xfrm.ID.pack(xfrm.packed(self.destination), self.spi.to_bytes(4, "big"), xfrm.ESP)
            + xfrm.STATE.pack(
                xfrm.packed(self.source), xfrm.UNLIMITED, bytes(32), bytes(12), 0, self.reqid, family,
                xfrm.TRANSPORT, 0, _ESN,
            )
        )  # fmt: skip
        words = -(-self.window // 32)
        body = xfrm.body(
            header,
            (xfrm.AEAD, xfrm.ALGORITHM.pack(ALGORITHM.encode(), 8 * len(key), _CHECK) + key),
            (xfrm.REPLAY_ESN, xfrm.REPLAY.pack(words, 0, 0, 0, 0, self.window)),
        )
        return Xfrm(xfrm.NEWSA, NEW, body, f"create {self}")

    def update(self, before: Self) -> list[Op]:
        raise AssertionError("it is made anew")

    def delete(self) -> list[Op]:
        identity = xfrm.packed(self.destination), self.spi.to_bytes(4, "big")
        body = xfrm.STATE_ID.pack(*identity, xfrm.family_of(self.destination), xfrm.ESP)
        return [Xfrm(xfrm.DELSA, 0, body, f"delete {self}", ends=True)]

    @classmethod
    def read(cls, dump: Dump) -> Iterator[Self]:
        for message in dump.xfrm:
            if message.type == xfrm.NEWSA:
                yield cls.of(message)

    @classmethod
    def of(cls, message: xfrm.XfrmMessage) -> Self:
        """From a message about a state of any mode and with any key."""
        _, spi, _ = xfrm.ID.unpack_from(message.header, xfrm.SELECTOR.size)
        here = xfrm.SELECTOR.size + xfrm.ID.size
        source, *_, reqid, family, _, _, _ = xfrm.STATE.unpack_from(message.header, here)
        key, window = "", 0
        if aead := message.attrs.get(xfrm.AEAD):
            _, bits, check = xfrm.ALGORITHM.unpack_from(aead)
            secret = aead[xfrm.ALGORITHM.size :][: bits // 8]
            key = secret.hex() if check == _CHECK else "another algorithm"
        if replay := message.attrs.get(xfrm.REPLAY_ESN):
            window = xfrm.REPLAY.unpack_from(replay)[5]
        to = xfrm.unpacked(message.header[xfrm.SELECTOR.size :][:16], family)
        return cls(xfrm.unpacked(source, family), to, int.from_bytes(spi, "big"), reqid, key, window)

    @classmethod
    def unsettled(cls, dump: Dump) -> Iterator[Name]:
        return iter(())

    def __str__(self) -> str:
        return f"esp {self.source} > {self.destination} {self.spi:#010x}"


def state_name(destination: xfrm.AnyAddress, spi: int) -> Name:
    """A name that is unique among a host's states."""
    return Name(xfrm.STATES, f"{destination} {spi:#010x}")


def counted(message: xfrm.XfrmMessage) -> tuple[int, int]:
    """Packets that a state has sent, and the number of the last one that it received."""
    replay = message.attrs.get(xfrm.REPLAY_ESN)
    if replay is None:
        return 0, 0
    _, sent, received, sent_high, received_high, _ = xfrm.REPLAY.unpack_from(replay)
    return sent_high << 32 | sent, received_high << 32 | received
