"""Our NamedTuple does what that of typing does."""

from __future__ import annotations

import pickle
import typing

import pytest

from netfab.tuples import NamedTuple


class Ours(NamedTuple):
    """A text."""

    first: int
    second: tuple[str, ...] = ()
    third: Ours | None = None

    @property
    def double(self) -> int:
        return self.first * 2


class Theirs(typing.NamedTuple):
    first: int
    second: tuple[str, ...] = ()
    third: Theirs | None = None


def test_it_is_made_and_read_as_typings_is() -> None:
    for kind in (Ours, Theirs):
        made = kind(1, third=None)
        assert (made.first, made.second, made[2], *made) == (1, (), None, 1, (), None)
        assert made == (1, (), None) == kind._make(made)
        assert made._replace(first=2) == (2, (), None)
        assert made._asdict() == {"first": 1, "second": (), "third": None}
        assert type(made._replace(second=("a",))) is kind
        assert pickle.loads(pickle.dumps(made)) == made
        assert kind._fields == kind.__match_args__ == ("first", "second", "third")


def test_it_is_shown_as_typings_is() -> None:
    assert repr(Ours(1, ("a",))) == repr(Theirs(1, ("a",))).replace("Theirs", "Ours")


def test_its_methods_and_its_types_are_its_own() -> None:
    assert Ours(2).double == 4
    assert Ours.__doc__ == "A text."
    assert typing.get_type_hints(Ours)["third"] == Ours | None
    assert type(Ours) is type


@pytest.mark.parametrize("kind", [Ours, Theirs])
def test_what_it_has_not_is_refused(kind: typing.Any) -> None:
    with pytest.raises(TypeError, match=r"__new__\(\) missing 1 required positional argument: 'first'"):
        kind()
    with pytest.raises(TypeError, match=r"__new__\(\) got an unexpected keyword argument 'fourth'"):
        kind(1, fourth=2)
    with pytest.raises((TypeError, ValueError), match="fourth"):
        kind(1)._replace(fourth=2)
    with pytest.raises(AttributeError):
        kind(1).first = 2
    with pytest.raises(AttributeError):
        kind(1).fourth = 2
