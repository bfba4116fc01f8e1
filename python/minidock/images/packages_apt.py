"""The host's apt, on a state directory of our own: lists with checked signatures, a resolved set, its packages.

Nothing of the host's apt or dpkg changes, and no hook of the host's apt configuration runs: of that configuration only
what concerns the way to an archive (proxies, passwords, certificates, time-outs, date checks) is taken over.
"""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from minidock.errors import Corrupt, Denied, InvalidArgument, MinidockError, NotFound, SystemFailure, Unsupported
from minidock.images import packages_sources as sources
from minidock.images.packages_sources import Entry, Release
from minidock.store.failures import from_os, translated

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSED = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
_TAKEN = re.compile(
    r"Acquire::(http|https|ftp|tor|mirror|Retries|ForceIPv[46]|Check-Valid-Until|Check-Date|Max-FutureTime|"
    r"Max-ValidTime|Min-ValidTime|Queue-Mode|Connect-Timeout|Changelogs|socks::Proxy)\b.*",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(r"NO_PUBKEY|GPG error|BADSIG|not signed|signature")
_UNMET = re.compile(r"\S+ : (Depends|Pre-?Depends|Conflicts|Breaks):")
_MAX_LISTS = 1 << 30
_CHUNK = 1 << 20

_GUARD = r"""
exec 3<&0 </dev/null
"$@" 3<&- &
program=$!
{ read -r _ <&3; kill -s KILL 0; } &
guard=$!
exec 3<&-
wait $program
code=$?
kill $guard
exit $code
"""
"""Runs apt in a process group of its own, which is killed when the other end of standard input closes: when we die."""

_BASE = """\
Dir "/";
Dir::State "{root}/state/";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache/";
Dir::Log "{root}/log/";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{root}/sources/";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::trusted "{trusted}";
Dir::Etc::trustedparts "{trustedparts}";
Dir::Etc::netrc "{netrc}";
Dir::Etc::netrcparts "{netrcparts}";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
APT::Get::Assume-Yes "true";
APT::Get::AllowUnauthenticated "false";
APT::Update::Error-Mode "any";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Languages "none";
Acquire::GzipIndexes "false";
Acquire::PDiffs "false";
quiet "1";
"""


class Host(NamedTuple):
    """What the host's apt says of itself."""

    settings: tuple[str, ...]
    paths: Mapping[str, str]
    distribution: str
    codename: str


class Target(NamedTuple):
    """One index of packages that ``apt-get update`` fetched."""

    uri: str
    release: str
    """The suite as the sources have it."""
    origin: str
    component: str
    file: str


class Package(NamedTuple):
    """A package file that apt chose; ``digest`` is ``SHA256:…`` or ``SHA512:…``, from a signed index."""

    file: str
    size: int
    digest: str

    @property
    def name(self) -> str:
        """The package's name."""
        return self.file.partition("_")[0]


class Facts(NamedTuple):
    """What the indices say: names of essential packages and of those of each priority."""

    essential: frozenset[str]
    priorities: Mapping[str, frozenset[str]]


def require_programs() -> None:
    """Raise Unsupported, naming what is missing, unless apt and gpgv are there."""
    missing = [name for name in ("apt-get", "apt-config") if shutil.which(name, path=_PATH) is None]
    lacking = ["apt"] if missing else []
    if shutil.which("gpgv", path=_PATH) is None and shutil.which("sqv", path=_PATH) is None:
        lacking.append("gpgv")
    if lacking:
        raise Unsupported(
            f"image from-packages: {' and '.join(lacking)} not found on this host: images are made from packages by "
            f"the host's apt and gpgv, so on Debian, Ubuntu and their kin only"
        )


def read_host() -> Host:
    """Read the host's apt configuration and os-release."""
    words = {
        "LIST": "Dir::Etc::sourcelist/f",
        "PARTS": "Dir::Etc::sourceparts/d",
        "TRUSTED": "Dir::Etc::trusted/f",
        "TRUSTEDPARTS": "Dir::Etc::trustedparts/d",
        "NETRC": "Dir::Etc::netrc/f",
        "NETRCPARTS": "Dir::Etc::netrcparts/d",
        "ARCHIVES": "Dir::Cache::archives/d",
        "ARCHITECTURE": "APT::Architecture",
    }
    environ = _environ()
    if "APT_CONFIG" in os.environ:
        environ["APT_CONFIG"] = os.environ["APT_CONFIG"]
    shell = _plain(["apt-config", "shell", *(word for pair in words.items() for word in pair)], environ)
    paths = {key: value[1:-1] for key, _, value in (line.partition("=") for line in shell.splitlines())}
    dump = _plain(["apt-config", "dump"], environ)
    taken = tuple(line for line in dump.splitlines() if _TAKEN.fullmatch(line))
    return Host(taken, paths, *_os_release())


def host_entries(host: Host) -> list[Entry]:
    """The entries of the host's sources, in apt's order."""
    found: list[Entry] = []
    files = [host.paths.get("LIST", "")]
    parts = host.paths.get("PARTS", "")
    with contextlib.suppress(OSError):
        names = sorted(os.listdir(parts or "/nonexistent"))
        files += [os.path.join(parts, name) for name in names if re.fullmatch(r"[A-Za-z0-9_.-]+\.(list|sources)", name)]
    for path in files:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read(1 << 20)
        except OSError:
            continue
        found += sources.parse_deb822(text) if path.endswith(".sources") else sources.parse_list(text)
    return [entry._replace(uri=_expanded(entry.uri)) for entry in found if not entry.uri.startswith("cdrom:")]


def _expanded(uri: str) -> str:
    """The first URI of a list of mirrors on the host, where an entry names one: an image cannot have the list."""
    if not uri.startswith("mirror+file:"):
        return uri
    with (
        contextlib.suppress(OSError),
        open(uri.removeprefix("mirror+file:"), encoding="utf-8", errors="replace") as file,
    ):
        for line in file:
            words = line.partition("#")[0].split()
            if words:
                return words[0]
    return uri


class Apt:
    """apt on a directory of its own."""

    def __init__(
        self, root: str, host: Host, architecture: str, entries: Sequence[Entry], keyrings: Sequence[str]
    ) -> None:
        if '"' in root or "\n" in root:
            raise InvalidArgument(f"data root {root!r}: apt cannot use a path with such characters")
        self.root = root
        self.host = host
        self.architecture = architecture
        self.entries = list(entries)
        self.archives = f"{root}/cache/archives"
        for name in ("state/lists/partial", "cache/archives/partial", "log", "sources", "keys"):
            os.makedirs(f"{root}/{name}", mode=0o755)
        open(f"{root}/status", "wb").close()
        trusted, parts = host.paths.get("TRUSTED", "/dev/null"), host.paths.get("TRUSTEDPARTS", "/dev/null")
        if keyrings:
            trusted, parts = "/dev/null", f"{root}/keys/"
            self.entries = [_without(entry, "signed-by") for entry in self.entries]
            for number, path in enumerate(keyrings):
                _copy_keyring(path, f"{root}/keys/{number}")
        text = "".join(line + "\n" for line in host.settings) + _BASE.format(
            root=root,
            trusted=trusted,
            trustedparts=parts,
            netrc=host.paths.get("NETRC", "/dev/null"),
            netrcparts=host.paths.get("NETRCPARTS", "/dev/null"),
            architecture=architecture,
        )
        with open(f"{root}/apt.conf", "w", encoding="utf-8") as file:
            file.write(text)
        self._write_sources()

    def _write_sources(self) -> None:
        # apt reads packages of file: archives where they are; as copies they are checked like all others.
        used = [entry._replace(uri=re.sub(r"^file:", "copy:", entry.uri)) for entry in self.entries]
        with open(f"{self.root}/sources/image.sources", "w", encoding="utf-8") as file:
            file.write(sources.render(used))

    def update(self, release: Release) -> list[Target]:
        """Fetch and check the indices; returns those of the distribution. Others' archives are dropped.

        Raises Denied when a signature is missing or wrong, NotFound for a release that is not there, Corrupt.
        """
        self._get("update", f"get the package lists of {release}")
        targets = self._targets()
        own = {_directory(target.uri) for target in targets if target.origin.lower() == release.distribution}
        if own:
            kept = [entry for entry in self.entries if _directory(entry.uri) in own]
            if len(kept) != len(self.entries):
                self.entries = kept
                self._write_sources()
                targets = self._targets()
        elif len({target.uri for target in targets}) > 1:
            origins = ", ".join(sorted({target.origin for target in targets}))
            raise InvalidArgument(f"{release}: none of the archives is {release.distribution}'s: they are of {origins}")
        if not any(os.path.exists(target.file) for target in targets):
            raise NotFound(f"{release}: its archives have no packages for {self.architecture}")
        return targets

    def _targets(self) -> list[Target]:
        form = "|".join(f"$({w})" for w in ("REPO_URI", "RELEASE", "ORIGIN", "COMPONENT", "FILENAME"))
        out = self._run(["apt-get", "indextargets", "--format", form, "Created-By: Packages"], "read the package lists")
        return [Target(*line.split("|", 4)) for line in out.splitlines() if line.count("|") >= 4]

    def date(self, targets: Iterable[Target], release: Release) -> int:
        """When the release's main archive was signed last, in seconds since 1970."""
        found: dict[bool, int] = {}
        for target in targets:
            prefix = target.file.removesuffix("_Packages").rpartition("_")[0]
            prefix = prefix.removesuffix("_" + target.component.replace("/", "_"))
            is_main = target.release == release.suite
            for name in (f"{prefix}_InRelease", f"{prefix}_Release"):
                moment = _date_of(name)
                if moment is not None:
                    found[is_main] = max(found.get(is_main, 0), moment)
                    break
        if not found:
            raise Corrupt(f"{release}: its Release file has no date")
        return found.get(True) or found[False]

    def facts(self, targets: Iterable[Target]) -> Facts:
        """Read which packages are essential, and all priorities, from the checked indices."""
        essential: set[str] = set()
        priorities: dict[str, set[str]] = {}
        for target in targets:
            try:
                with open(target.file, "rb") as file:
                    data = file.read(_MAX_LISTS)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise from_os(error, "read", target.file) from error
            for stanza in _stanzas_with(data, b"\nEssential: yes\n"):
                essential.add(stanza)
            for word in ("required", "important", "standard"):
                priorities.setdefault(word, set()).update(_stanzas_with(data, f"\nPriority: {word}\n".encode()))
        return Facts(frozenset(essential), {word: frozenset(names) for word, names in priorities.items()})

    def resolve(self, names: Iterable[str]) -> list[Package]:
        """The packages that an installation of ``names`` on an empty system needs, as apt resolves it.

        Raises NotFound for a package that is not there, InvalidArgument for a set that cannot be installed.
        """
        out = self._run(
            ["apt-get", "install", "--print-uris", "-o", "Acquire::ForceHash=SHA256", *names], "resolve the packages"
        )
        found = []
        for line in out.splitlines():
            if not line.startswith("'"):
                continue
            words = line.rpartition("' ")[2].split()
            if len(words) < 3 or not words[1].isdigit():
                raise SystemFailure(f"resolve the packages: apt said {line[:200]!r}")
            name, size, digest = words[0], int(words[1]), words[2]
            if not digest.startswith(("SHA256:", "SHA512:")):
                raise Denied(f"package {name}: the archive gives no SHA-256 for it")
            if "/" in name or name.startswith("."):
                raise Corrupt(f"package {name!r}: not a file's name")
            found.append(Package(name, size, digest))
        return sorted(found)

    def download(self, names: Iterable[str], packages: Iterable[Package]) -> list[str]:
        """Fetch packages, from the host's own cache where it has them; returns their paths. All are checked."""
        wanted = list(packages)
        cache = self.host.paths.get("ARCHIVES", "")
        for package in wanted:
            kept = f"{cache}/{package.file}"
            with contextlib.suppress(OSError):
                if cache and os.stat(kept).st_size == package.size:
                    shutil.copyfile(kept, f"{self.archives}/{package.file}")
                    if not _is(f"{self.archives}/{package.file}", package):
                        os.unlink(f"{self.archives}/{package.file}")
        self._get("install", "download the packages", "--download-only", *names)
        paths = []
        for package in wanted:
            path = f"{self.archives}/{package.file}"
            with translated("read", path):
                good = _is(path, package)
            if not good:
                raise Corrupt(f"package {package.file}: its content is not what the signed index says")
            paths.append(path)
        return paths

    def _get(self, verb: str, what: str, *arguments: str) -> str:
        return self._run(["apt-get", verb, *arguments], what)

    def _run(self, argv: Sequence[str], what: str) -> str:
        return _run(argv, {**_environ(), "APT_CONFIG": f"{self.root}/apt.conf"}, what)


def _environ() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key.lower() in _PASSED}
    return {**kept, "PATH": _PATH, "LC_ALL": "C", "LANGUAGE": "C", "HOME": "/nonexistent"}


