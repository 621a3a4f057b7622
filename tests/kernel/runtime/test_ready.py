"""Waiting until nodes are ready, as seen from inside."""

from __future__ import annotations

import pytest
from containers import PYTHON, Containers

from netfab.errors import NotReady
from netfab.runtime.ready import Node, Probe, wait_ready

SERVER = """
import http.server, subprocess, time
print('starting', flush=True)
time.sleep(0.05)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204 if self.path == '/health' else 500)
        self.end_headers()
server = http.server.HTTPServer(('127.0.0.1', 80), Handler)
open('/serving', 'w').close()
print('serving on 80', flush=True)
server.serve_forever()
"""


def wait(containers: Containers, *probes: Probe) -> None:
    wait_ready(containers.paths, [Node("web", containers.netns, probes)])


def serve(containers: Containers) -> None:
    containers.start(PYTHON, "-c", SERVER, exec=(("ip", "link", "set", "lo", "up"),))


@pytest.mark.parametrize(
    "probe",
    [
        Probe("tcp", port=80),
        Probe("http", port=80, path="/health"),
        Probe("exec", argv=("test", "-e", "/serving")),
        Probe("log", regex=r"serving on \d+"),
    ],
    ids=lambda probe: probe.kind,
)
def test_a_node_is_ready_when_its_probe_holds(containers: Containers, probe: Probe) -> None:
    serve(containers)

    wait(containers, probe)

    containers.exec("test", "-e", "/serving")


@pytest.mark.parametrize(
    ("probe", "text"),
    [
        (Probe("tcp", port=81, within=0.3), "tcp 81 did not hold within 0.3 s"),
        (Probe("http", port=80, path="/other", within=0.3), "http :80/other did not hold within 0.3 s"),
        (Probe("exec", argv=("false",), within=0.3), "exec false did not hold within 0.3 s"),
        (Probe("log", regex="never", within=0.3), "log 'never' did not hold within 0.3 s"),
    ],
    ids=lambda value: value.kind if isinstance(value, Probe) else "",
)
def test_a_probe_that_does_not_hold_in_time_fails_with_the_last_lines(
    containers: Containers, probe: Probe, text: str
) -> None:
    serve(containers)
    wait(containers, Probe("log", regex="serving"))

    with pytest.raises(NotReady, match="web is not ready") as failure:
        wait(containers, probe)

    assert failure.value.reason == text
    assert failure.value.lines[:2] == ("starting", "serving on 80")


def test_a_node_that_ended_is_not_waited_for(containers: Containers) -> None:
    containers.run("sh", "-c", "seq 1 30; exit 3")

    with pytest.raises(NotReady) as failure:
        wait(containers, Probe("tcp", port=80, within=3600))

    assert failure.value.reason == "it ended, exit status 3"
    assert failure.value.lines == tuple(str(number) for number in range(11, 31))
