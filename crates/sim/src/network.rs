//! Sockets between clients and the server: two streams of bytes each, late, torn and glued at will, with a bounded
//! window each way.
//!
//! Faults that must be survived: a cut at any byte in transit, with either side told soon, late or never; a hole that
//! swallows everything; connections refused or never made; a side that reads nothing for a while; a machine that is gone
//! without a word. Bytes are never changed, and never overtake each other.

use std::collections::{BTreeMap, VecDeque};

use gk_proto::ConnId;
use gk_proto::rng::Rng;

/// How bytes travel; drawn by seed.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// Longest time on the way, microseconds.
    pub(crate) delay_us: u64,
    /// Of 1,000 sends, so many are torn.
    pub(crate) torn: u64,
    /// Of 1,000 times, so often a transport takes only a part.
    pub(crate) partial: u64,
    /// Of 1,000 attempts to connect, so many fail, and so many are never answered.
    pub(crate) refused: u64,
    pub(crate) unanswered: u64,
    /// Bytes under way or not yet read, each way.
    pub(crate) window: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) pipes: BTreeMap<ConnId, Pipe>,
    last: u64,
}

/// One socket, named as the server names it.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) client: usize,
    /// How the client's session names it.
    pub(crate) attempt: ConnId,
    pub(crate) up: Flow,
    pub(crate) down: Flow,
    /// Neither side reads or writes any more, and the other has been told, or will be when its stream ends.
    pub(crate) server_gone: bool,
    pub(crate) client_gone: bool,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    chunks: VecDeque<(u64, Vec<u8>)>,
    under_way: usize,
    /// Has arrived and is not read.
    pub(crate) arrived: Vec<u8>,
    /// Since when something of it is not read.
    pub(crate) unread_since: Option<u64>,
    last: u64,
    /// No more bytes arrive than these.
    left: Option<usize>,
    /// The sender has ended it; it ends at this time.
    ends: Option<u64>,
    /// Its end is never told.
    silent: bool,
}

impl Network {
    pub(crate) fn open(&mut self, client: usize, attempt: ConnId) -> ConnId {
        self.last += 1;
        let id = ConnId(self.last);
        let (up, down) = (Flow::default(), Flow::default());
        self.pipes.insert(id, Pipe { client, attempt, up, down, server_gone: false, client_gone: false });
        id
    }

    /// Forgets sockets that both sides have left.
    pub(crate) fn tidy(&mut self) {
        self.pipes.retain(|_, pipe| !(pipe.server_gone && pipe.client_gone));
    }
}

impl Pipe {
    /// Cuts it at a byte that is in transit, in both directions.
    pub(crate) fn cut(&mut self, rng: &mut Rng) {
        for flow in [&mut self.up, &mut self.down] {
            let in_transit = flow.under_way as u64;
            let left = usize::try_from(rng.below(in_transit + 1)).unwrap_or(0);
            flow.left = Some(flow.left.map_or(left, |earlier| earlier.min(left)));
        }
    }

    /// Swallows everything from now on, and tells nobody.
    pub(crate) fn swallow(&mut self) {
        for flow in [&mut self.up, &mut self.down] {
            flow.left = Some(0);
            flow.silent = true;
        }
    }
}

impl Flow {
    /// How many bytes the transport takes now.
    pub(crate) fn room(&self, window: usize) -> usize {
        window.saturating_sub(self.under_way + self.arrived.len())
    }

    /// Sends bytes on their way; when they arrive.
    pub(crate) fn send(&mut self, rng: &mut Rng, weather: &Weather, now: u64, bytes: &[u8]) -> Vec<u64> {
        let (mut arrivals, mut rest) = (Vec::new(), bytes);
        self.under_way += bytes.len();
        while !rest.is_empty() {
            let is_torn = rest.len() > 1 && rng.below(1000) < weather.torn;
            let length = if is_torn { 1 + below(rng, rest.len() - 1) } else { rest.len() };
            let (chunk, behind) = rest.split_at(length);
            rest = behind;
            self.last = self.last.max(now + rng.below(weather.delay_us * 1000 + 1));
            self.chunks.push_back((self.last, chunk.to_vec()));
            arrivals.push(self.last);
        }
        arrivals
    }

    /// Ends it behind all that was sent; when that is seen.
    pub(crate) fn end(&mut self, rng: &mut Rng, weather: &Weather, now: u64) -> u64 {
        let at = self.last.max(now + rng.below(weather.delay_us * 1000 + 1));
        self.last = at;
        *self.ends.get_or_insert(at)
    }

    /// Moves what has come to its end of the way.
    pub(crate) fn arrive(&mut self, now: u64) {
        while let Some((_, chunk)) = self.chunks.pop_front_if(|(at, _)| *at <= now) {
            self.under_way -= chunk.len();
            let taken = self.left.map_or(chunk.len(), |left| left.min(chunk.len()));
            if let Some(left) = &mut self.left {
                *left -= taken;
            }
            self.arrived.extend(chunk.get(..taken).unwrap_or_default());
            if taken > 0 {
                self.unread_since.get_or_insert(now);
            }
        }
    }

    /// Whether the reader, once it has read all that has arrived, sees the end.
    pub(crate) fn has_ended(&self, now: u64) -> bool {
        let is_over = self.ends.is_some_and(|at| at <= now) && self.chunks.is_empty();
        (is_over || self.left == Some(0)) && !self.silent
    }

    /// Nothing arrives any more and nobody is told.
    pub(crate) fn goes_dark(&mut self) {
        self.left = Some(0);
        self.silent = true;
        self.chunks.clear();
        self.under_way = 0;
    }

    /// What is still under way never arrives.
    pub(crate) fn loses_the_rest(&mut self) {
        self.left = Some(0);
        self.arrived.clear();
    }

    /// Whether the other side is gone and nobody has been told.
    pub(crate) fn ends_unseen(&self) -> bool {
        self.silent
    }

    /// The end is seen at last.
    pub(crate) fn is_reset(&mut self) {
        self.left = Some(0);
        self.silent = false;
    }
}

/// A number below a bound.
pub(crate) fn below(rng: &mut Rng, bound: usize) -> usize {
    usize::try_from(rng.below(bound as u64)).unwrap_or(0)
}
