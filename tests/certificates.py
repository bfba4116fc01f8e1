"""A private certificate authority for tests, made by the ``openssl`` program."""

from __future__ import annotations

import ipaddress
import itertools
import subprocess
from pathlib import Path
from typing import NamedTuple

_EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256"]


class Pair(NamedTuple):
    """PEM files of a certificate and its key."""

    cert: Path
    key: Path


def openssl(*args: str | Path, input: bytes | None = None) -> bytes:
    """Run ``openssl`` and return its standard output."""
    done = subprocess.run(["openssl", *map(str, args)], input=input, capture_output=True, check=False)
    assert done.returncode == 0, f"openssl {args[0]}: {done.stderr.decode()} (apt-get install openssl)"
    return done.stdout


class Authority:
    """A certificate authority whose files are in ``folder``; ``cert`` is what clients have to trust."""

    def __init__(self, folder: Path, name: str = "minidock test CA") -> None:
        self.folder = folder
        self._count = itertools.count(1)
        folder.mkdir(parents=True, exist_ok=True)
        self.cert, self.key = folder / "ca.crt", folder / "ca.key"
        openssl(
            *("req", "-x509", *_EC, "-days", "2", "-subj", f"/CN={name}", "-out", self.cert, "-keyout", self.key),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )

    def issue(self, *names: str, client: bool = False, days: int = 2) -> Pair:
        """A certificate for host names and addresses, or for a client; ``days=-1`` makes one that has expired."""
        number = next(self._count)
        pair = Pair(self.folder / f"{number}.crt", self.folder / f"{number}.key")
        alternatives = ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in names)
        request = self.folder / f"{number}.csr"
        extensions = self.folder / f"{number}.ext"
        extensions.write_text(
            f"extendedKeyUsage={'clientAuth' if client else 'serverAuth'}\nbasicConstraints=critical,CA:FALSE\n"
            "authorityKeyIdentifier=keyid\n" + (f"subjectAltName={alternatives}\n" if alternatives else "")
        )
        openssl("req", "-new", *_EC, "-subj", f"/CN={names[0]}", "-out", request, "-keyout", pair.key)
        openssl(
            *("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-set_serial", str(1000 + number)),
            *("-days", str(days), "-sha256", "-extfile", extensions, "-out", pair.cert),
        )
        return pair


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