def _plain(argv: Sequence[str], environ: Mapping[str, str]) -> str:
    return _run(argv, environ, "read the host's apt configuration")


def _run(argv: Sequence[str], environ: Mapping[str, str], what: str) -> str:
    """Run apt and return its output. Its own words explain a failure, in one line."""
    program = shutil.which(argv[0], path=_PATH)
    if program is None:
        raise Unsupported(f"{what}: {argv[0]} not found on this host")
    alive, held = os.pipe2(os.O_CLOEXEC)
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", program, *argv[1:]],
            stdin=alive,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environ),
            cwd="/",
            text=True,
            errors="replace",
            process_group=0,
        )
        try:
            out, complaints = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
    except OSError as error:
        raise from_os(error, "run", program) from error
    finally:
        os.close(alive)
        os.close(held)
    if process.returncode:
        raise failure(what, out + complaints, process.returncode)
    return out


def failure(what: str, text: str, code: int) -> MinidockError:
    """The exception for what apt wrote when it failed."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    errors = [line[2:].strip() for line in lines if line.startswith("E:")]
    warnings = [line[2:].strip() for line in lines if line.startswith("W:")]
    whole = "\n".join(lines)
    signature = next((line for line in [*warnings, *errors] if _SIGNATURE.search(line)), None)
    if re.search(r"Hash Sum mismatch|unexpected size|Size mismatch", whole):
        named = next((line for line in errors if "Failed to fetch" in line), errors[0] if errors else whole)
        return Corrupt(f"{what}: {_shown(named)}: the content is not what the archive's signed index says")
    if signature is not None and "does not have a Release file" not in whole:
        return Denied(f"{what}: {_shown(signature)}; give the archive's keys with --keyring")
    reason = next((line for line in errors if "does not have a Release file" in line), None)
    if reason is not None:
        return NotFound(f"{what}: {_shown(reason)}; is the release's name right, and is it on this archive?")
    unmet = next((line for line in lines if _UNMET.match(line)), None)
    if unmet is not None:
        return InvalidArgument(f"{what}: {_shown(unmet)}")
    text = next(iter(errors), "") or next(iter(warnings), "") or (lines[-1] if lines else f"apt ended with {code}")
    if re.search(r"Unable to locate package|has no installation candidate|Version .* was not found", text):
        return NotFound(f"{what}: {_shown(text)}")
    return SystemFailure(f"{what}: {_shown(text)}")


def _shown(text: str) -> str:
    text = re.sub(r"://[^/@\s]*@", "://", text)[:500].rstrip(". ")
    if text[:1].isupper() and not text[1:2].isupper():
        return text[:1].lower() + text[1:]
    return text


def _stanzas_with(data: bytes, needle: bytes) -> Iterable[str]:
    """Names of the packages whose stanza has a line."""
    at = data.find(needle)
    while at >= 0:
        before = data.rfind(b"\n\n", 0, at + 1)  # the needle may be the first line
        after = data.find(b"\n\n", at + 1)
        stanza = b"\n" + data[before + 2 if before >= 0 else 0 : after if after >= 0 else None]
        yield stanza.partition(b"\nPackage: ")[2].partition(b"\n")[0].strip().decode("ascii", "replace")
        at = data.find(needle, at + 1)


def _date_of(path: str) -> int | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file):
                if line.startswith("Date:"):
                    moment = email.utils.parsedate_to_datetime(line.partition(":")[2].strip().replace("UTC", "+0000"))
                    return int(moment.timestamp())
                if number > 100:
                    break
    except (OSError, ValueError):
        return None
    return None


def _is(path: str, package: Package) -> bool:
    kind, _, wanted = package.digest.partition(":")
    found = hashlib.sha512() if kind == "SHA512" else hashlib.sha256()
    size = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
            size += len(chunk)
    return size == package.size and found.hexdigest() == wanted.lower()


def _copy_keyring(path: str, target: str) -> None:
    """Copy a keyring under the ending that tells apt its form."""
    with translated("read keyring", path):
        with open(path, "rb") as file:
            data = file.read(16 << 20)
        if not data:
            raise InvalidArgument(f"keyring {path}: is empty")
        armoured = data.lstrip().startswith(b"-----BEGIN PGP")
        with open(f"{target}.{'asc' if armoured else 'gpg'}", "wb") as file:
            file.write(data)


def _without(entry: Entry, key: str) -> Entry:
    return entry._replace(options=tuple(pair for pair in entry.options if pair[0] != key))


def _directory(uri: str) -> str:
    """An archive's URI, of ours or as ``apt-get indextargets`` prints it, for comparing."""
    return re.sub(r"^file:", "copy:", sources.without_password(uri).rstrip("/") + "/")


def _os_release() -> tuple[str, str]:
    found: dict[str, str] = {}
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                key, equals, value = line.strip().partition("=")
                if equals:
                    found.setdefault(key, value.strip("\"'"))
            break
    return found.get("ID", ""), found.get("VERSION_CODENAME", "")
