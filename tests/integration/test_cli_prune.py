"""`image prune` with filters, and `rmi`'s flags."""

from __future__ import annotations

from tests.conftest import Cli
from tests.images import tar_of
from tests.registry import Registry, push_image


def imported(cli: Cli, name: str, *changes: str) -> str:
    flags = [word for change in changes for word in ("-c", change)]
    return cli.ok("import", *flags, "-", *([name] if name else []), input=tar_of((name or "x", b"x"))).strip()


def left(cli: Cli) -> set[str]:
    return set(cli.ok("images", "-q", "--no-trunc", "-f", "label=test").split())


def test_filters(cli: Cli) -> None:
    named = imported(cli, "named", "LABEL test=1 keep=no")
    kept = imported(cli, "kept", "LABEL test=1 keep=yes")
    bare = imported(cli, "", "LABEL test=1")
    used = imported(cli, "used", "LABEL test=1", 'CMD ["x"]')
    cli.ok("create", "--name", "one", "used")
    done = cli("image", "prune", input=b"n\n")
    question = "WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] "
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, question, b"")
    assert cli.ok("image", "prune", "-f", "--filter", "until=24h") == "Total reclaimed space: 0B\n"
    assert cli.ok("image", "prune", "-f", "--filter", "label=other") == "Total reclaimed space: 0B\n"
    assert left(cli) == {named, kept, bare, used}
    out = cli.ok("image", "prune", "-f", "--filter", "label=test=1")
    assert out.startswith(f"Deleted Images:\ndeleted: {bare}\n")
    assert left(cli) == {named, kept, used}
    cli.ok("image", "prune", "-af", "--filter", "label=test", "--filter", "label!=keep=yes")
    assert left(cli) == {kept, used}
    cli.ok(
        "image", "prune", "-f", "--filter", "dangling=false", "--filter", "until=2100-01-01", "--filter", "label=test"
    )
    assert left(cli) == {used}
    for bad in ("nonsense=1", "until=soon", "dangling=maybe"):
        done = cli("image", "prune", "-f", "--filter", bad)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    cli.ok("rm", "one")
    cli.ok("image", "prune", "-af")
    assert left(cli) == set()


def test_names_that_only_a_registry_gave(cli: Cli, registry: Registry) -> None:
    """What was pulled by digest is dangling; its digests go with it."""
    pushed = push_image(registry, "app", "1", [tar_of(("a", b"a"))])
    cli.ok("pull", "-q", f"{registry.host}/app@{pushed.manifest}")
    out = cli.ok("image", "prune", "-f").splitlines()
    assert f"untagged: {registry.host}/app@{pushed.manifest}" in out
    assert f"deleted: {pushed.config}" in out


def test_rmi_flags(cli: Cli) -> None:
    imported(cli, "a:1")
    assert cli.ok("rmi", "--no-prune", "a:1").startswith("Untagged: a:1\n")
    done = cli("rmi", "--platform", "linux/arm64", "missing")
    assert (done.returncode, done.stderr) == (1, b"minidock: no such image: missing:latest\n")
    imported(cli, "a:1")
    assert cli("rmi", "--platform", "linux/s390x", "a:1").returncode == 1
    cli.ok("rmi", "--platform", "linux/amd64", "a:1")
