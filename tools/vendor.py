"""Fetch xterm.js for the page of `minidock ui` again, by the lock in tools/xterm.json.

npm fetches (its registry, proxy and cache settings hold); the archive must have the locked integrity, and its files the
locked digests. For another version: change `version` and `integrity` (`npm view NAME@VERSION dist.integrity`), then run
with --write, which notes the digests of the files.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parents[1]
LOCK = PROJECT / "tools" / "xterm.json"
TARGET = PROJECT / "python" / "minidock" / "ui" / "assets" / "vendor" / "xterm"


def main() -> None:
    """Fetch every package of the lock and put its files in place."""
    write = sys.argv[1:] == ["--write"]
    lock = json.loads(LOCK.read_text())
    found = {}
    for name, about in lock.items():
        with tempfile.TemporaryDirectory() as directory:
            wanted = f"{name}@{about['version']}"
            command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", directory, wanted]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            [archive] = Path(directory).iterdir()
            digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
            if f"sha512-{digest}" != about["integrity"]:
                sys.exit(f"{wanted}: the registry's archive is sha512-{digest}, the lock has {about['integrity']}")
            with tarfile.open(archive) as tar:
                for target, file in about["files"].items():
                    member = tar.extractfile(file["from"])
                    if member is None:
                        sys.exit(f"{wanted}: {file['from']} is no file")
                    found[target] = data = member.read()
                    digest = hashlib.sha256(data).hexdigest()
                    if write:
                        file["sha256"] = digest
                    elif digest != file["sha256"]:
                        sys.exit(f"{wanted}: {file['from']} has the digest {digest}, the lock has {file['sha256']}")
    TARGET.mkdir(parents=True, exist_ok=True)
    for path in TARGET.iterdir():
        path.unlink()
    for name, data in found.items():
        (TARGET / name).write_bytes(data)
    LOCK.write_text(json.dumps(lock, indent=2) + "\n")


main()
