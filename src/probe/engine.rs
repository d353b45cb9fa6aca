//! What `check --probe` says of the engine of a cluster: whether the nodes can work with it, and what is wrong if not.
//!
//! Pure over what a look found: each finding says its place in the file, what was found and what is wanted. Must not
//! know: how an engine is asked.

#![cfg_attr(not(feature = "redis"), allow(dead_code, reason = "the client of Redis is not built"))]

use std::time::Duration;

use crate::cluster::diagnosis::{Diagnosis, Payload};
#[cfg(feature = "nats")]
use crate::cluster::nats::NatsDiagnosis;
use crate::config::Cluster;

/// The oldest version whose scripts and rights do what the nodes need.
const VERSION_MIN: (u32, u32) = (7, 0);
/// A clock that is behind what it said before by more than this went back: less is a message's way.
const CLOCK_BEHIND_MAX: Duration = Duration::from_millis(5);
/// More unevenness than this in a fifth of a second is no delay of an answer.
const CLOCK_DRIFT_MAX: Duration = Duration::from_millis(150);
/// So many of the largest messages should find room while a node reads slowly.
const MESSAGES_WAITING_MIN: u64 = 4;

/// What is said of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineReport {
    /// The text that is printed.
    pub text: String,
    /// The nodes can work with it.
    pub is_good: bool,
}

/// Lines of a report, and whether one of them names a fault.
#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    faults: usize,
}

impl Lines {
    fn say(&mut self, label: &str, text: impl AsRef<str>) {
        self.lines.push(format!("{label:<12}{}", text.as_ref()));
    }

    /// A fault: where in the file or the engine, what was found, what is wanted.
    fn fault(&mut self, label: &str, place: &str, found: &str, wanted: &str) {
        self.faults += 1;
        self.say(label, format!("FAULT: {place}: {found}; wanted: {wanted}"));
    }
}

/// The report about an engine that could be reached.
pub(super) fn report(cluster: &Cluster, found: &Diagnosis) -> EngineReport {
    let mut lines = Lines::default();
    version(found, &mut lines);
    rights(cluster, found, &mut lines);
    memory(found, &mut lines);
    payloads(cluster, found, &mut lines);
    clock(found, &mut lines);
    finished(cluster, &found.server, lines)
}

/// The report about NATS, which lets a node connect only if bucket, rights and sizes fit.
#[cfg(feature = "nats")]
pub(super) fn nats_report(cluster: &Cluster, found: &NatsDiagnosis) -> EngineReport {
    let mut lines = Lines::default();
    let bytes = bytesize::ByteSize(cluster.max_value as u64);
    let (took, most) = (milliseconds(found.payload), bytesize::ByteSize(found.value_bytes_max as u64));
    lines.say("version", &found.version);
    lines.say("bucket", format!("{} of it, as the servers of the file are", copies(found.copies)));
    lines.say(
        "payloads",
        format!("{bytes} (cluster.max_value) were stored and read in {took:.1} ms; at most {most} fit"),
    );
    finished(cluster, &found.server, lines)
}

#[cfg(feature = "nats")]
fn copies(count: usize) -> String {
    if count == 1 { "one copy".to_owned() } else { format!("{count} copies") }
}

/// The report about an engine that could not be reached.
pub(super) fn unreachable(cluster: &Cluster, why: &str) -> EngineReport {
    let mut lines = Lines::default();
    lines.fault("connection", "cluster.servers", why, "a server that answers and lets this user in");
    finished(cluster, &cluster.servers.join(", "), lines)
}

fn finished(cluster: &Cluster, server: &str, lines: Lines) -> EngineReport {
    let heading = format!("engine {server}: cluster {}\n\n", cluster.name);
    EngineReport { text: heading + &lines.lines.join("\n") + "\n", is_good: lines.faults == 0 }
}

