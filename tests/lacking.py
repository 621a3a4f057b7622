"""Skips that say which feature of the kernel they are about: not every kernel has each."""

from __future__ import annotations

import pytest

from netfab.errors import Unsupported
from netfab.kernel.features import refuse_without


def skip_without(feature: str) -> None:
    """For what needs it."""
    try:
        refuse_without(feature, "skipped")
    except Unsupported as lacking:
        pytest.skip(str(lacking))


def skip_with(feature: str) -> None:
    """For what is told where it is not there."""
    try:
        refuse_without(feature, "")
    except Unsupported:
        return
    pytest.skip(f"this kernel has {feature}")
