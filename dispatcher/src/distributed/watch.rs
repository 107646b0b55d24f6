//! Who is alive, by one's own clock.
//!
//! A sign of life is a number that rises. Who shows the same one for a whole time-to-live is dead, provided that one looked all
//! the time and every look succeeded: a database that is away says nothing about anybody.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Watches signs of life.
#[derive(Debug)]
pub struct Watch<K> {
    ttl: Duration,
    last_look: Option<Instant>,
    seen: BTreeMap<K, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    sign: Option<u64>,
    /// When this sign was first known.
    since: Instant,
    dead: bool,
}

impl<K: Ord> Watch<K> {
    /// Has seen nobody yet. Takes somebody for dead after `ttl` without a new sign.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, last_look: None, seen: BTreeMap::new() }
    }

    /// Notes the signs of everybody who is of interest, as the answer to a question that was asked and answered then. None
    /// is one who shows no sign at all.
    pub fn look(&mut self, asked: Instant, answered: Instant, signs: impl IntoIterator<Item = (K, Option<u64>)>) {
        // Who did not look himself for long cannot tell whether the others could show themselves.
        if self.last_look.is_some_and(|last| asked.saturating_duration_since(last) > self.ttl / 2) {
            self.look_away();
        }
        self.last_look = Some(answered);
        let mut before = std::mem::take(&mut self.seen);
        for (who, sign) in signs {
            let known = before.remove(&who).filter(|known| sign.is_none() || sign == known.sign);
            let seen = match known {
                Some(known) => Seen { dead: asked.saturating_duration_since(known.since) >= self.ttl, ..known },
                None => Seen { sign, since: answered, dead: false },
            };
            self.seen.insert(who, seen);
        }
    }

    /// A look failed: the watching begins anew.
    pub fn look_away(&mut self) {
        self.seen.clear();
    }

    /// Whether somebody showed no new sign for a whole time-to-live.
    pub fn is_dead(&self, who: &K) -> bool {
        self.seen.get(who).is_some_and(|seen| seen.dead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(5);

    struct Looks {
        watch: Watch<&'static str>,
        now: Instant,
    }

    impl Looks {
        fn new() -> Self {
            Self { watch: Watch::new(TTL), now: Instant::now() }
        }

        /// A look each second, with the same sign.
        fn look(&mut self, seconds: u64, sign: Option<u64>) -> bool {
            for _ in 0..seconds {
                self.now += Duration::from_secs(1);
                self.watch.look(self.now, self.now, [("a", sign)]);
            }
            self.watch.is_dead(&"a")
        }
    }

    #[test]
    fn a_whole_time_to_live_without_a_sign() {
        let mut looks = Looks::new();
        assert!(!looks.watch.is_dead(&"a"));
        assert!(!looks.look(5, Some(1)));
        assert!(looks.look(1, Some(1)));
        assert!(!looks.look(1, Some(2)), "it lives");
        assert!(!looks.look(4, Some(2)));
        assert!(looks.look(1, Some(2)));
    }

    #[test]
    fn an_error_begins_the_watching_anew() {
        let mut looks = Looks::new();
        assert!(!looks.look(5, Some(1)));
        looks.watch.look_away();
        assert!(!looks.look(5, Some(1)));
        assert!(looks.look(1, Some(1)));
        looks.watch.look_away();
        assert!(!looks.watch.is_dead(&"a"));
    }

    #[test]
    fn a_pause_of_the_watcher_is_no_watching() {
        let mut looks = Looks::new();
        assert!(!looks.look(3, Some(1)));
        looks.now += Duration::from_secs(60);
        assert!(!looks.look(5, Some(1)));
        assert!(looks.look(1, Some(1)));
    }

    #[test]
    fn what_is_slow_to_answer_is_not_held_against_anybody() {
        let mut watch = Watch::new(TTL);
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        watch.look(at(0), at(2), [("a", Some(1))]);
        watch.look(at(4), at(6), [("a", Some(1))]);
        watch.look(at(6), at(8), [("a", Some(1))]);
        // The sign may be as young as two seconds and as old as eight.
        assert!(!watch.is_dead(&"a"));
        watch.look(at(8), at(8), [("a", Some(1))]);
        assert!(watch.is_dead(&"a"));
    }

    #[test]
    fn who_vanishes_shows_no_sign() {
        let mut looks = Looks::new();
        assert!(!looks.look(3, Some(1)));
        assert!(!looks.look(2, None));
        assert!(looks.look(1, None));
        assert!(!looks.look(1, Some(1)) || looks.watch.is_dead(&"a"), "back with an old sign is no sign");
        assert!(!looks.look(1, Some(2)));
        looks.watch.look(looks.now, looks.now, [("b", Some(1))]);
        assert!(!looks.watch.is_dead(&"a"), "of no interest any more");
    }
}
