//! Settings, forks, and the ways in which a worker's life ends.

use serde_json::json;

use super::steps::{BOTH, RR, Scenario, client, cluster, end, fork, gone, setup, share};
use crate::compat::stage::{Played, Stage};

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "setup-is-cumulative", policies: RR, play: setup_is_cumulative },
    Scenario { name: "settings-reach-the-worker", policies: RR, play: settings_reach_the_worker },
    Scenario { name: "environment-of-a-fork", policies: RR, play: environment_of_a_fork },
    Scenario { name: "policy-is-frozen", policies: BOTH, play: policy_is_frozen },
    Scenario { name: "output-of-silent-workers", policies: RR, play: output_of_silent_workers },
    Scenario { name: "states-of-a-worker", policies: BOTH, play: states_of_a_worker },
    Scenario { name: "primary-disconnects-worker", policies: BOTH, play: primary_disconnects },
    Scenario { name: "worker-disconnects", policies: BOTH, play: worker_disconnects },
    Scenario { name: "worker-kills-itself", policies: RR, play: worker_kills_itself },
    Scenario { name: "worker-exits", policies: RR, play: worker_exits },
    Scenario { name: "signals", policies: RR, play: signals },
    Scenario { name: "primary-closes-channel", policies: RR, play: primary_closes_channel },
    Scenario { name: "worker-closes-channel", policies: RR, play: worker_closes_channel },
    Scenario { name: "disconnect-of-all", policies: BOTH, play: disconnect_of_all },
    Scenario { name: "disconnect-of-none", policies: RR, play: disconnect_of_none },
    Scenario { name: "primary-goes-first", policies: BOTH, play: primary_goes_first },
];

fn setup_is_cumulative(stage: &mut Stage<'_>) -> Played {
    setup(stage, json!({ "args": ["a", "b c"] }))?;
    stage.sees_itself("setup")?;
    stage.primary(json!({ "do": "setup", "settings": { "silent": true } }))?;
    stage.sees_itself("setup")?;
    stage.primary(json!({ "do": "setup", "settings": { "args": [] } }))?;
    stage.sees_itself("setup")?;
    stage.primary(json!({ "do": "settings" }))?;
    Ok(())
}

fn settings_reach_the_worker(stage: &mut Stage<'_>) -> Played {
    let folder = stage.folder().join("elsewhere");
    std::fs::create_dir(&folder)?;
    setup(stage, json!({ "args": ["--x", "y z"], "cwd": folder.to_str() }))?;
    fork(stage)?;
    stage.worker(1, json!({ "do": "start" }))?;
    // It is for those that come after it.
    stage.primary(json!({ "do": "setup", "settings": { "args": ["later"] } }))?;
    fork(stage)?;
    stage.worker(2, json!({ "do": "start" }))?;
    stage.worker(1, json!({ "do": "start" }))?;
    end(stage, &[1, 2])
}

fn environment_of_a_fork(stage: &mut Stage<'_>) -> Played {
    setup(stage, json!({}))?;
    let env = json!({ "COMPAT_GREETING": "hello" });
    stage.primary(json!({ "do": "fork", "env": env }))?;
    stage.sees(1, "online")?;
    stage.worker(1, json!({ "do": "start" }))?;
    // It was for that fork.
    fork(stage)?;
    stage.worker(2, json!({ "do": "start" }))?;
    end(stage, &[1, 2])
}

fn policy_is_frozen(stage: &mut Stage<'_>) -> Played {
    stage.primary(json!({ "do": "policy" }))?;
    for policy in ["none", "rr"] {
        stage.primary(json!({ "do": "setPolicy", "policy": policy }))?;
        stage.primary(json!({ "do": "policy" }))?;
    }
    cluster(stage, 2)?;
    stage.primary(json!({ "do": "setPolicy", "policy": "none" }))?;
    // The primary still accepts: strict rotation shows it.
    let port = share(stage, &[1, 2])?;
    for _ in 0..4 {
        client(stage, &port)?;
    }
    end(stage, &[1, 2])
}

