"""What the command line promises: exit codes, stdout and stderr, which file and which fabric."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from lab import COMMAND, Lab, Result
from machine import differences

PAIR = """\
name: pair
networks: {lan: {}}
nodes:
  web: {networks: [lan]}
  client: {networks: [lan]}
"""
WITH_THIRD = PAIR + "  third: {networks: [lan]}\n"


def test_apply_says_what_it_did_on_stdout_and_nothing_on_stderr(lab: Lab) -> None:
    lab.write(PAIR)

    result = lab.netfab("apply")

    assert result.out.startswith("Applied: ")
    assert result.out.count("\n") == 1
    assert result.err == ""


def test_quiet_says_nothing(lab: Lab) -> None:
    lab.write(PAIR)

    assert lab.netfab("--quiet", "apply")[1:] == ("", "")
    assert lab.netfab("--quiet", "reconcile")[1:] == ("", "")
    assert lab.netfab("--quiet", "validate")[1:] == ("", "")
    assert lab.netfab("--quiet", "destroy")[1:] == ("", "")


def test_verbose_lists_each_change(lab: Lab) -> None:
    lab.write(PAIR)

    assert "  + bridge br-lan\n" in lab.netfab("-v", "apply").out


def test_plan_shows_changes_with_the_closing_line_of_terraform(lab: Lab) -> None:
    lab.write(PAIR)

    lines = lab.netfab("plan").out.splitlines()

    assert lines[-1] == f"Plan: {len(lines) - 1} to add, 0 to change, 0 to destroy."
    assert all(line.startswith("  + ") for line in lines[:-1])


def test_plan_changes_nothing(lab: Lab) -> None:
    lab.write(PAIR)
    before = lab.state()

    lab.netfab("plan")

    assert differences(before, lab.state()) == []


def test_plan_exits_with_0_unless_it_is_asked_for_an_exit_code(lab: Lab) -> None:
    lab.write(PAIR)

    lab.netfab("plan", code=0)
    lab.netfab("plan", "--exit-code", code=2)
    lab.netfab("plan", "--detailed-exitcode", code=2)
    lab.netfab("diff", code=2)


def test_without_changes_the_exit_code_is_0(lab: Lab) -> None:
    lab.write(PAIR)
    lab.netfab("apply")

    for words in (["plan", "--exit-code"], ["diff"]):
        assert lab.netfab(*words).out == "No changes. The kernel matches topology.yaml.\n"
    assert lab.netfab("drift").out == "No changes. The kernel matches pair.\n"
    assert lab.netfab("apply").out == "No changes. The kernel matches topology.yaml.\n"


def test_the_plan_of_a_running_program_says_that_it_restarts(lab: Lab) -> None:
    text = "name: one\nnodes: {a: {mode: none, command: [sleep, '%s']}}\n"
    lab.write(text % "1000")
    lab.netfab("apply")
    lab.write(text % "2000")

    assert "(restarts its program)" in lab.netfab("plan").out


@pytest.mark.parametrize(
    "name", ["topology.yaml", "topology.yml", "pair.netfab.yaml", "pair.netfab.yml", "anything.yaml"]
)
def test_the_file_is_found_when_it_is_left_out(lab: Lab, name: str) -> None:
    lab.write(PAIR, name)

    assert lab.netfab("validate").out == f"{name} is valid: 1 network, 2 nodes, 0 links.\n"


def test_validate_finds_subnets_that_overlap(lab: Lab) -> None:
    lab.write("networks: {a: {subnet: 10.8.0.0/16}, b: {subnet: 10.8.1.0/24}}\nnodes: {}\n")

    told = lab.netfab("validate", code=1).err

    assert "topology.yaml:1:50: networks.b.subnet: 10.8.1.0/24 overlaps 10.8.0.0/16, network a" in told


def test_topology_yaml_wins_over_other_files(lab: Lab) -> None:
    lab.write(PAIR, "other.yaml")
    lab.write(PAIR)

    assert lab.netfab("validate").out.startswith("topology.yaml is valid")


def test_two_files_are_a_question(lab: Lab) -> None:
    lab.write(PAIR, "a.yaml")
    lab.write(PAIR, "b.yaml")

    assert (
        "which file? There are a.yaml, b.yaml\nhint: name one: netfab plan FILE\n"
        in lab.netfab("plan", code=1).err
    )


def test_without_any_file_the_hint_is_init(lab: Lab) -> None:
    result = lab.netfab("apply", code=1)

    assert result.out == ""
    assert result.err == (
        "netfab: error: there is no topology.yaml here\n"
        "hint: name a file: netfab apply FILE; `netfab init` writes one to start from\n"
    )


@pytest.mark.parametrize("words", [["-f", "a.yaml"], ["-t", "a.yaml"], ["--file", "a.yaml"], ["./a.yaml"]])
def test_a_file_is_named_as_argument_or_option(lab: Lab, words: list[str]) -> None:
    lab.write(PAIR, "a.yaml")
    lab.write(PAIR, "b.yaml")

    assert "is valid" in lab.netfab("validate", *words).out


def test_the_file_may_come_from_the_environment(lab: Lab) -> None:
    lab.write(PAIR, "a.yaml")
    lab.write(PAIR, "b.yaml")

    assert lab.netfab("validate", env={"NETFAB_FILE": "a.yaml"}).out.startswith("a.yaml is valid")


def test_an_option_overrides_the_environment(lab: Lab) -> None:
    lab.write(PAIR, "a.yaml")
    lab.write(PAIR, "b.yaml")

    found = lab.netfab("validate", "-f", "b.yaml", env={"NETFAB_FILE": "a.yaml"})

    assert found.out.startswith("b.yaml is valid")


@pytest.mark.parametrize("words", [["apply"], ["plan"], ["destroy"], ["validate"], ["graph"]])
def test_help_says_which_file_is_meant_when_it_is_left_out(lab: Lab, words: list[str]) -> None:
    told = " ".join(lab.netfab(*words, "--help").out.split())

    assert "Default: $NETFAB_FILE, topology.yaml, *.netfab.yaml, or the only *.yaml here." in told


@pytest.mark.parametrize("time", ["5", "5s", "0.5", "500ms"])
def test_a_time_to_wait_is_seconds_or_has_a_unit(lab: Lab, time: str) -> None:
    lab.write(PAIR)

    lab.netfab("apply", "--lock-timeout", time)
    lab.netfab("apply", env={"NETFAB_APPLY_LOCK_TIMEOUT": time})

    assert "is not a time" in lab.netfab("apply", "--lock-timeout", "soon", code=2).err


def test_wrong_usage_is_1_where_2_means_changes(lab: Lab) -> None:
    lab.write(PAIR)

    lab.netfab("plan", "--nonsense", code=2)
    lab.netfab("plan", "--exit-code", "--nonsense", code=1)
    lab.netfab("diff", "--nonsense", code=1)
    lab.netfab("drift", "--nonsense", code=1)


def test_colours_are_for_terminals_that_want_them(lab: Lab) -> None:
    lab.write(PAIR)
    on_a_terminal = ["script", "-qec", f"{COMMAND} plan", "/dev/null"]

    assert "\x1b[" in lab.run(*on_a_terminal).out
    assert "\x1b[" not in lab.run(*on_a_terminal, env={"NO_COLOR": "1"}).out
    assert "\x1b[" not in lab.netfab("plan").out


def test_a_file_comes_from_standard_input(lab: Lab) -> None:
    lab.netfab("apply", "-", input=PAIR)

    assert lab.netfab("plan", "--exit-code", "-", input=PAIR).out == "No changes. The kernel matches -.\n"
    assert lab.netfab("ls", "-o", "json").json["fabrics"][0]["file"] == "-"


def test_up_and_down_are_apply_and_destroy(lab: Lab) -> None:
    lab.write(PAIR)
    before = lab.state()

    lab.netfab("up", "-d")
    assert lab.netfab("ls", "-o", "json").json["fabrics"] != []
    lab.netfab("down")

    assert differences(before, lab.state()) == []


def test_the_same_name_from_another_file_is_refused(lab: Lab) -> None:
    lab.write(PAIR, "one.yaml")
    lab.write(WITH_THIRD, "two.yaml")
    lab.netfab("apply", "one.yaml")
    before = lab.state()

    result = lab.netfab("apply", "two.yaml", code=1)

    assert "fabric pair was applied from" in result.err
    assert "--name NAME" in result.err
    assert "--take-over" in result.err
    assert differences(before, lab.state()) == []


def test_take_over_replaces_the_other_file(lab: Lab) -> None:
    lab.write(PAIR, "one.yaml")
    lab.write(WITH_THIRD, "two.yaml")
    lab.netfab("apply", "one.yaml")

    lab.netfab("apply", "--take-over", "two.yaml")

    assert lab.netfab("ls", "-o", "json").json["fabrics"][0]["file"].endswith("/two.yaml")
    assert "third" in lab.netfab("status", "-o", "json").json["nodes"]


def test_a_second_fabric_of_a_file_is_made_by_another_name(lab: Lab) -> None:
    lab.write(PAIR)
    lab.netfab("apply")

    lab.netfab("apply", "--name", "second")

    assert [found["fabric"] for found in lab.netfab("ls", "-o", "json").json["fabrics"]] == ["pair", "second"]
    assert (
        "web is a node of several fabrics: pair/web, second/web"
        in lab.netfab("exec", "web", "true", code=1).err
    )
    assert lab.netfab("ip", "second/web").out != lab.netfab("ip", "pair/web").out


def test_destroy_of_what_is_not_there_is_fine(lab: Lab) -> None:
    lab.write(PAIR)

    assert lab.netfab("destroy", "nothing").out == "Nothing of nothing is there.\n"
    assert lab.netfab("destroy", "topology.yaml").out == "Nothing of pair is there.\n"


def test_destroy_works_twice_and_with_the_file_gone(lab: Lab) -> None:
    before = lab.state()
    lab.write(PAIR)
    lab.netfab("apply")
    (lab.directory / "topology.yaml").unlink()

    lab.netfab("destroy")
    lab.netfab("destroy", "pair")

    assert differences(before, lab.state()) == []


def test_destroy_reads_only_the_name_of_a_file(lab: Lab) -> None:
    before = lab.state()
    lab.write(PAIR)
    lab.netfab("apply")
    lab.write(PAIR + "  web2: {nonsense: [}\n".replace("[}", "1}"))

    lab.netfab("destroy", "topology.yaml")

    assert differences(before, lab.state()) == []


def test_destroy_takes_the_name_from_standard_input(lab: Lab) -> None:
    before = lab.state()
    lab.netfab("apply", "-", input=PAIR)

    assert lab.netfab("destroy", "-", input=PAIR).out == "Destroyed pair.\n"
    assert differences(before, lab.state()) == []


@pytest.mark.parametrize("text", ["", "networks: {}", "name: ../pair", "name: '*'"])
def test_destroy_touches_nothing_where_no_right_name_is_given(lab: Lab, text: str) -> None:
    lab.netfab("apply", "-", input=PAIR)
    before = lab.state()

    result = lab.netfab("destroy", "-", input=text, code=1)

    assert result.err.startswith("netfab: error: ")
    assert differences(before, lab.state()) == []


def test_destroy_all_asks_unless_yes(lab: Lab) -> None:
    lab.write(PAIR)
    lab.netfab("apply")
    lab.netfab("apply", "--name", "second")

    lab.netfab("destroy", "--all", input="n\n", code=1)
    closed = lab.netfab("destroy", "--all", code=1)
    kept = lab.netfab("ls", "-o", "json").json["fabrics"]
    lab.netfab("destroy", "--all", "--yes")

    assert closed.err.startswith("destroy pair, second? [y/N]: \nnetfab: error: nothing was destroyed\n")
    assert len(kept) == 2
    assert lab.netfab("ls", "-o", "json").json["fabrics"] == []


def test_destroy_all_takes_those_that_the_user_applied_and_everyone_takes_all(lab: Lab) -> None:
    lab.write(PAIR)
    lab.netfab("apply", env={"SUDO_UID": "1000"})
    lab.netfab("apply", "--name", "second", env={"SUDO_UID": "1001"})

    def left() -> list[str]:
        return [found["fabric"] for found in lab.netfab("ls", "-o", "json").json["fabrics"]]

    lab.netfab("destroy", "--all", "--yes", env={"SUDO_UID": "1000"})
    after_all = left()
    nobodys = lab.netfab("destroy", "--all", env={"SUDO_UID": "1000"}).out
    lab.netfab("destroy", "--everyone", "--yes", env={"SUDO_UID": "1000"})

    assert after_all == ["second"]
    assert nobodys == "There is no fabric of yours.\n"
    assert left() == []


def app(lab: Lab, directory: str) -> Path:
    """A directory with a topology file; in all of these, it is of a fabric called `app`."""
    there = lab.directory / directory / "app"
    there.mkdir(parents=True)
    (there / "topology.yaml").write_text("networks: {lan: {}}\n")
    return there


def in_directory(lab: Lab, directory: Path | str, *words: str) -> Result:
    return lab.run("env", f"--chdir={directory}", *lab.words(*words))


@pytest.mark.parametrize(
    "words", [["destroy"], ["destroy", "topology.yaml"], ["plan"], ["diff"]], ids=" ".join
)
def test_a_fabric_of_another_file_is_not_what_a_file_of_the_same_name_means(
    lab: Lab, words: list[str]
) -> None:
    a, b = app(lab, "a"), app(lab, "b")
    in_directory(lab, a, "apply")
    before = lab.state()

    result = in_directory(lab, b, *words)

    assert result.code == 1
    assert f"fabric app was applied from {a}/topology.yaml, not from {b}/topology.yaml" in result.err
    assert differences(before, lab.state()) == []
    if words[0] == "destroy":
        assert "hint: netfab destroy app\n" in result.err


def test_by_its_name_a_fabric_is_destroyed_from_anywhere(lab: Lab) -> None:
    in_directory(lab, app(lab, "a"), "apply")

    assert in_directory(lab, app(lab, "b"), "destroy", "app").out == "Destroyed app.\n"


def test_plan_shows_what_take_over_would_do(lab: Lab) -> None:
    in_directory(lab, app(lab, "a"), "apply")

    assert "No changes." in in_directory(lab, app(lab, "b"), "plan", "--take-over").out


def test_destroy_without_a_name_takes_what_was_applied_from_here_or_below(lab: Lab) -> None:
    in_directory(lab, app(lab, "a"), "apply")
    (lab.directory / "empty").mkdir()

    elsewhere = in_directory(lab, lab.directory / "empty", "destroy")
    root = in_directory(lab, "/", "destroy")
    above = lab.netfab("destroy")

    for refused in (elsewhere, root):
        assert (refused.code, refused.err) == (
            1,
            "netfab: error: which fabric? There is app\nhint: name one: netfab destroy app\n",
        )
    assert above.out == "Destroyed app.\n"


def test_destroy_of_a_file_here_is_of_no_other_fabric(lab: Lab) -> None:
    in_directory(lab, app(lab, "a"), "apply")
    lab.write(PAIR)

    assert lab.netfab("destroy").out == "Nothing of pair is there.\n"


def test_destroy_without_any_fabric_is_fine(lab: Lab) -> None:
    assert lab.netfab("destroy").out == "Nothing to destroy.\n"


def test_destroy_of_a_file_that_is_not_there_says_so(lab: Lab) -> None:
    lab.write(PAIR)
    lab.netfab("apply")

    file, name = lab.netfab("destroy", "pear.yaml"), lab.netfab("destroy", "pear")

    assert file.err == "there is no file pear.yaml, and no fabric pear\nhint: did you mean `pair`?\n"
    assert name.err == "hint: did you mean `pair`?\n"


def test_destroy_takes_several(lab: Lab) -> None:
    lab.write(PAIR)
    for name in ("one", "two", "three"):
        lab.netfab("apply", "--name", name)

    assert lab.netfab("destroy", "one", "two").out == "Destroyed one.\nDestroyed two.\n"
    assert [found["fabric"] for found in lab.netfab("ls", "-o", "json").json["fabrics"]] == ["three"]


def test_destroy_takes_a_name_or_all_not_both(lab: Lab) -> None:
    assert "take no FILE or NAME" in lab.netfab("destroy", "--all", "pair", code=2).err


def test_destroy_takes_the_file_as_an_option_or_from_the_environment(lab: Lab) -> None:
    lab.write(PAIR, "a.yaml")
    lab.write(PAIR.replace("pair", "other"), "b.yaml")

    assert lab.netfab("down", "-f", "a.yaml").out == "Nothing of pair is there.\n"
    assert lab.netfab("down", env={"NETFAB_FILE": "b.yaml"}).out == "Nothing of other is there.\n"


def test_exec_exits_with_the_commands_own_code(lab: Lab) -> None:
    lab.write(PAIR)
    lab.netfab("apply")

    lab.netfab("exec", "web", "true", code=0)
    lab.netfab("exec", "web", "sh", "-c", "exit 42", code=42)
    lab.netfab("exec", "web", "sh", "-c", "kill -9 $$", code=137)
    lab.netfab("exec", "pair/web", "true", code=0)


@pytest.mark.parametrize("node", ["program", "empty"])
def test_exec_says_126_and_127_as_a_shell_does(lab: Lab, node: str) -> None:
    lab.write("name: x\nnodes:\n  empty: {mode: none}\n  program: {mode: none, command: [sleep, '1000']}\n")
    lab.netfab("apply")

    assert "netfab: error: " in lab.netfab("exec", node, "/no/such/program", code=127).err
    assert "netfab: error: " in lab.netfab("exec", node, "/etc/passwd", code=126).err


def test_exec_passes_input_output_and_errors_on(lab: Lab) -> None:
    lab.write(PAIR)
    lab.netfab("apply")

    result = lab.netfab("exec", "-i", "web", "sh", "-c", "cat; echo talk >&2", input="data\n")

    assert result.out == "data\n"
    assert result.err == "talk\n"


@pytest.mark.parametrize("node", ["program", "empty"])
def test_exec_leaves_the_input_to_others_unless_it_is_to_be_passed_on(lab: Lab, node: str) -> None:
    lab.write("name: x\nnodes:\n  empty: {mode: none}\n  program: {mode: none, command: [sleep, '1000']}\n")
    lab.netfab("apply")

    loop = f"while read -r node; do {' '.join(lab.words('exec'))} $node cat; echo got $node; done"
    assert lab.run("sh", "-c", loop, input=f"{node}\n" * 2).out == f"got {node}\n" * 2
    assert lab.netfab("exec", "-i", node, "cat", input="data\n").out == "data\n"


def test_exec_runs_a_command_in_several_nodes(lab: Lab) -> None:
    lab.write(PAIR)
    lab.netfab("apply")

    assert lab.netfab("exec", "web", "client", "--", "hostname").out == "web\nclient\n"


def test_an_option_of_the_command_is_not_netfabs(lab: Lab) -> None:
    lab.write(PAIR)
    lab.netfab("apply")

    assert lab.netfab("exec", "web", "echo", "-n", "--help").out == "--help"


def test_ip_prints_addresses(lab: Lab) -> None:
    lab.write(
        "name: pair\nnetworks: {lan: {subnet: 10.1.2.0/24}}\n"
        "nodes: {web: {networks: {lan: {ip: 10.1.2.9}}}}\n"
    )
    lab.netfab("apply")

    assert lab.netfab("ip", "web").out == "10.1.2.9\n"
    assert lab.netfab("ip", "web", "lan").out == "10.1.2.9\n"


@pytest.mark.parametrize("what", ["pair", "web", "pair/web", "lan", "br-lan"])
def test_whatever_has_a_name_can_be_inspected(lab: Lab, what: str) -> None:
    lab.write(PAIR)
    lab.netfab("apply")

    assert lab.netfab("inspect", what).json["fabric"] == "pair"


def test_a_graph_is_drawn_with_the_planned_addresses(lab: Lab) -> None:
    lab.write(PAIR)

    assert "eth0 lan 10." in lab.netfab("graph", "-f", "svg").out
    assert lab.netfab("graph", "--format", "html").out.startswith("<!doctype html>")


def test_a_graph_is_mermaid_or_dot(lab: Lab) -> None:
    lab.write(PAIR)

    assert lab.netfab("graph").out.startswith("graph LR\n")
    assert lab.netfab("graph", "--format", "dot").out.startswith("graph ")


def test_what_config_prints_is_a_file_that_means_the_same(lab: Lab) -> None:
    lab.write(
        "name: pair\nkinds: {k: {forward: true}}\nnetworks: {lan: {}}\n"
        "nodes: {n1..3: {kind: k, networks: [lan]}}\n"
    )
    lab.netfab("apply")

    expanded = lab.netfab("config").out
    lab.write(expanded)

    assert "n1..3" not in expanded
    assert lab.netfab("diff").out == "No changes. The kernel matches topology.yaml.\n"
    assert lab.netfab("config").out == expanded


def test_the_schema_is_json_schema(lab: Lab) -> None:
    schema = lab.netfab("schema").json

    assert schema["$schema"].startswith("https://json-schema.org/")
    assert {"networks", "nodes", "links"} <= set(schema["properties"])


def test_what_init_writes_can_be_applied_as_it_says(lab: Lab) -> None:
    assert lab.netfab("init").err == "wrote topology.yaml; `netfab apply topology.yaml` makes it\n"

    lab.netfab("apply")


def test_init_never_overwrites(lab: Lab) -> None:
    lab.write("name: mine\n")

    result = lab.netfab("init", code=1)

    assert "topology.yaml: File exists" in result.err
    assert (lab.directory / "topology.yaml").read_text() == "name: mine\n"


def test_the_version_says_what_a_bug_report_needs(lab: Lab) -> None:
    assert lab.netfab("version").out.startswith("netfab ")
    assert "Linux" in lab.netfab("version").out
    assert lab.netfab("--version").out.startswith("netfab ")


def test_info_counts_what_there_is(lab: Lab) -> None:
    lab.write("name: shop\nnodes: {web: {command: [sleep, '1000']}, db: {}}\n")
    lab.netfab("apply")

    found = lab.netfab("info", "-o", "json").json

    assert (found["fabrics"], found["nodes"], found["programs"]) == (1, 2, {"running": 1})
    assert found["state"] == "/var/lib/netfab"
    told = dict(line.split(maxsplit=1) for line in lab.netfab("info").out.splitlines())
    assert told["programs"] == "running 1"
    assert told["memory"].endswith("iB")


def test_the_file_of_a_fabric_that_was_applied_in_parts_is_not_known(lab: Lab) -> None:
    lab.write("name: shop\nnodes: {web: {}, db: {}}\n")
    lab.netfab("apply", "--only", "web")

    refused = lab.netfab("status", "-o", "topology", code=1)
    lab.netfab("apply")
    whole = lab.netfab("status", "-o", "topology").out
    lab.netfab("apply", "--only", "web")

    assert "it was applied in parts" in refused.err
    assert lab.netfab("status", "-o", "topology").out == whole


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed(lab: Lab, shell: str) -> None:
    assert "_NETFAB_COMPLETE" in lab.netfab("completion", shell).out


def test_a_command_whose_standard_streams_are_closed_does_the_same(lab: Lab) -> None:
    lab.write(PAIR)

    applied = lab.run("sh", "-c", 'exec "$0" apply 0<&- 1>&- 2>&-', *lab.words())

    assert applied.code == 0
    assert lab.netfab("drift").out == "No changes. The kernel matches pair.\n"


def test_in_a_directory_that_is_gone_a_command_says_so(lab: Lab) -> None:
    lab.write(PAIR)
    script = 'mkdir gone; cd gone; rmdir ../gone; exec "$0" apply - < ../topology.yaml'

    told = lab.run("sh", "-c", script, *lab.words())

    assert (told.code, told.err) == (1, "netfab: error: the current directory is gone\n")


def test_a_closed_pipe_is_no_traceback(lab: Lab) -> None:
    lab.write("name: big\nnetworks: {lan: {}}\nnodes: {n1..500: {networks: [lan]}}\n")

    result = lab.run("bash", "-c", f"{COMMAND} plan | head -1")

    assert result.out.count("\n") == 1
    assert "Traceback" not in result.err


@pytest.mark.parametrize("verbose", [[], ["-v"]])
@pytest.mark.parametrize(
    "stdout",
    ["os.open('/dev/full', os.O_WRONLY)", "[os.close(end) or other for end, other in [os.pipe()]][0]"],
    ids=["a full disk", "a pipe that nobody reads"],
)
def test_what_a_command_did_is_said_on_stderr_where_stdout_can_t_be_written_to(
    lab: Lab, stdout: str, verbose: list[str]
) -> None:
    lab.write(PAIR)

    def with_lost_output(*words: str) -> str:
        script = f"import os, sys; os.dup2({stdout}, 1); os.execv(sys.argv[1], sys.argv[1:])"
        result = lab.run(sys.executable, "-c", script, *lab.words(*words))
        assert result.code == 1, result.err
        return result.err

    applied = with_lost_output("apply", *verbose)
    assert lab.netfab("apply").out.startswith("No changes.")
    destroyed = with_lost_output("destroy", *verbose)

    assert applied.splitlines()[-2].startswith("Applied: ")
    assert "netfab: error: can't write to standard output: " in applied
    assert destroyed.splitlines()[-2].startswith(("Destroyed pair.", "Applied: "))
    assert "mistake" not in applied + destroyed


@pytest.mark.parametrize(
    "words", [["plan"], ["--help"], ["schema"], ["config"], ["version"], ["plan", "-o", "json"]], ids=str
)
def test_a_full_disk_behind_stdout_is_an_error_of_every_command(lab: Lab, words: list[str]) -> None:
    lab.write(PAIR)

    result = lab.run("bash", "-c", f"{COMMAND} {' '.join(words)} > /dev/full")

    assert (result.code, result.err) == (
        1,
        "netfab: error: can't write to standard output: No space left on device\n",
    )


def test_what_two_fabrics_have_is_inspected_by_its_fabric(lab: Lab) -> None:
    lab.write(PAIR)
    lab.netfab("apply")
    lab.netfab("apply", "--name", "second")

    refused = lab.netfab("inspect", "web", code=1)

    assert "web may be pair/web and second/web\nhint: name one: netfab inspect pair/web" in refused.err
    assert lab.netfab("inspect", "second/web").json["fabric"] == "second"


def test_inspect_shows_a_thing_as_it_is(lab: Lab) -> None:
    lab.write(PAIR)
    lab.netfab("apply")
    before = lab.netfab("inspect", "br-lan").json

    lab.shell("ip link set br-lan mtu 1400; ip netns del pair.web")
    changed = lab.netfab("inspect", "br-lan").json
    lab.shell("ip link del br-lan")

    assert (before["is"], before["differs"]) == (before["wanted"], "")
    assert (changed["is"]["mtu"], changed["differs"]) == (1400, "mtu 1400 -> 1500")
    assert lab.netfab("inspect", "br-lan").json["is"] is None
    assert lab.netfab("inspect", "lan").json["is"] is None
    assert lab.netfab("inspect", "web").json["state"] == "missing"
    assert lab.netfab("inspect", "client").json["state"] == "up"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["destory"], "did you mean `destroy`?"),
        (["exec", "clent", "true"], "hint: did you mean `client`?"),
        (["exec", "pair/clent", "true"], "hint: did you mean `pair/client`?"),
        (["logs", "clent"], "hint: did you mean `client`?"),
        (["ip", "clent"], "hint: did you mean `client`?"),
        (["status", "pear"], "hint: did you mean `pair`?"),
        (["drift", "pear"], "hint: did you mean `pair`?"),
        (["stop", "clent"], "hint: did you mean `client`?"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_what_was_probably_meant_is_told(lab: Lab, words: list[str], meant: str) -> None:
    lab.write(PAIR)
    lab.netfab("apply")

    result = lab.run(*lab.words(*words))

    assert result.code == (2 if words == ["destory"] else 1)
    assert meant in result.err


def test_help_is_a_command_too(lab: Lab) -> None:
    assert lab.netfab("help", "apply").out == lab.netfab("apply", "--help").out
    assert lab.netfab("help").out == lab.netfab("--help").out
    assert "did you mean `apply`?" in lab.netfab("help", "aply", code=2).err


def test_status_and_inspect_show_published_ports_where_there_are_any(lab: Lab) -> None:
    lab.write(PAIR.replace("web: {", "web: {publish: ['127.0.0.1:8080:80'], "))
    lab.netfab("apply")

    head, row, _ = lab.netfab("status").out.splitlines()[1:]

    assert (head.split()[-1], row.split()[-1]) == ("PUBLISHED", "127.0.0.1:8080:80/tcp")
    assert lab.netfab("inspect", "web").json["published"] == ["127.0.0.1:8080:80/tcp"]


def test_one_object_is_one(lab: Lab) -> None:
    lab.write(PAIR)
    lab.netfab("apply")
    lab.shell("ip link set br-lan mtu 1400")

    told = "1 object is not as applied; `netfab drift pair` says what is different\n"
    assert lab.netfab("status").err == told


def test_a_set_value_and_an_included_file_count_as_if_the_file_had_them(lab: Lab) -> None:
    lab.write(PAIR.replace("name: pair\n", ""), "base.yaml")
    lab.write("include: [base.yaml]\nnodes: {third: {networks: [lan]}}")
    lab.netfab("apply")

    lab.write(PAIR.replace("  client: {networks: [lan]}\n", "").replace("name: pair\n", ""), "base.yaml")
    lab.netfab("apply", "--set", "nodes.third.loopback=10.7.7.7")

    nodes = lab.netfab("status", "-o", "json").json["nodes"]
    assert list(nodes) == ["web", "third"]
    assert lab.netfab("diff", code=2).out.count("10.7.7.7")
    lab.netfab("apply")
    assert lab.netfab("apply").out.startswith("No changes.")


def test_a_secret_does_not_outlive_the_leases_that_count_its_keys(lab: Lab) -> None:
    lab.write("name: kept\nnetworks: {lan: {}}\nnodes: {a: {networks: [lan]}}\n")
    lab.netfab("apply")
    lab.shell("mkdir -p /var/lib/netfab/controller && touch /var/lib/netfab/controller/kept.key")

    lab.netfab("destroy")

    assert lab.shell("ls /var/lib/netfab/controller") == ""
