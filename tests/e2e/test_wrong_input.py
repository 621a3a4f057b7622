"""Wrong command lines and wrong files: exit 2 or 1, a reason, no traceback, and nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import Lab, throwaway_host
from machine import differences

PAIR = """\
name: pair
networks: {lan: {}}
nodes:
  web: {networks: [lan]}
  client: {networks: [lan]}
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A host that all the wrong command lines share: none of them may change it."""
    with throwaway_host(tmp_path_factory.mktemp("plain")) as host:
        host.write(PAIR)
        yield host


WRONG_USAGE = [
    ["nonsense"],
    ["apply", "--nonsense"],
    ["apply", "a.yaml", "b.yaml"],
    ["apply", "--lock-timeout", "soon"],
    ["apply", "--name"],
    ["apply", "-o", "xml"],
    ["plan", "-o", "toml"],
    ["exec"],
    ["exec", "web"],
    ["exec", "web", "client", "--"],
    ["exec", "--nonsense=1"],
    ["shell"],
    ["shell", "a", "b"],
    ["logs", "-n", "many"],
    ["inspect"],
    ["ip"],
    ["graph", "--format", "png"],
    ["completion"],
    ["completion", "cmd.exe"],
    ["init", "a", "b"],
    ["--state-dir"],
    ["--state-dir", "", "ls"],
    ["status", "a", "b"],
]
WRONG_WORDS = [
    ["apply", "missing.yaml"],
    ["apply", "."],
    ["apply", "/dev/null/x.yaml"],
    ["apply", "--name", "Bad_Name"],
    ["apply", "--name", "default"],
    ["apply", "--name", "x" * 30],
    ["apply", "--name", ""],
    ["plan", "missing.yaml"],
    ["diff", "missing.yaml"],
    ["validate", "missing.yaml"],
    ["config", "missing.yaml"],
    ["graph", "missing.yaml"],
    ["status"],
    ["status", "nothing"],
    ["drift"],
    ["drift", "nothing"],
    ["drift", "../../etc"],
    ["reconcile"],
    ["reconcile", "nothing"],
    ["destroy", ".."],
    ["destroy", "a\x1b[31m"],
    ["destroy", "x; flush ruleset"],
    ["destroy", "x" * 200],
    ["exec", "nobody", "true"],
    ["exec", "a/b/c", "true"],
    ["exec", "", "true"],
    ["shell", "nobody"],
    ["logs"],
    ["logs", "nobody"],
    ["ip", "nobody"],
    ["inspect", "nothing"],
    ["inspect", ""],
    ["inspect", "\x1b[31m"],
    ["lab", "missing.yaml", "--", "true"],
    ["init", "/no/such/directory/x.yaml"],
    ["--state-dir", "/proc/nowhere", "apply"],
    ["--state-dir", "/proc/version", "ls"],
    ["--run-dir", "/proc/nowhere", "apply"],
    ["--state-dir", "/dev/null", "apply"],
    ["apply", "--host", "h1"],
    ["attach", "br\udcff", "web", "10.0.0.2/24"],
]  # fmt: skip


@pytest.mark.parametrize("words", WRONG_USAGE, ids=" ".join)
def test_wrong_usage_exits_with_2(plain: Lab, words: list[str]) -> None:
    before = plain.state()

    result = plain.netfab(*words, code=2)

    assert result.out == ""
    assert "Traceback" not in result.err
    assert "Error: " in result.err
    assert differences(before, plain.state()) == []


@pytest.mark.parametrize("words", WRONG_WORDS, ids=ascii)
def test_what_fails_exits_with_1_and_says_why(plain: Lab, words: list[str]) -> None:
    before = plain.state()

    result = plain.netfab(*words, code=1)

    assert result.out == ""
    assert result.err.startswith("netfab: error: ")
    assert "a mistake in netfab" not in result.err
    assert "\x1b" not in result.err
    assert differences(before, plain.state()) == []


@pytest.mark.parametrize(("words", "code"), [(("apply", "-"), 1), (("destroy", "/dev/zero"), 0)])
def test_what_has_no_end_is_not_read_to_its_end(plain: Lab, words: tuple[str, str], code: int) -> None:
    limited = ("sh", "-c", 'ulimit -v 2000000; exec "$0" "$@" < /dev/zero', *plain.words(*words))

    result = plain.run(*limited)

    assert result.code == code
    assert "a mistake in netfab" not in result.err


WRONG_FILES = {
    "empty": "",
    "binary": "\x00\x01",
    "a list": "- a\n",
    "a word": "hello\n",
    "open bracket": "name: [\n",
    "tab": "name: x\n\tnodes: {}\n",
    "duplicate": "name: x\nname: y\n",
    "tag": "name: !!python/object/apply:os.system [id]\n",
    "unknown key": "name: x\nnods: {}\n",
    "bad name": "name: X_1\n",
    "self alias": "name: x\nnodes: &a {b: *a}\n",
    "missing network": "name: x\nnodes: {a: {networks: [lan]}}\n",
    "bad subnet": "name: x\nnetworks: {lan: {subnet: 10.0.0.1/24}}\n",
    "tiny subnet": "name: x\nnetworks: {lan: {subnet: 10.0.0.0/30}}\nnodes: {n1..9: {networks: [lan]}}\n",
    "twice the address": "name: x\nnetworks: {lan: {subnet: 10.0.0.0/24}}\n"
    "nodes: {a: {networks: {lan: {ip: 10.0.0.5}}}, b: {networks: {lan: {ip: 10.0.0.5}}}}\n",
    "mode and networks": "name: x\nnetworks: {lan: {}}\nnodes: {a: {mode: none, networks: [lan]}}\n",
    "container cycle": "name: x\nnodes: {a: {mode: container:b}, b: {mode: container:a}}\n",
    "host without command": "name: x\nnodes: {a: {mode: host}}\n",
    "bad port": "name: x\nnetworks: {lan: {}}\nnodes: {a: {networks: [lan], publish: ['99999:80']}}\n",
    "port twice": "name: x\nnetworks: {lan: {}}\n"
    "nodes: {a: {networks: [lan], publish: ['80:80']}, b: {networks: [lan], publish: ['80:80']}}\n",
    "depends on nobody": "name: x\nnodes: {a: {mode: none, command: [ls], depends_on: [b]}}\n",
    "depends on itself": "name: x\nnodes: {a: {mode: none, command: [ls], depends_on: [a]}}\n",
    "unset variable": "name: x\nnodes: {a: {hostname: '${NO_SUCH_VARIABLE}'}}\n",
    "later issue": "name: x\nnetworks: {lan: {delay: 5ms}}\nnodes: {a: {networks: [lan]}}\n",
    "too many ports": "name: x\nnetworks: {lan: {subnet: 10.0.0.0/16}}\n"
    "nodes: {n1..1100: {networks: [lan]}}\n",
    "endless range": "name: x\nnodes: {n1..999999999: {mode: none}}\n",
    "deep": "name: " + "[" * 100 + "]" * 100 + "\n",
    "escape": "name: \"\\e[31m\"\n",
    "no pool": "name: x\npools: [10.0.0.0/30]\nnetworks: {a: {}, b: {}, c: {}}\n",
    "link to nobody": "name: x\nnodes: {a: {}}\nlinks: [[a, b]]\n",
    "endless source": "name: x\nnodes: {a: {mode: none, command: [ls], files: {/x: {source: /dev/zero}}}}\n",
    "long interface": "name: x\nnodes: {a: {}, b: {}}\nlinks: [['a:abcdefghijklmnopq', b]]\n",
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_wrong_file_is_refused_with_its_place(plain: Lab, name: str) -> None:
    plain.write(WRONG_FILES[name], "wrong.yaml")
    before = plain.state()

    for command in ("plan", "apply"):
        result = plain.netfab(command, "wrong.yaml", code=1)

        assert result.err.startswith("netfab: error: ")
        assert "a mistake in netfab" not in result.err
        assert "\x1b" not in result.err
    assert differences(before, plain.state()) == []


def test_a_files_name_is_shown_without_its_control_characters(plain: Lab) -> None:
    file = plain.write("name: empty\n", "a\a.yaml")

    for words in (["validate", file], ["plan", file], ["lab", file, "--", "\a"]):
        result = plain.netfab(*words, code=127 if "--" in words else 0)

        assert "\a" not in result.out + result.err, words
