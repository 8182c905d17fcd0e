//! What this project has set itself to reach, and whether this run shows it.

use super::case::{BARE, BARE_BOUNDED, Case, Who};
use super::messages::{AT_ONCE, IN_TURN, Pair, SERIALIZATIONS, TO_PRIMARY, TO_WORKER};
use super::plan::Part;
use super::samples::{Key, Samples};
use super::statistics::Paired;
use super::table;
use super::{agent, at_rest, connections, hostile, refusing};
use crate::node::Node;

pub(crate) struct Bar {
    what: String,
    measure: Measure,
    limit: Limit,
    /// Of what is measured, when it is shown.
    digits: usize,
}

enum Measure {
    /// The number itself.
    Plain(Key),
    /// The worst of these ratios.
    Ratios(Vec<Ratio>),
    /// How much more the first has than the second, measured in pairs: the lower end of the confidence
    /// interval, so that only what the run shows for certain misses the bar.
    Difference { sides: [Key; 2], percent: bool },
}

/// A number, and the best of those it is compared with.
struct Ratio {
    of: Key,
    to: Vec<Key>,
}

#[derive(Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// A bar, judged.
pub(crate) struct Judged {
    pub(crate) what: String,
    pub(crate) limit: String,
    /// None if what it compares was not measured.
    pub(crate) measured: Option<f64>,
    pub(crate) met: Option<bool>,
    digits: usize,
}

pub(crate) fn all(nodes: &[Node]) -> Vec<Bar> {
    let mut bars = of_connections(nodes);
    bars.extend(of_messages(nodes));
    bars.extend(at_rest_and_refusing(nodes));
    bars.extend(of_attacks());
    bars.extend(of_agent(nodes));
    bars
}

fn of_connections(nodes: &[Node]) -> Vec<Bar> {
    let key = |who: &Who, placement, metric| {
        Key::new(Part::Connections, Case::new(who.clone(), placement).id(), metric)
    };
    let bare = |metric| Key::new(Part::Connections, BARE, metric);
    let primary = |who: &Who| key(who, "handoff", connections::PRIMARY);
    let mut bars = vec![Bar::ratio(
        "cluster + Rust, handoff: primary CPU ÷ bare loop".to_owned(),
        primary(&Who::Ours),
        bare(connections::PRIMARY),
        Limit::AtMost(1.25),
    )];
    bars.push(Bar::ratio(
        "bare loop, calls bounded: primary CPU ÷ bare loop".to_owned(),
        Key::new(Part::Connections, BARE_BOUNDED, connections::PRIMARY),
        bare(connections::PRIMARY),
        Limit::AtMost(1.02),
    ));
    let tokio = |who, placement| key(&who, placement, connections::WORKER);
    bars.push(Bar::ratio(
        "cluster + Rust on tokio, kernel: workers' CPU ÷ bare tokio on SO_REUSEPORT".to_owned(),
        tokio(Who::OursOnTokio, "kernel"),
        tokio(Who::BareTokio, "reuseport"),
        Limit::AtMost(1.10),
    ));
    for node in nodes {
        let (version, ours) = (&node.version, Who::OursWithNode(node.clone()));
        let node = Who::Node(node.clone());
        let compared = |what: &str, of: Key, metric, limit| {
            let what = format!("cluster + Node {version}, {what} ÷ Node's RR");
            Bar::ratio(what, of, key(&node, "handoff", metric), limit)
        };
        bars.push(Bar::ratio(
            format!("cluster + Rust, handoff: primary CPU ÷ Node {version}'s"),
            primary(&Who::Ours),
            primary(&node),
            Limit::AtMost(0.25),
        ));
        for (placement, metric, name, limit) in [
            ("handoff", connections::PRIMARY, "primary CPU", Limit::AtMost(0.60)),
            ("handoff", connections::RATE, "connections/s", Limit::AtLeast(1.12)),
            ("kernel", connections::TOTAL, "total CPU", Limit::AtMost(0.5)),
            ("kernel", connections::RATE, "connections/s", Limit::AtLeast(1.5)),
        ] {
            let of = key(&ours, placement, metric);
            bars.push(compared(&format!("{placement}: {name}"), of, metric, limit));
        }
        bars.push(Bar {
            what: format!("cluster + Node {version}, kernel: max/mean, one after the other"),
            measure: Measure::Plain(key(&ours, "kernel", connections::SEQUENTIAL)),
            limit: Limit::AtMost(1.01),
            digits: 3,
        });
    }
    bars
}

