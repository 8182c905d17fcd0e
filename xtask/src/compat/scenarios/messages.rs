//! Messages both ways, in both encodings.

use serde_json::{Value, json};

use super::steps::{RR, Scenario, cluster, end, fork, gone, setup};
use crate::compat::stage::{Played, Stage};

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "messages", policies: RR, play: messages },
    Scenario { name: "messages-before-online", policies: RR, play: before_online },
    Scenario { name: "messages-after-the-end", policies: RR, play: after_the_end },
    Scenario { name: "large-messages", policies: RR, play: large },
    Scenario { name: "lone-surrogates", policies: RR, play: lone_surrogates },
    Scenario { name: "unknown-acts", policies: RR, play: unknown_acts },
    Scenario { name: "structured-clones", policies: RR, play: structured_clones },
];

/// Each message once from the primary to the worker, and once back.
fn both_ways(stage: &mut Stage<'_>, messages: Vec<Value>) -> Played {
    for message in messages {
        stage.primary(json!({ "do": "send", "worker": 1, "message": message }))?;
        stage.worker_sees(1, "message")?;
        stage.worker(1, json!({ "do": "send", "message": message }))?;
        stage.sees(1, "message")?;
    }
    Ok(())
}

fn messages(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 1)?;
    both_ways(
        stage,
        vec![
            json!(null),
            json!(true),
            json!(0),
            json!(-1),
            json!(1.5),
            json!(9_007_199_254_740_991_i64),
            json!(1e300),
            json!(""),
            json!("ünï\n\u{2028}\"\\\u{0} 😀"),
            json!([]),
            json!([1, [2, [3, "four"]]]),
            json!({}),
            json!({ "b": 1, "a": { "c": [null, false] }, "": "" }),
            json!({ "cmd": "mine" }),
            json!({ "cmd": "NODE" }),
        ],
    )?;
    end(stage, &[1])
}

fn before_online(stage: &mut Stage<'_>) -> Played {
    setup(stage, json!({}))?;
    stage.primary(json!({ "do": "fork" }))?;
    let sends: Played<Vec<u64>> = (0..3)
        .map(|n| {
            let order = json!({ "do": "send", "worker": 1, "message": n });
            stage.begin(crate::compat::trace::Party::Primary, order)
        })
        .collect();
    for n in sends? {
        stage.answer(n)?;
    }
    for _ in 0..3 {
        stage.worker_sees(1, "message")?;
    }
    stage.sees(1, "online")?;
    end(stage, &[1])
}

fn after_the_end(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 1)?;
    stage.primary(json!({ "do": "kill", "worker": 1, "signal": "SIGKILL" }))?;
    gone(stage, 1)?;
    stage.primary(json!({ "do": "send", "worker": 1, "message": "late" }))?;
    Ok(())
}

fn large(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 1)?;
    let long = |character: &str, times: u32| json!({ "$type": "repeated", "value": character, "times": times });
    both_ways(stage, vec![long("x", 300_000), json!([long("é", 20_000), long("€", 30_000)])])?;
    end(stage, &[1])
}

fn lone_surrogates(stage: &mut Stage<'_>) -> Played {
    for serialization in ["json", "advanced"] {
        setup(stage, json!({ "serialization": serialization }))?;
        let worker = fork(stage)?;
        for units in
            [&[0xD800][..], &[0x61, 0xDC00, 0x62], &[0xD83D, 0xDE00, 0xDBFF, 0xDFFF, 0xDFFF]]
        {
            let message = json!([{ "text": { "$type": "Utf16", "value": units } }, "😀"]);
            stage.primary(json!({ "do": "send", "worker": worker, "message": message }))?;
            stage.worker_sees(worker, "message")?;
            stage.worker(worker, json!({ "do": "send", "message": message }))?;
            stage.sees(worker, "message")?;
        }
    }
    end(stage, &[1, 2])
}

/// What neither a primary nor a program knows is ignored.
fn unknown_acts(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 1)?;
    for message in [
        json!({ "cmd": "NODE_CLUSTER", "act": "unknown" }),
        json!({ "cmd": "NODE_CLUSTER" }),
        json!({ "cmd": "NODE_UNHEARD_OF" }),
    ] {
        stage.worker(1, json!({ "do": "send", "message": message }))?;
    }
    stage.worker(1, json!({ "do": "send", "message": "still here" }))?;
    stage.sees(1, "message")?;
    end(stage, &[1])
}

fn structured_clones(stage: &mut Stage<'_>) -> Played {
    setup(stage, json!({ "serialization": "advanced" }))?;
    fork(stage)?;
    let tag = |name: &str, value: Value| json!({ "$type": name, "value": value });
    let values = vec![
        json!({ "plain": [1, "two", null], "none": { "$type": "undefined" } }),
        tag("BigInt", json!("-123456789abcdef0123456789")),
        tag("Number", json!("-0")),
        tag("Number", json!("NaN")),
        tag("Date", json!(1_700_000_000_000_i64)),
        json!({ "$type": "RegExp", "value": "a+\\/b", "flags": "gi" }),
        tag("Map", json!([["k", 1], [{ "o": 1 }, tag("Set", json!([1, "two"]))]])),
        tag("Buffer", json!("AAECAw==")),
        tag("Uint8Array", json!("AAECAw==")),
        tag("Float64Array", json!("AAAAAAAA8D8=")),
        json!({ "$type": "TypeError", "value": "no such thing",
                "cause": tag("RangeError", json!("out of it")) }),
    ];
    // Node sends no bare BigInt.
    both_ways(stage, values.into_iter().map(|value| json!([value])).collect())?;
    end(stage, &[1])
}
