"""Docker's bodies have Docker's names, and read what Docker's clients send."""

import msgspec
import pytest

from minidock.spec import docker, docker_images, oci_image, oci_runtime

STRUCTS = [
    value
    for module in (docker, docker_images, oci_image, oci_runtime)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, msgspec.Struct) and value.__module__ == module.__name__
]

HOST_CONFIG = """
Binds ContainerIDFile LogConfig NetworkMode PortBindings RestartPolicy AutoRemove VolumeDriver VolumesFrom ConsoleSize
CapAdd CapDrop CgroupnsMode Dns DnsOptions DnsSearch ExtraHosts GroupAdd IpcMode Cgroup Links OomScoreAdj PidMode
Privileged PublishAllPorts ReadonlyRootfs SecurityOpt UTSMode UsernsMode ShmSize Isolation CpuShares Memory NanoCpus
CgroupParent BlkioWeight BlkioWeightDevice BlkioDeviceReadBps BlkioDeviceWriteBps BlkioDeviceReadIOps
BlkioDeviceWriteIOps CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpusetCpus CpusetMems Devices
DeviceCgroupRules DeviceRequests MemoryReservation MemorySwap MemorySwappiness OomKillDisable PidsLimit Ulimits
CpuCount CpuPercent IOMaximumIOps IOMaximumBandwidth MaskedPaths ReadonlyPaths
"""
HOST_CONFIG_OMITTED = "Annotations StorageOpt Tmpfs Sysctls Runtime KernelMemory KernelMemoryTCP Mounts Init"
CONFIG = """Hostname Domainname User AttachStdin AttachStdout AttachStderr Tty OpenStdin StdinOnce Env Cmd Image Volumes
WorkingDir Entrypoint OnBuild Labels"""
CONFIG_OMITTED = "ExposedPorts Healthcheck ArgsEscaped NetworkDisabled MacAddress StopSignal StopTimeout Shell"
STATE = "Status Running Paused Restarting OOMKilled Dead Pid ExitCode Error StartedAt FinishedAt"
NETWORK = """Bridge SandboxID SandboxKey Ports HairpinMode LinkLocalIPv6Address LinkLocalIPv6PrefixLen
SecondaryIPAddresses SecondaryIPv6Addresses EndpointID Gateway GlobalIPv6Address GlobalIPv6PrefixLen IPAddress
IPPrefixLen IPv6Gateway MacAddress Networks"""
ENDPOINT = """IPAMConfig Links Aliases MacAddress DriverOpts
GwPriority NetworkID EndpointID Gateway IPAddress IPPrefixLen
IPv6Gateway GlobalIPv6Address GlobalIPv6PrefixLen DNSNames"""
INSPECT = """Id Created Path Args State Image ResolvConfPath HostnamePath HostsPath LogPath Name RestartCount Driver
Platform MountLabel ProcessLabel AppArmorProfile ExecIDs HostConfig GraphDriver Mounts Config NetworkSettings"""


def names(struct: type[msgspec.Struct], *, omitted: bool) -> set[str]:
    fields = msgspec.structs.fields(struct)
    return {f.encode_name for f in fields if (f.default is msgspec.UNSET) == omitted}


@pytest.mark.parametrize(
    ("struct", "always", "omitted"),
    [
        (docker.HostConfig, HOST_CONFIG, HOST_CONFIG_OMITTED),
        (docker.ContainerConfig, CONFIG, CONFIG_OMITTED),
        (docker.ContainerState, STATE, "Health Usage"),
        (docker.NetworkSettings, NETWORK, ""),
        (docker.EndpointSettings, ENDPOINT, ""),
        (docker.ContainerInspect, INSPECT, "SizeRw SizeRootFs"),
        (docker.DeviceRequest, "Driver Count DeviceIDs Capabilities Options", ""),
        (docker.MountPoint, "Type Source Destination Mode RW Propagation", "Name Driver"),
        (docker.Port, "PrivatePort Type", "IP PublicPort"),
        (
            docker.ContainerSummary,
            "Id Names Image ImageID Command Created Ports Labels State Status HostConfig NetworkSettings Mounts",
            "SizeRw SizeRootFs",
        ),
        (
            docker_images.ImageSummary,
            "Id ParentId RepoTags RepoDigests Created Size SharedSize Labels Containers",
            "",
        ),
        (
            docker_images.ImageInspect,
            "Id RepoTags RepoDigests Parent Comment DockerVersion Author Config Architecture Os Size GraphDriver RootFS"
            " Metadata",
            "Created Variant OsVersion VirtualSize",
        ),
    ],
)
def test_names(struct: type[msgspec.Struct], always: str, omitted: str) -> None:
    assert names(struct, omitted=False) == set(always.split())
    assert names(struct, omitted=True) == set(omitted.split())


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: f"{struct.__module__}.{struct.__name__}")
def test_every_struct_can_be_decoded(struct: type[msgspec.Struct]) -> None:
    """The types resolve, and unknown fields, which newer clients send, are ignored."""
    with pytest.raises(msgspec.ValidationError, match="Expected `object`"):
        msgspec.json.decode(b"[]", type=struct)
    required = {f.encode_name for f in msgspec.structs.fields(struct) if f.required}
    if not required:
        assert msgspec.json.decode(b'{"NoSuchField": 1}', type=struct) == struct()