fn of_messages(nodes: &[Node]) -> Vec<Bar> {
    let key = |pair: Pair, metric| Key::new(Part::Messages, pair.id(), metric);
    let mut bars = Vec::new();
    for node in nodes {
        let version = &node.version;
        let alone = |serialization, metric| {
            key(Pair::Alone { runtime: "node", node: node.clone(), serialization }, metric)
        };
        // As event loops, as Node's are.
        let ours = |metrics: &[&'static str]| {
            let ratio = |metric| Ratio {
                of: key(Pair::Ours { evented: true }, metric),
                to: SERIALIZATIONS.map(|serialization| alone(serialization, metric)).into(),
            };
            Measure::Ratios(metrics.iter().map(|metric| ratio(*metric)).collect())
        };
        let with_node = |metric: &'static str| {
            let ratio = |serialization| Ratio {
                of: key(Pair::WithNode { node: node.clone(), serialization }, metric),
                to: vec![alone(serialization, metric)],
            };
            Measure::Ratios(SERIALIZATIONS.map(ratio).into())
        };
        let mut add = |what: String, measure, limit| {
            bars.push(Bar { what, measure, limit: Limit::AtLeast(limit), digits: 2 });
        };
        let (who, to) = ("messages, Rust ↔ Rust", format!("÷ Node {version}'s best"));
        add(format!("{who}: round trips one at a time {to}"), ours(&[IN_TURN]), 2.5);
        add(format!("{who}: round trips 64 at a time {to}"), ours(&[AT_ONCE]), 2.5);
        add(format!("{who}: one-way {to}"), ours(&[TO_WORKER, TO_PRIMARY]), 10.0);
        let (who, to) = (format!("messages, Rust ↔ Node {version}"), "÷ Node ↔ Node");
        add(format!("{who}: round trips one at a time {to}"), with_node(IN_TURN), 1.2);
        add(format!("{who}: round trips 64 at a time {to}"), with_node(AT_ONCE), 1.2);
        add(format!("{who}: one-way to worker {to}"), with_node(TO_WORKER), 1.2);
        add(format!("{who}: one-way to primary {to}"), with_node(TO_PRIMARY), 1.2);
    }
    bars
}

fn at_rest_and_refusing(nodes: &[Node]) -> Vec<Bar> {
    let ours = Case::new(Who::Ours, "handoff");
    let plain = |what: &str, part, row: String, metric: &str, limit| Bar {
        what: what.to_owned(),
        measure: Measure::Plain(Key::new(part, row, metric)),
        limit: Limit::AtMost(limit),
        digits: 1,
    };
    let memory = |what, metric: &str, limit| plain(what, Part::Memory, ours.id(), metric, limit);
    let mut bars = vec![
        memory("primary at rest, 2 workers: KiB resident", &at_rest::resident(2), 8192.0),
        memory("primary at rest: KiB per further worker", at_rest::PER_WORKER, 20.0),
    ];
    let with_node = nodes.iter().cloned().map(Who::OursWithNode);
    for who in with_node.chain([Who::Ours]) {
        let case = Case::new(who, "handoff");
        let what = format!("{}: primary CPU % while its one worker refuses", case.title());
        bars.push(plain(&what, Part::Refusing, case.id(), refusing::PRIMARY, 1.0));
    }
    bars
}

