"""The machines: what is installed, how it is booted, and what of the suites runs there."""

from __future__ import annotations

from dataclasses import dataclass

PACKAGES = (
    "apparmor,btrfs-progs,busybox-static,ca-certificates,dbus,docker-registry,e2fsprogs,git,gnupg,initramfs-tools,"
    "iproute2,libpam-systemd,linux-image-cloud-amd64,nftables,openssh-client,openssl,procps,python3,runc,strace,"
    "systemd-sysv,udev,ufw,xfsprogs,xz-utils,zstd"
)
"""What every machine has: Debian's kernel for clouds, systemd, and what the suites need."""

CMDLINE = (
    "mitigations=off systemd.condition-first-boot=no systemd.wants=job.service systemd.mask=serial-getty@ttyS0.service"
    " systemd.mask=systemd-firstboot.service systemd.mask=systemd-networkd-wait-online.service"
)
"""For every machine: emulated, page tables that change with every system call cost half of the time."""

HOSTS = (
    "tests/hosts/test_limits.py tests/hosts/test_systemd.py tests/hosts/test_nested.py tests/hosts/test_doctor.py "
    "tests/hosts/test_macvlan.py"
)
"""What is true of a host, and nowhere else to be tried."""

WHOLE = f"{HOSTS} tests/security tests/integration"

_CORE = {
    "hosts/test_systemd": ("a_container_in_a_slice", "the_unit_that_started_it_ends"),
    "security/test_apparmor": (
        "containers_and_execs_are_confined",
        "a_profile_that_is_not_there",
        "init_is_confined",
        "a_restart_loads_a_profile_that_has_gone",
    ),
    "integration/test_run": (
        "streams_and_exit_code",
        "docker_exit_codes",
        "users",
        "terminal",
        "read_only",
        "the_container_dies_with_its_process",
    ),
}
CI = " ".join(
    [
        "tests/hosts/test_limits.py",
        *(f"tests/{file}.py::test_{name}" for file, names in _CORE.items() for name in names),
    ]
)
"""The core: one boot, within CI's time."""

FILES = (
    "tests/integration/test_run.py tests/integration/test_images.py tests/integration/test_volumes.py "
    "tests/integration/test_build.py tests/integration/test_storage_size.py tests/hosts/test_quota.py "
    "tests/hosts/test_reflinks.py"
)
"""Where the data root's file system matters."""

NETWORK = (
    "tests/integration/test_network_containers.py tests/integration/test_network_hosts.py "
    "tests/integration/test_network_connect.py tests/hosts/test_firewall.py tests/hosts/test_sctp.py"
)


REBOOT = """\
tests/vm/inside/reboot/first.py reboot
tests/vm/inside/reboot/second.py crash
tests/vm/inside/reboot/third.py"""
"""A boot a line; the last word is how it ends."""


@dataclass(frozen=True)
class Machine:
    """One machine. ``suite`` is Debian's release; ``python`` the version of its python3."""

    name: str
    suite: str
    python: str
    packages: str = ""
    cmdline: str = ""
    setup: str = ""
    """A shell script that runs in the root directory of the image while it is made."""
    prepare: str = ""
    """A shell script that runs in the machine after each boot, before its tests."""
    memory_mib: int = 2048
    cpus: int = 2
    data: str = "ext4"
    """The filesystem of the data root."""
    tests: str = WHOLE

    @property
    def every_package(self) -> str:
        """The packages, for mmdebstrap."""
        return f"{PACKAGES},{self.packages}" if self.packages else PACKAGES


LEGACY = "systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"

SELINUX = """\
printf 'SELINUX=enforcing\\nSELINUXTYPE=default\\n' >etc/selinux/config
mkdir -p etc/systemd/system/job.service.d
cat >etc/systemd/system/job.service.d/selinux.conf <<'END'
[Service]
SELinuxContext=unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023
ExecStart=
ExecStart=/bin/sh -c 'mkdir -p /job && mount -o noatime,context=system_u:object_r:lib_t:s0 /dev/vdb /job \
&& exec /bin/sh /job/run'
END
chroot . setfiles -F /etc/selinux/default/contexts/files/file_contexts /
"""
"""Debian's own policy, which has the containers' types; every file gets its label while the image is made. The job is
what root is after a login: unconfined; the project's files are labelled as what pip installs."""

STRICT = """cat >/etc/nftables.conf <<'END'
#!/usr/sbin/nft -f
flush ruleset
table inet filter {
  chain input {
    type filter hook input priority filter; policy drop;
    iif lo accept
    ct state vmap { established : accept, related : accept, invalid : drop }
    meta l4proto { icmp, ipv6-icmp } accept
    tcp dport 22 accept
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
  }
  chain output {
    type filter hook output priority filter; policy accept;
  }
}
END
systemctl start nftables
"""
"""A host that lets nothing in but SSH, and forwards nothing."""

UFW = "ufw --force enable\n"
"""Its defaults: nothing in, nothing routed."""

MACHINES = {
    machine.name: machine
    for machine in (
        Machine("debian13", "trixie", "3.13"),
        Machine("debian12", "bookworm", "3.11"),
        Machine("sid", "sid", "3.14"),
        Machine("debian12-v1", "bookworm", "3.11", cmdline=f"{LEGACY} systemd.legacy_systemd_cgroup_controller=1"),
        Machine("debian12-hybrid", "bookworm", "3.11", cmdline=f"{LEGACY} systemd.legacy_systemd_cgroup_controller=0"),
        Machine("xfs", "trixie", "3.13", data="xfs", tests=FILES),
        Machine("btrfs", "trixie", "3.13", data="btrfs", tests=FILES),
        Machine("firewall", "trixie", "3.13", prepare=STRICT, tests=f"{HOSTS} {NETWORK}"),
        Machine("ufw", "trixie", "3.13", prepare=UFW, tests=f"{HOSTS} {NETWORK}"),
        Machine("no-ipv6", "trixie", "3.13", cmdline="ipv6.disable=1"),
        Machine("reboot", "trixie", "3.13", tests=REBOOT),
        Machine("ci", "trixie", "3.13", tests=CI),
        Machine("speed", "trixie", "3.13", packages="aardvark-dns,conmon,crun,iptables,netavark,podman"),
        Machine("small", "trixie", "3.13", memory_mib=512, cpus=1, tests=f"{HOSTS} {FILES}"),
        Machine(
            "selinux",
            "trixie",
            "3.13",
            packages="selinux-policy-default,policycoreutils,selinux-utils,attr",
            cmdline="security=selinux selinux=1 enforcing=1",
            setup=SELINUX,
            tests="tests/hosts/test_selinux.py tests/integration/test_run.py tests/integration/test_exec.py "
            "tests/integration/test_mounts.py tests/integration/test_volumes.py tests/integration/test_cp.py "
            "tests/integration/test_build_run.py tests/integration/test_isolation.py",
        ),
    )
}
