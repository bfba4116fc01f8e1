"""The flags of ``run`` and ``create``: which keyword of ``containers.create`` each sets, and those still to come."""

from __future__ import annotations

from minidock.cli.flags import Flag
from minidock.cli.surface import NO_API_SOCKET, NO_TRUST, WINDOWS

RESTART = Flag(
    "restart", "string", "When to start it again: no, on-failure[:N], always, unless-stopped", option="restart"
)

PROCESS = [
    Flag("annotation", "map", "Annotation for the OCI runtime, KEY=VALUE", option="annotations"),
    Flag("attach", "stream", "Connect to stdin, stdout or stderr only", short="a", option="attach"),
    Flag("cidfile", "string", "Write the container's id to this new file", option="cidfile"),
    Flag("domainname", "string", "NIS domain name", option="domainname"),
    Flag("entrypoint", "string", "Run this instead of the image's entrypoint", option="entrypoint"),
    Flag("env", "list", "Environment variable, KEY=VALUE; KEY alone takes the caller's value", short="e"),
    Flag("env-file", "list", "File of environment variables, one a line", option="env_file"),
    Flag("group-add", "list", "Additional group, by name or number", option="group_add"),
    Flag("hostname", "string", "Host name", short="h", option="hostname"),
    Flag("init", "bool", "Run a small init as PID 1: it passes signals on and reaps", option="init"),
    Flag("interactive", "bool", "Keep standard input open", short="i", option="stdin_open"),
    Flag("label", "list", "Label, KEY=VALUE", short="l", option="labels"),
    Flag("label-file", "list", "File of labels, one a line", option="label_file"),
    Flag(
        "log-driver",
        "string",
        "Where its output is kept: json-file, local, journald, syslog, none",
        option="log_driver",
    ),
    Flag("log-opt", "list", "Option of the log driver, NAME=VALUE", option="log_options"),
    Flag("name", "string", "Name of the container", option="name"),
    Flag("platform", "string", "Platform of the image, OS[/ARCH[/VARIANT]]", option="platform"),
    Flag("pull", "string", "When to pull the image: always, missing or never", default="missing", option="pull"),
    Flag("quiet", "bool", "Show nothing about pulling", short="q"),
    Flag("read-only", "bool", "The root filesystem is read-only", option="read_only"),
    RESTART,
    Flag("rm", "bool", "Remove the container when it has ended", option="remove"),
    Flag("rootfs", "string", "Use a directory of the host, copy-on-write, instead of an image", option="rootfs"),
    Flag(
        "runtime", "string", "OCI runtime: minidock's own, or another one by path or configured name", option="runtime"
    ),
    Flag("stop-signal", "string", "Signal that asks the container to stop", option="stop_signal"),
    Flag("stop-timeout", "int", "Seconds between that signal and SIGKILL", option="stop_timeout"),
    Flag(
        "timeout",
        "seconds",
        "Kill the container after this time (90s, 5m; a bare number is seconds)",
        option="timeout",
    ),
    Flag("tty", "bool", "Give the container a terminal", short="t", option="tty"),
    Flag("user", "string", "User, NAME|UID[:GROUP|GID]", short="u", option="user"),
    Flag("workdir", "string", "Working directory in the container", short="w", option="working_dir"),
]

