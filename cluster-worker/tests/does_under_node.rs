//! A Rust worker under real Node primaries, verb by verb: descriptors in messages, and every way to
//! listen.

#[path = "support/node.rs"]
mod support;

fn run(scenario: &str) {
    support::run("does.cjs", "doer", scenario);
}

#[test]
fn descriptors_from_the_primary_are_used() {
    run("handles_down");
}

#[test]
fn descriptors_for_the_primary_arrive() {
    run("handles_up");
}

#[test]
fn connections_that_were_sent_away_are_counted_both_ways() {
    run("counts");
}

#[test]
fn both_sides_send_descriptors_at_once() {
    run("both");
}

#[test]
fn listens_on_every_form_of_address() {
    run("addresses");
}

#[test]
fn listens_on_paths() {
    run("paths");
}

#[test]
fn binds_datagram_sockets() {
    run("datagrams");
}

#[test]
fn has_sockets_of_its_own() {
    run("own_sockets");
}

#[test]
fn custom_data_goes_to_all() {
    run("data");
}

#[test]
fn closes_and_listens_again() {
    run("again");
}

#[test]
fn errors_arrive_and_a_listen_can_be_tried_again() {
    run("errors");
}

#[test]
fn closing_under_hand_offs_loses_none_that_another_can_take() {
    run("in_flight");
}

#[test]
fn a_closed_channel_ends_the_process() {
    run("goes_without_a_word");
}

#[test]
fn a_message_that_nests_too_deep_is_lost_and_no_other() {
    run("deep");
    run("deep+advanced");
}

#[test]
fn structured_clones_come_back_as_they_went() {
    run("values+advanced");
}

#[test]
fn on_an_advanced_channel_all_is_as_on_one_of_json() {
    for scenario in ["handles_down", "handles_up", "counts", "both", "addresses", "data", "errors"]
    {
        run(&format!("{scenario}+advanced"));
    }
}
