"""``info`` and ``version``: Docker's field names, and values of this host."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from minidock import _native, info
from minidock.config import AddressPool, Config, Runtime
from minidock.engine import Engine

# docker-py, the docker CLI and testcontainers read these of GET /info and GET /version.
INFO = """
    ID Containers ContainersRunning ContainersPaused ContainersStopped Images Driver DriverStatus Plugins MemoryLimit
    SwapLimit CpuCfsPeriod CpuCfsQuota CPUShares CPUSet PidsLimit OomKillDisable IPv4Forwarding Debug NFd NGoroutines
    SystemTime LoggingDriver CgroupDriver CgroupVersion NEventsListener KernelVersion OperatingSystem OSVersion OSType
    Architecture NCPU MemTotal IndexServerAddress RegistryConfig GenericResources DockerRootDir HttpProxy HttpsProxy
    NoProxy Name Labels ExperimentalBuild ServerVersion Runtimes DefaultRuntime Swarm LiveRestoreEnabled Isolation
    InitBinary ContainerdCommit RuncCommit InitCommit SecurityOptions DefaultAddressPools CDISpecDirs Warnings
"""
VERSION = """
    Platform Components Version ApiVersion MinAPIVersion GitCommit GoVersion Os Arch KernelVersion Experimental
    BuildTime
"""


def engine(tmp_path: Path, **keys: object) -> Engine:
    return Engine(tmp_path / "data", tmp_path / "run", Config(**keys))  # type: ignore[arg-type]


def test_fields_are_dockers(tmp_path: Path) -> None:
    one = engine(tmp_path)
    assert set(one.info()) == set(INFO.split())
    assert set(one.version()) == set(VERSION.split())
    assert not (tmp_path / "data").exists(), "asking makes nothing"


def test_values(tmp_path: Path) -> None:
    found = engine(tmp_path).info()
    assert found["KernelVersion"] == os.uname().release
    assert found["MemTotal"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert found["NCPU"] >= 1
    assert found["SystemTime"][:10] == time.strftime("%Y-%m-%d", time.gmtime())
    assert found["ID"] == engine(tmp_path).info()["ID"] != engine(tmp_path / "other").info()["ID"]
    assert found["Swarm"]["LocalNodeState"] == "inactive"


def test_configuration_shows(tmp_path: Path) -> None:
    found = engine(
        tmp_path,
        labels=("a=b",),
        insecure_registries=("reg:5000", "10.0.0.0/8"),
        registry_mirrors=("https://m/",),
        runtimes={"crun": Runtime("/usr/bin/crun")},
        default_runtime="crun",
        default_address_pools=(AddressPool("10.1.0.0/16", 24),),
        no_new_privileges=True,
        userns_remap="default",
        storage_driver="vfs",
    ).info()
    assert found["RegistryConfig"]["IndexConfigs"]["reg:5000"]["Secure"] is False
    assert "10.0.0.0/8" in found["RegistryConfig"]["InsecureRegistryCIDRs"]
    assert found["RegistryConfig"]["IndexConfigs"]["docker.io"]["Mirrors"] == ["https://m/"]
    assert found["Runtimes"]["crun"] == {"path": "/usr/bin/crun"}
    assert (found["DefaultRuntime"], found["Driver"], found["Labels"]) == ("crun", "vfs", ["a=b"])
    assert found["DefaultAddressPools"] == [{"Base": "10.1.0.0/16", "Size": 24}]
    assert {"name=no-new-privileges", "name=userns"} <= set(found["SecurityOptions"])


@pytest.mark.parametrize(("version", "oom"), [("1", True), ("2", False)])
def test_missing_limits_are_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, oom: bool) -> None:
    text = b'{"mode": "v%s", "version": "%s", "memory_limit": true}' % (version.encode(), version.encode())
    monkeypatch.setattr(_native, "cgroup_host", lambda: text)
    warnings = engine(tmp_path).info()["Warnings"]
    assert "WARNING: No swap limit support" in warnings
    assert "WARNING: No memory limit support" not in warnings
    assert ("WARNING: No oom kill disable support" in warnings) is oom


def test_version_names_components() -> None:
    found = info.version_info()
    assert found.components[0].name == "Engine"
    assert found.components[0].version == found.version == _native.__version__
