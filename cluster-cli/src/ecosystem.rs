//! Configuration files of PM2, given as the program: `pm2 start ecosystem.config.js`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::config::Resolved;

/// As much of the file is looked at.
const ENOUGH: u64 = 64 << 10;

/// What is wrong if the program is such a file.
pub(crate) fn error(options: &Resolved) -> Option<String> {
    let program = Path::new(options.program.first()?);
    let name = program.file_name()?.to_str()?;
    if !has_such_a_name(name) {
        return None;
    }
    let mut text = String::new();
    let folder = options.cwd.as_deref().unwrap_or(Path::new(""));
    let file = File::open(folder.join(program)).ok()?;
    // What is no text is none.
    file.take(ENOUGH).read_to_string(&mut text).ok()?;
    is_configuration(&text).then(|| {
        format!(
            "{} is a configuration file of PM2, not a program: docs/from-pm2.md shows how to write it as \
             a configuration file of cluster (cluster run --config cluster.toml)",
            program.display()
        )
    })
}

fn has_such_a_name(name: &str) -> bool {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    match extension {
        "js" | "cjs" | "mjs" | "ts" => stem.ends_with(".config"),
        "json" | "yml" | "yaml" => {
            ["ecosystem", "pm2", "process", "processes"].contains(&stem.trim_end_matches(".config"))
        }
        _ => false,
    }
}

/// Whether it gives a list of `apps`, and does nothing else: a program requires what it needs, and calls it.
fn is_configuration(text: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let mut words = text.split(|c| !is_word(c));
    let has_apps = words.any(|word| word == "apps");
    has_apps && !text.contains("listen(") && !text.contains("createServer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_lists_apps_is_a_configuration() {
        for text in [
            "module.exports = { apps: [{ script: 'app.js' }] };",
            "export default { apps }",
            "{\"apps\": []}",
            "apps:\n  - script: app.js\n",
        ] {
            assert!(is_configuration(text), "{text}");
        }
        for text in [
            "",
            "module.exports = { mapsapps: 1 }",
            "const apps = 1; require('http').createServer().listen(apps);",
        ] {
            assert!(!is_configuration(text), "{text}");
        }
    }

    #[test]
    fn names_are_those_that_pm2_takes() {
        for name in ["ecosystem.config.js", "pm2.config.cjs", "app.config.mjs", "process.json"] {
            assert!(has_such_a_name(name), "{name}");
        }
        for name in ["ecosystem", "config.js", "server.js", "package.json", "app.json"] {
            assert!(!has_such_a_name(name), "{name}");
        }
    }
}
