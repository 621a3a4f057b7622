"""Which subnet is planned, and what is said about those that are not."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfab.errors import Location, PoolExhausted
from netfab.plan.subnets import Reservation, Space, distinct, length_for, rejected, ula
from netfab.topology.schema import Pool, Prefix

HERE = Location("lab.yaml", 1, 1, "pools")


def pools(*texts: str) -> list[Pool]:
    """`10.0.0.0/8:24`: a pool and the size of its subnets."""
    return [
        Pool(ip_network(prefix), int(size), HERE) for prefix, _, size in (t.rpartition(":") for t in texts)
    ]


def held(*texts: str, by: str = "somebody") -> list[Reservation]:
    return [Reservation(ip_network(text), by) for text in texts]


# The situations of moby's TestDynamicPoolAllocation (libnetwork/ipams/defaultipam) and those between them:
# pools with their sizes | what is held (allocated or reserved, as Docker has it) | what is planned.
DYNAMIC_POOLS = """
nothing is held
    10.0.0.0/8:24 | - | 10.0.0.0/24
only the pool's last block is held
    172.20.0.0/16:24 | 172.20.255.0/24 | 172.20.0.0/24
the first block is held
    172.20.0.0/16:24 | 172.20.0.0/24 | 172.20.1.0/24
a block in the middle is held
    172.20.0.0/16:24 | 172.20.128.0/24 | 172.20.0.0/24
a freed block between two held ones
    10.0.0.0/8:24 | 10.0.0.0/24 10.0.2.0/24 | 10.0.1.0/24
a held prefix is bigger than the first pool
    10.0.0.0/8:24 172.20.0.0/16:24 | 10.0.0.0/7 | 172.20.0.0/24
held twice, the wider one around
    10.0.0.0/8:24 172.20.0.0/16:24 | 10.0.0.0/8 10.0.0.0/7 | 172.20.0.0/24
first pool inside a held prefix, second held in the middle
    10.9.0.0/16:24 172.20.0.0/16:24 | 10.0.0.0/8 172.20.64.0/24 | 172.20.0.0/24
first pool inside a held prefix, second held at the start
    10.9.0.0/16:24 172.20.0.0/16:24 | 10.0.0.0/8 172.20.0.0/24 172.20.64.0/24 | 172.20.1.0/24
first pool full of single blocks
    10.9.0.0/22:24 172.20.0.0/16:24 | 10.9.0.0/24 10.9.1.0/24 10.9.2.0/24 10.9.3.0/24 | 172.20.0.0/24
first pool full by two halves, a held prefix after all pools
    10.9.0.0/16:24 172.20.0.0/16:24 | 10.9.0.0/17 10.9.128.0/17 203.0.113.0/24 | 172.20.0.0/24
the last block is held twice
    10.9.0.0/23:24 172.20.0.0/16:24 | 10.9.0.0/24 10.9.1.0/24 10.9.1.0/24 | 172.20.0.0/24
held prefixes of mixed sizes
    172.20.0.0/16:24 | 172.20.0.0/24 172.20.1.0/24 172.20.2.0/23 172.20.4.4/30 | 172.20.5.0/24
small held prefixes in neighbouring blocks
    172.20.0.0/16:24 | 172.20.0.0/24 172.20.1.0/30 172.20.1.4/30 172.20.2.0/30 172.20.4.0/23 | 172.20.3.0/24
half of a tiny pool is held
    10.9.0.0/31:31 172.20.0.0/16:24 | 10.9.0.0/32 100.64.0.0/32 203.0.113.0/32 | 172.20.0.0/24
the tail of a tiny pool is held
    10.9.0.0/31:31 172.20.0.0/16:24 | 10.9.0.1/32 | 172.20.0.0/24
held prefixes in both pools
    10.0.0.0/8:24 172.20.0.0/16:24 | 10.0.0.0/24 172.20.0.0/24 | 10.0.1.0/24
pools inside another are dropped with it
    10.0.0.0/8:24 10.0.0.0/16:24 10.9.0.0/16:24 172.20.0.0/16:24 | 10.0.0.0/8 | 172.20.0.0/24
pools written out of order
    172.20.0.0/16:24 10.9.0.0/16:24 | - | 10.9.0.0/24
the same pool twice, the first one's size stays
    10.9.0.0/16:20 10.9.0.0/16:28 | 10.9.0.0/28 | 10.9.16.0/20
two big blocks, the first is held
    172.16.0.0/15:16 | 172.16.0.0/16 | 172.17.0.0/16
two big blocks, one held and half of the other
    172.16.0.0/15:16 172.20.0.0/16:24 | 172.16.0.0/16 172.17.0.0/17 | 172.20.0.0/24
the same with the other half
    172.16.0.0/15:16 172.20.0.0/16:24 | 172.16.0.0/16 172.17.128.0/17 | 172.20.0.0/24
the same without a second pool
    172.16.0.0/15:16 | 172.16.0.0/16 172.17.0.0/17 | exhausted
