"""Two fabrics on one bridge: `external: FABRIC/NETWORK`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from netfab import fabric
from netfab.errors import AddressTaken, ForeignObject, PlanError
from netfab.plan.leases import Lease
from netfab.plan.planner import Plan
from netfab.store.sqlite import SqliteStore

SHOP = "name: shop\nnetworks: {front: {subnet: 10.55.0.0/24}}\nnodes: {web: {networks: [front]}}\n"
TOOLS = "name: tools\nnetworks: {lan: {external: shop/front}}\nnodes: {probe: {networks: [lan]}}\n"
Apply = Callable[[str], Plan]


@pytest.fixture
def apply(tmp_path: Path) -> Apply:
    def apply(text: str) -> Plan:
        file = tmp_path / f"{text.split()[1]}.yaml"
        file.write_text(text)
        return fabric.apply(fabric.load(str(file)), str(file))[0]

    return apply


def addresses(plan: Plan, node: str) -> list[str]:
    return [str(interface) for nic in plan.layout.nics[node] for interface in nic.addresses]


def test_a_node_joins_another_fabrics_network_with_an_address_of_its_own(apply: Apply) -> None:
    apply(SHOP)

    plan = apply(TOOLS)

    assert addresses(plan, "probe") == ["10.55.0.3/24"]
    assert [str(gateway) for gateway in plan.layout.segments["lan"].gateways] == ["10.55.0.1"]
    assert fabric.drift("tools") == fabric.drift("shop") == ()


def test_neither_takes_an_address_of_the_other(apply: Apply) -> None:
    apply(SHOP)
    apply(TOOLS)

    grown = apply(SHOP.replace("web:", "db: {networks: [front]}, web:"))

    assert addresses(grown, "db") == ["10.55.0.4/24"]
    with pytest.raises(AddressTaken, match="node web of fabric shop"):
        apply(TOOLS.replace("[lan]", "{lan: {ip: 10.55.0.2}}"))


def test_a_network_that_others_have_joined_does_not_end(apply: Apply) -> None:
    apply(SHOP)
    apply(TOOLS)

    with pytest.raises(ForeignObject, match=r"tools\.probe/eth0"):
        fabric.destroy("shop")
    fabric.destroy("tools")
    fabric.destroy("shop")

    assert fabric.records() == []


@pytest.mark.parametrize(
    ("where", "said"), [("nobody/front", "there is no fabric nobody"), ("shop/back", "it has front")]
)
def test_what_there_is_not_can_t_be_joined(apply: Apply, where: str, said: str) -> None:
    apply(SHOP)

    with pytest.raises(PlanError) as refused:
        apply(TOOLS.replace("shop/front", where))

    assert said in f"{refused.value} {refused.value.hint}"
    assert "tools.yaml:2:" in str(refused.value)


def test_of_two_that_want_one_bridge_at_once_the_second_is_planned_anew(
    apply: Apply, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools, claim = TOOLS.replace("external: shop/front", "").replace("lan", "front"), SqliteStore.claim

    def second(store: SqliteStore, name: str, wants: frozenset[Lease]) -> None:
        if name == "tools" and not store.leases("shop"):
            apply(SHOP)
        claim(store, name, wants)

    monkeypatch.setattr(SqliteStore, "claim", second)

    plan = apply(tools)

    assert plan.layout.segments["front"].bridge != "br-front"
    assert fabric.drift("tools") == fabric.drift("shop") == ()


def test_a_written_bridge_that_another_fabric_has_is_refused_by_its_name(apply: Apply) -> None:
    apply(SHOP)

    with pytest.raises(PlanError, match=r"yaml:2:.*network front of fabric shop has the bridge br-front"):
        apply(TOOLS.replace("external: shop/front", "bridge: br-front"))