NETWORK = [
    Flag("add-host", "list", "Line for /etc/hosts, HOST:IP; host-gateway is this host's address", option="extra_hosts"),
    Flag("dns", "list", "Name server", option="dns"),
    Flag("dns-option", "list", "Option for resolv.conf", option="dns_opt", aliases=("dns-opt",)),
    Flag("dns-search", "list", "Search domain for resolv.conf", option="dns_search"),
    Flag("expose", "list", "Port or range of ports that the container listens on, PORT[/PROTO]", option="expose"),
    Flag("ip", "string", "IPv4 address (172.30.100.104)", option="ip"),
    Flag("ip6", "string", "IPv6 address (2001:db8::33)", option="ip6"),
    Flag("link", "list", "Put another container's address into /etc/hosts, CONTAINER[:ALIAS]", option="links"),
    Flag("link-local-ip", "list", "Further address, link-local or any other", option="link_local_ips"),
    Flag("mac-address", "string", "MAC address (92:d0:c6:0a:29:33)", option="mac_address"),
    Flag(
        "network",
        "list",
        "Network: bridge (the default), none, host, container:NAME, a name, or name=NAME,alias=…,ip=…",
        option="network",
        aliases=("net",),
    ),
    Flag(
        "network-alias",
        "list",
        "Another name of the container on its network",
        option="network_aliases",
        aliases=("net-alias",),
    ),
    Flag("publish", "list", "Publish ports, [IP:][HOST[-RANGE]:]PORT[-RANGE][/PROTO]", short="p", option="publish"),
    Flag("publish-all", "bool", "Publish all exposed ports on any ports", short="P", option="publish_all_ports"),
]

RESOURCES = [
    Flag("blkio-weight", "uint16", "Block I/O weight, 10 to 1000", option="blkio_weight"),
    Flag("blkio-weight-device", "list", "Block I/O weight of a device, PATH:WEIGHT", option="blkio_weight_device"),
    Flag("cgroup-parent", "string", "Parent cgroup", option="cgroup_parent"),
    Flag("cpu-period", "int", "Period of the CPU quota, in microseconds", option="cpu_period"),
    Flag("cpu-quota", "int", "CPU time in each period, in microseconds", option="cpu_quota"),
    Flag("cpu-rt-period", "int", "Period of the real-time CPU limit, in microseconds", option="cpu_rt_period"),
    Flag("cpu-rt-runtime", "int", "Real-time CPU time in each period, in microseconds", option="cpu_rt_runtime"),
    Flag("cpu-shares", "int", "CPU weight against other containers (1024 is normal)", short="c", option="cpu_shares"),
    Flag("cpus", "decimal", "Number of CPUs, 1.5 for one and a half", option="cpus"),
    Flag("cpuset-cpus", "string", "CPUs that may be used (0-3, 0,1)", option="cpuset_cpus"),
    Flag("cpuset-mems", "string", "Memory nodes that may be used (0-3, 0,1)", option="cpuset_mems"),
    Flag("device", "list", "Host device, PATH[:PATH[:rwm]]", option="devices"),
    Flag("device-cgroup-rule", "list", "Device rule, 'c 42:* rwm'", option="device_cgroup_rules"),
    Flag("device-read-bps", "list", "Limit of reading from a device, PATH:BYTES a second", option="device_read_bps"),
    Flag("device-read-iops", "list", "Limit of reads from a device, PATH:NUMBER a second", option="device_read_iops"),
    Flag("device-write-bps", "list", "Limit of writing to a device, PATH:BYTES a second", option="device_write_bps"),
    Flag("device-write-iops", "list", "Limit of writes to a device, PATH:NUMBER a second", option="device_write_iops"),
    Flag("gpus", "gpu-request", "GPU devices ('all', a number, or a request)", option="gpus"),
    Flag("kernel-memory", "bytes", "Limit of kernel memory", option="kernel_memory", hidden=True),
    Flag("memory", "bytes", "Memory limit (64m, 1g)", short="m", option="memory"),
    Flag("memory-reservation", "bytes", "Memory that stays under pressure", option="mem_reservation"),
    Flag("memory-swap", "bytes-or-all", "Limit of memory and swap together; -1: any swap", option="memswap_limit"),
    Flag("memory-swappiness", "int", "How eagerly memory is swapped, 0 to 100", option="mem_swappiness"),
    Flag(
        "oom-kill-disable",
        "bool",
        "Let processes wait instead of killing one without memory",
        option="oom_kill_disable",
    ),
    Flag("oom-score-adj", "int", "Chance of being killed without memory, -1000 to 1000", option="oom_score_adj"),
    Flag("pids-limit", "int", "Number of processes; -1: any", option="pids_limit"),
    Flag("shm-size", "bytes", "Size of /dev/shm (default 64m)", option="shm_size"),
    Flag("storage-opt", "list", "Option of the container's storage, KEY=VALUE"),
    Flag("ulimit", "list", "Resource limit, NAME=SOFT[:HARD]", option="ulimits"),
]

