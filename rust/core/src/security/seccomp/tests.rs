//! The compiler against the model.
use oci_spec::runtime::LinuxSeccomp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::abi::{Abi, Target, X32_BIT};
use super::model::{Data, evaluate, run};
use super::program::Program;
use super::syscalls::SYSCALLS;
use super::{compile, compile_json};
use crate::Kind;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn profile(json: Value) -> (LinuxSeccomp, Program) {
    let spec: LinuxSeccomp = serde_json::from_value(json).expect("a profile");
    let program = compile(&spec, Target::X86_64).expect("compiles");
    (spec, program)
}

fn ask(program: &Program, abi: Abi, name: &str, args: &[u64]) -> u32 {
    let mut data = Data {
        arch: abi.audit(),
        nr: abi.number(name).expect("a known call"),
        args: [0; 6],
    };
    data.args[..args.len()].copy_from_slice(args);
    run(program.code(), &data).0
}

fn ask_number(program: &Program, abi: Abi, nr: u32) -> u32 {
    run(
        program.code(),
        &Data {
            arch: abi.audit(),
            nr,
            args: [0; 6],
        },
    )
    .0
}

fn small() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["read", "write", "mseal", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 38, "op": "SCMP_CMP_LT"}]},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_GT"}]},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 0, "value": 0x7E02_0000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}
        ]
    })
}

#[test]
fn int_arguments_are_compared_by_their_low_half() {
    let (_, program) = profile(small());
    for upper in [0_u64, 1 << 32, 0xffff_ffff << 32] {
        assert_eq!(ask(&program, Abi::X86_64, "socket", &[upper + 38]), EPERM);
        assert_eq!(ask(&program, Abi::X86_64, "socket", &[upper + 40]), EPERM);
        assert_eq!(ask(&program, Abi::X86_64, "socket", &[upper + 2]), ALLOW);
        assert_eq!(ask(&program, Abi::X86_64, "socket", &[upper + 41]), ALLOW);
    }
    assert_eq!(ask(&program, Abi::X86, "socket", &[38]), EPERM);
}

#[test]
fn clone_flags_are_masked() {
    let (_, program) = profile(small());
    assert_eq!(ask(&program, Abi::X86_64, "clone", &[0x0120_0011]), ALLOW);
    for bit in [17, 25, 26, 27, 28, 29, 30] {
        assert_eq!(
            ask(&program, Abi::X86_64, "clone", &[0x11 | 1 << bit]),
            EPERM,
            "bit {bit}"
        );
    }
}

#[test]
fn newer_calls_are_enosys_and_older_unlisted_ones_the_default() {
    let (_, program) = profile(small());
    assert_eq!(ask(&program, Abi::X86_64, "clone3", &[]), ENOSYS);
    assert_eq!(ask(&program, Abi::X86_64, "io_uring_setup", &[]), EPERM);
    assert_eq!(ask(&program, Abi::X86_64, "setxattrat", &[]), ENOSYS);
    assert_eq!(ask_number(&program, Abi::X86_64, 100_000), ENOSYS);
    assert_eq!(ask_number(&program, Abi::X86, 0x7fff_ffff), ENOSYS);
}

#[test]
fn arm_private_calls_do_not_make_all_calls_old() {
    let spec = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_ARM"],
        "syscalls": [{"names": ["read", "set_tls", "mseal"], "action": "SCMP_ACT_ALLOW"}]});
    let spec: LinuxSeccomp = serde_json::from_value(spec).unwrap();
    let program = compile(&spec, Target::Aarch64).unwrap();
    assert_eq!(ask(&program, Abi::Arm, "set_tls", &[]), ALLOW);
    assert_eq!(ask(&program, Abi::Arm, "cacheflush", &[]), EPERM);
    assert_eq!(ask(&program, Abi::Arm, "setxattrat", &[]), ENOSYS);
    assert_eq!(ask(&program, Abi::Aarch64, "setxattrat", &[]), ENOSYS);
}