fn of_attacks() -> Vec<Bar> {
    let attacks = hostile::all().into_iter().filter(hostile::Hostile::has_bar);
    let bar = |attack: hostile::Hostile| Bar {
        what: format!("attack {}: worst probe of the worker beside it, ms", attack.title()),
        measure: Measure::Plain(Key::new(Part::Hostile, attack.id(), hostile::WORST)),
        limit: Limit::AtMost(250.0),
        digits: 1,
    };
    attacks.map(bar).collect()
}

fn of_agent(nodes: &[Node]) -> Vec<Bar> {
    let bar = |node: &Node, metric: &str, what: &str, percent, limit| {
        let workers = agent::Workers::of(node);
        Bar {
            what: format!("{}: agent, {what}, lower end of the 95 % CI", workers.title()),
            measure: Measure::Difference { sides: agent::sides(&workers.id(), metric), percent },
            limit: Limit::AtMost(limit),
            digits: 2,
        }
    };
    let of_node = |node: &Node| {
        [
            bar(node, agent::START_CPU, "CPU ms until it listens", false, 5.0),
            bar(node, agent::REQUEST_CPU, "CPU % per request", true, 1.0),
        ]
    };
    nodes.iter().flat_map(of_node).collect()
}

impl Bar {
    fn ratio(what: String, of: Key, to: Key, limit: Limit) -> Self {
        let measure = Measure::Ratios(vec![Ratio { of, to: vec![to] }]);
        Self { what, measure, limit, digits: 2 }
    }

    /// The part that measures it.
    pub(crate) fn part(&self) -> Option<Part> {
        match &self.measure {
            Measure::Plain(key) => Some(key.part),
            Measure::Ratios(ratios) => ratios.first().map(|ratio| ratio.of.part),
            Measure::Difference { sides: [key, _], .. } => Some(key.part),
        }
    }

    pub(crate) fn judge(&self, samples: &Samples) -> Judged {
        let measured = match &self.measure {
            Measure::Plain(key) => samples.median(key),
            Measure::Ratios(ratios) => ratios
                .iter()
                .map(|ratio| self.limit.against_best(samples, ratio))
                .reduce(|a, b| Some(self.limit.worse(a?, b?)))
                .flatten(),
            Measure::Difference { sides, percent } => {
                let [first, second] = sides.each_ref().map(|key| samples.values(key));
                let of = |paired: Paired| if *percent { paired.percent } else { paired.difference };
                Paired::of(first, second).map(|paired| of(paired).low())
            }
        };
        let met = measured.map(|value| self.limit.is_met(value));
        Judged {
            what: self.what.clone(),
            limit: self.limit.to_string(),
            measured,
            met,
            digits: self.digits,
        }
    }
}

impl Limit {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }

    fn worse(self, a: f64, b: f64) -> f64 {
        match self {
            Self::AtMost(_) => a.max(b),
            Self::AtLeast(_) => a.min(b),
        }
    }

    /// The ratio to that of the others that is hardest to reach.
    fn against_best(self, samples: &Samples, ratio: &Ratio) -> Option<f64> {
        let ratios = ratio.to.iter().filter_map(|to| samples.ratio(&ratio.of, to));
        ratios.reduce(|a, b| self.worse(a, b))
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "≤ {limit}"),
            Self::AtLeast(limit) => write!(f, "≥ {limit}"),
        }
    }
}

