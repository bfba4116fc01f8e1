"""``images --tree``: each image under all its names, the platforms of a name below it, and what they take up."""

from __future__ import annotations

import os

from minidock.cli.output import write
from minidock.cli.units import decimal_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine import Engine
    from minidock.images.image import Image
    from minidock.images.usage import ImageUsage

_GAP = "   "
_ID, _SIZE, _CONTENT, _EXTRA = 12, 10, 12, 5


class Node:
    """One or more names of the same images; ``images`` are several when the names stand for several platforms."""

    __slots__ = ("images", "names")

    def __init__(self, names: list[str], images: list[Image]) -> None:
        self.names = names
        self.images = images


def nodes(engine: Engine, images: list[Image]) -> list[Node]:
    """Group images by name: names that stand for the same images are one node."""
    from minidock.images import references

    by_id = {image.id: image for image in images}
    found: dict[tuple[str, ...], Node] = {}
    for image in images:
        for tag in image.tags:
            members = engine.store.names.images(references.parse(tag).canonical)
            key = tuple(member for member in members if member in by_id) or (image.id,)
            node = found.setdefault(key, Node([], [by_id[member] for member in key]))
            if tag not in node.names:
                node.names.append(tag)
        if not image.tags:
            found[image.id,] = Node([], [image])
    return list(found.values())


def show(engine: Engine, images: list[Image]) -> None:
    """Write the tree to standard output."""
    from minidock.images.usage import of_images

    sizes = of_images(engine.store)
    used = {image.id for image in images if engine.store.containers.of_image(image.id)}
    tree = nodes(engine, images)
    width = _names_width(tree)
    bold, plain = ("\x1b[1m", "\x1b[0m") if os.isatty(1) else ("", "")
    legend = "Info ->  U In Use "
    head = [f"{legend:>{width + _ID + _SIZE + _CONTENT + _EXTRA + 4 * len(_GAP)}}", ""]
    titles = (("IMAGE", width), ("ID", _ID), ("DISK USAGE", _SIZE), ("CONTENT SIZE", _CONTENT), ("EXTRA", _EXTRA))
    head.append(_GAP.join(f"{bold}{title:<{columns}}{plain}" for title, columns in titles).rstrip())
    lines = []
    spaced = any(len(node.images) > 1 for node in tree)
    for number, node in enumerate(tree):
        if spaced and number:
            lines.append("")
        names = sorted(node.names) or ["<untagged>"]
        lines += [_cut(name, width) for name in names[:-1]]
        lines.append(_row(names[-1], node.images, sizes, used, width))
        if len(node.images) > 1:
            for position, image in enumerate(node.images, 1):
                mark = "└─" if position == len(node.images) else "├─"
                lines.append(_row(f"{mark} {image.platform}", [image], sizes, used, width))
    write("".join(f"{line}\n" for line in head + lines))


def _row(title: str, images: list[Image], sizes: dict[str, ImageUsage], used: set[str], width: int) -> str:
    size = sum(sizes[image.id].size for image in images if image.id in sizes)
    content = sum(sizes[image.id].content for image in images if image.id in sizes)
    cells = [
        f"{_cut(title, width):<{width}}",
        images[0].id.removeprefix("sha256:")[:_ID],
        f"{decimal_size(size):>{_SIZE}}",
        f"{decimal_size(content):>{_CONTENT}}",
        "U" if any(image.id in used for image in images) else "",
    ]
    return _GAP.join(cells).rstrip()


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def _names_width(tree: list[Node]) -> int:
    """As wide as the names; on a terminal no wider than leaves room for the rest."""
    names = [name for node in tree for name in (node.names or ["<untagged>"])]
    names += [f"├─ {image.platform}" for node in tree if len(node.images) > 1 for image in node.images]
    widest = max([len("IMAGE"), *map(len, names)])
    if os.isatty(1):
        rest = _ID + _SIZE + _CONTENT + _EXTRA + 4 * len(_GAP)
        widest = min(widest, max(12, os.get_terminal_size(1).columns - rest))
    return widest
