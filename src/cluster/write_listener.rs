//! Acts on the writes of other nodes on a thread of its own: one that reaches thousands of resources delays no beat.
//!
//! Must not know: what a write touches.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::seal::Secret;
use crate::poll::backplane::{WriteListener, WriteNotice};

/// Writes that wait at most. With more of them the cluster's own thread acts, so that none is lost.
const WAITING_MAX: usize = 1024;

/// One write of another node.
struct Heard {
    notice: WriteNotice,
    secret: Arc<Secret>,
    number: Option<u64>,
}

/// Has a listener act on writes.
pub(super) struct ListenerThread {
    listener: Arc<dyn WriteListener>,
    /// `None` if no thread could be had.
    waiting: Option<SyncSender<Heard>>,
}

impl ListenerThread {
    /// Starts the thread, which ends when this is dropped.
    pub(super) fn new(listener: Arc<dyn WriteListener>) -> ListenerThread {
        let (waiting, heard) = sync_channel(WAITING_MAX);
        let acting = listener.clone();
        let thread = std::thread::Builder::new().name("cluster-writes".to_owned());
        let waiting = match thread.spawn(move || act_on(&*acting, &heard)) {
            Ok(_) => Some(waiting),
            Err(error) => {
                tracing::warn!("writes of other nodes have no thread of their own: {error}");
                None
            }
        };
        ListenerThread { listener, waiting }
    }

    /// Another node has seen a write. `secret`: what its places are named with; `number`: among the writes of all nodes.
    pub(super) fn hear(&self, notice: WriteNotice, secret: Arc<Secret>, number: Option<u64>) {
        let heard = Heard { notice, secret, number };
        let here = match &self.waiting {
            None => heard,
            Some(waiting) => match waiting.try_send(heard) {
                Ok(()) => return,
                Err(TrySendError::Full(heard) | TrySendError::Disconnected(heard)) => heard,
            },
        };
        act(&*self.listener, &here);
    }
}

fn act_on(listener: &dyn WriteListener, waiting: &Receiver<Heard>) {
    while let Ok(heard) = waiting.recv() {
        act(listener, &heard);
    }
}

fn act(listener: &dyn WriteListener, heard: &Heard) {
    listener.heard(&heard.notice, &*heard.secret, heard.number);
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::resource::PathDigester;

    /// Takes a write only when it is let, and says which one that was.
    struct Slow {
        may_go: Mutex<Receiver<()>>,
        done: SyncSender<u64>,
    }

    impl WriteListener for Slow {
        fn heard(&self, _: &WriteNotice, _: &dyn PathDigester, number: Option<u64>) {
            self.may_go.lock().recv().unwrap();
            self.done.send(number.unwrap()).unwrap();
        }
    }

    #[test]
    fn a_write_that_takes_long_holds_up_nothing_and_those_behind_it_are_in_order() {
        let (go, may_go) = sync_channel(10);
        let (done, acted) = sync_channel(10);
        let writes = ListenerThread::new(Arc::new(Slow { may_go: Mutex::new(may_go), done }));
        let secret = Arc::new(Secret::new(b"a secret of thirty-two bytes or more"));
        let notice = WriteNotice {
            host: None,
            reached: Vec::new(),
            classes: None,
            address: None,
            redirects: false,
            repeats: false,
        };
        for number in 0..10 {
            // It would wait for ever if this thread acted.
            writes.hear(notice.clone(), secret.clone(), Some(number));
        }
        for number in 0..10 {
            go.send(()).unwrap();
            assert_eq!(acted.recv().unwrap(), number);
        }
    }
}
