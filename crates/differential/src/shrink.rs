//! A difference made small: steps are left out as long as the servers still differ.

use crate::script::{Action, Script, Step};

/// How often the script is played again at most.
const TRIES_MAX: u32 = 250;

/// The smallest script found on which `differs` says yes; `script` is one.
pub(crate) fn shrink(script: &Script, mut differs: impl FnMut(&Script) -> bool) -> Script {
    let mut search = Search { kept: script.clone(), tries: 0, differs: &mut differs };
    search.leave_out_steps();
    search.leave_out_requests();
    search.leave_out_steps();
    search.kept
}

struct Search<'a> {
    kept: Script,
    tries: u32,
    differs: &'a mut dyn FnMut(&Script) -> bool,
}

impl Search<'_> {
    fn attempt(&mut self, steps: Vec<Step>) -> bool {
        self.tries += 1;
        if self.tries > TRIES_MAX {
            return false;
        }
        let less = Script { options: self.kept.options, steps };
        let still = (self.differs)(&less);
        if still {
            self.kept = less;
        }
        still
    }

    /// Leaves out halves, quarters and so on, from the end.
    fn leave_out_steps(&mut self) {
        let mut size = self.kept.steps.len().div_ceil(2);
        while size > 0 {
            let mut end = self.kept.steps.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                let mut steps = self.kept.steps.clone();
                steps.drain(start..end);
                self.attempt(steps);
                end = start.min(self.kept.steps.len());
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }

    /// Leaves out requests of those that were sent at once.
    fn leave_out_requests(&mut self) {
        for at in 0..self.kept.steps.len() {
            let mut number = 0;
            while let Action::Send(frames) = &self.kept.steps[at].action
                && frames.len() > 1
                && number < frames.len()
            {
                let mut steps = self.kept.steps.clone();
                if let Action::Send(frames) = &mut steps[at].action {
                    frames.remove(number);
                }
                if !self.attempt(steps) {
                    number += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(count: usize) -> String {
        (0..count).map(|number| format!("{number} sync \"/{number}\"\n")).collect()
    }

    #[test]
    fn what_does_not_matter_is_left_out() {
        let text = format!("{}3 ping | sync \"/x\" | ping\n{}", steps(40), "1 ping\n".repeat(20));
        let script = Script::parse(&text).unwrap();
        let needed = |script: &Script| {
            let text = script.to_string();
            text.contains("7 sync \"/7\"") && text.contains("sync \"/x\"")
        };
        assert_eq!(shrink(&script, needed).to_string(), "7 sync \"/7\"\n3 sync \"/x\"\n");
    }

    #[test]
    fn what_never_differs_again_is_kept_whole() {
        let script = Script::parse(&steps(9)).unwrap();
        assert_eq!(shrink(&script, |_| false), script);
    }
}
