//! `limits`: the bounds of the whole process.
//!
//! Must not know: the limits of one route or upstream.

use std::ops::RangeInclusive;

use super::super::defaults::{KIB, MIB};
use super::super::problem::{Findings, Place};
use super::super::{Limits, raw};
use super::listeners;
use super::units::{HOUR, MILLISECOND, MINUTE, SECOND, TIB};
use super::value::{Said, at};

/// Bounds of every number of clients, connections or resources.
const MANY: RangeInclusive<usize> = 1..=10_000_000;

/// Reads `limits`. What the file leaves out keeps its default.
pub fn limits(file: &raw::File, findings: &mut Findings) -> Limits {
    let mut limits = Limits::default();
    let (place, Some(raw)) = at!(Place::root(), file.limits) else {
        return limits;
    };
    limits.clients_said = raw.clients.is_some();
    findings.count(at!(place, raw.clients), MANY, &mut limits.clients);
    let of_address = at!(place, raw.clients_per_address);
    per_address(file, of_address, &mut limits.clients_per_address, findings);
    findings.count_or_off(at!(place, raw.clients_per_subject), MANY, &mut limits.clients_per_subject);
    findings.rate_or_off(at!(place, raw.accept_rate), 1..=100_000, &mut limits.accept_rate);
    findings.count(at!(place, raw.resources), MANY, &mut limits.resources);
    let of_address = at!(place, raw.resources_per_address);
    per_address(file, of_address, &mut limits.resources_per_address, findings);
    let of_address = at!(place, raw.new_resources_per_address);
    needs_address(file, &of_address.0, of_address.1.map(|said| said.0.as_str()), findings);
    findings.rate_or_off(of_address, 1..=100_000, &mut limits.new_resources_per_address);
    let of_address = at!(place, raw.snapshot_bytes_per_address);
    needs_address(file, &of_address.0, of_address.1.map(|said| said.0.as_str()), findings);
    findings.size_or_off(of_address, KIB..=TIB, &mut limits.snapshot_bytes_per_address);
    findings.count(at!(place, raw.requests), MANY, &mut limits.requests);
    findings.count(at!(place, raw.metric_routes), 1..=100_000, &mut limits.metric_routes);
    let of_address = at!(place, raw.requests_per_address);
    per_address(file, of_address, &mut limits.requests_per_address, findings);
    findings.count_or_off(at!(place, raw.resources_per_subject), MANY, &mut limits.resources_per_subject);
    findings.count(at!(place, raw.resources_per_client), 1..=10_000, &mut limits.resources_per_client);
    memory(&place, raw, &mut limits, findings);
    requests(&place, raw, &mut limits, findings);
    connections(&place, raw, &mut limits, findings);
    limits
}

/// A number for each address, which needs to know what an address is.
fn per_address(
    file: &raw::File,
    (place, said): Said<'_, raw::Count>,
    to: &mut Option<usize>,
    findings: &mut Findings,
) {
    needs_address(file, &place, said.map(|said| said.0.as_str()), findings);
    findings.count_or_off((place, said), MANY, to);
}

fn needs_address(file: &raw::File, place: &Place, said: Option<&str>, findings: &mut Findings) {
    let wanted = said.is_some_and(|said| said != "off");
    if let (true, Some(index)) = (wanted, listeners::without_client_address(file)) {
        let message = format!("needs client_address on every listener; listeners[{index}] does not say it");
        findings.problem(place, message);
    }
}

fn memory(place: &Place, raw: &raw::Limits, limits: &mut Limits, findings: &mut Findings) {
    findings.size(at!(place, raw.snapshot_bytes), MIB..=TIB, &mut limits.snapshot_bytes);
    findings.size(at!(place, raw.poll_body_bytes), MIB..=TIB, &mut limits.poll_body_bytes);
    findings.size(at!(place, raw.history_bytes), MIB..=TIB, &mut limits.history_bytes);
    findings.size(at!(place, raw.send_buffer), 4 * KIB..=4 * MIB, &mut limits.send_buffer);
}

/// Reads the bounds of one request.
fn requests(place: &Place, raw: &raw::Limits, limits: &mut Limits, findings: &mut Findings) {
    findings.size(at!(place, raw.header_bytes), KIB..=MIB, &mut limits.header_bytes);
    // Pingora reads 256 at most.
    findings.count(at!(place, raw.header_fields), 8..=256, &mut limits.header_fields);
    findings.size(at!(place, raw.url_bytes), 256..=32 * KIB, &mut limits.url_bytes);
    findings.count(at!(place, raw.query_parameters), 1..=10_000, &mut limits.query_parameters);
    findings.size_or_off(at!(place, raw.request_body), KIB..=TIB, &mut limits.request_body);
    findings.size(at!(place, raw.drain_body), 0..=16 * MIB, &mut limits.drain_body);
}

/// How long a connection may take, and what it may do.
fn connections(place: &Place, raw: &raw::Limits, limits: &mut Limits, findings: &mut Findings) {
    let waits = 100 * MILLISECOND..=MINUTE;
    findings.time(at!(place, raw.first_byte_timeout), waits.clone(), &mut limits.first_byte_timeout);
    findings.time(at!(place, raw.header_timeout), waits, &mut limits.header_timeout);
    findings.time(at!(place, raw.body_timeout), 100 * MILLISECOND..=HOUR, &mut limits.body_timeout);
    findings.time(at!(place, raw.idle_timeout), 100 * MILLISECOND..=HOUR, &mut limits.idle_timeout);
    findings.time(at!(place, raw.send_timeout), SECOND..=HOUR, &mut limits.send_timeout);
    findings.time(at!(place, raw.stall_timeout), SECOND..=10 * MINUTE, &mut limits.stall_timeout);
    let mut streams = limits.http2_streams as usize;
    findings.count(at!(place, raw.http2_streams), 1..=10_000, &mut streams);
    limits.http2_streams = streams as u32;
    findings.rate(at!(place, raw.http2_control_rate), 10..=100_000, &mut limits.http2_control_rate);
}
