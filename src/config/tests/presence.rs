//! Claims about `presence` of a route.

use std::time::Duration;

use super::super::{Presence, PresenceNotify};
use super::route;

#[test]
fn presence_is_off_and_its_switch_the_apis_unless_said() {
    let off = route("    plain: share\n");
    assert_eq!((off.presence, off.switches.presence), (None, None));
    let on = route("    presence: {}\n");
    assert_eq!(
        (on.presence, on.switches.presence.as_deref()),
        (Some(Presence::default()), Some("_presence"))
    );
    let keys =
        "authenticate: { keys: { header: x-key, clients: { ann: 0123456789abcdef0123456789abcdef } } }";
    let told = route(&format!(
        "    {keys}\n    presence: {{ names: true, linger: 0s, notify: {{ path: /who, debounce: 1s }} }}\n"
    ));
    let notify = Some(PresenceNotify {
        path: "/who".into(),
        debounce: Duration::from_secs(1),
        ..PresenceNotify::default()
    });
    let wanted = Presence { names: true, linger: Duration::ZERO, notify, ..Presence::default() };
    assert_eq!(told.presence, Some(wanted));
    let unpolled = route("    poll: off\n    presence: {}\n");
    assert_eq!((unpolled.presence, unpolled.switches.presence), (None, None));
}
