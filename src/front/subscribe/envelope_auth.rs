//! What changes for a client of many resources in mid-connection: a new token (contract §6, `auth`), and a
//! resource that it may follow no longer.
//!
//! Must not know: how a connection began.

use std::sync::Arc;

use http::{HeaderValue, header};
use serde_json::{Value, json};

use super::envelope::EnvelopeClient;
use super::envelope_messages::{reply, without_data};
use super::envelope_subscribe::Followed;
use crate::config::{Route, Share};
use crate::fanout::MemberId;
use crate::front::access::admission::{self, Membership, Proven};
use crate::front::access::admit::Visitor;
use crate::front::access::reason::Reason;
use crate::front::access::share::ClassValues;
use crate::hub::Topic;
use crate::identity::Identity;

impl EnvelopeClient {
    /// Lets the client stay by a new token. What it follows under the old one it follows anew.
    pub(super) async fn auth(&mut self, member: MemberId, said: &Value) {
        let token = said["token"].as_str().filter(|token| !token.is_empty());
        let field = token.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
        let Some(mut field) = field else {
            return self.complain(member, said, 400, "token is missing: what would stand behind Bearer");
        };
        field.set_sensitive(true);
        let mut visitor = self.visitor.as_ref().clone();
        visitor.headers.insert(header::AUTHORIZATION, field);
        let followed: Vec<(Arc<str>, Followed)> =
            self.followed.lock().iter().map(|(name, followed)| (name.clone(), followed.clone())).collect();
        let (mut until, mut revocables, mut again, mut looked) = (None, Vec::new(), Vec::new(), Vec::new());
        for (name, followed) in followed {
            let Followed::Admitted { topic, path, principal, presence, .. } = followed else { continue };
            let route = topic.route().clone();
            looked.push(name.clone());
            let (identity, is_same) = match prove_again(&visitor, &route, &path, &topic).await {
                Ok(proven) => proven,
                // The old one stays what it was.
                Err(reason) => {
                    let told = reason.told(&route);
                    let detail = format!("{name}: {}", told.detail);
                    return self.complain(member, said, told.status.as_u16(), &detail);
                }
            };
            // The other followers are told the client's name.
            let is_other = identity.as_ref().map(|identity| &identity.principal) != principal.as_ref();
            if !is_same || route.share == Share::Authorize || (is_other && route.presence.is_some()) {
                again.push((name, presence));
            }
            if let Some(identity) = identity {
                until = until.into_iter().chain(identity.expires).min();
                revocables.extend(visitor.shared.subjects.revocables(&route, &identity));
            }
        }
        self.visitor.entitlement.renew(until, revocables);
        again.extend(self.becomes(visitor, &looked));
        let fanout = &self.visitor.shared.fanout;
        fanout.renewed(self.shard, member);
        // Before the reply: nothing of the old one comes after it.
        again.iter().for_each(|(name, _)| fanout.unfollow(self.shard, member, name.clone()));
        self.tell(member, reply(&without_data(said), json!({ "status": 200 })));
        for (name, presence) in again {
            let said = json!({ "op": "subscribe", "resource": &*name, "presence": presence });
            self.subscribe(member, &said);
        }
    }

    /// From now on the client is this one. Gives what was admitted since `looked` was made.
    fn becomes(&mut self, visitor: Visitor, looked: &[Arc<str>]) -> Vec<(Arc<str>, bool)> {
        self.visitor = Arc::new(visitor);
        let followed = self.followed.lock();
        *self.latest.lock() = self.visitor.clone();
        let admitted = followed.iter().filter_map(|(name, one)| match one {
            Followed::Admitted { presence, .. } => Some((name.clone(), *presence)),
            Followed::Asked => None,
        });
        admitted.filter(|(name, _)| !looked.contains(name)).collect()
    }

    /// Has the client follow no longer what the upstream gives it otherwise now; the others go on.
    pub(super) fn part_from_forbidden(&self, member: MemberId) {
        let mut gone = Vec::new();
        self.followed.lock().retain(|name, followed| {
            let Followed::Admitted { topic, revocable: Some(revocable), .. } = followed else { return true };
            let goes = revocable.revoked().is_some();
            if goes {
                gone.push((name.clone(), topic.route().clone()));
            }
            !goes
        });
        for (name, route) in gone {
            self.visitor.shared.fanout.unfollow(self.shard, member, name.clone());
            let said = json!({ "resource": &*name });
            let told = Reason::OtherAnswer.told(&route);
            self.complain(member, &said, told.status.as_u16(), &told.detail);
        }
    }
}

/// Holds a client with a new token against the route of a resource that it follows. Returns its identity, and whether it
/// shares the resource with the same clients as before.
///
/// # Errors
/// The route does not let it in by this token.
async fn prove_again(
    visitor: &Visitor,
    route: &Route,
    path: &str,
    topic: &Topic,
) -> Result<(Option<Identity>, bool), Reason> {
    let shared = &visitor.shared;
    let Proven { identity, .. } = Box::pin(admission::prove(shared, route, path, &visitor.proof())).await?;
    // What its headers choose is as it was: only the token is another.
    let own = |_: &ClassValues| topic.key().parts().vary.iter().map(|(name, _)| name.clone()).collect();
    let Membership { class, subject } = visitor.client(identity.as_ref()).membership(shared, route, own);
    visitor.count_for(route, subject)?;
    let is_same = class.is_ok_and(|class| class == topic.key().parts().class);
    Ok((identity, is_same))
}
