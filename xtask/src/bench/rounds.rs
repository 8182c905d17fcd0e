//! Rounds: each row in its turn, and that several times over, so that what the machine does meanwhile
//! meets all rows alike.

use std::io;

use super::interrupt;
use super::notes::Notes;
use super::plan::Bench;
use super::samples::{Measured, Samples};

/// Something that can be measured.
pub(crate) trait Row {
    fn row(&self) -> Measured;

    /// One round of it: each metric's number.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] if it does not exist here.
    fn measure(&self, bench: &Bench) -> io::Result<Vec<(String, f64)>>;
}

/// Measures them all. What does not exist here is left out, and so is a peer that does not work;
/// anything else that fails ends it.
pub(crate) fn play<R: Row>(
    bench: &Bench,
    rows: Vec<R>,
    samples: &mut Samples,
    notes: &mut Notes,
) -> io::Result<()> {
    let mut rows: Vec<(Measured, R)> = rows.into_iter().map(|row| (row.row(), row)).collect();
    rows.retain(|(named, _)| bench.is_selected(&named.id));
    let rounds = bench.effort.rounds;
    for round in 1..=rounds {
        let mut left = Vec::with_capacity(rows.len());
        for (named, row) in rows {
            interrupt::check()?;
            let Measured { title, part, .. } = &named;
            eprintln!("{part}, round {round} of {rounds}: {title}");
            match row.measure(bench) {
                Ok(metrics) => {
                    samples.add(&named, metrics);
                    left.push((named, row));
                }
                // If we ended it, that is no failure.
                Err(error) => {
                    interrupt::check()?;
                    let what = format!("{part}: {title}");
                    if error.kind() != io::ErrorKind::Unsupported && !named.peer {
                        return Err(io::Error::new(error.kind(), format!("{what}: {error}")));
                    }
                    notes.left_out(what, error.to_string());
                }
            }
        }
        rows = left;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::bench::plan::Part;

    struct Fake {
        id: &'static str,
        peer: bool,
        fails: Option<io::ErrorKind>,
        measured: Cell<u32>,
    }

    fn fake(id: &'static str, peer: bool, fails: Option<io::ErrorKind>) -> Fake {
        Fake { id, peer, fails, measured: Cell::new(0) }
    }

    impl Row for &Fake {
        fn row(&self) -> Measured {
            let (id, title) = (self.id.to_owned(), self.id.to_owned());
            Measured { part: Part::Memory, id, title, peer: self.peer, node: None }
        }

        fn measure(&self, _: &Bench) -> io::Result<Vec<(String, f64)>> {
            self.measured.set(self.measured.get() + 1);
            match self.fails {
                Some(kind) => Err(kind.into()),
                None => Ok(vec![("n".into(), f64::from(self.measured.get()))]),
            }
        }
    }

    #[test]
    fn what_does_not_exist_and_peers_that_fail_are_left_out_after_one_try() {
        let bench = Bench::for_tests(3);
        let rows = [
            fake("good", false, None),
            fake("new", false, Some(io::ErrorKind::Unsupported)),
            fake("bad peer", true, Some(io::ErrorKind::ConnectionReset)),
        ];
        let (mut samples, mut notes) = (Samples::default(), Notes::default());
        play(&bench, rows.iter().collect(), &mut samples, &mut notes).unwrap();
        assert_eq!(rows.map(|row| row.measured.get()), [3, 1, 1]);
        assert_eq!(samples.rows(Part::Memory).map(|row| &row.id).collect::<Vec<_>>(), ["good"]);
        assert_eq!(notes.lines().len(), 2);
    }

    #[test]
    fn ours_may_not_fail() {
        let bench = Bench::for_tests(3);
        let bad = fake("ours", false, Some(io::ErrorKind::ConnectionReset));
        let error = play(&bench, vec![&bad], &mut Samples::default(), &mut Notes::default());
        assert!(error.unwrap_err().to_string().starts_with("memory: ours: "));
    }
}
