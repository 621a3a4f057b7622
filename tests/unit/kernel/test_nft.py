"""What nft complains of, without running it."""

from __future__ import annotations

from errno import EEXIST, EINVAL, ENOENT, EPERM

import pytest

from netfab.kernel.nft import _errno_of, _reason_of


@pytest.mark.parametrize(
    ("words", "errno", "reason"),
    [
        (
            "internal:0:0-0: Error: Could not process rule: File exists\n\n",
            EEXIST,
            "Could not process rule: File exists",
        ),
        ("Error: No such file or directory\nlist table inet x\n", ENOENT, "No such file or directory"),
        ("Operation not permitted (you must be root)\n", EPERM, "Operation not permitted (you must be root)"),
        ("internal:0:0-0: Error: set is not a map\n", EINVAL, "set is not a map"),
        ("", EINVAL, ""),
    ],
)
def test_nft_s_complaints_have_an_errno_and_its_own_words(words: str, errno: int, reason: str) -> None:
    assert (_errno_of(words), _reason_of(words)) == (errno, reason)
