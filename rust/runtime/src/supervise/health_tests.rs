//! Tests of `health`.
use super::*;

fn document(more: &str) -> HealthDocument {
    let text = format!(
        r#"{{"process":{{"args":["true"],"env":[],"cwd":"/","user":{{"user":""}}}},"interval_ms":1000,"timeout_ms":500,
            "start_period_ms":0,"start_interval_ms":100,"retries":3{more}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn outcome(exit_code: i32) -> Outcome {
    Outcome {
        start: "s".into(),
        end: "e".into(),
        exit_code,
        output: String::new(),
    }
}

#[test]
fn a_pass_is_healthy_and_so_many_failures_in_a_row_are_not() {
    let mut m = Machine::new(&document(""), VecDeque::new(), 5000);
    assert_eq!((m.report.status, m.next), (Status::Starting, 6000));
    assert_eq!(m.take(outcome(0), 6000, 6010), Some(Status::Healthy));
    assert_eq!(m.next, 7010);
    assert_eq!(m.take(outcome(1), 7010, 7020), None);
    assert_eq!(m.take(outcome(-1), 8000, 8000), None);
    assert_eq!(
        (m.report.status, m.report.failing_streak),
        (Status::Healthy, 2)
    );
    assert_eq!(m.take(outcome(0), 9000, 9000), None);
    assert_eq!(m.report.failing_streak, 0);
    for _ in 0..2 {
        assert_eq!(m.take(outcome(3), 9000, 9000), None);
    }
    assert_eq!(m.take(outcome(3), 9000, 9000), Some(Status::Unhealthy));
    assert_eq!(m.take(outcome(3), 9000, 9000), None);
    assert_eq!(m.report.failing_streak, 4);
    assert_eq!(m.take(outcome(0), 9000, 9000), Some(Status::Healthy));
}

#[test]
fn in_the_start_period_failures_do_not_count_and_checks_come_faster() {
    let mut d = document("");
    d.start_period_ms = 10_000;
    let mut m = Machine::new(&d, VecDeque::new(), 0);
    assert_eq!(m.next, 100);
    for at in [100, 200, 300, 9_999] {
        assert_eq!(m.take(outcome(1), at, at), None);
        assert_eq!(m.report.failing_streak, 0);
        assert_eq!(m.next, at + 100);
    }
    assert_eq!(m.take(outcome(1), 10_000, 10_000), None);
    assert_eq!((m.report.failing_streak, m.next), (1, 11_000));
    // Once healthy, it is as any other.
    let mut m = Machine::new(&d, VecDeque::new(), 0);
    assert_eq!(m.take(outcome(0), 100, 100), Some(Status::Healthy));
    assert_eq!(m.next, 1100);
    assert_eq!(m.take(outcome(1), 1100, 1100), None);
    assert_eq!(m.report.failing_streak, 1);
}

#[test]
fn the_last_five_results_are_kept_over_restarts() {
    let mut m = Machine::new(&document(""), VecDeque::new(), 0);
    for code in 0..7 {
        m.take(outcome(code), 0, 0);
    }
    let codes = |m: &Machine| m.report.log.iter().map(|o| o.exit_code).collect::<Vec<_>>();
    assert_eq!(codes(&m), [2, 3, 4, 5, 6]);
    let again = Machine::new(&document(""), m.report.log, 0);
    assert_eq!(codes(&again), [2, 3, 4, 5, 6]);
    assert_eq!(
        (again.report.status, again.report.failing_streak),
        (Status::Starting, 0)
    );
}

#[test]
fn one_retry_at_least() {
    let mut d = document("");
    d.retries = 0;
    let mut m = Machine::new(&d, VecDeque::new(), 0);
    assert_eq!(m.take(outcome(1), 0, 0), Some(Status::Unhealthy));
}

#[test]
fn the_report_is_dockers() {
    let mut m = Machine::new(&document(""), VecDeque::new(), 0);
    m.take(outcome(3), 0, 0);
    let value = serde_json::to_value(&m.report).unwrap();
    assert_eq!(
        value,
        serde_json::json!({"Status": "starting", "FailingStreak": 1,
            "Log": [{"Start": "s", "End": "e", "ExitCode": 3, "Output": ""}]})
    );
}

#[test]
fn answers_in_dockers_words() {
    let probe = |text: &str| Probe {
        process: rustix::pipe::pipe().unwrap().0,
        answer: rustix::pipe::pipe().unwrap().0,
        text: text.as_bytes().to_vec(),
        started: 0,
        started_at: "s".into(),
    };
    let said = |captured| serde_json::to_string(&Answer::from(captured)).unwrap();
    let late = probe(&said(Captured {
        exit_code: Some(137),
        timed_out: true,
        output: b"out\xff".to_vec(),
        cut: true,
        paused: false,
    }));
    let outcome = late.outcome(1500).unwrap();
    assert_eq!(outcome.exit_code, -1);
    assert_eq!(
        outcome.output,
        "Health check exceeded timeout (1.5s): out\u{fffd}..."
    );
    let paused = probe(&said(Captured {
        paused: true,
        ..Captured::default()
    }));
    assert_eq!(paused.outcome(1), None);
    assert_eq!(probe("").outcome(1).unwrap().exit_code, -1);
    let unstarted = probe(&said(Captured {
        output: b"execute nope: not found".to_vec(),
        ..Captured::default()
    }));
    assert_eq!(unstarted.outcome(1).unwrap().exit_code, -1);
}

#[test]
fn durations() {
    for (ms, text) in [
        (1, "1ms"),
        (999, "999ms"),
        (1000, "1s"),
        (1500, "1.5s"),
        (30_000, "30s"),
        (90_000, "1m30s"),
        (3_600_000, "1h0m0s"),
        (3_661_001, "1h1m1.001s"),
    ] {
        assert_eq!(duration(ms), text);
    }
}

#[test]
fn what_to_do_is_one_of_four() {
    assert_eq!(document("").on_failure, OnFailure::None);
    assert_eq!(
        document(r#","on_failure":"restart""#).on_failure,
        OnFailure::Restart
    );
    let bad = r#"{"on_failure":"shout"}"#;
    assert!(serde_json::from_str::<HealthDocument>(bad).is_err());
}
