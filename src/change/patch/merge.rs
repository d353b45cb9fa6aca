//! JSON Merge Patch (RFC 7396).
//!
//! Null removes a member, so that no patch can set one to null. Must not know: snapshots' rules.

use bytes::Bytes;

use super::comparison::{Members, content, same_scalar};
use crate::resource::{Element, Kind, Snapshot};

/// Returns the Merge Patch from `base` to `target`. `None` if one of them is not JSON, the target cannot be expressed
/// this way, or the patch would be longer than `max` bytes.
pub fn merge_patch(base: &Snapshot, target: &Snapshot, max: usize) -> Option<Bytes> {
    let by_name = base.ignored().by_name && target.ignored().by_name;
    let mut merge = Merge { out: Vec::new(), by_name, max };
    merge.compare(base.json()?.root(), target.json()?.root())?;
    (merge.out.len() <= max).then(|| merge.out.into())
}

struct Merge {
    out: Vec<u8>,
    /// Whether a member of the base that is missing in the target would be ignored there, too.
    by_name: bool,
    max: usize,
}

impl Merge {
    fn compare(&mut self, base: Element<'_>, target: Element<'_>) -> Option<()> {
        match (base.kind(), target.kind()) {
            // The object that a client may have there would be merged, and members of it would stay.
            (_, Kind::Object) if base.is_ignored() && !target.is_ignored() => None,
            (Kind::Object, Kind::Object) => self.object(base, target),
            _ => self.whole(target),
        }
    }

    fn whole(&mut self, target: Element<'_>) -> Option<()> {
        if target.kind() == Kind::Object && !is_sayable(target) {
            return None;
        }
        self.out.extend_from_slice(target.raw());
        (self.out.len() <= self.max).then_some(())
    }

    fn object(&mut self, base: Element<'_>, target: Element<'_>) -> Option<()> {
        let (own, other) = (Members::of(base)?, Members::of(target)?);
        let mut first = true;
        self.out.push(b'{');
        for (_, key, value) in own.iter().filter(|(name, ..)| other.get(name).is_none()) {
            if !(value.is_ignored() && self.by_name) {
                self.name(key, &mut first);
                self.out.extend_from_slice(b"null");
            }
        }
        for (name, key, value) in other.iter().filter(|(.., value)| !value.is_ignored()) {
            let before = own.get(name);
            if before.is_some_and(|before| is_same(before, value)) {
                continue;
            }
            if value.kind() == Kind::Null {
                return None;
            }
            self.name(key, &mut first);
            match before {
                Some(before) => self.compare(before, value)?,
                None => self.whole(value)?,
            }
        }
        self.out.push(b'}');
        (self.out.len() <= self.max).then_some(())
    }

    fn name(&mut self, key: Element<'_>, first: &mut bool) {
        if !std::mem::replace(first, false) {
            self.out.push(b',');
        }
        self.out.extend_from_slice(key.raw());
        self.out.push(b':');
    }
}

/// Whether no change is needed: the values are equal, and known to be so on the client's side.
fn is_same(base: Element<'_>, target: Element<'_>) -> bool {
    if base.is_ignored() {
        return false;
    }
    same_scalar(base, target) && !base.has_ignored()
        || (base.has_ignored() && target.has_ignored() && content(base) == content(target))
}

/// Whether a patch can express an object: no member is null, at any depth that is merged.
fn is_sayable(object: Element<'_>) -> bool {
    object.members().all(|(_, value)| match value.kind() {
        Kind::Null => false,
        Kind::Object => is_sayable(value),
        _ => true,
    })
}
