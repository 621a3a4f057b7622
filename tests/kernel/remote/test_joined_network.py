"""A fabric of one host on a network that another one has over several."""

from __future__ import annotations

from pathlib import Path

import pytest
from far import Far
from far_shop import Shop

from netfab import fabric
from netfab.errors import AddressTaken, PlanError

TOOLS = "name: tools\nnetworks: {lan: {external: shop/lan}}\nnodes: {probe: {networks: {lan: {ip: %s}}}}\n"


def apply(far: Far, directory: Path, text: str) -> None:
    file = directory / "tools.yaml"
    file.write_text(text)
    with far.inside():
        fabric.apply(fabric.load(str(file)), str(file))


def test_an_address_that_only_this_host_would_know_of_is_not_chosen(
    shop: Shop, fars: dict[str, Far], tmp_path: Path
) -> None:
    shop.apply()

    with pytest.raises(PlanError, match="on h1, h2, which would not know") as failure:
        apply(fars["h1"], tmp_path, TOOLS.replace("{lan: {ip: %s}}", "[lan]"))

    assert "run --ip" in str(failure.value.hint)


@pytest.mark.parametrize(
    ("address", "holder"),
    [("10.0.0.2", "host h2 of fabric shop"), ("10.0.0.4", "node db of fabric shop")],
    ids=["a bridge of another host", "a node of another host"],
)
def test_what_has_an_address_on_another_host_keeps_it(
    shop: Shop, fars: dict[str, Far], tmp_path: Path, address: str, holder: str
) -> None:
    shop.apply()
    assert address in fars["h2"].run("sh", "-c", "ip address; ip -n shop.db address")

    with pytest.raises(AddressTaken, match=holder):
        apply(fars["h1"], tmp_path, TOOLS % address)


def test_with_an_address_of_its_own_it_is_reached_from_all_hosts(
    shop: Shop, fars: dict[str, Far], tmp_path: Path
) -> None:
    shop.apply()
    apply(fars["h1"], tmp_path, TOOLS % "10.0.0.50")

    fars["h2"].run("ip", "netns", "exec", "shop.db", "ping", "-c1", "-w60", "10.0.0.50")
    with fars["h1"].inside():
        fabric.destroy("tools")
