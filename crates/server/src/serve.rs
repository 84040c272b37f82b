//! A server as the whole of a process: until a signal ends it.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use crate::config::Config;
use crate::error::{Exit, Listening, ServeError};
use crate::start::Server;

/// Serves until a signal or an error ends it. `ready` is told once clients can connect.
pub fn serve(config: Config, ready: impl FnOnce(&Listening)) -> Result<Exit, ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServeError::system("start a runtime"))?;
    runtime.block_on(async {
        // Before the port is open: whoever finds that it is may send a signal the moment after.
        let mut signals = Signals::new()?;
        let mut server = tokio::select! {
            biased;
            started = Server::start(config) => started?,
            number = signals.next() => {
                info!("stopping on signal {number}, before clients could connect");
                return Ok(Exit::Signal(number));
            }
        };
        ready(&Listening { addresses: server.addresses().to_vec() });
        let number = tokio::select! {
            number = signals.next() => number,
            failed = server.failed() => return Err(failed),
        };
        info!("stopping on signal {number}");
        server.stop().await?;
        Ok(Exit::Signal(number))
    })
}

/// The signals that end a server.
struct Signals([(SignalKind, Signal); 3]);

impl Signals {
    fn new() -> Result<Self, ServeError> {
        let listen = |kind| signal(kind).map(|signal| (kind, signal)).map_err(ServeError::system("listen for signals"));
        Ok(Self([listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?, listen(SignalKind::hangup())?]))
    }

    /// The number of the first that comes.
    async fn next(&mut self) -> i32 {
        let [(term, on_term), (int, on_int), (hup, on_hup)] = &mut self.0;
        tokio::select! {
            _ = on_term.recv() => term.as_raw_value(),
            _ = on_int.recv() => int.as_raw_value(),
            _ = on_hup.recv() => hup.as_raw_value(),
        }
    }
}
