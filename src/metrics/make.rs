//! How metrics are made and registered, each kind by one function.
//!
//! Must not know: which metrics there are.

use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Makes and registers metrics named `pollcast_…`.
pub(super) struct Make<'a> {
    pub(super) registry: &'a Registry,
}

impl Make<'_> {
    pub(super) fn register<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        made: Result<C, prometheus::Error>,
    ) -> Result<C, prometheus::Error> {
        let made = made?;
        self.registry.register(Box::new(made.clone()))?;
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
        self.register(IntCounterVec::new(Self::opts(name, help), labels))
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
        self.register(IntGaugeVec::new(Self::opts(name, help), labels))
    }

    pub(super) fn float_gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, prometheus::Error> {
        self.register(GaugeVec::new(Self::opts(name, help), labels))
    }

    pub(super) fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: Vec<f64>,
    ) -> Result<HistogramVec, prometheus::Error> {
        let opts = HistogramOpts::new(format!("pollcast_{name}"), help).buckets(buckets);
        self.register(HistogramVec::new(opts, labels))
    }
}

/// Declares `Metrics`: a field for each metric, documented with the help text that operators read, and
/// `Metrics::registered`, which makes and registers all of them.
macro_rules! metrics {
    ($(
        $(#[doc = $help:literal])+
        $field:ident: $kind:ident = $make:ident($name:literal $(, $more:expr)*);
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
            /// The runtimes whose tasks are counted when the metrics are asked for.
            runtimes: Arc<OnceLock<Vec<(&'static str, Handle)>>>,
        }

        impl Metrics {
            fn registered(registry: Registry) -> Result<Metrics, prometheus::Error> {
                let make = Make { registry: &registry };
                Ok(Metrics {
                    $($field: make.$make($name, concat!($($help),+).trim_start(), $($more),*)?,)+
                    runtimes: Arc::default(),
                    registry,
                })
            }
        }
    };
}
pub(super) use metrics;
