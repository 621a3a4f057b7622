"""Kernel features that a marker requires, probed once in each process."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache

import pytest

from netfab.errors import NetfabError
from netfab.kernel.features import Feature, examine
from netfab.testing.sandboxes import Sandbox
from netfab.topology.suggest import did_you_mean

_WORDS = ("topology", "requires", "seed", "hosts")


def refuse_unknown_words(words: Collection[str]) -> None:
    """Raises NetfabError for an unknown argument of the marker."""
    __tracebackhide__ = True
    for word in words:
        if word not in _WORDS:
            hint = did_you_mean(word, _WORDS) or f"it has {', '.join(_WORDS)}"
            raise NetfabError(f"the marker `netfab` has no argument {word}; {hint}")


def refuse_other_hosts(hosts: object) -> None:
    """Raises NetfabError if `hosts` is given: tests never use real hosts."""
    __tracebackhide__ = True
    if hosts != "simulated":
        raise NetfabError(
            f"hosts={hosts!r}: the hosts of a test are simulated", hint='hosts="simulated", or leave it out'
        )


def skip_without(features: Sequence[str]) -> None:
    """Skip the test if this host lacks a feature. Raises NetfabError for an unknown one."""
    __tracebackhide__ = True
    for name in features:
        found = _features().get(name)
        if found is None:
            raise NetfabError(f"requires: nothing is known of {name}; there are {', '.join(_features())}")
        if not found.works:
            pytest.skip(f"this host lacks {name}: {found.cure}")


@cache
def _features() -> dict[str, Feature]:
    sandbox = Sandbox()
    try:
        return {feature.name: feature for feature in sandbox.call(examine)}
    finally:
        sandbox.close()
