"""A fabric as a set of objects: what is kept once, what everybody may read, what its JSON mentions."""

from __future__ import annotations

import hashlib
import json

import pytest
from examples import BR0, address, bridge, namespace

from netfab.objects.base import Fabric
from netfab.objects.container import Container
from netfab.objects.digest import digest
from netfab.objects.file import File
from netfab.objects.kinds import KINDS


def copy_of(fabric: Fabric) -> Fabric:
    """Equal, and made of other objects."""
    return Fabric.from_json(fabric.to_json(), KINDS)


def test_what_is_read_and_equals_what_is_wanted_is_kept_once() -> None:
    wanted = Fabric("shop", [bridge(BR0), address()])

    found = wanted.sharing(copy_of(wanted).values())

    assert found == wanted
    assert all(found[name] is thing for name, thing in wanted.items())


def test_what_is_read_and_differs_stays_as_it_was_read() -> None:
    wanted = Fabric("shop", [bridge(BR0)])
    changed = bridge(BR0)._replace(mtu=1400)

    found = wanted.sharing([changed, address()])

    assert list(found.values()) == [changed, address()]


def test_a_fabric_without_programs_is_public_as_it_is() -> None:
    fabric = Fabric("shop", [bridge(BR0)])

    assert fabric.public() is fabric


def test_the_secrets_of_a_program_are_not_public() -> None:
    container = Container("shop", "web", ("serve",), env=(("PASSWORD", "secret"),))

    assert "secret" not in Fabric("shop", [namespace("web"), container]).public().to_json()


def test_json_tells_which_kinds_it_has_before_it_is_read() -> None:
    text = Fabric("shop", [bridge(BR0)]).to_json()

    assert Fabric.mentioned(text, "Bridge")
    assert not Fabric.mentioned(text, "Sysctl")


def test_a_long_text_of_many_objects_is_in_json_once() -> None:
    names = "".join(f"10.0.0.{number}\tn{number}\n" for number in range(200))
    files = [File(f"/run/netfab/shop/etc/hosts.{number}", names) for number in range(100)]
    fabric = Fabric("shop", [*files, File("/run/netfab/shop/etc/resolv.0", "nameserver 10.0.0.1\n")])

    text = fabric.to_json()

    assert text.count("10.0.0.7\\tn7") == 1
    assert Fabric.from_json(text, KINDS) == fabric


@pytest.mark.parametrize("texts", [[], {}, 5, None, [{}]])
def test_a_text_that_is_missing_is_no_object_with_another(texts: object) -> None:
    fabric = json.loads(Fabric("shop", [File("/run/netfab/shop/etc/hosts.0", "x" * 1000)]).to_json())

    with pytest.raises((LookupError, TypeError, ValueError, AttributeError)):
        Fabric.from_json(json.dumps(fabric | {"texts": texts}), KINDS)


def test_the_digest_is_that_of_the_standard_library() -> None:
    assert digest(b"shop/web") == hashlib.sha256(b"shop/web").digest()