def test_what_clients_send() -> None:
    body = b"""{"Image": "busybox", "Cmd": null, "Env": ["A=1"], "ExposedPorts": {"80/tcp": {}}, "Volumes": null,
    "Labels": null, "StopTimeout": null, "Healthcheck": null, "Entrypoint": ["sh"]}"""
    config = msgspec.json.decode(body, type=docker.ContainerConfig)
    assert (config.cmd, config.entrypoint, config.exposed_ports) == (None, ["sh"], {"80/tcp": {}})
    body = b"""{"Memory": 67108864, "PortBindings": {"80/tcp": [{"HostPort": "8080"}]}, "Init": true, "Sysctls": null,
    "RestartPolicy": {"Name": "", "MaximumRetryCount": 0}, "ConsoleSize": [24, 80], "Tmpfs": {"/x": ""},
    "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}], "LogConfig": {"Type": "", "Config": {}},
    "Mounts": [{"Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": {"Propagation": "rslave"}}]}"""
    host = msgspec.json.decode(body, type=docker.HostConfig)
    assert host.memory == 64 << 20
    assert host.init is True
    assert host.console_size == (24, 80)
    again = msgspec.json.decode(msgspec.json.encode(host), type=docker.HostConfig)
    assert again == host


def test_runtime_names_that_are_irregular() -> None:
    spec = oci_runtime.Spec(
        oci_runtime.VERSION,
        process=oci_runtime.Process("/", user=oci_runtime.User(1, 2, additional_gids=[3])),
        linux=oci_runtime.Linux(
            uid_mappings=[oci_runtime.IDMapping(0, 1, 2)],
            resources=oci_runtime.Resources(
                memory=oci_runtime.Memory(kernel_tcp=1, disable_oom_killer=True),
                block_io=oci_runtime.BlockIO(throttle_read_iops_device=[oci_runtime.ThrottleDevice(1, 2, 3)]),
                devices=[oci_runtime.DeviceCgroup(allow=False, access="rwm")],
            ),
        ),
    )
    assert msgspec.json.decode(msgspec.json.encode(spec)) == {
        "ociVersion": "1.2.1",
        "process": {"cwd": "/", "user": {"uid": 1, "gid": 2, "additionalGids": [3]}},
        "linux": {
            "uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}],
            "resources": {
                "memory": {"kernelTCP": 1, "disableOOMKiller": True},
                "blockIO": {"throttleReadIOPSDevice": [{"major": 1, "minor": 2, "rate": 3}]},
                "devices": [{"allow": False, "access": "rwm"}],
            },
        },
    }


def test_image_configuration_survives() -> None:
    text = b"""{"architecture":"arm","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:x"]},"variant":"v7",
    "os.version":"1","os.features":["f"],"created":"2026-01-01T00:00:00Z","config":{"Env":["A=1"],"Cmd":["sh"],
    "OnBuild":["RUN x"],"Healthcheck":{"Test":["CMD","x"],"Interval":1}},
    "history":[{"created_by":"x","empty_layer":true}]}"""
    config = msgspec.json.decode(text, type=oci_image.ImageConfig)
    assert msgspec.json.decode(msgspec.json.encode(config)) == msgspec.json.decode(text)
