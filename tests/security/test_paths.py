"""Rows of SECURITY.md section 3 about paths: masks, /proc, /dev, links in images."""

from __future__ import annotations

import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import minidock
from minidock import errors
from tests.conftest import Roots
from tests.security.conftest import SECRET, Marker, folder, one_line, symlink

MASKED = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def test_cve_2017_16539_2018_10892_masked_paths(engine: minidock.Engine, image: Callable[..., str]) -> None:
    script = f"""
for p in {" ".join(MASKED)}; do
  [ -e $p ] || continue
  echo "$p $([ -d $p ] && ls -A $p | wc -l || head -c 9 $p | wc -c)"
  if [ -d $p ]; then touch $p/pwned 2>/dev/null && echo "$p written"
  else [ "$(stat -c %t:%T $p)" = 1:3 ] || echo "$p is not null"; fi
done
for p in {" ".join(READ_ONLY)}; do
  [ -e $p ] || continue
  grep -q "[^ ]* [^ ]* [^ ]* [^ ]* $p ro," /proc/self/mountinfo || echo "$p is writable"
done
"""
    result = engine.containers.run(image(), ["sh", "-c", script], remove=True)
    lines = result.stdout.decode().splitlines()
    present = [path for path in MASKED if Path(path).exists()]
    assert sorted(lines) == sorted(f"{path} 0" for path in present), result.stderr


def test_cve_2017_16539_thermal_throttle(engine: minidock.Engine, image: Callable[..., str]) -> None:
    script = "for d in /sys/devices/system/cpu/cpu*/thermal_throttle; do [ ! -d $d ] || ls -A $d; done"
    assert engine.containers.run(image(), ["sh", "-c", script], remove=True).stdout == b""


def test_writes_to_kernel_settings_fail(engine: minidock.Engine, image: Callable[..., str]) -> None:
    before = Path("/proc/sys/kernel/core_pattern").read_bytes()
    script = """
for f in /proc/sys/kernel/core_pattern /proc/sys/vm/panic_on_oom /proc/sysrq-trigger /sys/kernel/uevent_helper \
  /proc/irq/default_smp_affinity /sys/power/state; do
  [ ! -e $f ] || { echo pwned > $f && echo "$f written"; } 2>/dev/null
done; true
"""
    assert engine.containers.run(image(), ["sh", "-c", script], remove=True).stdout == b""
    assert Path("/proc/sys/kernel/core_pattern").read_bytes() == before


@pytest.mark.parametrize("target", ["/x", "x", "/tmp", "../../../../../../tmp"])
def test_cve_2019_16884_2019_19921_image_whose_proc_is_a_link(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker, target: str
) -> None:
    name = image(folder("x"), symlink("proc", target), without=("proc",))
    with pytest.raises(errors.MinidockError) as refused:
        engine.containers.run(name, ["true"], remove=True)
    assert "proc" in str(refused.value)


def test_cve_2019_16884_image_whose_sys_is_a_link(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker
) -> None:
    name = image(symlink("sys", str(marker.path)), without=("sys",))
    with pytest.raises(errors.MinidockError) as refused:
        engine.containers.run(name, ["true"], remove=True)
    assert "sys" in str(refused.value)


@pytest.mark.parametrize("what", ["dev", "dev/pts", "dev/shm", "dev/null", "dev/mqueue", "dev/console", "dev/ptmx"])
def test_cve_2025_31133_2025_52565_2026_41579_2026_47766_links_in_dev(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker, what: str
) -> None:
    target = marker.file if what in ("dev/null", "dev/console", "dev/ptmx") else marker.path
    name = image(symlink(what, str(target)), without=(what,))
    script = 'stat -c "%t:%T" /dev/null; ls /dev/pts; touch /dev/shm/x /dev/x; ls -ld /dev | cut -c1; cat /dev/null'
    for tty in (False, True):
        try:
            result = engine.containers.run(name, ["sh", "-c", script], remove=True, tty=tty, timeout=20)
        except errors.MinidockError as refused:
            one_line(refused)
            continue
        assert result.stdout.startswith(b"1:3"), result
        assert SECRET not in result.stdout


def test_cve_2025_31133_null_of_the_image_is_not_used(engine: minidock.Engine, image: Callable[..., str]) -> None:
    fake = tarfile.TarInfo("dev/null")
    fake.type, fake.devmajor, fake.devminor, fake.mode = tarfile.CHRTYPE, 1, 5, 0o666
    result = engine.containers.run(
        image(fake), ["sh", "-c", "stat -c %t:%T /dev/null /proc/timer_list; head -c 4 /proc/timer_list"], remove=True
    )
    assert result.stdout == b"1:3\n1:3\n"


@pytest.mark.parametrize(
    "what", ["etc", "etc/hosts", "etc/hostname", "etc/resolv.conf", "sys/fs", "sys/fs/cgroup", "tmp", "run"]
)
def test_cve_2021_30465_2024_45310_links_at_mount_targets(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker, what: str
) -> None:
    file = what.startswith("etc/")
    name = image(symlink(what, str(marker.file if file else marker.path)), without=(what,))
    try:
        result = engine.containers.run(
            name, ["sh", "-c", f"cat {marker.file}; echo pwned > /etc/hosts; true"], remove=True, user="0"
        )
    except errors.MinidockError as refused:
        one_line(refused)
    else:
        assert SECRET not in result.stdout


def test_cve_2021_30465_2024_45310_targets_swapped_while_starting(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker, roots: Roots
) -> None:
    """The image's directories turn into links to the marker and back while 60 containers start (volumes: later)."""
    name = image(*(symlink(f"swap-{d}", str(marker.path)) for d in ("dev", "proc", "sys", "etc")))
    layer = max((roots.data / "layers").glob("*/fs"), key=lambda p: int(p.parent.name))
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for which in ("dev", "etc", "proc", "sys"):
                for one, two in ((which, f"swap-{which}"), (f"swap-{which}", which)):
                    _exchange(layer / one, layer / two)
                    done.wait(0.0005)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(60):
            try:
                result = engine.containers.run(name, ["cat", str(marker.file)], remove=True, timeout=30)
            except errors.MinidockError as refused:
                one_line(refused)
            else:
                assert SECRET not in result.stdout
    finally:
        done.set()
        thread.join()


def _exchange(one: Path, two: Path) -> None:
    """renameat2(RENAME_EXCHANGE) by way of a third name; the moment between is part of the race."""
    third = one.with_name(f"{one.name}.third")
    os.rename(one, third)
    os.rename(two, one)
    os.rename(third, two)


def test_cve_2022_23648_podman_workdir_behind_a_link(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker
) -> None:
    name = image(symlink("l", str(marker.path)), symlink("up", "../../../../../.." + str(marker.path)))
    for path in ("/l/new", "/up/new", f"/../../../../..{marker.path}/new", "/l", "/l/../../../new"):
        try:
            result = engine.containers.run(name, ["sh", "-c", "pwd; ls; touch here"], working_dir=path, remove=True)
        except errors.MinidockError as refused:
            one_line(refused)
        else:
            assert b"file" not in result.stdout.split()


def test_cve_2022_23648_workdir_of_the_image(
    engine: minidock.Engine, image: Callable[..., str], marker: Marker
) -> None:
    name = image(symlink("l", str(marker.path)), changes=("WORKDIR /l/new",))
    try:
        engine.containers.run(name, ["touch", "here"], remove=True)
    except errors.MinidockError as refused:
        one_line(refused)