MOUNTS = [
    Flag(
        "mount",
        "mount",
        "Mount: type=bind|volume|tmpfs|image|overlay,source=…,target=…[,readonly][,…]",
        option="mounts",
    ),
    Flag("tmpfs", "list", "File system in memory, PATH[:OPTIONS]", option="tmpfs"),
    Flag("volume", "list", "Volume or host path, [SOURCE:]PATH[:MODES]", short="v", option="volumes"),
    Flag("volume-driver", "string", "Driver of its volumes: local", option="volume_driver"),
    Flag("volumes-from", "list", "The volumes of another container, NAME[:ro|rw]", option="volumes_from"),
]

ISOLATION = [
    Flag("cap-add", "list", "Add a capability", option="cap_add"),
    Flag("cap-drop", "list", "Drop a capability", option="cap_drop"),
    Flag("cgroupns", "string", "Cgroup namespace: host or private", option="cgroupns"),
    Flag("ipc", "string", "IPC namespace: private, shareable, none, host, container:NAME", option="ipc_mode"),
    Flag("pid", "string", "PID namespace: host, container:NAME", option="pid_mode"),
    Flag("privileged", "bool", "All capabilities and devices, no protection of the host", option="privileged"),
    Flag(
        "security-opt", "list", "seccomp=FILE|unconfined, no-new-privileges, apparmor=…, label=…", option="security_opt"
    ),
    Flag("sysctl", "map", "Kernel parameter of the container's namespaces, KEY=VALUE", option="sysctls"),
    Flag("userns", "string", "User namespace: host or remap", option="userns_mode"),
    Flag("uts", "string", "UTS namespace: host", option="uts_mode"),
]

HEALTH = [
    Flag("health-cmd", "string", "Command for the shell that checks the health", option="health_cmd"),
    Flag("health-interval", "duration", "Time between checks (default 30s)", option="health_interval"),
    Flag("health-on-failure", "string", "When unhealthy: none, kill, stop, restart", option="health_on_failure"),
    Flag("health-retries", "int", "Failures in a row that make it unhealthy (default 3)", option="health_retries"),
    Flag(
        "health-start-interval",
        "duration",
        "Time between checks in the start period (default 5s)",
        option="health_start_interval",
    ),
    Flag(
        "health-start-period",
        "duration",
        "Time in which failures do not count, until a check has passed",
        option="health_start_period",
    ),
    Flag("health-timeout", "duration", "Time that a check may take (default 30s)", option="health_timeout"),
    Flag("no-healthcheck", "bool", "Do not run the image's health check", option="no_healthcheck"),
]

NOT_YET = [
    Flag("disable-content-trust", reason=NO_TRUST, harmless=True, default=True),
    Flag("use-api-socket", reason=NO_API_SOCKET),
    Flag("isolation", "string", reason=WINDOWS, harmless="default"),
    Flag("cpu-count", "string", reason=WINDOWS),
    Flag("cpu-percent", "string", reason=WINDOWS),
    Flag("io-maxbandwidth", "string", reason=WINDOWS),
    Flag("io-maxiops", "string", reason=WINDOWS),
]

CREATE_FLAGS = [*PROCESS, *NETWORK, *RESOURCES, *MOUNTS, *ISOLATION, *HEALTH, *NOT_YET]

RUN_FLAGS = [
    *CREATE_FLAGS,
    Flag("detach", "bool", "Run in the background and print the container's id", short="d"),
    Flag("detach-keys", "keys", "Keys that leave it running in the background (default ctrl-p,ctrl-q)"),
    Flag("sig-proxy", "bool", "Pass signals on to the container's process", default=True),
    Flag("wait", "bool", "With --detach: return when it is healthy, or runs if it has no health check"),
]
