//! The signals: when the process ends, and whether it drains or retires.
//!
//! SIGTERM and SIGINT drain, a second one ends at once; SIGQUIT hands the listening sockets over; SIGHUP ends
//! nothing: the configuration is read again, and files of certificates are looked at.
//! Must not know: how any of that is done.

use std::io;
use std::process::ExitCode;

use pollcast::app::App;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end the process, heard from the moment this is made: before anything says that
/// it is ready, so that no signal can find the default action.
pub struct Signals {
    runtime: tokio::runtime::Runtime,
    term: Signal,
    int: Signal,
    /// Has the configuration read again, and the files of certificates looked at; `None` if it has its default action.
    hup: Option<Signal>,
    /// Hands the sockets over; `None` if it has its default action.
    quit: Option<Signal>,
}

/// How the process is to end.
enum Farewell {
    /// A signal said so.
    Drain,
    /// Another one has its sockets.
    Retire,
}

impl Signals {
    /// Begins to listen to SIGTERM and SIGINT.
    ///
    /// # Errors
    /// The system gives no runtime or no signal handler.
    pub fn heard() -> io::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let (term, int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        drop(entered);
        Ok(Signals { runtime, term, int, hup: None, quit: None })
    }

    /// SIGQUIT and SIGHUP, too.
    pub fn with_quit_and_hangup(mut self) -> io::Result<Signals> {
        let entered = self.runtime.enter();
        self.quit = Some(signal(SignalKind::quit())?);
        self.hup = Some(signal(SignalKind::hangup())?);
        drop(entered);
        Ok(self)
    }

    /// Serves until SIGTERM or SIGINT, or until SIGQUIT found a new process; drains, and ends at once at a second
    /// signal.
    pub fn serve(mut self, app: App) -> ExitCode {
        let Signals { runtime, term, int, hup, quit } = &mut self;
        let farewell = runtime.block_on(async {
            tokio::select! {
                farewell = farewell(term, int, quit, &app) => farewell,
                never = reload(hup, &app) => match never {},
            }
        });
        self.runtime.block_on(async {
            let drained = async {
                match farewell {
                    Farewell::Drain => app.drain().await,
                    Farewell::Retire => app.retire().await,
                }
            };
            tokio::select! {
                () = drained => {}
                () = either(&mut self.term, &mut self.int) => tracing::warn!("a second signal: ending at once"),
            }
        });
        app.stop();
        ExitCode::SUCCESS
    }

    /// Waits for SIGTERM or SIGINT, where no application of this process is to drain.
    pub fn wait(mut self) {
        self.runtime.block_on(either(&mut self.term, &mut self.int));
    }

    /// Ends because another process serves on the same sockets.
    pub fn leave(mut self, app: App) {
        self.runtime.block_on(async {
            tokio::select! {
                () = app.retire() => {}
                () = either(&mut self.term, &mut self.int) => {}
            }
        });
        app.stop();
    }
}

async fn farewell(term: &mut Signal, int: &mut Signal, quit: &mut Option<Signal>, app: &App) -> Farewell {
    loop {
        tokio::select! {
            () = either(term, int) => return Farewell::Drain,
            () = app.drain_asked() => return Farewell::Drain,
            () = heard(quit) => tracing::info!("SIGQUIT: handing the listening sockets to a new process"),
        }
        tokio::select! {
            () = either(term, int) => return Farewell::Drain,
            handed = app.hand_over() => match handed {
                Ok(()) => {
                    tracing::info!("a new process has the listening sockets and accepts connections");
                    return Farewell::Retire;
                }
                Err(failure) => tracing::error!("nothing was handed over, and this process goes on: {failure}"),
            },
        }
    }
}

/// Reads the configuration again, and looks at the files of certificates, whenever it is told.
async fn reload(hup: &mut Option<Signal>, app: &App) -> std::convert::Infallible {
    loop {
        let told = match hup {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if told.is_none() {
            // It never comes.
            std::future::pending::<()>().await;
        }
        tracing::info!("SIGHUP: reading the configuration, and looking at the files of certificates");
        app.reload();
    }
}

async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
