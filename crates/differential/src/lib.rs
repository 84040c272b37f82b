//! The differential test: random traffic from a seed to Apache ZooKeeper and to our server side by side, and nothing may
//! differ but what `docs/compatibility.md` names.
//!
//! Speaks the wire itself, one step at a time at both servers, from one thread. Knows nothing of our server's insides:
//! of our crates it uses the words of the protocol only. `interop/differential` builds and runs it.
//!
//! Read in this order:
//! - `clock`, `chance`: time, and what a seed draws
//! - `options`, `script`: a run as text
//! - `servers`, `wire`: processes and connections
//! - `view`: what a server said, comparable
//! - `lies`: deviations made on purpose, which must be found
//! - `side`: one server and all connections to it
//! - `rules`: deviations that are deliberate
//! - `pair`: both servers in lockstep
//! - `model`, `draw`: what is asked of them
//! - `cells`, `coverage`: which operation can be answered how, and was
//! - `ending`: sessions ended, trees compared and removed
//! - `shrink`: a difference made small
//! - [`run`]: seeds, scripts, lies

mod clock;
mod chance;
mod options;
mod script;
mod servers;
mod wire;
mod view;
mod lies;
mod side;
mod rules;
mod pair;
mod model;
mod draw;
mod cells;
mod coverage;
mod ending;
mod shrink;
pub mod run;
