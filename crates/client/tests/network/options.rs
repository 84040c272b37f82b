//! What a seed draws before it begins: the ensemble, the weather, the limits. Limits are shrunk so that edges are common.

use gk_client::core::{Backoff, Limits};
use gk_proto::Millis;
use gk_proto::rng::Rng;

use crate::network::Weather;

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) servers: usize,
    pub(crate) timeout_ms: u64,
    pub(crate) read_only: bool,
    pub(crate) limits: Limits,
    pub(crate) backoff: Backoff,
    /// Characters added to each name: with long paths the watches need several frames to be set again.
    pub(crate) padding: usize,
    pub(crate) weather: Weather,
    pub(crate) apply_max_ms: u64,
    pub(crate) ops: u32,
    pub(crate) burst_max: u64,
    pub(crate) op_every_ms: u64,
    pub(crate) others_every_ms: u64,
    pub(crate) fault_every_ms: u64,
    /// Of 100 connections, so many are cut at a byte drawn beforehand.
    pub(crate) early_cuts: u64,
    /// Of 100 auths, so many are refused.
    pub(crate) bad_auths: u64,
    /// Of 1,000 operations, so many close the session.
    pub(crate) closes: u64,
    #[cfg(gk_planted_bugs)]
    pub(crate) bug: Option<gk_client::core::Bug>,
}

/// Characters that make a name long.
pub(crate) const PADDING: usize = 16_000;

/// Enough for everything.
const LIMITS: Limits = Limits { requests_max: 10_000, request_bytes_max: 64 << 20, answer_bytes_max: 64 << 20 };

impl Options {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut one_of = |choices: &[u64]| choices[crate::network::below(rng, choices.len())];
        let padding = one_of(&[0, 0, 0, 0, 0, 0, 0, 1]);
        let answer_bytes_max =
            if padding == 0 { one_of(&[64 << 20, 64 << 20, 64 << 20, 64 << 20, 150]) } else { 64 << 20 };
        let requests_max = one_of(&[10_000, 10_000, 30, 4]);
        let request_bytes_max = if padding == 0 { one_of(&[64 << 20, 64 << 20, 1_000]) } else { 64 << 20 };
        let weather = Weather {
            delay_max_ms: one_of(&[0, 2, 10, 40]),
            torn: one_of(&[0, 20, 60]),
            partial: one_of(&[0, 10, 50]),
            refused: one_of(&[0, 10, 40]),
            never: one_of(&[0, 5, 15]),
            late: one_of(&[0, 50, 100]),
        };
        Self {
            servers: usize::try_from(1 + one_of(&[0, 1, 2, 2, 4])).unwrap(),
            timeout_ms: one_of(&[600, 1_500, 3_000, 6_000]),
            read_only: one_of(&[0, 1]) == 1,
            limits: Limits {
                requests_max: usize::try_from(requests_max).unwrap(),
                request_bytes_max: usize::try_from(request_bytes_max).unwrap(),
                answer_bytes_max: usize::try_from(answer_bytes_max).unwrap(),
            },
            backoff: Backoff { first: Millis(one_of(&[1, 20, 200])), max: Millis(one_of(&[50, 500])) },
            padding: usize::try_from(padding).unwrap() * PADDING,
            weather,
            apply_max_ms: one_of(&[0, 5, 20]),
            ops: u32::try_from(one_of(&[100, 200, 400])).unwrap(),
            burst_max: one_of(&[1, 5, 20]),
            op_every_ms: one_of(&[5, 20, 60]),
            others_every_ms: one_of(&[5, 30, 100]),
            fault_every_ms: one_of(&[50, 150, 400, 1_000]),
            early_cuts: one_of(&[0, 10, 30]),
            bad_auths: one_of(&[0, 0, 0, 0, 0, 0, 0, 20]),
            closes: one_of(&[0, 0, 0, 0, 0, 0, 0, 10]),
            #[cfg(gk_planted_bugs)]
            bug: None,
        }
    }

    /// One server, no faults, nothing at random: for scripts.
    pub(crate) fn calm(servers: usize) -> Self {
        Self {
            servers,
            timeout_ms: 3_000,
            read_only: false,
            limits: LIMITS,
            backoff: Backoff { first: Millis(20), max: Millis(500) },
            padding: 0,
            weather: Weather::CALM,
            apply_max_ms: 0,
            ops: 0,
            burst_max: 1,
            op_every_ms: 1,
            others_every_ms: 1,
            fault_every_ms: 1,
            early_cuts: 0,
            bad_auths: 0,
            closes: 0,
            #[cfg(gk_planted_bugs)]
            bug: named_bug(),
        }
    }
}

/// The bug that `GK_BUG` names, to see which scripts notice it.
#[cfg(gk_planted_bugs)]
pub(crate) fn named_bug() -> Option<gk_client::core::Bug> {
    let name = std::env::var("GK_BUG").ok()?;
    let bug = gk_client::core::Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
    Some(bug.expect("GK_BUG names a bug"))
}
