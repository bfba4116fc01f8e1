//! Plans on tables of features: version 1, version 2, and hosts that lack something.
use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::cgroup::Controller::{Blkio, Cpu, Cpuset, Hugetlb, Memory, NetCls, NetPrio, Pids, Rdma};

/// A host by table.
struct Table {
    versions: HashMap<Controller, Version>,
    /// Files it lacks, or all but these if `only`.
    lacks: Vec<&'static str>,
    content: HashMap<&'static str, &'static str>,
}

impl Features for Table {
    fn version(&self, controller: Controller) -> Option<Version> {
        self.versions.get(&controller).copied()
    }
    fn has(&self, _: Controller, file: &str) -> bool {
        !self.lacks.contains(&file)
    }
    fn read(&self, _: Controller, file: &str) -> Option<String> {
        self.content.get(file).map(|&t| t.to_owned())
    }
    fn available(&self, file: &str) -> Option<String> {
        Some(
            if file == "cpuset.cpus" {
                "0-3\n"
            } else {
                "0\n"
            }
            .to_owned(),
        )
    }
}

fn host(version: Version) -> Table {
    let old = [
        Controller::NetCls,
        Controller::NetPrio,
        Controller::Devices,
        Controller::Freezer,
    ];
    let versions = Controller::ALL
        .into_iter()
        .filter(|c| version == Version::V1 || !old.contains(c))
        .map(|c| (c, version))
        .collect();
    // Kernels since 5.0 have only bfq's weight in version 1; the version 2 host has no bfq.
    let lacks = vec!["blkio.weight", "blkio.weight_device", "io.bfq.weight"];
    Table {
        versions,
        lacks,
        content: HashMap::new(),
    }
}

const UPDATE: Options = Options {
    missing: Missing::Warn,
    update: true,
};
const STRICT: Options = Options {
    missing: Missing::Refuse,
    update: false,
};

fn planned(resources: serde_json::Value, host: &Table, options: Options) -> Plan {
    plan(&serde_json::from_value(resources).unwrap(), host, options)
}

/// The writes as (controller, file, value), after seeing that nothing else came out.
fn writes(
    resources: serde_json::Value,
    host: &Table,
    options: Options,
) -> Vec<(Controller, String, String)> {
    let plan = planned(resources, host, options);
    assert!(
        plan.errors.is_empty() && plan.warnings.is_empty(),
        "{plan:?}"
    );
    plan.writes
        .into_iter()
        .map(|w| (w.controller, w.file.into_owned(), w.value))
        .collect()
}

fn owned(list: &[(Controller, &str, &str)]) -> Vec<(Controller, String, String)> {
    list.iter()
        .map(|&(c, f, v)| (c, f.to_owned(), v.to_owned()))
        .collect()
}

fn everything() -> serde_json::Value {
    json!({
        "memory": {"limit": 67_108_864, "swap": 134_217_728, "reservation": 33_554_432},
        "cpu": {"shares": 1024, "quota": 50_000, "period": 100_000, "burst": 1000, "cpus": "0,1", "mems": "0"},
        "pids": {"limit": 100},
        "blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1_048_576}, {"major": 8, "minor": 16, "rate": 0}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 100}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}],
        "rdma": {"mlx5_1": {"hcaHandles": 3}},
    })
}