both blocks held, and something elsewhere
    172.16.0.0/15:16 | 172.16.0.0/16 172.17.0.0/16 192.168.0.0/24 | exhausted
every pool is full
    172.16.0.0/15:16 172.20.0.0/23:24 | 172.16.0.0/16 172.17.0.0/16 172.20.0.0/24 172.20.1.0/24 | exhausted
every block is touched by something small
    172.16.0.0/15:16 172.20.0.0/23:24 | 172.16.0.0/16 172.17.128.0/17 172.20.0.1/32 172.20.1.0/24 | exhausted
the same tail is held twice
    172.16.0.0/15:16 172.20.0.0/23:24 | 172.16.0.0/16 172.17.128.0/17 172.17.128.0/17 | 172.20.0.0/24
nested held prefixes
    172.16.0.0/15:16 172.20.0.0/23:24 | 172.16.0.0/16 172.16.9.0/24 172.17.128.0/17 | 172.20.0.0/24
everything is held
    10.0.0.0/8:24 172.20.0.0/16:24 | 0.0.0.0/0 | exhausted
a block that is bigger than the pool skips it
    10.9.0.0/28:24 172.20.0.0/16:24 | - | 172.20.0.0/24
a held prefix over both pools
    10.0.0.0/8:24 11.0.0.0/8:24 172.20.0.0/16:24 | 10.0.0.0/7 | 172.20.0.0/24
a small pool beside one too small for its blocks
    10.9.0.0/28:24 10.9.0.16/28:29 | 10.9.0.0/32 10.9.0.16/29 | 10.9.0.24/29
a held prefix of the other family does not count
    10.9.0.0/16:24 | ::/0 | 10.9.0.0/24
IPv6, first block held
    fd00:1::/48:64 | fd00:1::/64 | fd00:1:0:1::/64
IPv6, the very last block of all addresses
    ffff:ffff:ffff:ffff::/64:65 | ffff:ffff:ffff:ffff::/65 | ffff:ffff:ffff:ffff:8000::/65
IPv4, the very last block of all addresses
    255.255.254.0/23:24 | 255.255.254.0/24 255.255.255.255/32 | exhausted
