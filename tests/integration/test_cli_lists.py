"""`ps`, `images`, `rm`, `rmi`, `import`, `inspect`, `tag`, `history`, `prune`, completion of names."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest

from tests.conftest import Cli
from tests.rootfs import busybox_tar


def test_ps(cli_busybox: Cli) -> None:
    assert cli_busybox.ok("ps") == "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n"
    flags = ["--label", "b=2", "--label", "a=1"]
    one = cli_busybox.ok("create", "--name", "one", *flags, "busybox", "sh", "-c", "echo a long command line").strip()
    cli_busybox("run", "--name", "two", "busybox", "sh", "-c", "exit 3")
    lines = cli_busybox.ok("ps", "-a").splitlines()
    assert len(lines) == 3
    assert re.fullmatch(r'[0-9a-f]{12}   busybox   "sh -c \'?exit 3\'?" +.* ago +Exited \(3\) .* ago +two', lines[1])
    assert re.fullmatch(rf"{one[:12]}   busybox   \"sh -c .{{13}}…\" +.* ago +Created +one", lines[2])
    assert cli_busybox.ok("ps", "-aq", "--no-trunc", "--filter", "name=one") == f"{one}\n"
    assert cli_busybox.ok("ps", "-l", "--format", "{{.Names}}") == "two\n"
    assert cli_busybox.ok("ps", "-n", "1", "--format", "{{.Names}}") == "two\n"
    assert cli_busybox.ok("ps", "-a", "-f", "exited=3", "--format", "{{.Names}}") == "two\n"
    assert cli_busybox.ok("ps", "-a", "-f", "status=created", "--format", "{{.Names}}") == "one\n"
    assert cli_busybox.ok("ps", "-a", "-f", "label=a=1", "--format", '{{.Label "b"}} {{.Labels}}') == "2 a=1,b=2\n"
    table = cli_busybox.ok("ps", "-a", "--format", r"table {{.Names}}\t{{.State}}\t{{.Networks}}")
    assert table == "NAMES     STATE     NETWORKS\ntwo       exited    none\none       created   none\n"
    record = json.loads(cli_busybox.ok("ps", "-l", "--format", "json"))
    assert (record["Names"], record["State"], record["Image"]) == ("two", "exited", "busybox")
    assert re.fullmatch(r"0B \(virtual .*MB\)", record["Size"])
    assert cli_busybox.ok("ps", "-a", "-s").splitlines()[0].endswith("NAMES     SIZE")
    bad = cli_busybox("ps", "--filter", "nonsense=1")
    assert (bad.returncode, bad.stderr) == (1, b"minidock: invalid filter 'nonsense'\n")
    bad = cli_busybox("ps", "-a", "--format", "{{.Nonsense}}")
    assert bad.returncode == 1
    assert b"can't evaluate field Nonsense in type *formatter.ContainerContext" in bad.stderr
    cli_busybox.ok("rm", "one", "two")


def test_sizes_are_counted(cli_busybox: Cli) -> None:
    cli_busybox.ok("run", "--name", "ww", "busybox", "sh", "-c", "head -c 100000 /dev/zero >/f")
    assert cli_busybox.ok("ps", "-a", "--format", "{{.Size}}").startswith("100kB (virtual 2")
    document = json.loads(cli_busybox.ok("inspect", "--size", "ww"))[0]
    assert document["SizeRw"] == 100000
    assert document["SizeRootFs"] > 1_000_000
    assert "SizeRw" not in json.loads(cli_busybox.ok("inspect", "ww"))[0]
    cli_busybox.ok("rm", "ww")


def test_rm(cli_busybox: Cli) -> None:
    for name in ("aa", "bb", "cc"):
        cli_busybox.ok("create", "--name", name, "busybox")
    done = cli_busybox("rm", "aa", "missing", "bb")
    assert (done.returncode, done.stdout) == (1, b"aa\nbb\n")
    assert done.stderr.count(b"\n") == 1
    assert b"missing" in done.stderr
    assert cli_busybox("rm", "-f", "missing").returncode == 0
    asked = cli_busybox("container", "prune", input=b"n\n").stdout
    assert asked.startswith(b"WARNING! This will remove all stopped containers.\n")
    assert b"Deleted" not in asked
    assert cli_busybox.ok("container", "prune", "-f").startswith("Deleted Containers:\n")
    assert cli_busybox.ok("ps", "-aq") == ""


def test_images(cli: Cli) -> None:
    tar = busybox_tar()
    identity = cli.ok("import", "-c", 'CMD ["sh"]', "-m", "note", str(tar), "box:1").strip()
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", identity)
    done = cli("import", "-", input=tar.read_bytes())
    nameless = done.stdout.decode().strip()
    assert done.returncode == 0
    cli.ok("tag", "box:1", "box:2")
    listing = cli.ok("images", "box")
    assert re.match(r"REPOSITORY   TAG       IMAGE ID       CREATED +SIZE\n", listing)
    assert {tuple(line.split()[:3]) for line in listing.splitlines()[1:]} == {
        ("box", "1", identity[7:19]),
        ("box", "2", identity[7:19]),
    }
    assert cli.ok("images", "-q", "--no-trunc", "box") == f"{identity}\n" * 2  # one for each name, as Docker
    assert cli.ok("images", "--filter", "dangling=true", "-q", "--no-trunc") == f"{nameless}\n"
    assert cli.ok("images", "--filter", "reference=b*:2", "--format", "{{.Repository}}:{{.Tag}}") == "box:2\n"
    assert json.loads(cli.ok("images", "box:1", "--format", "json"))["Tag"] == "1"
    assert "note" in cli.ok("history", "box:1")
    assert cli.ok("inspect", "-f", "{{.Config.Cmd}} {{index .RepoTags 0}}", "box:1") == "[sh] box:1\n"
    bad = cli("images", "--filter", "nonsense=1")
    assert (bad.returncode, bad.stderr) == (1, b"minidock: invalid filter 'nonsense'\n")
    assert cli.ok("rmi", "box:2") == "Untagged: box:2\n"
    removed = cli.ok("rmi", "box:1")
    assert removed.startswith("Untagged: box:1\nDeleted: sha256:")
    assert cli("rmi", "box:1").returncode == 1
    assert cli("rmi", "-f", "box:1").returncode == 0
    assert "Total reclaimed space: " in cli.ok("image", "prune", "-f")
    assert cli.ok("images", "-q", "--filter", "dangling=true") == ""


def test_import_of_rubbish(cli: Cli) -> None:
    for argv, data in ((["import", "/no/such/file", "x"], b""), (["import", "-", "x"], b"not a tar at all" * 100)):
        done = cli(*argv, input=data)
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.startswith(b"minidock: ")
        assert done.stderr.count(b"\n") == 1
    assert cli.ok("images", "-q", "x") == ""


def test_inspect(cli_busybox: Cli) -> None:
    cli_busybox.ok("create", "--name", "cc", "-e", "A=b", "--memory", "64m", "busybox", "sleep", "1")
    documents = json.loads(cli_busybox.ok("inspect", "cc", "busybox"))
    assert [d.get("Name", d.get("RepoTags")) for d in documents] == ["/cc", ["busybox:latest"]]
    assert json.loads(cli_busybox.ok("inspect", "--format", "json", "cc"))["Name"] == "/cc"
    got = cli_busybox.ok("inspect", "-f", "{{.State.Status}} {{.HostConfig.Memory}} {{json .Config.Cmd}}", "cc")
    assert got == 'created 67108864 ["sleep","1"]\n'
    assert "A=b" in cli_busybox.ok("container", "inspect", "-f", "{{range .Config.Env}}{{println .}}{{end}}", "cc")
    done = cli_busybox("inspect", "-f", "{{.Id}}", "missing", "cc")
    assert (done.returncode, done.stdout.count(b"\n")) == (1, 1)
    assert done.stderr == b"minidock: no such object: missing\n"
    done = cli_busybox("inspect", "missing")
    assert (done.returncode, done.stdout) == (1, b"[]\n")
    assert cli_busybox("inspect", "--type", "image", "cc").returncode == 1
    assert cli_busybox("image", "inspect", "cc").returncode == 1
    bad = cli_busybox("inspect", "-f", "{{.Nope}}", "cc")
    assert bad.returncode == 1
    assert b'template parsing error: template: :1:2: executing "" at <.Nope>: map has no entry' in bad.stderr
    cli_busybox.ok("rm", "cc")


def test_names_are_completed(cli_busybox: Cli) -> None:
    cli_busybox.ok("create", "--name", "zebra", "busybox")

    def complete(*words: str) -> list[str]:
        env = {"_MINIDOCK_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(("minidock", *words))}
        env["COMP_CWORD"] = str(len(words))
        done = cli_busybox(env=env)
        return [line.partition(",")[2] for line in done.stdout.decode().splitlines()]

    assert complete("rm", "ze") == ["zebra"]
    assert complete("rm", "-f", "ze") == ["zebra"]
    assert complete("run", "--rm", "bu") == ["busybox:latest"]
    assert complete("inspect", "ze") == ["zebra"]
    assert complete("push", "bu") == complete("pull", "bu") == ["busybox:latest"]
    assert complete("manifest", "an") == ["annotate"]
    cli_busybox.ok("rm", "zebra")


@pytest.mark.parametrize("command", [["ps", "-a"], ["images"]])
def test_a_list_that_nobody_reads(cli_busybox: Cli, command: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*cli_busybox.argv, *command], stdout=writer, stderr=subprocess.PIPE, env=cli_busybox.env, check=False
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
