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
    Requests,
    Connections,
    InFlight,
    Active,
    Held,
    Ack,
    Delay,
    Cpu,
    Rss,
    Heap,
}

use Column::{
    Ack, Active, Age, Connections, Cpu, Delay, Generation, Heap, Held, InFlight, Pid, Requests,
    Restarts, Rss, Slot, State,
};

impl Column {
    pub(super) const ALL: [Self; 18] = [
        Slot,
        Self::Worker,
        Pid,
        State,
        Generation,
        Age,
        Restarts,
        Self::Rate,
        Requests,
        Connections,
        InFlight,
        Active,
        Held,
        Ack,
        Delay,
        Cpu,
        Rss,
        Heap,
    ];

    /// Those about what agents report.
    const OF_AGENTS: [Self; 4] = [Requests, Active, Delay, Heap];

    /// Those that one can sort by, in the order of the key.
    const SORTABLE: [Self; 11] =
        [Slot, Self::Rate, Requests, Active, Delay, Cpu, Rss, Heap, InFlight, Ack, Age];

    /// Those that go first where there is no room for all.
    const EXPENDABLE: [Self; 12] = [
        Self::Worker,
        Held,
        Generation,
        Restarts,
        Heap,
        Age,
        Connections,
        Pid,
        InFlight,
        Active,
        Delay,
        Ack,
    ];

    /// Those that fit into that many columns of the terminal, with a space between two.
    pub(super) fn that_fit(width: u16, has_agents: bool) -> Vec<Self> {
        let mut columns = Self::ALL.to_vec();
        columns.retain(|column| column.is_known(has_agents));
        let needed = |columns: &[Self]| columns.iter().map(|c| c.width() + 1).sum::<u16>();
        for expendable in Self::EXPENDABLE {
            if needed(&columns) <= width + 1 {
                break;
            }
            columns.retain(|column| *column != expendable);
        }
        columns
    }

    /// Whether there is anything to show in it.
    fn is_known(self, has_agents: bool) -> bool {
        has_agents || !Self::OF_AGENTS.contains(&self)
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
            Requests => "REQ/S",
            Connections => "CONNS",
            InFlight => "FLIGHT",
            Active => "ACTIVE",
            Held => "HELD",
            Ack => "ACK",
            Delay => "DELAY",
            Cpu => "CPU",
            Rss => "RSS",
            Heap => "HEAP",
        }
    }

    /// How wide it is, with the mark of the column that is sorted by.
    pub(super) fn width(self) -> u16 {
        match self {
            State => 8,
            Pid | Self::Rate | InFlight | Active | Self::Worker => 7,
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
            Requests => or_dash(rates.requests, rate),
            Connections => or_dash(worker.connections, count),
            InFlight => or_dash(worker.in_flight, count),
            Active => or_dash(worker.active(), count),
            Held => or_dash(worker.held, count),
            Ack => or_dash(ack(worker), latency),
            Delay => or_dash(worker.delay_p99_us(), |us| latency(us as f64)),
            Cpu => or_dash(rates.cpu, percent),
            Rss => or_dash(worker.rss_bytes, bytes),
            Heap => or_dash(worker.heap_used_bytes(), bytes),
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
            Requests => most(|_, rate| rate.requests),
            Active => most(|worker, _| worker.active().map(|n| n as f64)),
            Delay => most(|worker, _| worker.delay_p99_us().map(|us| us as f64)),
            Heap => most(|worker, _| worker.heap_used_bytes().map(|bytes| bytes as f64)),
            Cpu => most(|_, rate| rate.cpu),
            Rss => most(|worker, _| worker.rss_bytes.map(|rss| rss as f64)),
            InFlight => most(|worker, _| worker.in_flight.map(|n| n as f64)),
            Ack => most(|worker, _| ack(worker)),
            Age => most(|worker, _| worker.age_ms.map(|ms| ms as f64)),
            _ => Ordering::Equal,
        };
        first.then(by_slot)
    }

    pub(super) fn next(self, has_agents: bool) -> Self {
        self.first_known(Self::SORTABLE.iter(), has_agents)
    }

    pub(super) fn previous(self, has_agents: bool) -> Self {
        self.first_known(Self::SORTABLE.iter().rev(), has_agents)
    }

    /// The first after this one, going round, that shows anything.
    fn first_known<'a>(
        self,
        order: impl Iterator<Item = &'a Self> + Clone,
        has_agents: bool,
    ) -> Self {
        let round = order.clone().chain(order);
        let mut after = round.skip_while(|column| **column != self).skip(1);
        after.find(|column| column.is_known(has_agents)).copied().unwrap_or_default()
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
        let rate = |worker: &Worker| Rate {
            connections: Some(f64::from(worker.worker)),
            ..Rate::default()
        };
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
        for column in [Active, Delay, Heap] {
            assert_eq!(sorted(column), [5, 2, 6, 4], "{column:?}: only one has an agent");
        }
    }

    #[test]
    fn the_key_goes_round() {
        for (has_agents, columns) in [(true, 11), (false, 7)] {
            let mut column = Column::default();
            for _ in 0..columns {
                assert_eq!(column.next(has_agents).previous(has_agents), column);
                column = column.next(has_agents);
                assert!(has_agents || !Column::OF_AGENTS.contains(&column), "{column:?}");
            }
            assert_eq!(column, Column::default());
        }
        // The last worker with an agent has gone.
        assert_eq!((Delay.next(false), Delay.previous(false)), (Cpu, Column::Rate));
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
        assert_eq!(Column::that_fit(130, true), Column::ALL);
        for width in [120, 100, 80, 60, 50] {
            for has_agents in [true, false] {
                let columns = Column::that_fit(width, has_agents);
                let taken: u16 = columns.iter().map(|column| column.width() + 1).sum();
                assert!(taken <= width + 1, "{width}: {columns:?}");
            }
        }
        let usual = Column::that_fit(80, true);
        let expected =
            [Slot, State, Column::Rate, Requests, InFlight, Active, Ack, Delay, Cpu, Rss];
        assert_eq!(usual, expected);
        let fewest = Column::that_fit(10, true);
        assert_eq!(fewest, [Slot, State, Column::Rate, Requests, Cpu, Rss]);
    }

    #[test]
    fn without_agents_there_are_no_columns_for_them() {
        let columns = Column::that_fit(100, false);
        assert_eq!(columns.len(), 14);
        assert!(Column::OF_AGENTS.iter().all(|column| !columns.contains(column)), "{columns:?}");
        let fewest = Column::that_fit(43, false);
        assert_eq!(fewest, [Slot, State, Column::Rate, Ack, Cpu, Rss]);
    }
}