"""


CASES = [
    pytest.param(*(part.split() for part in row.split("|")), id=name)
    for name, row in zip(*[iter(DYNAMIC_POOLS.strip().splitlines())] * 2, strict=True)
]


@pytest.mark.parametrize(("written", "taken", "planned"), CASES)
def test_docker_s_cases_of_dynamic_pools_hold(
    written: list[str], taken: list[str], planned: list[str]
) -> None:
    family = ip_network(written[0].rpartition(":")[0]).version

    space = Space(family, pools(*written), held(*(text for text in taken if text != "-")))

    assert outcome(space) == planned[0]


def outcome(space: Space) -> str:
    try:
        return str(space.take_for(2, "network front"))
    except PoolExhausted:
        return "exhausted"


def test_takes_of_mixed_lengths_each_get_the_lowest_aligned_free_block() -> None:
    space = Space(4, pools("10.0.0.0/16:24"), held("10.0.0.0/25"))

    taken = [space.take(length, "network") for length in (31, 24, 31, 28, 22, 24)]

    assert [str(prefix) for prefix in taken] == [
        "10.0.0.128/31", "10.0.1.0/24", "10.0.0.130/31", "10.0.0.144/28", "10.0.4.0/22", "10.0.2.0/24",
    ]  # fmt: skip


def test_what_is_held_after_the_first_take_is_not_taken() -> None:
    space = Space(4, pools("10.0.0.0/16:24"), [])
    space.take(24, "network a")

    space.hold(ip_network("10.0.1.0/25"), "network b")

    assert str(space.take(24, "network c")) == "10.0.2.0/24"


def test_what_is_exhausted_stays_so_when_it_is_asked_again() -> None:
    space = Space(4, pools("10.0.0.0/24:24"), held("10.0.0.0/24"))

    assert [outcome(space), outcome(space)] == ["exhausted", "exhausted"]


def test_a_subnet_is_bigger_than_the_pool_s_size_where_twice_the_members_need_it() -> None:
    space = Space(4, pools("10.0.0.0/16:24"), [])

    assert str(space.take_for(200, "network big")) == "10.0.0.0/23"


@pytest.mark.parametrize(
    ("members", "size", "bits", "length"),
    [
        (0, 24, 32, 24),
        (127, 24, 32, 24),
        (128, 24, 32, 23),
        (1000, 24, 32, 21),
        (1, 30, 32, 30),
        (2, 30, 32, 29),
        (10**6, 64, 128, 64),
    ],
)
def test_a_planned_length_holds_twice_the_members(members: int, size: int, bits: int, length: int) -> None:
    assert length_for(members, size, bits) == length


def test_nested_and_repeated_pools_are_dropped_and_the_rest_sorted() -> None:
    written = pools("192.168.0.0/24:24", "10.9.0.0/16:24", "10.0.0.0/8:16", "10.0.0.0/8:24")

    assert distinct(written) == pools("10.0.0.0/8:16", "192.168.0.0/24:24")


def test_exhaustion_names_the_pools_and_the_biggest_holders_and_counts_the_rest() -> None:
    taken = [
        *held("10.0.0.0/25", by="routed via tun0 on this host"),
        *held("10.0.0.128/26", by="network front of fabric shop"),
        *held("10.0.0.192/27", by="docker network bridge"),
        *held("10.0.0.224/28", by="avoid"),
        *held("10.0.0.240/28", by="nameserver"),
    ]
    space = Space(4, pools("10.0.0.0/24:28", "10.1.0.0/29:28"), taken)

    with pytest.raises(PoolExhausted) as caught:
        space.take_for(1, "network back")

    assert caught.value.message == (
        "no free /28 in 10.0.0.0/24, 10.1.0.0/29; held by routed via tun0 on this host, "
        "network front of fabric shop, docker network bridge and 2 more"
    )


def test_a_family_without_a_pool_is_said_to_have_none() -> None:
    with pytest.raises(PoolExhausted, match="no pool has addresses of this family"):
        Space(6, pools("10.0.0.0/8:24"), []).take(64, "network front")


def test_rejected_candidates_are_one_line_for_each_run_of_one_holder() -> None:
    taken = [
        *held("10.0.0.0/21", by="routed via tun0 on this host"),
        *held("10.0.8.128/25", "10.0.9.0/24", by="network front of fabric shop"),
    ]
    written = pools("10.0.0.0/8:24", "10.9.0.0/16:24", "9.0.0.0/25:24")

    lines = rejected(written, 24, taken, ip_network("10.0.10.0/24"))

    assert [str(line) for line in lines] == [
        "9.0.0.0/25: smaller than a /24",
        "10.0.0.0/24 .. 10.0.7.0/24: routed via tun0 on this host",
        "10.0.8.0/24 .. 10.0.9.0/24: network front of fabric shop",
    ]


def test_a_whole_pool_is_rejected_as_one_line_and_nothing_above_the_choice_is_named() -> None:
    taken = held("10.0.0.0/7", by="routed via tun0 on this host") + held("172.20.1.0/24", by="avoid")

    lines = rejected(pools("10.0.0.0/8:24", "172.20.0.0/16:24"), 24, taken, ip_network("172.20.0.0/24"))

    assert [str(line) for line in lines] == ["10.0.0.0/24 .. 10.255.255.0/24: routed via tun0 on this host"]


def test_candidates_below_an_older_lease_that_are_free_by_now_are_not_called_rejected() -> None:
    taken = held("10.0.0.0/24", by="avoid") + held("10.0.2.0/24", by="nameserver")

    lines = rejected(pools("10.0.0.0/8:24"), 24, taken, ip_network("10.0.4.0/24"))

    assert [str(line) for line in lines] == ["10.0.0.0/24: avoid", "10.0.2.0/24: nameserver"]


def test_a_seed_has_one_unique_local_prefix_of_its_own() -> None:
    first, again, other = ula("machine/lab"), ula("machine/lab"), ula("machine/shop")

    assert first == again != other
    assert first.prefixlen == 48
    assert first.subnet_of(IPv6Network("fd00::/8"))


BLOCK = ip_network("10.0.0.0/24")  # small enough to try every subnet of it


@st.composite
def prefixes_within(draw: st.DrawFn) -> Prefix:
    length = draw(st.integers(24, 32))
    return IPv4Network(
        (int(BLOCK[0]) + (draw(st.integers(0, 255)) >> (32 - length) << (32 - length)), length)
    )


def lowest_by_trying(within: list[Pool], length: int, taken: list[Reservation]) -> Prefix | None:
    blocks = (
        b
        for pool in within
        if pool.prefix.prefixlen <= length
        for b in pool.prefix.subnets(new_prefix=length)
    )
    return next((block for block in blocks if not any(block.overlaps(t.prefix) for t in taken)), None)


@given(
    st.lists(prefixes_within(), max_size=5), st.lists(st.integers(25, 32) | prefixes_within(), max_size=20)
)
def test_any_mix_of_takes_and_holds_finds_what_trying_each_block_finds(
    prefixes: list[Prefix], steps: list[int | Prefix]
) -> None:
    parts = pools("10.0.0.0/25:25", "10.0.0.128/29:29", "10.0.0.192/26:26")
    taken = [Reservation(prefix, "x") for prefix in prefixes]
    space = Space(4, parts, taken)

    for step in steps:
        if not isinstance(step, int):
            space.hold(step, "x")
            taken.append(Reservation(step, "x"))
        elif (lowest := lowest_by_trying(parts, step, taken)) is None:
            with pytest.raises(PoolExhausted):
                space.take(step, "x")
        else:
            assert space.take(step, "x") == lowest
            taken.append(Reservation(lowest, "x"))
