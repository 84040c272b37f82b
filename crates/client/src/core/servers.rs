//! The servers of an ensemble as a client goes through them: shuffled once, then in turn, and balanced anew when the
//! list changes at run time.

use std::fmt;
use std::sync::Arc;

use gk_proto::rng::Rng;

/// Where one server of the ensemble takes clients. The name is resolved at every attempt.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServerAddress {
    /// A name or an address; an IPv6 address without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The list, and whose turn it is.
///
/// - It is never empty.
/// - Within one round each server comes once.
#[derive(Debug)]
pub(super) struct ServerList {
    order: Vec<Arc<ServerAddress>>,
    next: usize,
    tried: usize,
}

impl ServerList {
    /// In an order of its own, so that the clients of an ensemble spread over it.
    pub(super) fn new(mut servers: Vec<Arc<ServerAddress>>, rng: &mut Rng) -> Self {
        assert!(!servers.is_empty(), "a client without servers");
        shuffle(&mut servers, rng);
        Self { order: servers, next: 0, tried: 0 }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Whose turn it is.
    pub(super) fn take(&mut self) -> Arc<ServerAddress> {
        let server = self.order[self.next % self.order.len()].clone();
        self.next = (self.next + 1) % self.order.len();
        self.tried += 1;
        server
    }

    /// How many whole rounds have been tried in vain.
    pub(super) fn rounds(&self) -> usize {
        self.tried / self.order.len()
    }

    /// Whether the next attempt begins a round that is not the first.
    pub(super) fn begins_round(&self) -> bool {
        self.tried > 0 && self.tried.is_multiple_of(self.order.len())
    }

    /// A server took us: the next attempts are a first round again.
    pub(super) fn succeeded(&mut self) {
        self.tried = 0;
    }

    /// Makes this server the next one.
    pub(super) fn prefer(&mut self, server: &ServerAddress) {
        if let Some(at) = self.order.iter().position(|other| **other == *server) {
            self.next = at;
        }
    }

    /// Takes another list, and says whether the connection to `current` is to be left so that load stays even.
    ///
    /// The rule is that of the Java client (`StaticHostProvider.updateServerList`): when servers are added, each client
    /// moves to a new one with the probability that leaves all equally loaded; when the server in use was removed, it
    /// moves to a remaining old one or a new one with the probabilities that do.
    pub(super) fn update(
        &mut self,
        mut servers: Vec<Arc<ServerAddress>>,
        current: Option<&ServerAddress>,
        rng: &mut Rng,
    ) -> bool {
        assert!(!servers.is_empty(), "a client without servers");
        let before = self.order.len();
        shuffle(&mut servers, rng);
        let (kept, added): (Vec<_>, Vec<_>) = servers.into_iter().partition(|server| self.order.contains(server));
        let after = kept.len() + added.len();
        let stays = current.is_some_and(|current| kept.iter().chain(&added).any(|server| **server == *current));
        let (leave, to_added) = if stays {
            // One in `after` clients' worth of load for each server: of `before` such shares, `after - before` move.
            let leave = after > before && chance(rng, after - before, after);
            (leave, leave)
        } else if after > before {
            (true, true)
        } else {
            // Those left without a server go to kept ones so that each server ends with 1/after of all clients.
            let removed = before - kept.len();
            let to_kept = removed > 0 && chance(rng, kept.len() * (before - after), after * removed);
            (true, !to_kept)
        };
        let (first, then) = if to_added { (added, kept) } else { (kept, added) };
        self.order = first.into_iter().chain(then).collect();
        self.next = 0;
        self.tried = 0;
        leave && current.is_some()
    }
}

/// True in `part` of `whole` draws.
fn chance(rng: &mut Rng, part: usize, whole: usize) -> bool {
    rng.below(whole as u64) < part as u64
}

fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for at in (1..items.len()).rev() {
        let other = usize::try_from(rng.below(at as u64 + 1)).expect("INVARIANT: below a usize");
        items.swap(at, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(names: std::ops::Range<u16>) -> Vec<Arc<ServerAddress>> {
        names.map(|port| Arc::new(ServerAddress { host: "h".into(), port })).collect()
    }

    #[test]
    fn every_server_comes_once_a_round() {
        let mut rng = Rng::new(1);
        let mut list = ServerList::new(servers(0..5), &mut rng);
        for round in 0..3 {
            assert_eq!(list.rounds(), round, "rounds");
            assert_eq!(list.begins_round(), round > 0, "a later round begins");
            let mut taken: Vec<_> = (0..5).map(|_| list.take().port).collect();
            taken.sort_unstable();
            assert_eq!(taken, [0, 1, 2, 3, 4], "round {round}");
        }
    }

    #[test]
    fn clients_do_not_begin_with_the_same_server() {
        let mut firsts = [0; 3];
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            firsts[usize::from(ServerList::new(servers(0..3), &mut rng).take().port)] += 1;
        }
        assert!(firsts.iter().all(|count| *count > 60), "{firsts:?}");
    }

    /// Where 12,000 clients, spread evenly over `before`, are after the change.
    fn spread(before: std::ops::Range<u16>, after: std::ops::Range<u16>) -> Vec<u32> {
        let mut load = vec![0; usize::from(after.end)];
        for client in 0..12_000 {
            let mut rng = Rng::new(client);
            let mut list = ServerList::new(servers(before.clone()), &mut rng);
            let current = list.take();
            let leave = list.update(servers(after.clone()), Some(&current), &mut rng);
            let port = if leave { list.take().port } else { current.port };
            load[usize::from(port)] += 1;
        }
        load
    }

    #[test]
    fn load_stays_even_when_servers_are_added_removed_or_exchanged() {
        for (before, after) in [(0..3, 0..5), (0..5, 0..3), (0..3, 1..4), (0..5, 3..6), (0..2, 2..4), (0..3, 0..3)] {
            let load = spread(before.clone(), after.clone());
            let fair = 12_000 / u32::from(after.end - after.start);
            for port in after.clone() {
                let here = load[usize::from(port)];
                assert!(here.abs_diff(fair) < fair / 10, "{before:?} to {after:?}: {load:?}");
            }
        }
    }

    #[test]
    fn a_client_whose_server_stays_moves_only_when_there_are_more() {
        let mut rng = Rng::new(3);
        let mut list = ServerList::new(servers(0..3), &mut rng);
        let current = list.take();
        assert!(!list.update(servers(0..3), Some(&current), &mut rng), "the same list");
        let moved = (0..300).filter(|seed| {
            let mut rng = Rng::new(*seed);
            let mut list = ServerList::new(servers(0..3), &mut rng);
            let current = list.take();
            list.update(servers(0..6), Some(&current), &mut rng)
        });
        assert!((100..200).contains(&moved.count()), "half of the clients move to twice the servers");
    }

    #[test]
    fn ipv6_addresses_are_shown_in_brackets() {
        let address = ServerAddress { host: "::1".into(), port: 2181 };
        assert_eq!(address.to_string(), "[::1]:2181");
    }
}
