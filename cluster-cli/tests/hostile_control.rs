//! The control run of the hostile suite: without an attack every probe is answered, and the primary keeps
//! its descriptors.

#[path = "support/hostile.rs"]
mod hostile;
mod support;

use hostile::UnderAttack;

#[test]
fn without_an_attack_every_probe_is_answered() {
    let trial = UnderAttack::start(&[], "silent", &[]);
    trial.answered(5);
    let before = trial.cluster.descriptors();
    trial.answered(20);
    let cluster = trial.survived();
    support::eventually("the primary has as many descriptors as before", || {
        (cluster.descriptors() <= before).then_some(())
    });
    cluster.end();
}
