"""The pictures of docs/ui.md: ``just screenshots`` makes them again, of a shop that is made up for it (as root)."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import minidock
from tests import net
from tests.browser import Browser, browser
from tests.conftest import roots_of_their_own
from tests.rootfs import busybox_tar
from tests.ui import ui

TARGET = Path(__file__).parents[1] / "docs" / "images"
SECONDS = 100
"""So long containers are watched before pictures are taken: plots are of what was seen."""

DOCKERFILE = """
FROM busybox
RUN mkdir /srv && head -c {base}000 /dev/urandom > /srv/base
"""
PART = """
FROM shop/base
RUN head -c {size}000 /dev/urandom > /srv/{name}
ENV SERVICE={name}
COPY index.html /srv/index.html
CMD ["sh"]
"""
BUSY = (
    "while :; do n=0; while [ $n -lt $((RANDOM % {work} * 100 + {work} * 20)) ]; do n=$((n+1)); done; "
    "sleep 0.{pause}; done"
)
SERVE = "head -c {size}000 /dev/urandom > /srv/index.html; httpd -p 80 -h /srv; "
ASK = "i=0; while :; do for n in $(seq $((RANDOM % 9 + 1))); do wget -qO /dev/null http://{host}/index.html; done; "
LOG = (
    'i=$((i+1)); case $((i % 7)) in 3) echo "cache miss for /cart/$i" >&2;; *) '
    'echo "GET /cart/$i 200 $((RANDOM % 90 + 4)) ms";; esac; sleep 0.$((RANDOM % 8 + 1)); done'
)


def fill(engine: minidock.Engine) -> None:
    """Make the shop."""
    engine.images.import_(busybox_tar().read_bytes(), repository="busybox", changes=['CMD ["sh"]'], message="busybox")
    os.environ["SOURCE_DATE_EPOCH"] = str(int(time.time()) - 86_400 * 3)  # images have a time that looks like one
    build(engine, "shop/base", DOCKERFILE.format(base=900))
    for name, size in (("web", 2400), ("api", 4100), ("worker", 700), ("db", 6200)):
        build(engine, f"shop/{name}:1.{size % 7}", PART.format(name=name, size=size))
    for name in ("front", "back", "metrics"):
        engine.networks.create(name)
    for name in ("db-data", "uploads"):
        engine.volumes.create(name)
    tags = {tag.partition(":")[0]: tag for image in engine.images.list() for tag in image.tags}

    def run(name: str, image: str, script: str, *networks: str, **more: object) -> None:
        options = {"labels": {"com.docker.compose.project": "shop", "com.docker.compose.service": name}, **more}
        container = engine.containers.run(
            tags[image],
            ["sh", "-c", script],
            name=name,
            network=networks[0],
            detach=True,
            stop_signal="KILL",
            **options,
        )  # type: ignore[call-overload]
        for network in networks[1:]:
            engine.networks.get(network).connect(container)

    work = BUSY.format
    run("db", "shop/db", SERVE.format(size=90) + work(work=6, pause=9), "back", volumes=["db-data:/data"])
    run("api-1", "shop/api", SERVE.format(size=40) + work(work=9, pause=5), "back", mem_limit="128m")
    run("api-2", "shop/api", SERVE.format(size=40) + work(work=9, pause=7), "back", mem_limit="128m")
    run("web", "shop/web", ASK.format(host="api-1") + LOG, "front", "back", volumes=["uploads:/uploads"])
    run(
        "proxy", "shop/web", ASK.format(host="web") + "sleep 0.6; done", "front", ports={"80/tcp": ("127.0.0.1", 18081)}
    )
    run("worker", "shop/worker", ASK.format(host="db") + "sleep 0.4; done", "back", mem_limit="64m")
    run("watch", "busybox", ASK.format(host="api-2") + "sleep 0.9; done", "metrics", "back")
    run("migrate", "shop/api", "echo done; exit 3", "back")
    engine.containers.create(tags["shop/worker"], ["sh"], name="cleanup", network="back")


def build(engine: minidock.Engine, tag: str, dockerfile: str) -> None:
    """Build an image of a Dockerfile and one more file."""
    with tempfile.TemporaryDirectory() as context:
        (Path(context) / "Dockerfile").write_text(dockerfile)
        (Path(context) / "index.html").write_text("hello")
        engine.images.build(context, tag=tag, network_mode="none")


def take(page: Browser, engine: minidock.Engine) -> None:
    """Take every picture, light and dark."""
    web = engine.containers.get("web").id
    image = next(one.id for one in engine.images.list() if any(tag.startswith("shop/api") for tag in one.tags))
    views = {
        "containers": ("#/containers", "document.querySelector('tbody tr')"),
        "container": (f"#/containers/{web}", "document.querySelector('.facts dl')"),
        "logs": (f"#/containers/{web}/logs", "document.querySelectorAll('.said').length > 30"),
        "terminal": (
            f"#/containers/{web}/terminal",
            "document.querySelector('.xterm-rows')?.textContent.includes('#')",
        ),
        "images": ("#/images", "document.querySelector('tbody tr')"),
        "image": (f"#/images/{image}", "document.querySelector('.steps')"),
        "networks": ("#/networks", "document.querySelector('.graph')"),
    }
    for name, (place, ready) in views.items():
        page.run(f"location.hash = '{place}'")
        page.wait(ready, 60)
        if name == "terminal":
            page.type("ls -l / | head -5\nwget -qO- api-1/index.html | wc -c\n")
        if name == "logs":
            page.run("document.querySelector('#times').click()")
            page.run("document.querySelector('.panel .search').focus()")
            page.type("miss")
        time.sleep(2.5)
        for dark in (False, True):
            page.dark(dark)
            time.sleep(0.4)  # colours change gently
            page.screenshot(TARGET / f"ui-{name}{'-dark' if dark else ''}.png")
        page.dark(False)
    page.size(390, 760, 2)
    page.run("location.hash = '#/containers'")
    page.wait("document.querySelector('tbody tr')")
    time.sleep(1)
    page.screenshot(TARGET / "ui-narrow.png")


def main() -> None:
    """Make the shop, watch it, and take the pictures."""
    TARGET.mkdir(exist_ok=True)
    with roots_of_their_own({}) as roots:
        engine = minidock.Engine(data_root=str(roots.data), run_root=str(roots.run), config=str(roots.config))
        with engine:
            try:
                with ui(roots) as server, browser() as page:
                    page.go(server.link)
                    page.wait("document.querySelector('.empty')")
                    fill(engine)
                    time.sleep(SECONDS)
                    take(page, engine)
            finally:
                for container in engine.containers.list(all=True):
                    container.remove(force=True)
                net.remove_all(engine)


if __name__ == "__main__":
    main()