fn version(found: &Diagnosis, lines: &mut Lines) {
    let told = match found.version.is_empty() {
        true => "not told (the user lacks +hello)".to_owned(),
        false => format!("{}, {}, {}", found.version, found.mode, found.role),
    };
    let round_trip = format!("{told}; a question takes {:.1} ms", milliseconds(found.round_trip));
    let (major, minor) = VERSION_MIN;
    match parsed(&found.version) {
        Some(version) if version < VERSION_MIN => {
            lines.fault("version", "the engine", &found.version, &format!("{major}.{minor} or newer"));
        }
        _ if found.role == "replica" || found.role == "slave" => {
            lines.fault("version", "cluster.servers", "a replica", "the primary, or `sentinel` and its name");
        }
        _ => lines.say("version", round_trip),
    }
}

fn parsed(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next().flatten().unwrap_or_default()))
}

fn rights(cluster: &Cluster, found: &Diagnosis, lines: &mut Lines) {
    if found.missing.is_empty() {
        return lines.say("rights", "all that the nodes need");
    }
    let user = cluster.username.as_deref().unwrap_or("default");
    let missing = found.missing.join(" ");
    lines.fault(
        "rights",
        "cluster.username",
        &format!("the user {user} lacks {missing}"),
        &format!("ACL SETUSER {user} {missing}"),
    );
}

fn memory(found: &Diagnosis, lines: &mut Lines) {
    let Some(eviction) = &found.eviction else {
        let text = "not known: the user may not ask (+info, or +config|get, for this look alone); \
                    maxmemory-policy should be noeviction";
        return lines.say("memory", text);
    };
    let policy = &eviction.policy;
    let limit = match eviction.bytes_max {
        0 => "without a limit of memory".to_owned(),
        bytes => format!("at {}", bytesize::ByteSize(bytes)),
    };
    // Without a limit of memory nothing is evicted; the policy counts as soon as an operator sets a limit.
    if policy != "noeviction" {
        let place = "maxmemory-policy of the engine";
        let found = format!("{policy}, {limit}: it may remove what nodes rely on");
        return lines.fault("memory", place, &found, "noeviction");
    }
    lines.say("memory", format!("maxmemory-policy noeviction, {limit}"));
}

fn payloads(cluster: &Cluster, found: &Diagnosis, lines: &mut Lines) {
    let bytes = bytesize::ByteSize(cluster.max_value as u64);
    let place = "cluster.max_value";
    if let Some(longest) = found.value_bytes_max.filter(|longest| *longest < cluster.max_value as u64) {
        let found =
            format!("{bytes}, and proto-max-bulk-len of the engine is {}", bytesize::ByteSize(longest));
        return lines.fault("payloads", place, &found, "no more than the engine takes");
    }
    if let Some((hard, soft)) = found.subscriber_bytes_max {
        let wanted = MESSAGES_WAITING_MIN * cluster.max_value as u64;
        let least = [hard, soft].into_iter().filter(|bytes| *bytes > 0).min();
        if let Some(least) = least.filter(|least| *least < wanted) {
            let found = format!("subscribers are cut off with {} waiting", bytesize::ByteSize(least));
            let wanted = format!(
                "{} or more ({MESSAGES_WAITING_MIN} × cluster.max_value)",
                bytesize::ByteSize(wanted)
            );
            return lines.fault(
                "payloads",
                "client-output-buffer-limit pubsub of the engine",
                &found,
                &wanted,
            );
        }
    }
    match &found.payload {
        Payload::Passed(took) => lines.say(
            "payloads",
            format!(
                "{bytes} (cluster.max_value) were stored, and came back in {:.1} ms",
                milliseconds(*took)
            ),
        ),
        Payload::Failed(why) => {
            lines.fault(
                "payloads",
                place,
                &format!("{bytes}: {why}"),
                "a value that passes within cluster.timeout",
            );
        }
        Payload::Untried => lines.say("payloads", "not tried: a right is missing"),
    }
}

