"""`images`: digests, filters, platforms, the tree; `search`."""

from __future__ import annotations

import json

import pytest

import minidock
from minidock.errors import InvalidArgument
from tests.conftest import Cli
from tests.images import tar_of
from tests.registry import Registry, push_image, push_index


def imported(cli: Cli, name: str, *changes: str) -> str:
    flags = [word for change in changes for word in ("-c", change)]
    return cli.ok("import", *flags, "-", *([name] if name else []), input=tar_of((name or "x", b"x"))).strip()


def test_digests(cli: Cli, registry: Registry) -> None:
    name = f"{registry.host}/team/app"
    first = push_image(registry, "team/app", "1", [tar_of(("a", b"a"))])
    second = push_image(registry, "team/app", "2", [tar_of(("b", b"b"))])
    cli.ok("pull", "-q", f"{name}:1")
    cli.ok("pull", "-q", f"{name}@{second.manifest}")
    imported(cli, "local")
    form = "{{.Repository}} {{.Tag}} {{.Digest}}"
    lines = cli.ok("images", "--format", form, "-f", "reference=*/*/*").splitlines()
    assert sorted(lines) == sorted([f"{name} 1 {first.manifest}", f"{name} <none> {second.manifest}"])
    assert cli.ok("images", "--digests", "--format", "{{.Digest}}", "local") == "<none>\n"
    head, *rows = cli.ok("images", "--digests", name).splitlines()
    assert head.split() == ["REPOSITORY", "TAG", "DIGEST", "IMAGE", "ID", "CREATED", "SIZE"]
    assert sorted(row.split()[:4] for row in rows) == [
        [name, "1", first.manifest, first.config[7:19]],
        [name, "<none>", second.manifest, second.config[7:19]],
    ]
    # As in Docker: what a pattern does not match is not shown, a digest neither.
    assert cli.ok("images", "--digests", "--format", "{{.Digest}}", f"{name}:1") == "<none>\n"
    assert len(cli.ok("images", name).splitlines()) == 3
    for reference in (f"{name}@{second.manifest}", f"{registry.host}/*/app@{second.manifest}"):
        assert cli.ok("images", "-q", "--no-trunc", reference).strip() == second.config
    assert cli.ok("image", "inspect", "-f", "{{.Id}}", f"{name}@{second.manifest}").strip() == second.config
    assert cli.ok("images", "-q", "--no-trunc", "-f", "dangling=true").strip() == second.config
    assert len(cli.ok("images", "-q", "-f", "dangling=false", "-f", "reference=*/*/*").splitlines()) == 2


def test_filters(cli: Cli) -> None:
    old = imported(cli, "old:1", "LABEL a=1", "LABEL b=2")
    new = imported(cli, "new:1", "LABEL a=2")
    bare = imported(cli, "")

    def ids(*filters: str) -> set[str]:
        flags = [word for one in filters for word in ("-f", one)]
        return set(cli.ok("images", "-q", "--no-trunc", *flags).split()) & {old, new, bare}

    assert ids("label=a") == {old, new}
    assert ids("label=a=1") == {old}
    assert ids("label=a", "label=b") == {old}
    assert ids("since=old:1") == {new, bare}
    assert ids("before=new:1") == {old}
    assert ids("since=old:1", f"before={bare}") == {new}
    assert ids("reference=old") == ids("reference=old:*") == ids("reference=o*:1") == {old}
    assert ids("reference=old", "reference=new") == {old, new}
    assert ids("dangling=true") == {bare}
    assert ids("dangling=false") == {old, new}
    assert ids("until=0") == set()
    assert ids("until=2100-01-01") == {old, new, bare}
    for bad, words in {
        "nonsense=1": "invalid filter 'nonsense'",
        "dangling=maybe": "invalid filter 'dangling=maybe'",
        "until=soon": "invalid filter 'until=soon'",
        "before=missing": "no such image: missing:latest",
        "reference=[": "syntax error in pattern",
    }.items():
        done = cli("images", "-f", bad)
        assert (done.returncode, done.stdout) == (1, b"")
        assert words in done.stderr.decode()
    assert cli("images", "-f", "until=1h", "-f", "until=2h").returncode == 1


