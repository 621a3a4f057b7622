"""A fabric of one host whose leases are in an etcd: the same commands, and what they say."""

from __future__ import annotations

import pytest
from lab import Lab
from test_lab_command import as_nobody

SHOP = """
name: shop
store: etcd://127.0.0.1:2379
networks: {lan: {}}
nodes:
  web: {networks: [lan], publish: ["8080:80"]}
  client: {networks: [lan]}
"""
ETCD = """
    etcd --data-dir /run/etcd --logger zap --log-level error </dev/null >/dev/null 2>&1 &
    echo $! >/run/etcd.pid
    until curl -sf http://127.0.0.1:2379/health >/dev/null; do :; done
"""


@pytest.fixture
def shop(lab: Lab) -> Lab:
    lab.shell(ETCD)
    lab.directory.chmod(0o755)
    lab.write(SHOP, "shop.yaml")
    return lab


def test_it_is_applied_looked_at_and_destroyed_as_any(shop: Lab) -> None:
    before = shop.state()

    shop.netfab("apply", "shop.yaml")
    assert shop.netfab("apply", "shop.yaml").out == "No changes. The kernel matches shop.yaml.\n"
    shop.netfab("exec", "client", "ping", "-c1", "web")
    status = shop.netfab("status", "-o", "json").json
    assert list(status["nodes"]) == ["web", "client"]
    shop.shell("ip -n shop.web link set eth0 down")
    assert "~ veth eth0 of web" in shop.netfab("-v", "reconcile").out
    shop.netfab("destroy")

    assert shop.state() == before


def test_an_ordinary_user_plans_from_what_was_published(shop: Lab) -> None:
    shop.netfab("apply", "shop.yaml")

    planned = as_nobody(shop, "plan", "shop.yaml")

    assert (planned.code, planned.out) == (0, "No changes. The kernel matches shop.yaml as last applied.\n")
    assert "as root, with the kernel and with the store" in planned.err


def test_without_its_store_a_fabric_is_seen_and_ended_but_not_changed(shop: Lab) -> None:
    shop.netfab("apply", "shop.yaml")
    shop.shell("kill $(cat /run/etcd.pid); while kill -0 $(cat /run/etcd.pid) 2>/dev/null; do :; done")
    before = shop.state()

    for command in ("apply", "plan"):
        told = shop.netfab(command, "shop.yaml", code=1).err
        assert "netfab: error: the store can't be reached: 127.0.0.1:2379: Connection refused\n" in told
    assert shop.state() == before
    assert list(shop.netfab("status", "-o", "json").json["nodes"]) == ["web", "client"]
    ended = shop.netfab("destroy", code=1).err

    assert "fabric shop is gone from its hosts, but not from the store" in ended
    assert "hint: `netfab destroy shop` again, when it can be told, frees 10.0.0.0/24\n" in ended
    assert shop.shell("ls /run/netns") == ""


def test_what_speaks_of_one_host_only_is_refused_by_name(shop: Lab) -> None:
    assert "--host asks no other host" in shop.netfab("apply", "--host", "h1", "shop.yaml", code=1).err
    lab = shop.netfab("lab", "shop.yaml", "--", "true", code=1).err
    assert "shop.yaml:3:8: store: a lab is separate from everything" in lab


def test_what_was_saved_is_applied_and_stays_when_it_is_confirmed(shop: Lab) -> None:
    shop.netfab("plan", "--save", "p.json", "shop.yaml")
    shop.netfab("apply", "--plan", "p.json", "--confirm", "60s")
    shop.netfab("confirm", "shop")

    assert "No changes" in shop.netfab("plan", "shop.yaml").out
