"""Our messages as bytes: what is written is what a dump brings back; no bytes at all can hang the reader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfab.objects.base import Name
from netfab.objects.wire import (
    IFINFO,
    RTM_NEWLINK,
    Body,
    Hops,
    Request,
    attributes,
    encode,
    inside,
    mac,
    messages,
    number,
    parse,
    parse_hops,
    text,
    u8,
    u16,
    u32,
)

ETH0, BR0 = Name("host", "eth0"), Name("host", "br0")


def resolve(name: Name) -> int:
    return {ETH0: 7, BR0: 9}[name]


def test_a_message_is_a_header_a_body_and_padded_attributes() -> None:
    request = Request("host", RTM_NEWLINK, 0x400, Body(IFINFO, (0, 0, ETH0, 1, 1), ((3, "ab"), (10, BR0))))

    message = encode(request, resolve, 5)

    assert message == bytes.fromhex(
        "30000000 1000 0104 05000000 00000000"  # length 48, RTM_NEWLINK, request and create, sequence 5
        "00000000 07000000 01000000 01000000"  # ifinfomsg: index 7, IFF_UP of IFF_UP
        "0700 0300 61620000"  # IFLA_IFNAME "ab", NUL, one byte of padding
        "0800 0a00 09000000"  # IFLA_MASTER 9
    )


def test_a_link_without_a_number_is_an_error_that_names_it() -> None:
    request = Request("host", RTM_NEWLINK, 0, Body(IFINFO, (0, 0, Name("host", "nic"), 0, 0), ()))

    with pytest.raises(LookupError, match="nic"):
        encode(request, resolve, 1)


def test_a_nested_value_is_read_back_level_by_level() -> None:
    data = attributes(((18, ((1, b"veth"), (2, ((1, u8(1)), (2, u16(0x0201)))))),), resolve)

    info = parse(data, 0, len(data))[18]
    inner = parse(info, 0, len(info))

    assert inner[1] == b"veth"
    assert parse(inner[2], 0, len(inner[2])) == {1: b"\x01", 2: b"\x01\x02"}


def test_a_nested_attribute_is_asked_for_by_its_path_and_found_wherever_it_lies() -> None:
    kind, state = inside(18, 1), inside(18, 5, 3)
    laid_out = [
        ((3, b"br0"), (18, ((1, b"veth"), (5, ((2, u32(9)), (3, u32(4)))))), (20, b"a label")),
        ((20, b"a label"), (18, ((5, ((3, u32(4)), (2, u32(9)))), (1, b"veth"))), (3, b"br0")),
    ]

    read = [
        parse(data, 0, len(data), frozenset({3, kind, state}))
        for attrs in (*laid_out, *laid_out)  # the second time by the layouts that are remembered
        for data in (attributes(attrs, resolve),)
    ]

    assert read == [{3: b"br0", kind: b"veth", state: u32(4)}] * 4


def test_the_flags_for_nesting_and_byte_order_are_no_part_of_an_attributes_type() -> None:
    assert parse(bytes.fromhex("08001280 01000000 06000d40 12b50000"), 0, 16) == {
        18: u32(1),
        13: b"\x12\xb5",
    }


def test_the_next_hops_of_a_route_keep_their_links_weights_and_gateways() -> None:
    hops = Hops(((ETH0, 1, ((5, b"\x0a\0\0\x01"),)), (BR0, 256, ())))
    data = attributes(((9, hops),), resolve)

    assert list(parse_hops(parse(data, 0, len(data))[9])) == [(7, 1, {5: b"\x0a\0\0\x01"}), (9, 256, {})]


def test_macs_numbers_and_texts_are_read_as_they_are_written() -> None:
    assert mac("02:00:0a:ff:00:01") == b"\x02\0\x0a\xff\0\x01"
    assert [number(u8(200)), number(u16(40000)), number(u32(1 << 31)), number(b"")] == [
        200,
        40000,
        1 << 31,
        0,
    ]
    assert text("br-café\0".encode()) == "br-café"


@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=40), max_size=20))
def test_attributes_of_any_length_read_back(attrs: dict[int, bytes]) -> None:
    data = attributes(tuple(attrs.items()), resolve)

    assert len(data) % 4 == 0
    assert parse(data, 0, len(data)) == attrs


def test_messages_of_one_length_are_read_whatever_their_attributes_are() -> None:
    laid_out = [
        ((1, b"abcd"), (2, b"ef")),
        ((2, b"ef"), (1, b"abcd")),
        ((1, b"abcd"), (3, b"efg")),
        ((9, bytes(12)),),
    ]

    for attrs in laid_out * 2:
        data = b"head" + attributes(attrs, resolve)
        assert (len(data), parse(data, 4, len(data))) == (20, dict(attrs))
        assert parse(data, 4, len(data), frozenset({2})) == {
            kind: value for kind, value in attrs if kind == 2
        }


def test_an_attribute_that_claims_more_than_there_is_ends_the_reading() -> None:
    assert parse(attributes(((1, b"abcd"),), resolve) + b"\x09\0\x02\0abcd", 0, 16) == {1: b"abcd"}


@given(st.binary(max_size=200))
def test_no_bytes_hang_the_reader_or_break_it(data: bytes) -> None:
    for _, _, _, start, end in messages(data):
        parse(data, start, end)
    for _, _, attrs in parse_hops(data):
        assert isinstance(attrs, dict)
    assert parse(data, 0, len(data)).keys() <= set(range(0x4000))


def test_a_message_shorter_than_its_header_ends_the_reading() -> None:
    assert list(messages(bytes(32))) == []