/// "bar, measured, met"
pub(crate) fn render(judged: &[Judged]) -> String {
    let heads = ["bar", "limit", "measured", "met"].map(str::to_owned);
    let row = |bar: &Judged| {
        let met = match bar.met {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "not measured",
        };
        let measured = table::number(bar.measured, bar.digits);
        vec![bar.what.clone(), bar.limit.clone(), measured, met.to_owned()]
    };
    table::render(&heads, &judged.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::samples::Measured;

    fn node() -> Node {
        Node { path: "node".into(), version: "20.1.0".into() }
    }

    fn samples(part: Part, values: &[(String, &str, f64)]) -> Samples {
        let mut samples = Samples::default();
        for (id, metric, value) in values {
            let (id, title) = (id.clone(), id.clone());
            let row = Measured { part, id, title, peer: false, node: None };
            samples.add(&row, [((*metric).to_owned(), *value)]);
        }
        samples
    }

    fn judged(samples: &Samples, what: &str) -> Judged {
        let bars = all(&[node()]);
        let bar = bars.iter().find(|bar| bar.what.contains(what));
        bar.unwrap_or_else(|| panic!("no bar {what}")).judge(samples)
    }

    #[test]
    fn a_ratio_is_met_or_not_or_not_measured() {
        let [ours, bare] = [Case::new(Who::Ours, "handoff").id(), BARE.to_owned()];
        let of = |primary: f64| {
            let metric = connections::PRIMARY;
            let values = [(ours.clone(), metric, primary), (bare.clone(), metric, 10.0)];
            let samples = samples(Part::Connections, &values);
            let judged = judged(&samples, "÷ bare loop");
            (judged.measured, judged.met)
        };
        assert_eq!(of(12.0), (Some(1.2), Some(true)));
        assert_eq!(of(13.0), (Some(1.3), Some(false)));
        assert_eq!(judged(&Samples::default(), "÷ bare loop").met, None);
    }

    #[test]
    fn the_worst_of_ours_is_compared_with_the_best_of_theirs() {
        let alone = |serialization| Pair::Alone { runtime: "node", node: node(), serialization };
        let ours = Pair::Ours { evented: true };
        let values = [
            (ours.clone(), TO_WORKER, 50.0),
            (ours, TO_PRIMARY, 90.0),
            (alone("json"), TO_WORKER, 10.0),
            (alone("json"), TO_PRIMARY, 10.0),
            (alone("advanced"), TO_WORKER, 25.0),
            (alone("advanced"), TO_PRIMARY, 5.0),
        ];
        let values = values.map(|(pair, metric, value)| (pair.id(), metric, value));
        let bar = judged(&samples(Part::Messages, &values), "Rust ↔ Rust: one-way");
        assert_eq!((bar.measured, bar.met), (Some(2.0), Some(false)));
        // Without one of ours nothing is said.
        let bar = judged(&samples(Part::Messages, &values[1..]), "Rust ↔ Rust: one-way");
        assert_eq!(bar.measured, None);
    }

    #[test]
    fn a_difference_is_judged_by_the_lower_end_of_its_interval() {
        let workers = agent::Workers::of(&node());
        let of = |differences: &[f64]| {
            let [with, without] = agent::sides(&workers.id(), agent::START_CPU);
            let pair = |more: &f64| {
                [(workers.id(), &*with.metric, 40.0 + more), (workers.id(), &*without.metric, 40.0)]
            };
            let values: Vec<_> = differences.iter().flat_map(pair).collect();
            judged(&samples(Part::Agent, &values), "agent, CPU ms until it listens")
        };
        // The means are 7, 7 and 1.
        assert_eq!(of(&[6.0, 7.0, 8.0]).met, Some(true));
        assert_eq!(of(&[6.9, 7.0, 7.1]).met, Some(false));
        assert_eq!(of(&[0.9, 1.0, 1.1]).met, Some(true));
        assert_eq!(of(&[9.0]).measured, None);
    }

    #[test]
    fn every_bar_belongs_to_a_part() {
        assert!(all(&[node()]).iter().all(|bar| bar.part().is_some()));
    }

    #[test]
    fn a_list_says_what_is_not_met() {
        let row = Case::new(Who::Ours, "handoff").id();
        let samples = samples(Part::Memory, &[(row, at_rest::PER_WORKER, 21.0)]);
        let text = render(&all(&[]).iter().map(|bar| bar.judge(&samples)).collect::<Vec<_>>());
        let line = text.lines().find(|line| line.contains("further worker")).unwrap();
        assert!(
            line.contains("≤ 20") && line.contains("21.0") && line.contains("NOT MET"),
            "{line}"
        );
        assert!(text.lines().any(|line| line.contains("not measured")));
    }
}