#[test]
fn unlisted_abis_are_killed_but_a_skipped_call_is_not() {
    let (_, program) = profile(small());
    assert_eq!(ask_number(&program, Abi::X32, X32_BIT), KILL);
    assert_eq!(ask_number(&program, Abi::Aarch64, 0), KILL);
    for abi in [Abi::X86_64, Abi::X86] {
        assert_eq!(ask_number(&program, abi, u32::MAX), ALLOW);
    }
}

#[test]
fn rule_without_conditions_wins_wherever_it_stands() {
    let args = json!([{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]);
    let (_, program) = profile(json!({"defaultAction": "SCMP_ACT_KILL", "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": args},
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["read"], "action": "SCMP_ACT_LOG"},
        {"names": ["write"], "action": "SCMP_ACT_KILL"},
        {"names": ["write"], "action": "SCMP_ACT_TRAP"}
    ]}));
    assert_eq!(ask(&program, Abi::X86_64, "read", &[1]), ALLOW);
    assert_eq!(ask(&program, Abi::X86_64, "write", &[]), 0x0003_0000);
}

#[test]
fn permissive_default_has_no_enosys() {
    let (_, program) = profile(json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30}]}));
    assert_eq!(ask(&program, Abi::X86_64, "mkdir", &[]), 0x0005_001e);
    assert_eq!(ask_number(&program, Abi::X86_64, 5000), ALLOW);
    assert_eq!(program.len(), 9, "{:?}", program.code());
}

#[test]
fn mistakes_are_errors() {
    for (json, why) in [
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}),
            "takes no errnoRet",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}),
            "errno 4096 is over 4095",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["no_such_call"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}),
            "argument 6",
        ),
        (json!({"defaultAction": "SCMP_ACT_NONE"}), "unknown variant"),
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}),
            "needs a rule with SCMP_ACT_NOTIFY",
        ),
    ] {
        let error = compile_json(json.to_string().as_bytes(), Target::X86_64).unwrap_err();
        assert_eq!(error.kind, Kind::Invalid);
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn program_over_the_kernels_limit_is_an_error() {
    let rules: Vec<_> = (0..3000_u64)
        .map(|i| json!({"names": ["ioctl"], "action": "SCMP_ACT_ALLOW",
                        "args": [{"index": 1, "value": i * 2, "op": "SCMP_CMP_EQ"}, {"index": 2, "value": i << 32, "op": "SCMP_CMP_EQ"}]}))
        .collect();
    let spec = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}).to_string();
    assert_eq!(
        compile_json(spec.as_bytes(), Target::X86_64)
            .unwrap_err()
            .kind,
        Kind::Limit
    );
}

fn any_name() -> impl Strategy<Value = &'static str> {
    // Few names make rules meet; the whole table makes jumps long.
    prop_oneof![
        prop::sample::select(vec![
            "read",
            "socket",
            "personality",
            "clone",
            "chmod",
            "ioctl",
            "set_tls",
            "mseal",
            "bogus"
        ]),
        (0..SYSCALLS.len()).prop_map(|i| SYSCALLS[i].0),
    ]
}

/// Values around the edges of halves and of the conditions that use them.
fn any_value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..4_u64,
        prop::sample::select(vec![
            38,
            40,
            0xffff,
            0x1_0000,
            0xffff_ffff,
            0x7fff_ffff,
            0x8000_0000,
            u64::MAX,
            1 << 63
        ]),
        (0..4_u64, 0..4_u64).prop_map(|(high, low)| high << 32 | low),
        any::<u64>(),
        any::<i32>().prop_map(|v| i64::from(v) as u64),
    ]
}

