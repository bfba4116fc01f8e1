"""``minidock image from-packages``: a real Debian from its archive, and archives that lie."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import secrets
import shutil
import signal
import stat
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidock
from minidock.errors import Corrupt, Denied, InvalidArgument, MinidockError, NotFound, Unsupported
from minidock.images import packages_apt
from minidock.images.packages_sources import Entry, Release
from minidock.store.cleaner import cleaner
from tests.conftest import Cli, Roots, wait_for
from tests.integration.debian_archive import Archive, Key, ar, deb, directory, entry, new_key, tar
from tests.leaks import Snapshot
from tests.rootfs import debian_tar

pytestmark = pytest.mark.timeout(900)

SUITE = "debian:bookworm"
HOST_STATE = ("/var/lib/apt", "/var/lib/apt/lists", "/var/lib/dpkg", "/var/cache/apt", "/var/cache/apt/archives",
              "/var/lib/dpkg/status", "/etc/apt", "/var/log/apt", "/var/log/dpkg.log")  # fmt: skip


def host_state() -> dict[str, int]:
    """When the host's own package state changed last."""
    return {path: os.stat(path).st_mtime_ns for path in HOST_STATE if os.path.exists(path)}


@pytest.fixture(scope="module")
def shared() -> Iterator[Roots]:
    """Roots for the tests that look at the real image, which takes half a minute to make."""
    base = Path("/var/tmp") / f"mdt-{os.getpid()}-{secrets.token_hex(3)}"
    base.mkdir(mode=0o700)
    parent = f"/{base.name}"
    config = base / "config.json"
    config.write_text(f'{{"bridge": "none", "cgroup-parent": "{parent}"}}')
    before = Snapshot.take()
    yield Roots(base / "data", base / "run", parent, config)
    leaks = Snapshot.leaks_of(base, parent, before)
    Snapshot.purge(base, parent)
    shutil.rmtree(base, ignore_errors=True)
    assert not leaks, "left behind: " + "; ".join(leaks)


@pytest.fixture(scope="module")
def debian(shared: Roots) -> Iterator[minidock.Engine]:
    """An engine with the image ``debian``, made by the command."""
    before = host_state()
    done = subprocess.run(
        [*Cli(shared).argv, "image", "from-packages", SUITE, "debian"], env=shared.env, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stderr.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["Getting", "Downloading", "Unpacking", "Installing", "Writing"]
    assert host_state() == before
    with minidock.Engine(str(shared.data), str(shared.run), str(shared.config)) as engine:
        assert engine.images.get("debian").id == done.stdout.decode().strip()
        assert os.listdir(shared.data / "tmp") == []
        assert engine.containers.list(all=True) == []
        yield engine


def versions(status: str) -> dict[str, str]:
    """Installed packages and their versions, from dpkg's status file."""
    found = {}
    for stanza in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " ")
        if fields:
            assert fields["Status"] == "install ok installed", fields["Package"]
            found[fields["Package"]] = fields["Version"]
    return found


def oracle(tmp_path: Path, ours: dict[str, str]) -> Path:
    """mmdebstrap's minbase; made anew when the cached one is older than the archive."""
    with tarfile.open(debian_tar()) as archive:
        file = archive.extractfile("./var/lib/dpkg/status")
        assert file is not None
        if versions(file.read().decode()) == ours:
            return debian_tar()
    made = tmp_path / "oracle.tar"
    subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "bookworm", str(made)], check=True)
    return made


def tree_of(engine: minidock.Engine, name: str) -> str:
    """The directory of an image's only layer."""
    (number,) = engine.store.images.layers(engine.images.get(name).id)
    return engine.store.paths.layer(number) + "/fs"