#[test]
fn everything_on_v1() {
    let mut resources = everything();
    resources["memory"]["swappiness"] = 10.into();
    resources["memory"]["disableOOMKiller"] = true.into();
    resources["network"] =
        json!({"classID": 1_048_577, "priorities": [{"name": "eth0", "priority": 5}]});
    let expected = owned(&[
        (Memory, "memory.limit_in_bytes", "67108864"),
        (Memory, "memory.memsw.limit_in_bytes", "134217728"),
        (Memory, "memory.soft_limit_in_bytes", "33554432"),
        (Memory, "memory.swappiness", "10"),
        (Memory, "memory.oom_control", "1"),
        (Cpu, "cpu.shares", "1024"),
        (Cpu, "cpu.cfs_period_us", "100000"),
        (Cpu, "cpu.cfs_quota_us", "50000"),
        (Cpu, "cpu.cfs_burst_us", "1000"),
        (Cpuset, "cpuset.cpus", "0-1"),
        (Cpuset, "cpuset.mems", "0"),
        (Pids, "pids.max", "100"),
        (Blkio, "blkio.bfq.weight", "500"),
        (Blkio, "blkio.bfq.weight_device", "8:0 10"),
        (Blkio, "blkio.throttle.read_bps_device", "8:0 1048576"),
        (Blkio, "blkio.throttle.read_bps_device", "8:16 0"),
        (Blkio, "blkio.throttle.write_iops_device", "8:0 100"),
        (Hugetlb, "hugetlb.2MB.limit_in_bytes", "4194304"),
        (Hugetlb, "hugetlb.2MB.rsvd.limit_in_bytes", "4194304"),
        (NetCls, "net_cls.classid", "1048577"),
        (NetPrio, "net_prio.ifpriomap", "eth0 5"),
        (Rdma, "rdma.max", "mlx5_1 hca_handle=3 hca_object=max"),
    ]);
    assert_eq!(
        writes(resources, &host(Version::V1), Options::START),
        expected
    );
}

#[test]
fn everything_on_v2() {
    let mut resources = everything();
    resources["unified"] =
        json!({"memory.high": "50000000", "io.latency": "8:0 target=1\n8:16 target=2\n"});
    let expected = owned(&[
        (Memory, "memory.swap.max", "67108864"),
        (Memory, "memory.max", "67108864"),
        (Memory, "memory.low", "33554432"),
        (Cpu, "cpu.weight", "100"),
        (Cpu, "cpu.max", "50000 100000"),
        (Cpu, "cpu.max.burst", "1000"),
        (Cpuset, "cpuset.cpus", "0-1"),
        (Cpuset, "cpuset.mems", "0"),
        (Pids, "pids.max", "100"),
        (Blkio, "io.weight", "4950"),
        (Blkio, "io.weight", "8:0 1"),
        (Blkio, "io.max", "8:0 rbps=1048576"),
        (Blkio, "io.max", "8:16 rbps=max"),
        (Blkio, "io.max", "8:0 wiops=100"),
        (Hugetlb, "hugetlb.2MB.max", "4194304"),
        (Hugetlb, "hugetlb.2MB.rsvd.max", "4194304"),
        (Rdma, "rdma.max", "mlx5_1 hca_handle=3 hca_object=max"),
        (Blkio, "io.latency", "8:0 target=1"),
        (Blkio, "io.latency", "8:16 target=2"),
        (Memory, "memory.high", "50000000"),
    ]);
    assert_eq!(
        writes(resources.clone(), &host(Version::V2), Options::START),
        expected
    );
    let mut bfq = host(Version::V2);
    bfq.lacks.clear();
    let writes = writes(resources, &bfq, Options::START);
    assert!(
        writes.contains(&(Blkio, "io.bfq.weight".into(), "500".into())),
        "{writes:?}"
    );
}

#[test]
fn no_limits_no_writes() {
    for version in [Version::V1, Version::V2] {
        let empty = json!({"memory": {"limit": 0, "swap": 0, "reservation": 0}, "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": ""}, "pids": {"limit": 0}, "blockIO": {"weight": 0}});
        assert_eq!(writes(empty, &host(version), Options::START), []);
    }
}

#[test]
fn a_host_that_lacks_everything() {
    let none = Table {
        versions: HashMap::new(),
        lacks: vec![],
        content: HashMap::new(),
    };
    let plan_ = planned(everything(), &none, Options::START);
    assert!(plan_.writes.is_empty() && plan_.errors.is_empty());
    let text: Vec<_> = plan_.warnings.iter().map(ToString::to_string).collect();
    for file in [
        "memory.limit_in_bytes",
        "memory.memsw.limit_in_bytes",
        "cpu.shares",
        "cpu.cfs_quota_us",
        "cpuset.cpus",
        "pids.max",
        "blkio.throttle.read_bps_device",
    ] {
        assert!(text.iter().any(|w| w.contains(file)), "{file}: {text:?}");
    }
    assert!(text.iter().all(|w| w.contains("CONFIG_")));
    let strict = planned(everything(), &none, STRICT);
    assert_eq!(strict.warnings, []);
    assert!(strict.errors.len() > 8 && strict.errors.iter().all(|e| e.kind == Kind::Unsupported));
}

