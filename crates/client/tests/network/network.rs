//! The network between the session and the model: two streams of bytes a connection, late, torn and glued at will.
//!
//! Faults that must be survived: a cut after any byte of either direction, with or without the other side being told; a
//! hole that swallows everything; connections refused or never made; a transport that takes only part of what it is
//! given; bytes of a connection that the session has given up. Bytes are never changed, and never overtake each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gk_proto::request::HEADER_LEN;
use gk_proto::rng::Rng;
use gk_proto::{ConnId, Instant, Millis};

/// How bytes travel; drawn by seed.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    pub(crate) delay_max_ms: u64,
    /// Of 100 sends, so many are torn.
    pub(crate) torn: u64,
    /// Of 100 times, so often the transport takes a part only.
    pub(crate) partial: u64,
    /// Of 100 connections, so many are refused, and so many are never made.
    pub(crate) refused: u64,
    pub(crate) never: u64,
    /// Of 100 connections given up, so many are still heard.
    pub(crate) late: u64,
}

impl Weather {
    pub(crate) const CALM: Self = Self { delay_max_ms: 2, torn: 0, partial: 0, refused: 0, never: 0, late: 0 };
}

#[derive(Default, Debug)]
pub(crate) struct Network {
    pub(crate) pipes: BTreeMap<ConnId, Pipe>,
    /// Requests whose last byte a transport has taken.
    pub(crate) taken: BTreeSet<u32>,
}

#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) to_server: Lane,
    pub(crate) to_client: Lane,
    /// The client has given it up, and whether it is heard all the same.
    pub(crate) given_up: bool,
    pub(crate) heard: bool,
    /// The client was told of its end.
    pub(crate) ended: bool,
    /// Bytes taken that are not a whole frame, to see which requests were taken whole.
    frames: Vec<u8>,
    greeted: bool,
}

#[derive(Default, Debug)]
pub(crate) struct Lane {
    chunks: VecDeque<(Instant, Vec<u8>)>,
    sent: u64,
    pub(crate) delivered: u64,
    /// Nothing beyond this place arrives.
    pub(crate) limit: Option<u64>,
    last: Instant,
    /// An end of stream follows the last chunk.
    pub(crate) closes: bool,
}

impl Network {
    pub(crate) fn open(&mut self, conn: ConnId) -> &mut Pipe {
        let pipe = Pipe {
            to_server: Lane::default(),
            to_client: Lane::default(),
            given_up: false,
            heard: false,
            ended: false,
            frames: Vec::new(),
            greeted: false,
        };
        self.pipes.entry(conn).or_insert(pipe)
    }

    /// The client's transport took these bytes.
    pub(crate) fn take(&mut self, conn: ConnId, bytes: &[u8]) {
        let pipe = self.pipes.get_mut(&conn).expect("a connection");
        pipe.frames.extend_from_slice(bytes);
        while let Some(length) = pipe.frames.first_chunk().map(|length| i32::from_be_bytes(*length)) {
            let end = 4 + usize::try_from(length).expect("a length");
            if pipe.frames.len() < end {
                break;
            }
            let rest = pipe.frames.split_off(end);
            let frame = std::mem::replace(&mut pipe.frames, rest);
            if std::mem::replace(&mut pipe.greeted, true) {
                self.taken.extend(tag_in(&frame));
            }
        }
    }

    /// Cuts a connection at a byte that is in transit, in both directions.
    pub(crate) fn cut(&mut self, rng: &mut Rng, conn: ConnId) {
        let Some(pipe) = self.pipes.get_mut(&conn) else { return };
        for lane in [&mut pipe.to_server, &mut pipe.to_client] {
            let in_transit = lane.sent - lane.delivered;
            let limit = lane.delivered + rng.below(in_transit + 1);
            lane.limit = Some(lane.limit.map_or(limit, |earlier| earlier.min(limit)));
        }
    }

    /// Swallows everything from now on.
    pub(crate) fn swallow(&mut self, conn: ConnId) {
        let Some(pipe) = self.pipes.get_mut(&conn) else { return };
        pipe.to_server.limit = Some(pipe.to_server.delivered);
        pipe.to_client.limit = Some(pipe.to_client.delivered);
    }
}

impl Lane {
    /// Sends bytes on their way; when they arrive.
    pub(crate) fn send(&mut self, rng: &mut Rng, weather: &Weather, now: Instant, bytes: &[u8]) -> Vec<Instant> {
        let mut arrivals = Vec::new();
        let mut rest = bytes;
        self.sent += bytes.len() as u64;
        while !rest.is_empty() {
            let is_torn = rest.len() > 1 && rng.below(100) < weather.torn;
            let length = if is_torn { 1 + below(rng, rest.len() - 1) } else { rest.len() };
            let (chunk, behind) = rest.split_at(length);
            rest = behind;
            self.last = self.last.max(now + Millis(rng.below(weather.delay_max_ms + 1)));
            self.chunks.push_back((self.last, chunk.to_vec()));
            arrivals.push(self.last);
        }
        arrivals
    }

    /// What has arrived, up to the place of a cut.
    pub(crate) fn arrived(&mut self, now: Instant) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some((_, chunk)) = self.chunks.pop_front_if(|(at, _)| *at <= now) {
            bytes.extend(chunk);
        }
        if let Some(limit) = self.limit {
            bytes.truncate(usize::try_from(limit.saturating_sub(self.delivered)).unwrap());
        }
        self.delivered += bytes.len() as u64;
        bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Whether a cut lets nothing more through.
    pub(crate) fn is_cut(&self) -> bool {
        self.limit.is_some_and(|limit| self.delivered >= limit)
    }

    /// When the last bytes under way arrive.
    pub(crate) fn last(&self) -> Instant {
        self.last
    }
}

/// The tag of a request: the number behind the first `#` of its body.
fn tag_in(frame: &[u8]) -> Option<u32> {
    let frame = frame.get(4 + HEADER_LEN..)?;
    let at = frame.iter().position(|byte| *byte == b'#')?;
    let digits = frame[at + 1..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.map(|digit| char::from(*digit)).collect::<String>().parse().ok()
}

pub(crate) fn below(rng: &mut Rng, bound: usize) -> usize {
    usize::try_from(rng.below(bound as u64)).unwrap()
}