def test_same_packages_files_modes_and_owners_as_mmdebstrap(debian: minidock.Engine, tmp_path: Path) -> None:
    top = tree_of(debian, "debian")
    ours = versions(Path(top, "var/lib/dpkg/status").read_text())
    made = oracle(tmp_path, ours)
    with tarfile.open(made) as archive:
        file = archive.extractfile("./var/lib/dpkg/status")
        assert file is not None
        assert versions(file.read().decode()) == ours
        marks = archive.extractfile("./var/lib/apt/extended_states")
        assert marks is not None
        automatic = sorted(line for line in marks.read().decode().splitlines() if line.startswith("Package"))
        wanted = {
            member.name.removeprefix("./").rstrip("/"): (
                stat.S_IFMT(0) if member.ischr() else 0,
                member.isdir(),
                member.issym(),
                member.mode if not member.issym() else 0,
                member.uid,
                member.gid,
                member.linkname if member.issym() else "",
            )
            for member in archive
        }
    states = Path(top, "var/lib/apt/extended_states").read_text().splitlines()
    assert sorted(line for line in states if line.startswith("Package")) == automatic
    found = {}
    for folder, directories, files in os.walk(top):
        for name in directories + files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            link = stat.S_ISLNK(status.st_mode)
            found[os.path.relpath(path, top)] = (
                0,
                stat.S_ISDIR(status.st_mode),
                link,
                0 if link else stat.S_IMODE(status.st_mode),
                status.st_uid,
                status.st_gid,
                os.readlink(path) if link else "",
            )
    # What each of the two cleans up or adds, and nothing else.
    left_out = {path for path in wanted if path not in found and not path.startswith("dev/")}
    assert left_out <= {
        "", ".", "etc/apt/sources.list", "etc/fstab", "etc/group-", "etc/passwd-", "etc/hostname", "etc/resolv.conf",
        "var/cache/apt/archives/lock", "var/cache/debconf/config.dat-old", "var/cache/debconf/templates.dat-old",
        "var/lib/apt/lists/lock", "var/lib/dpkg/arch", "var/lib/dpkg/diversions-old", "var/lib/dpkg/lock",
        "var/lib/dpkg/lock-frontend", "var/lib/dpkg/status-old", "var/lib/dpkg/triggers/Lock",
    }  # fmt: skip
    assert found.keys() - wanted.keys() == {"etc/apt/sources.list.d/debian.sources"}
    assert {path: found[path] for path in found.keys() & wanted.keys()} == {
        path: wanted[path] for path in found.keys() & wanted.keys()
    }
    assert stat.S_IMODE(os.lstat(f"{top}/usr/bin/su").st_mode) == 0o4755


def test_dpkg_finds_it_whole_and_apt_works_in_it(debian: minidock.Engine) -> None:
    script = "dpkg --audit; dpkg -V; test ! -e /usr/sbin/policy-rc.d && ls -A /.minidock 2>&1"
    done = debian.containers.run("debian", ["sh", "-c", script], remove=True)
    assert done.stdout.decode() + done.stderr.decode() == "ls: cannot access '/.minidock': No such file or directory\n"
    done = debian.containers.run("debian", ["apt-get", "update"], network="host", remove=True)
    assert done.exit_code == 0, done.stderr.decode()
    assert b"InRelease" in done.stdout
    assert debian.containers.run("debian", remove=True, input=b"echo $0 $PATH").stdout.startswith(b"bash /usr/local/")


def test_image_says_what_it_is_and_nothing_of_the_host(debian: minidock.Engine) -> None:
    image = debian.images.get("debian")
    config = image.attrs["Config"]
    assert config["Cmd"] == ["bash"]
    assert not config.get("Labels")
    (line,) = debian.images.history(image)
    assert line.created_by == "minidock image from-packages debian:bookworm"
    top = tree_of(debian, "debian")
    for path in ("etc/hostname", "etc/resolv.conf", "etc/hosts", "etc/machine-id"):
        assert not os.path.exists(f"{top}/{path}"), path
    name = os.uname().nodename
    if len(name) > 6:  # a short one is found by chance
        places = [f"{top}/{path}" for path in ("etc", "var/log", "var/lib", "var/cache")]
        found = subprocess.run(["grep", "-rlwF", "--", name, *places], capture_output=True, text=True, check=False)
        assert found.stdout == ""
    newest = max(os.lstat(os.path.join(folder, one)).st_mtime for folder, _, files in os.walk(top) for one in files)
    assert newest <= image.row.created


def test_again_gives_the_same_image(debian: minidock.Engine, engine: minidock.Engine) -> None:
    steps: list[str] = []
    again = engine.images.from_packages(SUITE, "other", "tag", progress=lambda event: steps.append(event.status))
    assert again.id == debian.images.get("debian").id
    assert again.tags == ["other:tag"]
    assert len(steps) == 5