#[test]
fn swap_accounting_missing() {
    for (version, file) in [
        (Version::V1, "memory.memsw.limit_in_bytes"),
        (Version::V2, "memory.swap.max"),
    ] {
        let mut host = host(version);
        host.lacks.push(file);
        let plan = planned(
            json!({"memory": {"limit": 1000, "swap": 2000}}),
            &host,
            Options::START,
        );
        assert_eq!(plan.writes.len(), 1);
        assert_eq!(plan.warnings[0].file, file);
        // No limit at all needs no swap file.
        assert_eq!(
            writes(json!({"memory": {"limit": -1}}), &host, Options::START).len(),
            1
        );
    }
}

#[test]
fn v2_says_what_it_does_not_have() {
    let resources = json!({"memory": {"swappiness": 60, "disableOOMKiller": true}, "cpu": {"realtimeRuntime": 1000}, "network": {"classID": 1}});
    let plan = planned(resources, &host(Version::V2), Options::START);
    let files: Vec<_> = plan.warnings.iter().map(|w| w.file.as_str()).collect();
    assert_eq!(
        files,
        [
            "memory.swappiness",
            "memory.oom_control",
            "cpu.rt_runtime_us",
            "net_cls.classid"
        ]
    );
}

#[test]
fn nonsense_is_refused() {
    let bad = [
        json!({"memory": {"limit": -2}}),
        json!({"memory": {"swap": 1000}}),
        json!({"memory": {"limit": 1000, "swap": 999}}),
        json!({"memory": {"limit": -1, "swap": 999}}),
        json!({"cpu": {"cpus": "0-4294967295"}}),
        json!({"cpu": {"cpus": "4"}}),
        json!({"cpu": {"mems": "0-1"}}),
        json!({"blockIO": {"weight": 5}}),
        json!({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 1001}]}}),
        json!({"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]}),
        json!({"rdma": {"a b": {}}}),
    ];
    for resources in bad {
        for version in [Version::V1, Version::V2] {
            let plan = planned(resources.clone(), &host(version), Options::START);
            assert_eq!(plan.errors.len(), 1, "{resources}: {plan:?}");
            assert_eq!(plan.errors[0].kind, Kind::Invalid);
            assert!(plan.writes.is_empty());
        }
    }
    for resources in [
        json!({"memory": {"swappiness": 101}}),
        json!({"cpu": {"shares": 1}}),
        json!({"network": {"priorities": [{"name": "a b", "priority": 1}]}}),
    ] {
        assert_eq!(
            planned(resources, &host(Version::V1), Options::START).errors[0].kind,
            Kind::Invalid
        );
    }
    for key in [
        "../memory.max",
        "memory",
        "cgroup.procs",
        "memory.",
        ".max",
        "memory.x/y",
        "nosuch.max",
        "memory.absent",
    ] {
        let mut host = host(Version::V2);
        host.lacks.push("memory.absent");
        let plan = planned(json!({"unified": {key: "1"}}), &host, Options::START);
        assert_eq!((plan.errors.len(), plan.writes.len()), (1, 0), "{key}");
    }
    assert_eq!(
        planned(
            json!({"unified": {"memory.max": "1"}}),
            &host(Version::V1),
            Options::START
        )
        .errors
        .len(),
        1
    );
}

#[test]
fn memory_updates_keep_the_kernels_order() {
    let update = |limit: i64, swap: Option<i64>| {
        let mut host = host(Version::V1);
        host.content.insert("memory.memsw.limit_in_bytes", "200\n");
        let memory = swap.map_or(
            json!({"limit": limit}),
            |swap| json!({"limit": limit, "swap": swap}),
        );
        let files: Vec<_> = writes(json!({"memory": memory}), &host, UPDATE)
            .into_iter()
            .map(|w| w.1)
            .collect();
        files
            .iter()
            .map(|f| if f.contains("memsw") { "sum" } else { "limit" })
            .collect::<Vec<_>>()
    };
    assert_eq!(update(300, Some(400)), ["sum", "limit"]);
    assert_eq!(update(100, Some(150)), ["limit", "sum"]);
    assert_eq!(update(-1, None), ["sum", "limit"]);
    assert_eq!(update(150, None), ["limit"]);
}