def test_formats(cli: Cli) -> None:
    imported(cli, "box:1", 'CMD ["x"]')
    cli.ok("create", "--name", "one", "box:1")
    fields = json.loads(cli.ok("images", "--format", "json", "box"))
    assert (fields["Containers"], fields["SharedSize"], fields["UniqueSize"]) == ("1", "N/A", "N/A")
    assert (fields["Repository"], fields["Tag"], fields["Digest"]) == ("box", "1", "<none>")
    assert cli.ok("images", "--format", "{{.Containers}} {{.Size}} {{.VirtualSize}}", "box") == "1 1B 1B\n"
    assert cli.ok("images", "--format", r"table {{.Digest}}\t{{.CreatedAt}}", "box").startswith(
        "DIGEST    CREATED AT\n"
    )
    cli.ok("rm", "one")


def test_tree(cli: Cli, registry: Registry) -> None:
    name = f"{registry.host}/team/app"
    mine = push_image(registry, "team/app", "", [tar_of(("a", b"a" * 1000))])
    other = push_image(registry, "team/app", "", [tar_of(("b", b"b" * 1000))], platform="linux/arm64/v8")
    push_index(registry, "team/app", "1", [(mine.manifest, "linux/amd64"), (other.manifest, "linux/arm64/v8")])
    cli.ok("pull", "-q", f"{name}:1")
    cli.ok("pull", "-q", "--platform", "linux/arm64", f"{name}:1")
    cli.ok("tag", f"{name}:1", "both:1")
    box = imported(cli, "box:1", 'CMD ["x"]')
    cli.ok("tag", "box:1", "box:2")
    imported(cli, "")
    cli.ok("create", "--name", "one", "box:1")
    lines = [line for line in cli.ok("images", "--tree").splitlines() if line]
    assert lines[0].strip() == "Info ->  U In Use"
    assert lines[1].split() == ["IMAGE", "ID", "DISK", "USAGE", "CONTENT", "SIZE", "EXTRA"]
    at = lines.index("box:1")
    assert lines[at + 1].split()[:2] == ["box:2", box[7:19]]
    assert lines[at + 1].endswith("U")
    at = lines.index(f"{name}:1") if f"{name}:1" in lines else lines.index("both:1")
    both = lines[at + 1 : at + 4]
    ids = {line.split()[1]: line.split()[2] for line in both[1:]}
    assert ids == {"linux/amd64": mine.config[7:19], "linux/arm64/v8": other.config[7:19]}
    assert both[1].startswith("├─ ")
    assert both[2].startswith("└─ ")
    assert any(line.startswith("<untagged>") for line in lines)
    for flag in ("-q", "--no-trunc", "--digests"):
        assert cli("images", "--tree", flag).returncode == 1
    cli.ok("rm", "one")


def test_what_an_image_says_steers_no_terminal(cli: Cli, registry: Registry) -> None:
    history = [{"created_by": "RUN \x1b]0;evil\x07", "comment": "\x9b2J"}]
    push_image(registry, "app", "1", [tar_of(("a", b"a"))], history=history)
    cli.ok("pull", "-q", f"{registry.host}/app:1")
    for argv in ([], ["--no-trunc"], ["--format", "{{.CreatedBy}} {{.Comment}}"]):
        text = cli.ok("history", *argv, f"{registry.host}/app:1")
        assert "\\x1b]0;evil\\x07" in text
        assert text.replace("\n", "").isprintable()


def test_search(cli: Cli, engine: minidock.Engine, registry: Registry) -> None:
    for path in ("team/app", "team/apple", "team/pear"):
        push_image(registry, path, "latest", [tar_of(("a", b"a"))])
    found = engine.images.search(f"{registry.host}/app")
    assert [result.name for result in found] == ["team/app", "team/apple"]
    lines = cli.ok("search", f"{registry.host}/app").splitlines()
    assert lines[0].split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
    assert [line.split() for line in lines[1:]] == [["team/app", "0"], ["team/apple", "0"]]
    assert len(cli.ok("search", "--limit", "1", "--format", "json", f"{registry.host}/app").splitlines()) == 1
    assert cli.ok("search", "-f", "stars=1", "--format", "{{.Name}}", f"{registry.host}/app") == ""
    assert (
        cli.ok("search", "-f", "is-official=false", "--format", "{{.Name}}", f"{registry.host}/pear") == "team/pear\n"
    )
    for bad in (["--limit", "101", "x"], ["-f", "nonsense=1", "x"], ["-f", "stars=many", "x"], [""]):
        done = cli("search", *bad)
        assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    with pytest.raises(InvalidArgument):
        engine.images.search("x", limit=0)
