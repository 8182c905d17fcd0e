//! The columns of `cluster top`.

use std::cmp::Ordering;

use super::rates::Rate;
use crate::status::Worker;
use crate::status::units::{bytes, count, latency, or_dash, percent, rate, time};

/// A column, in the order in which they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Column {
    #[default]
    Slot,
    Worker,
    Pid,
    State,
    Generation,
    Age,
    Restarts,
    Rate,
    Connections,
    InFlight,
    Held,
    Ack,
    Cpu,
    Rss,
}

use Column::{
    Ack, Age, Connections, Cpu, Generation, Held, InFlight, Pid, Restarts, Rss, Slot, State,
};

impl Column {
    pub(super) const ALL: [Self; 14] = [
        Slot,
        Self::Worker,
        Pid,
        State,
        Generation,
        Age,
        Restarts,
        Self::Rate,
        Connections,
        InFlight,
        Held,
        Ack,
        Cpu,
        Rss,
    ];

    /// Those that one can sort by, in the order of the key.
    const SORTABLE: [Self; 7] = [Slot, Self::Rate, Cpu, Rss, InFlight, Ack, Age];

    /// Those that go first where there is no room for all.
    const EXPENDABLE: [Self; 8] =
        [Self::Worker, Held, Generation, Restarts, Age, Connections, Pid, InFlight];

    /// Those that fit into that many columns of the terminal, with a space between two.
    pub(super) fn that_fit(width: u16) -> Vec<Self> {
        let mut columns = Self::ALL.to_vec();
        let needed = |columns: &[Self]| columns.iter().map(|c| c.width() + 1).sum::<u16>();
        for expendable in Self::EXPENDABLE {
            if needed(&columns) <= width + 1 {
                break;
            }
            columns.retain(|column| *column != expendable);
        }
        columns
    }

    pub(super) fn head(self) -> &'static str {
        match self {
            Slot => "SLOT",
            Self::Worker => "WORKER",
            Pid => "PID",
            State => "STATE",
            Generation => "GEN",
            Age => "AGE",
            Restarts => "RST",
            Self::Rate => "CONN/S",
            Connections => "CONNS",
            InFlight => "FLIGHT",
            Held => "HELD",
            Ack => "ACK",
            Cpu => "CPU",
            Rss => "RSS",
        }
    }

    /// How wide it is, with the mark of the column that is sorted by.
    pub(super) fn width(self) -> u16 {
        match self {
            State => 8,
            Pid | Self::Rate | InFlight | Self::Worker => 7,
            Generation | Restarts => 4,
            Slot | Held => 5,
            _ => 6,
        }
    }

    pub(super) fn is_words(self) -> bool {
        self == State
    }

    pub(super) fn cell(self, worker: &Worker, rates: Rate) -> String {
        match self {
            Slot => worker.slot.to_string(),
            Self::Worker => worker.worker.to_string(),
            Pid => or_dash(worker.pid, |pid| pid.to_string()),
            State => worker.state.as_str().into(),
            Generation => or_dash(worker.generation, count),
            Age => or_dash(worker.age_ms, time),
            Restarts => or_dash(worker.restarts, count),
            Self::Rate => or_dash(rates.connections, rate),
            Connections => or_dash(worker.connections, count),
            InFlight => or_dash(worker.in_flight, count),
            Held => or_dash(worker.held, count),
            Ack => or_dash(ack(worker), latency),
            Cpu => or_dash(rates.cpu, percent),
            Rss => or_dash(worker.rss_bytes, bytes),
        }
    }

    /// Which of two comes first: slots as they are numbered, of all else the most.
    pub(super) fn order(self, a: (&Worker, Rate), b: (&Worker, Rate)) -> Ordering {
        let most = |of: fn(&Worker, Rate) -> Option<f64>| {
            let [a, b] = [of(a.0, a.1), of(b.0, b.1)].map(|value| value.unwrap_or(-1.0));
            b.total_cmp(&a)
        };
        let by_slot = (a.0.slot, a.0.worker).cmp(&(b.0.slot, b.0.worker));
        let first = match self {
            Self::Rate => most(|_, rate| rate.connections),
            Cpu => most(|_, rate| rate.cpu),
            Rss => most(|worker, _| worker.rss_bytes.map(|rss| rss as f64)),
            InFlight => most(|worker, _| worker.in_flight.map(|n| n as f64)),
            Ack => most(|worker, _| ack(worker)),
            Age => most(|worker, _| worker.age_ms.map(|ms| ms as f64)),
            _ => Ordering::Equal,
        };
        first.then(by_slot)
    }

    pub(super) fn next(self) -> Self {
        self.along(1)
    }

    pub(super) fn previous(self) -> Self {
        self.along(Self::SORTABLE.len() - 1)
    }

    fn along(self, by: usize) -> Self {
        let at = Self::SORTABLE.iter().position(|column| *column == self).unwrap_or_default();
        Self::SORTABLE[(at + by) % Self::SORTABLE.len()]
    }
}

fn ack(worker: &Worker) -> Option<f64> {
    worker.ack_latency.as_ref()?.mean_us
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::full;

    fn sorted(by: Column) -> Vec<u32> {
        let status = full();
        let mut workers: Vec<_> = status.workers.iter().collect();
        let rate =
            |worker: &Worker| Rate { connections: Some(f64::from(worker.worker)), cpu: None };
        workers.sort_by(|a, b| by.order((a, rate(a)), (b, rate(b))));
        workers.into_iter().map(|worker| worker.worker).collect()
    }

    #[test]
    fn slots_go_up_and_all_else_down() {
        assert_eq!(sorted(Slot), [5, 2, 6, 4]);
        assert_eq!(sorted(Column::Rate), [6, 5, 4, 2]);
        assert_eq!(sorted(InFlight), [4, 5, 2, 6]);
        assert_eq!(sorted(Rss), [2, 5, 6, 4], "what is not known comes last");
        assert_eq!(sorted(Cpu), sorted(Slot), "where nothing is known by slot");
    }

    #[test]
    fn the_key_goes_round() {
        let mut column = Column::default();
        for _ in 0..Column::SORTABLE.len() {
            assert_eq!(column.next().previous(), column);
            column = column.next();
        }
        assert_eq!(column, Column::default());
    }

    #[test]
    fn heads_and_cells_fit_their_columns() {
        for column in Column::ALL {
            assert!(
                column.head().len() < usize::from(column.width()),
                "{column:?}: no room for the mark"
            );
            for worker in &full().workers {
                let cell = column.cell(worker, Rate::default());
                assert!(cell.chars().count() <= usize::from(column.width()), "{column:?}: {cell}");
            }
        }
    }

    #[test]
    fn a_narrow_terminal_has_the_most_important() {
        assert_eq!(Column::that_fit(120), Column::ALL);
        for width in [100, 80, 60, 50] {
            let columns = Column::that_fit(width);
            let taken: u16 = columns.iter().map(|column| column.width() + 1).sum();
            assert!(taken <= width + 1, "{width}: {columns:?}");
        }
        let fewest = Column::that_fit(10);
        assert_eq!(fewest, [Slot, State, Column::Rate, Ack, Cpu, Rss]);
    }
}
