//! Whether an ended container is started again, and when: Docker's restart manager.
use std::time::Duration;

use serde::Deserialize;

/// The first wait; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);
/// A run of this length was a good one: the waits begin anew.
const GOOD: Duration = Duration::from_secs(10);

/// `HostConfig.RestartPolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Which ends count.
    #[serde(default)]
    name: Name,
    /// With `on-failure`: how often at most; 0 is any number.
    #[serde(default)]
    maximum_retry_count: u64,
}

impl Policy {
    /// Whether it restarts nothing.
    #[must_use]
    pub fn is_none(self) -> bool {
        self.name == Name::No
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Name {
    #[default]
    No,
    OnFailure,
    Always,
    UnlessStopped,
}

/// The restarts of one container, as long as its supervisor lives.
#[derive(Debug, Default)]
pub struct Restarts {
    policy: Policy,
    wait: Duration,
    failures: u64,
    /// How often it was started again.
    pub count: u64,
    /// Somebody has stopped it: it stays so.
    cancelled: bool,
    /// It is started again whatever the policy says.
    forced: bool,
}

impl Restarts {
    /// None yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// Another policy, which counts from here on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
        self.failures = 0;
    }

    /// No start follows the next end.
    pub fn cancel(&mut self) {
        self.cancelled = true;
    }

    /// A start follows the next end at once, unless somebody stops it meanwhile.
    pub fn force(&mut self) {
        self.forced = true;
    }

    /// How long to wait before the next start after a run that took `lasted` and ended with `code`; None: no more.
    pub fn next(&mut self, code: i32, lasted: Duration) -> Option<Duration> {
        if self.cancelled {
            return None;
        }
        if std::mem::take(&mut self.forced) {
            self.count += 1;
            return Some(Duration::ZERO);
        }
        let again = match self.policy.name {
            Name::No => false,
            Name::Always | Name::UnlessStopped => true,
            Name::OnFailure => {
                let most = self.policy.maximum_retry_count;
                code != 0 && (most == 0 || self.failures < most)
            }
        };
        if !again {
            return None;
        }
        self.wait = if self.wait.is_zero() || lasted >= GOOD {
            FIRST
        } else {
            (self.wait * 2).min(LONGEST)
        };
        self.failures += 1;
        self.count += 1;
        Some(self.wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        serde_json::from_str(text).unwrap()
    }

    const SHORT: Duration = Duration::from_secs(1);

    #[test]
    fn no_policy_restarts_nothing() {
        assert_eq!(Restarts::new(policy("{}")).next(1, SHORT), None);
        assert_eq!(
            Restarts::new(policy(r#"{"name":"no"}"#)).next(1, SHORT),
            None
        );
        assert!(serde_json::from_str::<Policy>(r#"{"name":"sometimes"}"#).is_err());
    }

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_a_good_run() {
        let mut restarts = Restarts::new(policy(r#"{"name":"always"}"#));
        let waits: Vec<u128> = (0..11)
            .map(|_| restarts.next(0, SHORT).unwrap().as_millis())
            .collect();
        assert_eq!(waits[..4], [100, 200, 400, 800]);
        assert_eq!(waits[9..], [51_200, 60_000]);
        assert_eq!(restarts.next(0, GOOD), Some(FIRST));
        assert_eq!(restarts.count, 12);
    }

    #[test]
    fn on_failure_counts_failures_only() {
        let mut restarts =
            Restarts::new(policy(r#"{"name":"on-failure","maximum_retry_count":2}"#));
        assert!(restarts.next(3, SHORT).is_some());
        assert!(restarts.next(3, SHORT).is_some());
        assert_eq!(restarts.next(3, SHORT), None);
        restarts.set_policy(policy(r#"{"name":"on-failure"}"#));
        assert!(restarts.next(3, SHORT).is_some());
        assert_eq!(restarts.next(0, SHORT), None);
    }

    #[test]
    fn a_forced_one_follows_once_whatever_the_policy() {
        let mut restarts = Restarts::new(policy("{}"));
        restarts.force();
        assert_eq!(restarts.next(0, SHORT), Some(Duration::ZERO));
        assert_eq!((restarts.next(0, SHORT), restarts.count), (None, 1));
        restarts.force();
        restarts.cancel();
        assert_eq!(restarts.next(0, SHORT), None);
    }

    #[test]
    fn a_stop_is_the_end() {
        let mut restarts = Restarts::new(policy(r#"{"name":"unless-stopped"}"#));
        assert!(restarts.next(0, SHORT).is_some());
        restarts.cancel();
        assert_eq!(restarts.next(0, SHORT), None);
    }
}
