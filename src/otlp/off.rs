//! The handle of a build without the feature `otlp`: no span is ever made.
//!
//! Must not know: where spans would go.

use std::time::SystemTime;

use http::HeaderValue;

use super::kind::Kind;

/// Makes no spans.
#[derive(Clone, Default)]
pub struct Tracer;

/// What a span is a part of.
#[derive(Clone, Copy)]
pub enum Parent<'a> {
    /// Nothing: it begins a trace.
    Nothing,
    /// What a client says in `traceparent` (W3C Trace Context); nothing if it says none that is valid.
    Request(&'a http::HeaderMap),
    /// Another span.
    Span(&'a Span),
}

/// A span that cannot be.
pub enum Span {}

impl Tracer {
    /// Whether any span is made.
    pub fn is_on(&self) -> bool {
        false
    }

    /// Returns `None`.
    pub fn begin(&self, _name: &'static str, _kind: Kind, _parent: Parent<'_>) -> Option<Span> {
        None
    }

    /// Returns `None`.
    pub fn begin_at(
        &self,
        _name: &'static str,
        _kind: Kind,
        _parent: Parent<'_>,
        _began: Option<SystemTime>,
    ) -> Option<Span> {
        None
    }
}

impl Span {
    /// Is never called.
    pub fn set<T>(&mut self, _name: &'static str, _value: T) {
        match *self {}
    }

    /// Is never called.
    pub fn fail(&mut self, _reason: &'static str) {
        match *self {}
    }

    /// Is never called.
    pub fn traceparent(&self) -> Option<HeaderValue> {
        match *self {}
    }
}
