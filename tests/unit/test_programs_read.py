"""What is read of programs, while the last of them ends and its supervisor goes with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from netfab.hosts.programs import Programs
from netfab.runtime import status
from netfab.runtime.paths import Paths
from netfab.runtime.record import EXITED, RUNNING, Record, write_record
from netfab.runtime.spec import Spec
from netfab.system.proc import boot_id, start_ticks


@pytest.mark.parametrize("looks", [0, 1])
def test_a_supervisor_that_goes_with_the_last_program_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    paths = Paths("shop", str(tmp_path / "run"), str(tmp_path / "state"))
    record = Path(paths.record("web"))
    record.parent.mkdir(parents=True)
    Path(paths.spec("web")).write_text(Spec("shop", "web", ("true",)).to_json())
    own = Path("/proc/self").readlink().name
    write_record(str(record), Record(RUNNING, int(own), start_ticks(int(own)) or 0, boot_id()))
    left = looks

    def lives(asked: Paths) -> bool:
        """It answers so many times; then the program has ended, and the supervisor after it."""
        nonlocal left
        assert asked == paths
        if left:
            left -= 1
            return True
        write_record(str(record), Record(EXITED, exit_code=0))
        return False

    monkeypatch.setattr(status, "supervisor_lives", lives)
    containers, supervised = Programs(paths, None, lambda: None, lambda _: None).read(frozenset({"web"}))  # type: ignore[arg-type]

    assert supervised
    assert [one.state for one in containers] == ["running"]  # as it was asked for: it was just started
