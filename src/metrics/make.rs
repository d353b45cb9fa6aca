//! How metrics are made and registered, each kind by one function.
//!
//! Must not know: which metrics there are.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::Desc;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::per_route::{PerRoute, ROUTE, RouteLabels};
use super::series::SeriesBy;

/// A metric that is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its whole name.
    pub name: String,
    /// The names of its labels. Those of the buckets of a histogram have `le`, too.
    pub labels: Vec<String>,
}

/// Makes and registers metrics named `pollcast_…`.
pub(super) struct Make<'a> {
    pub(super) registry: &'a Registry,
    pub(super) routes: &'a Arc<RouteLabels>,
    pub(super) upstreams: &'a SeriesBy,
    pub(super) described: &'a Mutex<Vec<Described>>,
}

impl Make<'_> {
    pub(super) fn register<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        made: Result<C, prometheus::Error>,
    ) -> Result<C, prometheus::Error> {
        let made = made?;
        self.registry.register(Box::new(made.clone()))?;
        let described =
            |desc: &Desc| Described { name: desc.fq_name.clone(), labels: desc.variable_labels.clone() };
        self.described.lock().extend(made.desc().into_iter().map(described));
        Ok(made)
    }

    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(format!("pollcast_{name}"), help)
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.register(IntCounter::with_opts(Self::opts(name, help)))
    }

    pub(super) fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        Ok(self.upstreams.watched(self.register(IntCounterVec::new(Self::opts(name, help), labels))?, labels))
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.register(IntGauge::with_opts(Self::opts(name, help)))
    }

    pub(super) fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        Ok(self.upstreams.watched(self.register(IntGaugeVec::new(Self::opts(name, help), labels))?, labels))
    }

    pub(super) fn float_gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, prometheus::Error> {
        Ok(self.upstreams.watched(self.register(GaugeVec::new(Self::opts(name, help), labels))?, labels))
    }

    pub(super) fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: Vec<f64>,
    ) -> Result<HistogramVec, prometheus::Error> {
        let opts = HistogramOpts::new(format!("pollcast_{name}"), help).buckets(buckets);
        Ok(self.upstreams.watched(self.register(HistogramVec::new(opts, labels))?, labels))
    }

    /// Returns the place of the label `route`, which the caller's constants have.
    fn place(labels: &[&str]) -> Result<usize, prometheus::Error> {
        let missing = || prometheus::Error::Msg(format!("no label {ROUTE}"));
        labels.iter().position(|label| *label == ROUTE).ok_or_else(missing)
    }

    pub(super) fn route_counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<PerRoute<IntCounterVec>, prometheus::Error> {
        let metric = self.counters(name, help, labels)?;
        Ok(PerRoute::new(metric, Self::place(labels)?, self.routes.clone()))
    }

    pub(super) fn route_gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<PerRoute<IntGaugeVec>, prometheus::Error> {
        let metric = self.gauges(name, help, labels)?;
        Ok(PerRoute::new(metric, Self::place(labels)?, self.routes.clone()))
    }

    pub(super) fn route_histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: Vec<f64>,
    ) -> Result<PerRoute<HistogramVec>, prometheus::Error> {
        let metric = self.histograms(name, help, labels, buckets)?;
        Ok(PerRoute::new(metric, Self::place(labels)?, self.routes.clone()))
    }
}

/// Declares `Metrics`: a field for each metric, documented with the help text that operators read, and
/// `Metrics::registered`, which makes and registers all of them.
macro_rules! metrics {
    ($(
        $(#[doc = $help:literal])+
        $field:ident: $kind:ty = $make:ident($name:literal $(, $more:expr)*);
    )+) => {
        /// All metrics of one running application; each application has a registry of its own.
        #[derive(Clone)]
        pub struct Metrics {
            $(
                $(#[doc = $help])+
                #[doc = concat!("\n\nThe metric `pollcast_", $name, "`.")]
                pub $field: $kind,
            )+
            registry: Registry,
            routes: Arc<RouteLabels>,
            upstreams: Arc<SeriesBy>,
            described: Arc<Mutex<Vec<Described>>>,
            exemplars: Arc<OfUpstreams>,
            /// The runtimes whose tasks are counted when the metrics are asked for.
            runtimes: Arc<OnceLock<Vec<(&'static str, Handle)>>>,
        }

        impl Metrics {
            fn registered(registry: Registry) -> Result<Metrics, prometheus::Error> {
                let (routes, upstreams) = (Arc::<RouteLabels>::default(), Arc::new(SeriesBy::new(UPSTREAM)));
                let described = Arc::<Mutex<Vec<Described>>>::default();
                let make =
                    Make { registry: &registry, routes: &routes, upstreams: &upstreams, described: &described };
                Ok(Metrics {
                    $($field: make.$make($name, concat!($($help),+).trim_start(), $($more),*)?,)+
                    runtimes: Arc::default(),
                    exemplars: Arc::default(),
                    registry,
                    routes,
                    upstreams,
                    described,
                })
            }
        }
    };
}
pub(super) use metrics;

/// Makes an enum whose values have one word each: a closed set of labels.
macro_rules! words {
    ($(#[$about:meta])* $set:ident { $($(#[doc = $doc:literal])* $name:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $set {
            $($(#[doc = $doc])* $name,)*
        }

        impl $set {
            /// All of them.
            pub const ALL: &[$set] = &[$($set::$name),*];

            /// The word for it.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $($set::$name => $word,)*
                }
            }

            /// What it means, as its documentation says.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $($set::$name => concat!($($doc),*).trim_ascii_start(),)*
                }
            }
        }
    };
}
pub(super) use words;