fn any_arg() -> impl Strategy<Value = Value> {
    let op = prop::sample::select(vec!["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]);
    (0..6_u64, any_value(), any_value(), op).prop_map(|(index, value, two, op)| {
        // Most masked comparisons would be impossible if the value had bits outside the mask.
        let two = if two % 3 == 0 { two } else { two & value };
        json!({"index": index, "value": value, "valueTwo": two, "op": format!("SCMP_CMP_{op}")})
    })
}

fn any_action() -> impl Strategy<Value = (&'static str, Option<u32>)> {
    prop_oneof![
        3 => Just(("SCMP_ACT_ALLOW", None)),
        2 => prop::option::of(0..4096_u32).prop_map(|e| ("SCMP_ACT_ERRNO", e)),
        1 => prop::option::of(0..4096_u32).prop_map(|e| ("SCMP_ACT_TRACE", e)),
        2 => prop::sample::select(vec!["KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP", "LOG", "NOTIFY"])
            .prop_map(|a| (match a {
                "KILL" => "SCMP_ACT_KILL",
                "KILL_THREAD" => "SCMP_ACT_KILL_THREAD",
                "KILL_PROCESS" => "SCMP_ACT_KILL_PROCESS",
                "TRAP" => "SCMP_ACT_TRAP",
                "LOG" => "SCMP_ACT_LOG",
                _ => "SCMP_ACT_NOTIFY",
            }, None)),
    ]
}

fn any_rule() -> impl Strategy<Value = Value> {
    let names = prop::collection::vec(any_name(), 1..40);
    let args = prop_oneof![1 => Just(Vec::new()), 2 => prop::collection::vec(any_arg(), 1..4)];
    (names, any_action(), args).prop_map(|(names, (action, errno), args)| {
        let mut rule = json!({"names": names, "action": action, "args": args});
        if let Some(errno) = errno {
            rule["errnoRet"] = json!(errno);
        }
        rule
    })
}

fn any_profile() -> impl Strategy<Value = LinuxSeccomp> {
    let arches = prop::collection::vec(
        prop::sample::select(vec!["X86_64", "X32", "X86", "AARCH64", "ARM", "MIPS"]),
        0..5,
    );
    (
        any_action(),
        arches,
        prop::collection::vec(any_rule(), 0..14),
    )
        .prop_map(|((action, errno), arches, rules)| {
            let arches: Vec<_> = arches.iter().map(|a| format!("SCMP_ARCH_{a}")).collect();
            let mut json =
                json!({"defaultAction": action, "architectures": arches, "syscalls": rules});
            if let Some(errno) = errno {
                json["defaultErrnoRet"] = json!(errno);
            }
            serde_json::from_value(json).expect("a profile")
        })
}

fn any_data() -> impl Strategy<Value = Data> {
    let abi = prop::sample::select(vec![
        Abi::X86_64,
        Abi::X32,
        Abi::X86,
        Abi::Aarch64,
        Abi::Arm,
    ]);
    let edge = prop::sample::select(vec![
        0,
        462,
        463,
        511,
        512,
        547,
        548,
        X32_BIT - 1,
        0xe_ffff,
        0xf_0005,
        0x10_0000,
        u32::MAX,
    ]);
    let args = prop::array::uniform6(any_value());
    (abi, prop_oneof![8 => any_name().prop_map(Ok), 1 => edge.prop_map(Err), 1 => (0..600_u32).prop_map(Err)], args).prop_map(
        |(abi, call, args)| {
            let nr = match call {
                Ok(name) => abi.number(name).unwrap_or(1),
                Err(number) => number,
            };
            // The kernel hands over zero-extended registers of 32-bit programs.
            let args = if abi.is_32bit() { args.map(|a| a & 0xffff_ffff) } else { args };
            Data { arch: abi.audit(), nr, args }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn compiled_filter_decides_as_the_rules_say(
        spec in any_profile(),
        calls in prop::collection::vec(any_data(), 60),
    ) {
        for target in [Target::X86_64, Target::Aarch64] {
            let program = match compile(&spec, target) {
                Ok(program) => program,
                Err(e) => { prop_assert_eq!(e.kind, Kind::Limit); continue }
            };
            for data in &calls {
                prop_assert_eq!(run(program.code(), data).0, evaluate(&spec, target, data), "{:?} {:?}", target, data);
            }
        }
    }

    #[test]
    fn damaged_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Program::from_bytes(&bytes).is_err());
    }
}
