"""What `netfab run` asked for, as a topology."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfab.errors import NetfabError
from netfab.topology.default import Wanted, WrongWord, on_its_network, topology_of
from netfab.topology.schema import ByCommand, ContainerMode

TEXTS = st.text(st.characters(exclude_characters="\0"))


def wanted(name: str = "web", network: str = "bridge", **keys: object) -> Wanted:
    return Wanted(name, {**on_its_network({}), **keys}, "host", "host", ("true",), network=network)


@given(
    st.builds(
        Wanted,
        name=TEXTS,
        keys=st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS)),
        image=TEXTS,
        title=TEXTS,
        command=st.none() | st.lists(TEXTS, min_size=1).map(tuple),
        env=st.lists(st.tuples(TEXTS, TEXTS)).map(tuple),
        network=TEXTS,
        asked=st.builds(ByCommand, terminal=st.booleans(), remove=st.booleans()),
        number=st.integers(),
    )
)
def test_what_is_kept_is_what_was_asked_for(one: Wanted) -> None:
    assert Wanted.from_json(one.to_json()) == one


def test_each_is_a_node_on_one_network_which_is_the_hosts_own_or_another_fabrics() -> None:
    later, first = wanted("a")._replace(number=2), wanted("b", "shop/front")._replace(number=1)

    topology = topology_of([later, first], ["shop/front"])

    assert list(topology.nodes) == ["b", "a"]
    networks = [(one.name, one.external or one.bridge) for one in topology.networks.values()]
    assert networks == [("front.shop", "shop/front"), ("bridge", "netfab0")]
    assert [key for _, key, _ in topology.asked] == ["b", "a"]


def test_one_whose_network_is_gone_is_on_none_and_publishes_nothing() -> None:
    topology = topology_of([wanted("a", "shop/front", publish=["80:80"])], [])

    assert (topology.nodes["a"].attachments, topology.nodes["a"].publish) == ((), ())
    assert topology.networks == {}


def test_words_are_not_filled_in() -> None:
    one = wanted()._replace(command=("echo", "{node} {n}", "${HOME}"), env=(("A", "{ip:b}"),))

    node = topology_of([one], []).nodes["web"]

    assert (node.command, node.env) == (("echo", "{node} {n}", "${HOME}"), (("A", "{ip:b}"),))


def test_the_modes_of_files_are_its_modes() -> None:
    one = Wanted("a", {"mode": "container:b"}, "host", "host", ("true",), network="")

    assert topology_of([one, wanted("b")], []).nodes["a"].mode == ContainerMode("b")


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"publish": ["80"]}, "publish"),
        ({"memory": "much"}, "memory"),
        ({"cap_add": ["EVERYTHING"]}, "cap_add"),
        ({"publish": ["80:80", "80:81"]}, "publish"),
        (on_its_network({"mac": "zz"}), "mac"),
        (on_its_network({"ip": ["10.0.0.9", "zz"]}), "ip"),
        (on_its_network({"ip": ["fd00::1"]}), "ip"),
    ],
)
def test_what_can_not_be_meant_names_the_key(keys: dict[str, object], key: str) -> None:
    with pytest.raises(NetfabError) as failure:
        topology_of([wanted(**keys)], [])

    errors = getattr(failure.value, "errors", (failure.value,))
    assert next(error.key for error in errors if isinstance(error, WrongWord)) == key
