//! Processes that the demo starts: each ends with the demo, however that ends.
//!
//! Must not know: what they do.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

/// Runs the command of its arguments, and kills it when standard input ends: that is a pipe from the demo, which the
/// system closes even if the demo is killed. A group of its own keeps Ctrl-C of the terminal from it.
const GUARD: &str = "exec 3<&0; \"$@\" </dev/null 3<&- & child=$!; \
                     (cat <&3 >/dev/null; kill -9 $child 2>/dev/null) & exec 3<&-; wait $child";

/// A running process, killed when this is dropped.
#[derive(Debug)]
pub struct Guarded {
    child: Child,
    /// Its end kills the process.
    alive: Option<ChildStdin>,
}

impl Guarded {
    /// Starts a program. Its standard error is the demo's.
    ///
    /// # Errors
    /// There is no shell. That there is no such program shows as its early end.
    pub fn start<A: AsRef<OsStr>>(
        program: &OsStr,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(&str, &str)],
    ) -> io::Result<Guarded> {
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "sh"]).arg(program).args(arguments).envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        let mut child = command.spawn()?;
        let alive = child.stdin.take();
        Ok(Guarded { child, alive })
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.alive.take();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_process_ends_with_its_guard() {
        // It holds a connection as long as it lives: the end of that is the end of it.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let script = format!("exec 5<>/dev/tcp/127.0.0.1/{port}; echo up >&5; exec sleep 600");
        let guarded = Guarded::start("bash".as_ref(), ["-c", &script], &[]).expect("a shell");
        let (mut stream, _) = listener.accept().expect("it connects");
        let mut said = [0; 3];
        stream.read_exact(&mut said).expect("it speaks");
        drop(guarded);
        assert_eq!(stream.read(&mut said).unwrap_or(0), 0, "it has ended");
    }

    #[test]
    fn a_process_that_ends_by_itself_is_noticed() {
        let mut guarded = Guarded::start("false".as_ref(), [""; 0], &[]).expect("a shell");
        let status = guarded.child.wait().expect("it ends");
        assert!(!status.success());
        assert!(guarded.ended().is_some());
    }
}
