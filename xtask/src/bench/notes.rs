//! What could not be measured, and why.

#[derive(Default)]
pub(crate) struct Notes {
    /// Why, and what all for that reason.
    left_out: Vec<(String, Vec<String>)>,
}

impl Notes {
    /// Says it at once, and remembers it for the end.
    pub(crate) fn left_out(&mut self, what: String, why: String) {
        eprintln!("!!! left out: {what}: {why}");
        match self.left_out.iter_mut().find(|(reason, _)| *reason == why) {
            Some((_, all)) => all.push(what),
            None => self.left_out.push((why, vec![what])),
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |(why, what): &(String, Vec<String>)| {
            format!("left out: {}. The reason: {why}", what.join("; "))
        };
        self.left_out.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Notes;

    #[test]
    fn what_is_left_out_for_one_reason_is_named_together() {
        let mut notes = Notes::default();
        for (what, why) in [("a", "not known"), ("b", "not there"), ("c", "not known")] {
            notes.left_out(what.into(), why.into());
        }
        let expected =
            ["left out: a; c. The reason: not known", "left out: b. The reason: not there"];
        assert_eq!(notes.lines(), expected);
    }
}
