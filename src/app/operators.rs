//! What the admin listener may ask of the application, and have it do.
//!
//! Must not know: how operators ask.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::cluster::Cluster;
use super::reload::Reloader;
use crate::admin::{self, NotSwitched, Reloaded};
use crate::config::AdminAddress;
use crate::front::{self, Shared};

/// Returns the configured upstreams as operators see them, in the order of the file.
fn upstream_views(shared: &Shared) -> Vec<admin::UpstreamView> {
    let named = shared.config.upstreams.iter().map(|upstream| upstream.name.clone());
    let view = |name: String| {
        let standing = shared.clients.get(&name)?.standing();
        Some(admin::UpstreamView { name, standing })
    };
    named.filter_map(view).collect()
}

/// Returns what says to operators what becomes of a request.
fn explaining(shared: &Shared) -> impl Fn(admin::Question) -> admin::Explaining + use<> {
    let present = shared.present.clone();
    move |question| {
        let shared = present.get();
        Box::pin(async move {
            let shared = shared.ok_or("the process ends")?;
            let admin::Question { url, method, headers, client } = question;
            let asked = front::Asked { url, method, headers, client };
            let explanation = front::explain(&shared, &asked).await?;
            Ok(admin::Explained { json: explanation.json(), text: explanation.text() })
        })
    }
}

/// Returns what the answers of the admin listener are made of.
pub(super) fn context(
    shared: &Arc<Shared>,
    cluster: &Cluster,
    reloader: &Arc<Reloader>,
    drain: watch::Sender<bool>,
) -> admin::Context {
    let (draining, writes, ends) = (shared.draining.clone(), shared.present.clone(), shared.present.clone());
    let (upstreams, routes) = (shared.present.clone(), shared.present.clone());
    let (reloads, status, switches) = (reloader.clone(), reloader.clone(), reloader.clone());
    let admin = shared.config.admin.as_ref();
    // No browser connects to the other kind.
    let is_tcp = |address: &AdminAddress| matches!(address, AdminAddress::Tcp(_));
    admin::Context {
        hub: shared.hub.clone(),
        metrics: shared.metrics.clone(),
        cluster: cluster.others(),
        routes: Box::new(move || routes.get().map_or_else(Vec::new, |shared| shared.config.routes.clone())),
        token: admin.and_then(|admin| admin.token.clone()),
        hosts: admin.map(|admin| admin.hosts.clone()).unwrap_or_default(),
        is_tcp: admin.is_some_and(|admin| is_tcp(&admin.address)),
        is_draining: Box::new(move || draining.load(Ordering::SeqCst)),
        drain: Box::new(move || drain.send(true).is_ok()),
        upstreams: Box::new(move || upstreams.get().map_or_else(Vec::new, |shared| upstream_views(&shared))),
        poll_now: Box::new(move |url| {
            let writes = writes.get();
            Box::pin(async move {
                let shared = writes.ok_or("the process ends")?;
                front::poll_now(&shared, &url).await
            })
        }),
        end_subject: Box::new(move |call| {
            ends.get().map_or(Ok(0), |shared| front::end_subject(&shared, call))
        }),
        reload: Box::new(move |only_look| {
            let reloader = reloads.clone();
            let work = tokio::task::spawn_blocking(move || reloader.reload(only_look));
            Box::pin(async move {
                // A reload that broke off has been told in the log.
                let report = work.await.ok().flatten()?;
                Some(Reloaded { is_good: report.is_good(), json: report.as_json(), text: report.as_text() })
            })
        }),
        switch_route: Box::new(move |path, on| {
            let reloader = switches.clone();
            let work = tokio::task::spawn_blocking(move || reloader.switch(&path, on));
            Box::pin(async move {
                let broken = |_| Err(NotSwitched::Failed("the call broke off: see the log".to_owned()));
                work.await.unwrap_or_else(broken)
            })
        }),
        explain: Box::new(explaining(shared)),
        configuration: Box::new(move || status.status().as_json()),
    }
}