fn output_of_silent_workers(stage: &mut Stage<'_>) -> Played {
    setup(stage, json!({ "silent": true }))?;
    fork(stage)?;
    stage.worker(1, json!({ "do": "print", "text": "ünï\n" }))?;
    stage.sees(1, "stdio")?;
    stage.worker(1, json!({ "do": "print", "text": "more\n" }))?;
    stage.sees(1, "stdio")?;
    end(stage, &[1])
}

fn states_of_a_worker(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 1)?;
    let state = json!({ "do": "state", "worker": 1 });
    stage.primary(state.clone())?;
    stage.worker(1, json!({ "do": "state" }))?;
    share(stage, &[1])?;
    stage.primary(state.clone())?;
    stage.primary(json!({ "do": "workers" }))?;
    stage.primary(json!({ "do": "disconnect", "worker": 1 }))?;
    gone(stage, 1)?;
    stage.primary(state)?;
    stage.primary(json!({ "do": "workers" }))?;
    stage.primary(json!({ "do": "kill", "worker": 1 }))?;
    stage.primary(json!({ "do": "send", "worker": 1, "message": "too late" }))?;
    Ok(())
}

fn primary_disconnects(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 2)?;
    let port = share(stage, &[1, 2])?;
    stage.primary(json!({ "do": "disconnect", "worker": 1 }))?;
    gone(stage, 1)?;
    for _ in 0..3 {
        client(stage, &port)?;
    }
    stage.primary(json!({ "do": "disconnect", "worker": 2 }))?;
    gone(stage, 2)?;
    client(stage, &port)?;
    Ok(())
}

fn worker_disconnects(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 2)?;
    let port = share(stage, &[1, 2])?;
    stage.worker(2, json!({ "do": "disconnect" }))?;
    stage.worker_sees(2, "disconnect")?;
    gone(stage, 2)?;
    client(stage, &port)?;
    stage.worker(1, json!({ "do": "disconnect" }))?;
    gone(stage, 1)?;
    client(stage, &port)?;
    stage.primary(json!({ "do": "workers" }))?;
    Ok(())
}

fn worker_kills_itself(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 1)?;
    stage.worker(1, json!({ "do": "kill" }))?;
    gone(stage, 1)?;
    stage.primary(json!({ "do": "workers" }))?;
    Ok(())
}

fn worker_exits(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 2)?;
    let port = share(stage, &[1, 2])?;
    stage.worker(1, json!({ "do": "exit", "code": 7 }))?;
    gone(stage, 1)?;
    client(stage, &port)?;
    stage.worker(2, json!({ "do": "exit", "code": 0 }))?;
    gone(stage, 2)?;
    client(stage, &port)?;
    // The next one has the next number.
    fork(stage)?;
    end(stage, &[3])
}

fn signals(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 2)?;
    stage.primary(json!({ "do": "kill", "worker": 1, "signal": "SIGNONE" }))?;
    stage.primary(json!({ "do": "kill", "worker": 1 }))?;
    gone(stage, 1)?;
    stage.primary(json!({ "do": "kill", "worker": 2, "signal": "SIGKILL" }))?;
    gone(stage, 2)?;
    stage.primary(json!({ "do": "kill", "worker": 2, "signal": "SIGKILL" }))?;
    Ok(())
}

fn primary_closes_channel(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 1)?;
    stage.primary(json!({ "do": "closeChannel", "worker": 1 }))?;
    gone(stage, 1)?;
    stage.primary(json!({ "do": "workers" }))?;
    Ok(())
}

fn worker_closes_channel(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 1)?;
    stage.worker(1, json!({ "do": "closeChannel" }))?;
    gone(stage, 1)
}

fn disconnect_of_all(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 3)?;
    let port = share(stage, &[1, 2])?;
    end(stage, &[1, 2, 3])?;
    client(stage, &port)?;
    stage.primary(json!({ "do": "workers" }))?;
    Ok(())
}

fn disconnect_of_none(stage: &mut Stage<'_>) -> Played {
    setup(stage, json!({}))?;
    end(stage, &[])?;
    // It is no end: there can be more.
    fork(stage)?;
    end(stage, &[1])
}

fn primary_goes_first(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 2)?;
    share(stage, &[1])?;
    // The stage's end tells the primary to go, and awaits the workers.
    Ok(())
}
