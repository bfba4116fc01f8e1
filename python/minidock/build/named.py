"""Named contexts (``--build-context``): what a name stands for in FROM, ``--from`` and mounts, before stages and images
of that name."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from minidock.build import contexts
from minidock.errors import InvalidArgument
from minidock.images import platforms, references

if TYPE_CHECKING:
    from collections.abc import Mapping

    from minidock.build.contexts import BuildContext
    from minidock.build.executor import Build
    from minidock.build.sources import Context
    from minidock.spec.oci_image import ImageConfig
    from minidock.store.layers import LayerRow

_IMAGE = "docker-image://"
_LAYOUT = "oci-layout://"
RESULT = "result://"
"""Of another build of the same client."""


def canonical(name: str) -> str:
    """The form in which two names of a context are the same: ``docker.io/library/base:latest`` is ``base``.

    Raises InvalidArgument for what is no name.
    """
    return references.parse(name).familiar.removesuffix(":latest")


def given(entries: Mapping[str, str]) -> dict[str, str]:
    """Contexts by canonical name. Raises InvalidArgument, as Docker does for names that are none."""
    found = {}
    for name, value in entries.items():
        try:
            key = canonical(name)
        except InvalidArgument as error:
            raise InvalidArgument(f"invalid context name {name}: {error}") from error
        if not value:
            raise InvalidArgument(f"build context {name}: a directory, a URL or an image is needed")
        found[key] = value
    return found


class Named:
    """The named contexts of one build, each opened when it is first needed."""

    def __init__(self, build: Build) -> None:
        self._build = build
        self._lock = threading.RLock()
        self._files: dict[str, Context] = {}
        self._opened: list[BuildContext] = []
        self._layouts: dict[str, tuple[ImageConfig, list[LayerRow]]] = {}

    def value(self, name: str) -> str | None:
        """What was given for a name, if anything."""
        program = self._build.context.program
        if program is not None and name in program.contexts:
            return program.contexts[name]
        if not self._build.options.contexts:
            return None
        try:
            return self._build.options.contexts.get(canonical(name))
        except InvalidArgument:
            return None

    def is_files(self, name: str) -> bool:
        """Whether a name stands for files, and not for an image, if for anything."""
        value = self.value(name)
        return value is not None and not value.startswith((_IMAGE, _LAYOUT, RESULT))

    def files(self, name: str) -> Context:
        """The files that a name stands for. Raises what opening a context raises."""
        value = self.value(name)
        assert value is not None  # noqa: S101 - whoever asks has asked is_files
        with self._lock:
            known = self._files.get(value)
            if known is None:
                build = self._build
                with build.reported(build.step(f"[context {self._shown(name, value)}] load from client")):
                    loaded = self._load(value)
                    self._opened.append(loaded)
                    known = self._files[value] = loaded.open(build.work, build.store.build_cache)
            return known

    def _load(self, value: str) -> BuildContext:
        build, asker = self._build, self._build.options.asker
        loaded = None if asker is None else asker.files(value)
        # Standard input is for the build's own context.
        return loaded or contexts.load(build.engine, "./-" if value == "-" else value, b"", build.stop)

    def image(self, name: str, platform: str) -> tuple[ImageConfig, list[LayerRow]]:
        """The image that a name stands for: a named context's, else the one that has this name.

        Raises what pulling raises, Corrupt for a damaged layout, ImageNotFound.
        """
        value, asker = self.value(name), self._build.options.asker
        if value is not None and asker is not None:
            found = asker.image(value, self._build.work)
            if found is not None:
                return found
        if value is not None and value.startswith(_LAYOUT):
            return self._layout(name, value.removeprefix(_LAYOUT), platform)
        _, config, layers = self._build.image(name if value is None else value.removeprefix(_IMAGE), platform)
        return config, layers

    def _layout(self, name: str, text: str, platform: str) -> tuple[ImageConfig, list[LayerRow]]:
        from minidock.build import layouts

        build = self._build
        wanted = platform or build.options.platform or ""
        with self._lock:
            known = self._layouts.get(f"{text} {wanted}")
            if known is None:
                step = build.step(f"[context {self._shown(name, _LAYOUT + text)}] load metadata for {_LAYOUT}{text}")
                with build.reported(step):
                    place, asker = text, build.options.asker
                    if asker is not None:
                        place = asker.layout(text, platforms.parse(wanted) if wanted else build.platform, build.work)
                    known = self._layouts[f"{text} {wanted}"] = layouts.load(build, step, place, wanted)
            return known

    def describe(self, name: str) -> str:
        """How the history of an image calls files that it is based on."""
        from minidock.build import fetching

        value = self.value(name) or name
        return fetching.shown(value) if contexts.is_remote(value) else f"local source for {name}"

    def _shown(self, name: str, value: str) -> str:
        program = self._build.context.program
        return value if program is not None and name in program.contexts else name

    def close(self) -> None:
        """Keep the digests of files, and remove what was unpacked or fetched."""
        for files in self._files.values():
            files.remember()
        for loaded in self._opened:
            loaded.close()