#[test]
fn cpu_updates() {
    let mut v1 = host(Version::V1);
    v1.content.insert("cpu.cfs_quota_us", "20000\n");
    let values =
        |w: Vec<(Controller, String, String)>| w.into_iter().map(|w| w.2).collect::<Vec<_>>();
    assert_eq!(
        values(writes(
            json!({"cpu": {"quota": 5000, "period": 10_000}}),
            &v1,
            UPDATE
        )),
        ["-1", "10000", "5000"]
    );
    assert_eq!(
        values(writes(json!({"cpu": {"period": 10_000}}), &v1, UPDATE)),
        ["-1", "10000", "20000"]
    );
    assert_eq!(
        values(writes(json!({"cpu": {"quota": 5000}}), &v1, UPDATE)),
        ["5000"]
    );
    let mut v2 = host(Version::V2);
    v2.content.insert("cpu.max", "20000 100000\n");
    assert_eq!(
        values(writes(json!({"cpu": {"period": 10_000}}), &v2, UPDATE)),
        ["20000 10000"]
    );
    assert_eq!(
        values(writes(json!({"cpu": {"quota": -1}}), &v2, UPDATE)),
        ["max"]
    );
    assert_eq!(
        values(writes(
            json!({"cpu": {"period": 10_000}}),
            &v2,
            Options::START
        )),
        ["max 10000"]
    );
}

#[test]
fn pids_zero_lifts_the_limit_in_an_update() {
    assert_eq!(
        writes(json!({"pids": {"limit": 0}}), &host(Version::V2), UPDATE),
        owned(&[(Pids, "pids.max", "max")])
    );
    assert_eq!(
        writes(
            json!({"pids": {"limit": -1}}),
            &host(Version::V1),
            Options::START
        ),
        owned(&[(Pids, "pids.max", "max")])
    );
}

#[test]
fn weight_curve() {
    assert_eq!([2, 1024, 262_144].map(shares_to_weight), [1, 100, 10_000]);
    assert_eq!([0, 1, u64::MAX].map(shares_to_weight), [1, 1, 10_000]);
}

proptest! {
    #[test]
    fn weight_never_falls(shares in 0u64..300_000, more in 0u64..1000) {
        let (low, high) = (shares_to_weight(shares), shares_to_weight(shares + more));
        prop_assert!((1..=10_000).contains(&low) && low <= high);
    }

    /// Whatever the numbers: no panic, and no negative number but -1 in version 1 reaches a file.
    #[test]
    fn values_are_sane(limit: Option<i64>, swap: Option<i64>, reservation: Option<i64>, shares: Option<u64>, quota: Option<i64>, period: Option<u64>, pids: i64, weight: Option<u16>, update: bool, v1: bool) {
        let resources = json!({
            "memory": {"limit": limit, "swap": swap, "reservation": reservation},
            "cpu": {"shares": shares, "quota": quota, "period": period},
            "pids": {"limit": pids},
            "blockIO": {"weight": weight},
        });
        let host = host(if v1 { Version::V1 } else { Version::V2 });
        let plan = planned(resources, &host, Options { missing: Missing::Warn, update });
        if plan.errors.is_empty() {
            for write in plan.writes {
                prop_assert!(!write.value.starts_with('-') || (v1 && write.value == "-1"), "{write:?}");
            }
        }
    }

    /// Version 2's pair means what the spec's pair means: memory + swap = sum.
    #[test]
    fn swap_adds_up(limit in 1i64..1 << 50, extra in 0i64..1 << 50) {
        let got = writes(json!({"memory": {"limit": limit, "swap": limit + extra}}), &host(Version::V2), Options::START);
        let number = |file: &str| got.iter().find(|w| w.1 == file).unwrap().2.parse::<i64>().unwrap();
        prop_assert_eq!(number("memory.max") + number("memory.swap.max"), limit + extra);
    }
}
