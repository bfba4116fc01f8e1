"""Uploads to a registry in memory, by the letter of the distribution specification: a broken one can be resumed.

(docker-registry 2.8 cannot: it throws an upload away of which it has more bytes than the client's last state says.)
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.registry import digest_of


class Answer(NamedTuple):
    """Status and headers; there is no body."""

    status: int
    headers: dict[str, str]


class Uploads:
    """The open uploads, ``sessions``: id to the bytes so far.

    ``blob(repository, digest)`` gives a blob or None; ``add_blob(repository, data)`` and ``add_manifest(repository,
    reference, media_type, data)`` take what is complete.
    """

    def __init__(
        self,
        blob: Callable[[str, str], bytes | None],
        add_blob: Callable[[str, bytes], str],
        add_manifest: Callable[[str, str, str, bytes], str],
    ) -> None:
        self.sessions: dict[str, bytearray] = {}
        self._blob, self._add_blob, self._add_manifest = blob, add_blob, add_manifest

    def take(self, path: str, data: bytes) -> None:
        """Keep what came of a PATCH or PUT that broke."""
        if found := re.search(r"/blobs/uploads/([0-9a-f-]{36})", path):
            self.sessions.get(found[1], bytearray()).extend(data)

    def handle(self, method: str, url: str, headers: dict[str, str], body: bytes) -> Answer | None:
        """Answer a request that writes; None: it is none."""
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        manifest = re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", parts.path)
        if manifest and method == "PUT":
            digest = self._add_manifest(manifest[1], manifest[2], headers.get("content-type", ""), body)
            where = f"/v2/{manifest[1]}/manifests/{digest}"
            return Answer(201, {"Location": where, "Docker-Content-Digest": digest})
        found = re.fullmatch(r"/v2/(.+)/blobs/uploads/([0-9a-f-]{36})?", parts.path)
        if not found:
            return None
        repository, session = found[1], found[2]
        if session is None:
            return self._start(repository, query, body) if method == "POST" else Answer(405, {})
        if session not in self.sessions:
            return Answer(404, {})
        data = self.sessions[session]
        if method == "DELETE":
            del self.sessions[session]
            return Answer(204, {})
        if method == "GET":
            return self._state(204, repository, session)
        start = re.match(r"(?:bytes[ =])?(\d+)-", headers.get("content-range", ""))
        if start and int(start[1]) != len(data):
            return self._state(416, repository, session)
        data += body
        if method == "PATCH":
            return self._state(202, repository, session)
        return self._finish(repository, session, query.get("digest", ""))

    def _start(self, repository: str, query: dict[str, str], body: bytes) -> Answer:
        source = self._blob(query.get("from", ""), query.get("mount", ""))
        if source is not None:
            return self._made(repository, self._add_blob(repository, source))
        session = str(uuid.uuid4())
        self.sessions[session] = bytearray(body)
        if "digest" in query:
            return self._finish(repository, session, query["digest"])
        return self._state(202, repository, session)

    def _finish(self, repository: str, session: str, digest: str) -> Answer:
        data = bytes(self.sessions.pop(session))
        if digest_of(data) != digest:
            return Answer(400, {})
        return self._made(repository, self._add_blob(repository, data))

    def _state(self, status: int, repository: str, session: str) -> Answer:
        end = max(0, len(self.sessions[session]) - 1)
        where = f"/v2/{repository}/blobs/uploads/{session}"
        return Answer(status, {"Location": where, "Range": f"0-{end}", "Docker-Upload-UUID": session})

    @staticmethod
    def _made(repository: str, digest: str) -> Answer:
        return Answer(201, {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": digest})