fn clock(found: &Diagnosis, lines: &mut Lines) {
    let place = "the clock of the engine's machine";
    if found.clock_behind > CLOCK_BEHIND_MAX {
        let behind = format!(
            "it is {} behind what it said before",
            humantime::format_duration(whole(found.clock_behind))
        );
        return lines.fault(
            "clock",
            place,
            &behind,
            "a clock that never goes back: leases and fences go by it",
        );
    }
    if found.clock_drift > CLOCK_DRIFT_MAX {
        let drift =
            format!("it moved by {:.0} ms more or less than time did here", milliseconds(found.clock_drift));
        return lines.fault("clock", place, &drift, "a clock that is slewed, not stepped");
    }
    lines.say("clock", "never behind what it said before, as far as the engine remembers");
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A time in whole milliseconds: a report has no use for finer ones.
fn whole(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::diagnosis::Eviction;

    fn good() -> Diagnosis {
        Diagnosis {
            server: "redis.internal:6379".into(),
            version: "7.0.15".into(),
            mode: "standalone".into(),
            role: "master".into(),
            round_trip: Duration::from_micros(150),
            missing: Vec::new(),
            eviction: Some(Eviction { policy: "noeviction".into(), bytes_max: 0 }),
            payload: Payload::Passed(Duration::from_millis(3)),
            value_bytes_max: Some(512 << 20),
            subscriber_bytes_max: Some((32 << 20, 8 << 20)),
            clock_behind: Duration::ZERO,
            clock_drift: Duration::from_micros(300),
        }
    }

    fn cluster() -> Cluster {
        Cluster { username: Some("pollcast".into()), ..Cluster::unsaid() }
    }

    #[test]
    fn an_engine_without_faults_is_good_and_each_line_says_what_was_looked_at() {
        let report = report(&cluster(), &good());
        assert!(report.is_good, "{}", report.text);
        for label in ["version     7.0.15", "rights ", "memory ", "payloads ", "clock "] {
            assert!(report.text.contains(&format!("\n{label}")), "{}", report.text);
        }
        // What the least rights may not ask is no fault.
        let least = Diagnosis { eviction: None, value_bytes_max: None, subscriber_bytes_max: None, ..good() };
        let report = super::report(&cluster(), &least);
        assert!(
            report.is_good && report.text.contains("maxmemory-policy should be noeviction"),
            "{}",
            report.text
        );
    }

    #[test]
    fn each_fault_says_place_found_and_wanted() {
        let evicts = |policy: &str| Some(Eviction { policy: policy.into(), bytes_max: 1 << 20 });
        let lru = "maxmemory-policy of the engine: allkeys-lru, at 1.0 MiB";
        for (found, wanted) in [
            (
                Diagnosis { version: "6.2.14".into(), ..good() },
                "version     FAULT: the engine: 6.2.14; wanted: 7.0 or",
            ),
            (Diagnosis { role: "slave".into(), ..good() }, "cluster.servers: a replica; wanted: the primary"),
            (
                Diagnosis { missing: vec!["+publish".into(), "~{pollcast:default}*".into()], ..good() },
                "wanted: ACL SETUSER pollcast +publish ~{pollcast:default}*",
            ),
            (Diagnosis { eviction: evicts("allkeys-lru"), ..good() }, lru),
            (Diagnosis { eviction: evicts("volatile-ttl"), ..good() }, "volatile-ttl"),
            (
                Diagnosis { value_bytes_max: Some(1000), ..good() },
                "proto-max-bulk-len of the engine is 1000 B",
            ),
            (
                Diagnosis { subscriber_bytes_max: Some((32 << 20, 1 << 20)), ..good() },
                "client-output-buffer-limit pubsub of the engine: subscribers are cut off with 1.0 MiB waiting",
            ),
            (
                Diagnosis { payload: Payload::Failed("OOM".into()), ..good() },
                "cluster.max_value: 1.0 MiB: OOM; wanted",
            ),
            (
                Diagnosis { clock_behind: Duration::from_secs(90), ..good() },
                "it is 1m 30s behind what it said before",
            ),
            (Diagnosis { clock_drift: Duration::from_secs(3), ..good() }, "it moved by 3000 ms more or less"),
        ] {
            let report = report(&cluster(), &found);
            assert!(!report.is_good && report.text.contains(wanted), "{wanted}: {}", report.text);
            assert_eq!(report.text.matches("FAULT").count(), 1, "{}", report.text);
        }
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (text, wanted) in
            [("7.0.15", Some((7, 0))), ("10.2", Some((10, 2))), ("8", Some((8, 0))), ("", None)]
        {
            assert_eq!(parsed(text), wanted, "{text}");
        }
    }
}