def test_further_packages_that_change_what_others_need(cli: Cli) -> None:
    include = ("--include", "usr-is-merged,hello", "--variant", "apt")
    done = cli("image", "from-packages", "-q", SUITE, *include, "x:y", timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    query = "ls /var/lib/dpkg/info | grep 'merge.*list'"
    script = f"hello; dpkg --audit; {query}; apt-mark showmanual hello"
    assert cli.ok("run", "--rm", "x:y", "sh", "-c", script) == "Hello, world!\nusr-is-merged.list\nhello\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_ended_while_packages_are_installed(cli: Cli, roots: Roots, number: signal.Signals) -> None:
    process = cli.popen("image", "from-packages", SUITE, "x", "--variant", "apt", stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(b"Installing"):
            break
    wait_for(lambda: cli.ok("ps", "-q") != "", timeout=60, what="the container")
    process.send_signal(number)
    process.wait()
    assert process.returncode == (130 if number == signal.SIGINT else -9)
    assert "x" not in cli.ok("images", "--format", "{{.Repository}}").split()
    assert cli.ok("ps", "-aq") == ""
    # The exit command of the container's supervisor may be the one that repairs.
    wait_for(lambda: os.listdir(roots.data / "tmp") == [], timeout=30, what="the repair")
    assert os.listdir(roots.data / "layers") in ([], ["1"])  # the built-in image's


# Archives of the tests' own


@pytest.fixture(scope="module")
def key() -> Iterator[Key]:
    with new_key() as made:
        yield made


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """A file of the host that no package may change."""
    path = tmp_path / "marker"
    path.write_text("host")
    os.chmod(path, 0o640)
    before = os.stat(path)
    yield path
    after = os.stat(path)
    assert path.read_text() == "host"
    assert (before.st_mode, before.st_mtime_ns, before.st_ino) == (after.st_mode, after.st_mtime_ns, after.st_ino)
    assert os.listdir(tmp_path / "outside") == [] if (tmp_path / "outside").exists() else True


def refuse(engine: minidock.Engine, archive: Archive, key: Key, **options: object) -> MinidockError:
    """The error with which an archive's image is not made; nothing is left of it."""
    options.setdefault("keyrings", [key.public])
    with pytest.raises(MinidockError) as caught:
        engine.images.from_packages("debian:test", "x", mirrors=[archive.url], **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert [image for image in engine.images.list() if "x:latest" in image.tags] == []
    assert engine.containers.list(all=True) == []
    cleaner.flush()
    assert os.listdir(engine.store.paths.tmp) == []
    return caught.value


def usual(tmp_path: Path, key: Key | None, hostile: bytes | None = None) -> Archive:
    archive = Archive(tmp_path / "archive", key)
    archive.add("base-files", hostile, essential=True)
    archive.add("apt", fields="Priority: important\n")
    return archive


def test_wrong_key(engine: minidock.Engine, tmp_path: Path, key: Key) -> None:
    archive = usual(tmp_path, key)
    archive.publish()
    with new_key() as other:
        error = refuse(engine, archive, key, keyrings=[other.public])
    assert isinstance(error, Denied)
    assert "NO_PUBKEY" in str(error)


def test_unsigned_archive(engine: minidock.Engine, tmp_path: Path, key: Key) -> None:
    archive = usual(tmp_path, None)
    archive.publish()
    error = refuse(engine, archive, key)
    assert isinstance(error, Denied)
    assert "is not signed" in str(error)
    with pytest.raises(InvalidArgument, match="trusted is not allowed"):
        engine.images.from_packages("debian:test", "x", mirrors=[f"deb [trusted=yes] {archive.url} test main"])


def test_release_changed_after_it_was_signed(engine: minidock.Engine, tmp_path: Path, key: Key) -> None:
    archive = usual(tmp_path, key)
    archive.publish()
    signed = archive.dists / "InRelease"
    signed.write_text(signed.read_text().replace("Label: Debian", "Label: Debiam"))
    assert isinstance(refuse(engine, archive, key), Denied)


def test_index_changed_after_it_was_signed(engine: minidock.Engine, tmp_path: Path, key: Key) -> None:
    archive = usual(tmp_path, key)
    archive.publish(damage=lambda it: it.packages.write_bytes(it.packages.read_bytes().replace(b"test\n", b"tEst\n")))
    (archive.packages.parent / "Packages.gz").unlink()
    error = refuse(engine, archive, key)
    assert isinstance(error, Corrupt)
    assert "signed index" in str(error)


def test_package_changed_after_it_was_signed(engine: minidock.Engine, tmp_path: Path, key: Key) -> None:
    archive = usual(tmp_path, key)
    archive.publish()
    file = archive.pool / "base-files_1_all.deb"
    data = bytearray(file.read_bytes())
    data[-40] ^= 1
    file.write_bytes(data)
    assert isinstance(refuse(engine, archive, key), Corrupt)


@contextlib.contextmanager
def served(root: Path) -> Iterator[str]:
    """The directory by HTTP on loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_package_changed_on_an_http_server(engine: minidock.Engine, tmp_path: Path, key: Key) -> None:
    archive = usual(tmp_path, key)
    archive.publish()
    file = archive.pool / "base-files_1_all.deb"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with served(archive.root) as url, pytest.raises(Corrupt, match="base-files"):
        engine.images.from_packages("debian:test", "x", mirrors=[url], keyrings=[key.public])
    cleaner.flush()
    assert os.listdir(engine.store.paths.tmp) == []


def test_unknown_package_and_release(engine: minidock.Engine, tmp_path: Path, key: Key) -> None:
    archive = usual(tmp_path, key)
    archive.add("needy", fields="Depends: nowhere\n")
    archive.publish()
    error = refuse(engine, archive, key, include="no-such-thing")
    assert isinstance(error, NotFound)
    assert str(error) == "resolve the packages: unable to locate package no-such-thing"
    assert "nowhere" in str(refuse(engine, archive, key, include=["needy"]))
    with pytest.raises(NotFound, match="does not have a Release file"):
        engine.images.from_packages("debian:other", "x", mirrors=[archive.url], keyrings=[key.public])


def test_archive_without_essential_packages(engine: minidock.Engine, tmp_path: Path, key: Key) -> None:
    archive = Archive(tmp_path / "archive", key)
    archive.add("apt")
    archive.publish()
    assert "no essential packages" in str(refuse(engine, archive, key))


HOSTILE = {
    "parent": ([entry("./../../../../../../../../{outside}/evil", b"x")], Denied),
    "device": ([directory("./usr/"), entry("./usr/disk", type=tarfile.BLKTYPE)], Denied),
    "link": ([directory("./usr/"), entry("./var", type=tarfile.SYMTYPE, link="{outside}"), entry("./var/evil", b"x")],
             MinidockError),
    "hard link": ([directory("./usr/"), entry("./usr/evil", type=tarfile.LNKTYPE, link="{marker}")], MinidockError),
    "usr is a link": ([entry("./usr", type=tarfile.SYMTYPE, link="{outside}"), directory("./bin/"),
                       entry("./bin/evil", b"x")], MinidockError),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_package(engine: minidock.Engine, tmp_path: Path, key: Key, marker: Path, case: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    entries, kind = HOSTILE[case]
    filled = []
    for info, data in entries:
        info.name = info.name.format(outside=str(outside).lstrip("/"))
        info.linkname = info.linkname.format(outside=outside, marker=marker)
        filled.append((info, data))
    archive = usual(tmp_path, key, deb("base-files", [directory("./"), *filled]))
    archive.publish()
    assert isinstance(refuse(engine, archive, key), kind)
    assert os.listdir(outside) == []


def test_damaged_package_files(engine: minidock.Engine, tmp_path: Path, key: Key) -> None:
    whole = deb("base-files", [directory("./"), directory("./usr/")])
    bad = {
        "magic": b"PK" + whole,
        "cut": whole[:-20],
        "size": whole.replace(b"`\n", b"x\n", 1),
        "order": ar([("debian-binary", b"2.0\n"), ("data.tar.xz", tar([])), ("control.tar.gz", tar([], "w:gz"))]),
        "compression": ar(
            [("debian-binary", b"2.0\n"), ("control.tar.gz", tar([], "w:gz")), ("data.tar.xz", b"\xfd7zXZ\x00junk")]
        ),
    }
    for case, data in bad.items():
        archive = usual(tmp_path / case, key, data)
        archive.publish()
        error = refuse(engine, archive, key)
        assert isinstance(error, Corrupt), (case, error)
        assert "base-files" in str(error), case


def test_packages_of_the_host_cache_are_used_when_they_are_right(tmp_path: Path, key: Key) -> None:
    archive = usual(tmp_path, key)
    archive.publish()
    cache = tmp_path / "cache"
    cache.mkdir()
    (archive.pool / "base-files_1_all.deb").rename(cache / "base-files_1_all.deb")
    good = (archive.pool / "apt_1_all.deb").read_bytes()
    (cache / "apt_1_all.deb").write_bytes(good[:-1] + b"?")
    host = packages_apt.read_host()
    host = host._replace(paths={**host.paths, "ARCHIVES": str(cache)})
    release = Release("debian", "test")
    apt = packages_apt.Apt(
        str(tmp_path / "apt"), host, "amd64", [Entry(archive.url, "test", ("main",))], [str(key.public)]
    )
    targets = apt.update(release)
    assert apt.facts(targets).essential == {"base-files"}
    assert apt.date(targets, release) == 1_700_000_000
    chosen = apt.resolve(["base-files", "apt"])
    assert [package.name for package in chosen] == ["apt", "base-files"]
    paths = apt.download(["base-files", "apt"], chosen)
    assert Path(paths[0]).read_bytes() == good


def test_another_vendors_archive_of_the_same_suite_is_left_out(tmp_path: Path, key: Key) -> None:
    own = usual(tmp_path, key)
    own.publish()
    other = Archive(tmp_path / "other", key, origin="Vendor")
    other.add("base-files", deb("base-files", [], fields="X-Evil: yes\n"), essential=True)
    other.publish()
    entries = [Entry(archive.url, "test", ("main",)) for archive in (own, other)]
    apt = packages_apt.Apt(str(tmp_path / "apt"), packages_apt.read_host(), "amd64", entries, [str(key.public)])
    assert {target.origin for target in apt.update(Release("debian", "test"))} == {"Debian"}
    assert apt.entries == entries[:1]


def test_hooks_of_the_host_do_not_run(tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = usual(tmp_path, key)
    archive.publish()
    config = tmp_path / "apt.conf"
    config.write_text(
        f'APT::Update::Pre-Invoke {{"touch {tmp_path}/ran";}};\nAcquire::AllowInsecureRepositories "true";\n'
        f'Acquire::http::Proxy "http://127.0.0.1:9";\nAcquire::Retries "7";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(config))
    host = packages_apt.read_host()
    assert 'Acquire::http::Proxy "http://127.0.0.1:9";' in host.settings
    assert 'Acquire::Retries "7";' in host.settings
    apt = packages_apt.Apt(
        str(tmp_path / "apt"), host, "amd64", [Entry(archive.url, "test", ("main",))], [str(key.public)]
    )
    apt.update(Release("debian", "test"))
    assert not (tmp_path / "ran").exists()
    assert "AllowInsecure" not in "".join(host.settings)


def test_missing_programs_are_named(engine: minidock.Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packages_apt, "_PATH", str(tmp_path))
    with pytest.raises(Unsupported, match="apt and gpgv not found"):
        engine.images.from_packages(SUITE, "x")
    (tmp_path / "apt-get").symlink_to("/usr/bin/apt-get")
    (tmp_path / "apt-config").symlink_to("/usr/bin/apt-config")
    with pytest.raises(Unsupported, match=": gpgv not found"):
        engine.images.from_packages(SUITE, "x")


def test_arguments_are_checked_first(cli: Cli) -> None:
    for arguments, text in (
        (("fedora:40", "x"), "only debian:SUITE and ubuntu:SUITE"),
        (("debian", "x"), "a release is needed"),
        (("debian:bookworm", "--variant", "huge", "x"), "not one of minbase"),
        (("debian:bookworm", "--include", "-oDir=/", "x"), "not the name of a package"),
        (("debian:bookworm", "--keyring", "/no/such", "x"), "no such file"),
        (("debian:bookworm", "--mirror", "nonsense", "x"), "not the URL of an archive"),
        (("debian:bookworm", "X Y"), "invalid reference"),
        (("--platform", "linux/riscv64", "debian:bookworm", "x"), "cannot run its programs"),
    ):
        done = cli("image", "from-packages", *arguments)
        assert done.returncode == 1, arguments
        assert text in done.stderr.decode(), done.stderr
        assert done.stderr.count(b"\n") == 1
    done = cli("image", "from-packages", "debian:bookworm", "x", env={"SOURCE_DATE_EPOCH": "soon"})
    assert b"SOURCE_DATE_EPOCH" in done.stderr


def processes_with(text: str) -> list[int]:
    """Processes that have a text in their environment."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if text.encode() in Path("/proc", pid, "environ").read_bytes():
                found.append(int(pid))
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_ended_while_lists_are_fetched(cli: Cli, roots: Roots, key: Key, number: signal.Signals) -> None:
    started = threading.Event()
    go_on = threading.Event()

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            started.set()
            go_on.wait(60)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_address[1]}"
            arguments = ("--mirror", url, "--keyring", str(key.public))
            process = cli.popen("image", "from-packages", "debian:test", "x", *arguments, stderr=subprocess.PIPE)
            assert started.wait(60)
            mine = f"APT_CONFIG={roots.data}"
            assert processes_with(mine)
            process.send_signal(number)
            process.wait(timeout=60)
            assert process.returncode == (130 if number == signal.SIGINT else -9)
            wait_for(lambda: not processes_with(mine), what="apt's end")
        finally:
            go_on.set()
            server.shutdown()
            thread.join()
    assert cli.ok("images", "-q", "x") == ""
    assert os.listdir(roots.data / "tmp") == []
