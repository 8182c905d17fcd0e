//! Settings and placement, as clients set and read them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::Signal;
use serde_json::json;

use crate::client::Client;
use crate::serve;
use crate::support::{Cluster, Folder, cluster};

/// What is not of Node's is set, kept and refused as what is.
#[test]
fn a_worker_is_started_as_the_settings_say() {
    let folder = Folder::new("start");
    let path = folder.0.join("control");
    let mut served = serve(&path, &[]);
    let mut client = Client::connect(&path);
    let defaults = json!({
        "exec": "/bin/sh",
        "launcher": [], "groups": null, "noNewPrivs": false, "affinity": null, "dieWithPrimary": false,
        "keepCapabilities": true, "listenAsWorker": false, "privilegedPorts": [],
    });
    let settings = client.call("setupPrimary", json!({"exec": "/bin/sh"}));
    for (name, value) in defaults.as_object().expect("it is one") {
        assert_eq!(settings[name], *value, "{name}");
    }
    let set = json!({
        "launcher": ["env", "A=b"], "groups": [1, 2], "noNewPrivs": true, "affinity": [[0, 1], [1]],
        "dieWithPrimary": true, "keepCapabilities": false, "listenAsWorker": true,
        "privilegedPorts": [80, 443],
    });
    let settings = client.call("setupPrimary", set.clone());
    for (name, value) in set.as_object().expect("it is one") {
        assert_eq!(settings[name], *value, "{name}");
    }
    assert_eq!(client.call("setupPrimary", json!({"affinity": "each"}))["affinity"], "each");
    for params in [
        json!({"launcher": "env"}),
        json!({"groups": 1}),
        json!({"groups": [-1]}),
        json!({"noNewPrivs": 1}),
        json!({"keepCapabilities": 1}),
        json!({"listenAsWorker": "yes"}),
        json!({"privilegedPorts": 80}),
        json!({"privilegedPorts": [0]}),
        json!({"privilegedPorts": [65536]}),
        json!({"affinity": "all"}),
        json!({"affinity": []}),
        json!({"affinity": [[]]}),
        json!({"affinity": [0]}),
        json!({"dieWithPrimary": "yes"}),
    ] {
        assert_eq!(client.fails("setupPrimary", params.clone()).0, -32602, "{params}");
    }
    assert_eq!(client.call("setupPrimary", defaults), client.call("settings", json!({})));

    // What cannot be is an error of the fork's, by the system's name for it.
    client.call("setupPrimary", json!({"affinity": [[1023]]}));
    assert_eq!(client.fails("fork", json!({})), (-32000, json!("EINVAL")));
    let script = "grep NoNewPrivs /proc/self/status; echo $A $CLUSTER_SLOT";
    let args = json!({"args": ["-c", script], "silent": true, "noNewPrivs": true,
        "launcher": ["env", "A=b"], "affinity": "each"});
    client.call("setupPrimary", args);
    client.call("subscribe", json!({"events": ["stdio", "exit"]}));
    client.call("fork", json!({}));
    let mut said = Vec::new();
    while !said.ends_with(b"b 0\n") {
        let data = client.until("stdio")["data"].as_str().map(|data| BASE64.decode(data));
        said.extend(data.expect("it is text").expect("it is base64"));
    }
    assert_eq!(said, b"NoNewPrivs:\t1\nb 0\n");
    assert_eq!(client.until("exit")["code"], 0);
    served.signal(Signal::TERM);
    assert_eq!(served.wait().code(), Some(0));
}

#[test]
fn settings_are_told_as_they_were_set() {
    let folder = Folder::new("told");
    let path = folder.0.join("control");
    let _served = serve(&path, &[]);
    let mut client = Client::connect(&path);
    let stdio = json!(["ignore", 2, 2, "ipc", "pipe", "inherit"]);
    let set = client.call("setupPrimary", json!({"exec": "x", "stdio": stdio}));
    assert_eq!(set["stdio"], stdio);
    // And what was told can be set.
    let again = client.call("setupPrimary", json!({"stdio": set["stdio"]}));
    assert_eq!(again["stdio"], stdio);
}

#[test]
fn the_environment_says_who_accepts_as_in_node() {
    for (value, policy) in [("none", "none"), ("rr", "rr")] {
        let folder = Folder::new(&format!("environment-{value}"));
        let path = folder.0.join("control");
        let served = Cluster::start(
            cluster()
                .args(["serve", "--control"])
                .arg(&path)
                .env("NODE_CLUSTER_SCHED_POLICY", value),
        );
        served.err.wait_for(1, |line| line.contains("ready"));
        let mut client = Client::connect(&path);
        assert_eq!(client.call("schedulingPolicy", json!({})), policy);
        // The last setting before the first fork counts.
        assert_eq!(client.call("schedulingPolicy", json!({"policy": "rr"})), "rr");
    }
}
