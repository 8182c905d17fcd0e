//! The programs in `xtask/apps`, and the packages that they need.

use std::io;

use super::load::Protocol;
use crate::node::Node;

pub(crate) struct App {
    pub(crate) name: &'static str,
    /// The file in `xtask/apps`.
    pub(crate) program: &'static str,
    /// The version of the first one is shown. Without packages the app uses Node's own modules.
    pub(crate) packages: &'static [Package],
    pub(crate) protocol: Protocol,
    /// What clients ask for.
    pub(crate) path: &'static str,
}

pub(crate) struct Package {
    pub(crate) name: &'static str,
    /// The leading part of the version.
    version: &'static str,
    /// The same for a Node that this version no longer supports.
    old: Option<Old>,
}

struct Old {
    /// The first major version of Node that gets the newer one.
    until: u32,
    version: &'static str,
}

impl Package {
    const fn new(name: &'static str, version: &'static str) -> Self {
        Self { name, version, old: None }
    }

    const fn until(self, until: u32, version: &'static str) -> Self {
        Self { old: Some(Old { until, version }), ..self }
    }

    /// The leading part of the version for that Node.
    pub(crate) fn version(&self, node: &Node) -> &'static str {
        match &self.old {
            Some(old) if node.major() < old.until => old.version,
            _ => self.version,
        }
    }
}

impl App {
    const fn http(name: &'static str, program: &'static str, packages: &'static [Package]) -> Self {
        Self { name, program, packages, protocol: Protocol::Http1, path: "/" }
    }
}

pub(crate) const ALL: &[App] = &[
    App::http("express", "express.cjs", &[Package::new("express", "5")]),
    App::http("fastify", "fastify.mjs", &[Package::new("fastify", "5")]),
    App::http("koa", "koa.cjs", &[Package::new("koa", "3")]),
    App::http(
        "nest",
        "nest.mjs",
        &[
            Package::new("@nestjs/core", "12"),
            Package::new("@nestjs/common", "12"),
            Package::new("@nestjs/platform-express", "12"),
            Package::new("reflect-metadata", "0.2"),
            Package::new("rxjs", "7"),
        ],
    ),
    App { protocol: Protocol::WebSocket, ..App::http("ws", "ws.cjs", &[Package::new("ws", "8")]) },
    App {
        protocol: Protocol::SocketIo,
        path: "/socket.io/?EIO=4&transport=websocket",
        ..App::http("socket.io", "socket.io.cjs", &[Package::new("socket.io", "4")])
    },
    App { protocol: Protocol::Http2, ..App::http("http2", "http2.cjs", &[]) },
    App {
        path: "/graphql?query=%7Bpid%7D",
        ..App::http(
            "graphql-yoga",
            "graphql-yoga.mjs",
            &[Package::new("graphql-yoga", "5"), Package::new("graphql", "16")],
        )
    },
    App::http("pino", "pino.cjs", &[Package::new("pino", "10")]),
    App::http(
        "better-sqlite3",
        "better-sqlite3.cjs",
        &[Package::new("better-sqlite3", "13").until(22, "12")],
    ),
    App::http("piscina", "piscina.cjs", &[Package::new("piscina", "5")]),
    App::http("undici", "undici.cjs", &[Package::new("undici", "8").until(22, "7")]),
];

/// Those of these names, in the catalogue's order; none: all.
///
/// # Errors
/// If there is none of a name.
pub(crate) fn select(names: &[String]) -> io::Result<Vec<&'static App>> {
    if let Some(unknown) = names.iter().find(|name| ALL.iter().all(|app| app.name != **name)) {
        let known: Vec<_> = ALL.iter().map(|app| app.name).collect();
        let what = format!("no app is called {unknown}; there are {}", known.join(", "));
        return Err(io::Error::other(what));
    }
    let wanted = |app: &&App| names.is_empty() || names.iter().any(|name| name == app.name);
    Ok(ALL.iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;
    use crate::step;

    #[test]
    fn each_program_is_an_app_and_each_app_has_its_program() {
        let files: BTreeSet<_> = fs::read_dir(step::root().join("xtask/apps"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(files, ALL.iter().map(|app| app.program.to_owned()).collect());
    }

    #[test]
    fn apps_are_selected_by_name_in_the_order_of_the_catalogue() {
        let select = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            select(&names).map(|apps| apps.iter().map(|app| app.name).collect::<Vec<_>>())
        };
        assert_eq!(select(&["ws", "express"]).unwrap(), ["express", "ws"]);
        assert_eq!(select(&[]).unwrap().len(), ALL.len());
        assert!(select(&["expres"]).unwrap_err().to_string().contains("graphql-yoga"));
    }

    #[test]
    fn an_older_node_gets_the_last_version_that_supports_it() {
        let node = |version: &str| Node { path: "node".into(), version: version.into() };
        let undici = Package::new("undici", "8").until(22, "7");
        assert_eq!(undici.version(&node("20.1.0")), "7");
        assert_eq!(undici.version(&node("22.0.0")), "8");
        assert_eq!(Package::new("ws", "8").version(&node("20.1.0")), "8");
    }
}
