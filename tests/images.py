"""Small images for tests, the same bytes each time."""

from __future__ import annotations

import io
import tarfile

Entry = tarfile.TarInfo | tuple[str, bytes]
MTIME = 1_700_000_000


def tar_of(*entries: Entry) -> bytes:
    """A tar of files ``(name, contents)`` and of other entries, in PAX format, owned by root."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.size, info.mtime = len(entry[1]), MTIME
                archive.addfile(info, io.BytesIO(entry[1]))
    return out.getvalue()
