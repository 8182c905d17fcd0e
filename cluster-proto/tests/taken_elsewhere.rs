//! A deframer and a gate that are made from the state of others do what those would have done, and
//! no state makes them panic.

use cluster_proto::{
    Deframer, DeframerState, FrameClass, Framing, Gate, GateOutput, GateState, StateError,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// As it comes out of another process.
fn read_back<T: serde::Serialize + serde::de::DeserializeOwned>(state: &T) -> T {
    serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap()
}

/// All that a deframer says of the pieces, and whether it is another one from each piece on.
fn deframe(pieces: &[(Vec<u8>, bool)], lines: bool, max_frame: usize, anew: bool) -> Vec<String> {
    let framing = if lines { Framing::Line } else { Framing::Length };
    let mut deframer = Deframer::new(framing).max_frame(max_frame);
    let mut seen = Vec::new();
    for (piece, change) in pieces {
        deframer.extend(piece);
        if anew {
            deframer = Deframer::from_state(read_back(&deframer.state())).unwrap();
        }
        if *change {
            deframer.set_framing(Framing::Length);
        }
        loop {
            let frame = deframer.next_frame();
            seen.push(format!("{frame:?}"));
            if !matches!(frame, Ok(Some(_))) {
                break;
            }
        }
        seen.push(format!("{} {}", deframer.buffered(), deframer.position()));
    }
    seen
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Submit(FrameClass),
    Ack,
    Nack,
    Poll,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Submit(FrameClass::Plain)),
        1 => Just(Step::Submit(FrameClass::Answer)),
        2 => Just(Step::Submit(FrameClass::Connection)),
        4 => any::<bool>().prop_map(|resend| Step::Submit(FrameClass::Handle { resend })),
        4 => Just(Step::Ack),
        4 => Just(Step::Nack),
        6 => Just(Step::Poll),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_same_frames_come_out(
        pieces in vec(
            (vec(prop_oneof![Just(b'\n'), Just(0), 0_u8..8, any::<u8>()], 0..30), any::<bool>()),
            0..30,
        ),
        lines: bool,
        max_frame in prop_oneof![0_usize..40, Just(100_000)],
    ) {
        let seen = deframe(&pieces, lines, max_frame, false);
        prop_assert_eq!(deframe(&pieces, lines, max_frame, true), seen);
    }

    #[test]
    fn frames_go_in_the_same_order(window in 1_usize..5, steps in vec((step(), any::<bool>()), 0..80)) {
        let (mut one, mut other) = (Gate::with_window(window), Gate::with_window(window));
        for (key, (step, anew)) in (0_u32..).zip(steps) {
            match step {
                Step::Submit(class) => [&mut one, &mut other].map(|gate| gate.submit(class, key)),
                Step::Ack => {
                    prop_assert_eq!(one.ack(), other.ack());
                    [(); 2]
                }
                Step::Nack => {
                    prop_assert_eq!(one.nack(), other.nack());
                    [(); 2]
                }
                Step::Poll => {
                    prop_assert_eq!(one.poll_output(), other.poll_output());
                    [(); 2]
                }
            };
            if anew {
                let state: GateState<u32> = read_back(&other.state());
                other = Gate::from_state(state).unwrap();
            }
            prop_assert_eq!(one.is_open(), other.is_open());
            prop_assert_eq!(one.is_idle(), other.is_idle());
            prop_assert_eq!((one.held(), one.in_flight()), (other.held(), other.in_flight()));
        }
        while let Some(output) = one.poll_output() {
            prop_assert_eq!(other.poll_output(), Some(output));
        }
        prop_assert_eq!(other.poll_output(), None);
    }
}

fn deframer(json: &str) -> Result<Deframer, StateError> {
    Deframer::from_state(serde_json::from_str::<DeframerState>(json).unwrap())
}

fn gate(json: &str) -> Result<Gate<u32>, StateError> {
    Gate::from_state(serde_json::from_str::<GateState<u32>>(json).unwrap())
}

#[test]
fn the_form_is_stable_and_what_is_not_known_is_passed_over() {
    let text = r#"{"framing":"Line","max_frame":9,"bytes":"610a62","position":7,"newer":1}"#;
    let mut deframer = deframer(text).unwrap();
    assert_eq!(deframer.next_frame().unwrap().unwrap().range, 7..9);
    assert_eq!(deframer.buffered(), 1);
    let mut gate = gate(
        r#"{"window":1,"under_way":[{"key":1,"class":{"Handle":{"resend":true}},"resends":3}],
            "held":[["Plain",2],["Connection",3]],"output":[],"spare_answers":0,"newer":[]}"#,
    )
    .unwrap();
    gate.nack().unwrap();
    let outputs: Vec<_> = std::iter::from_fn(|| gate.poll_output()).collect();
    let (two, three) = (GateOutput::Send(2), GateOutput::Send(3));
    assert_eq!(outputs, [GateOutput::Undelivered(1), two, three]);
}

#[test]
fn what_cannot_be_is_an_error() {
    let position = format!(
        r#"{{"framing":"Line","max_frame":9,"bytes":"","position":{},"failed":null}}"#,
        u64::MAX
    );
    let error = deframer(&position).unwrap_err();
    assert_eq!(error, StateError::OutOfRange { what: "a deframer's position" });
    assert_eq!(error.to_string(), "a number is out of range: a deframer's position");
    let failed =
        r#"{"framing":"Length","max_frame":9,"bytes":"00","position":0,"failed":{"limit":9}}"#;
    assert!(matches!(deframer(failed), Err(StateError::Contradiction { .. })));

    for wrong in [
        r#"{"window":0,"under_way":[],"held":[],"output":[],"spare_answers":0}"#,
        r#"{"window":1,"under_way":[{"key":1,"class":"Plain","resends":0}],"held":[],"output":[],"spare_answers":0}"#,
        r#"{"window":1,"under_way":[{"key":1,"class":"Connection","resends":1}],"held":[],"output":[],"spare_answers":0}"#,
        r#"{"window":1,"under_way":[{"key":1,"class":{"Handle":{"resend":true}},"resends":4}],"held":[],"output":[],"spare_answers":0}"#,
        r#"{"window":1,"under_way":[],"held":[["Answer",1]],"output":[],"spare_answers":0}"#,
    ] {
        assert!(gate(wrong).is_err(), "{wrong}");
    }
    // A peer may be allowed any number of answers too many.
    let text = format!(
        r#"{{"window":1,"under_way":[{{"key":1,"class":{{"Handle":{{"resend":true}}}},"resends":3}}],
            "held":[],"output":[],"spare_answers":{}}}"#,
        u32::MAX
    );
    assert_eq!(gate(&text).unwrap().ack(), Ok(()));
}
