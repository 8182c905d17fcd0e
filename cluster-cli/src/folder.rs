//! A folder as the program: `cluster run .`, as `node .` runs it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::{Options, is_path};
use crate::wrapper;

/// Has Node run the program if that is a folder with a main file.
///
/// # Errors
/// If it is one without: what to run instead, as far as its package.json says.
pub(crate) fn run_by_node(options: &mut Options) -> Result<(), String> {
    let Some(program) = options.program.first().filter(|program| is_path(program)) else {
        return Ok(());
    };
    let folder = options.cwd.as_deref().unwrap_or(Path::new("")).join(program);
    if options.exec_path.is_some() || !folder.is_dir() {
        return Ok(());
    }
    let package: Value = fs::read(folder.join("package.json"))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    if main_file(&folder, &package).is_some() {
        options.exec_path = Some("node".into());
        return Ok(());
    }
    Err(format!(
        "{} is a folder, and has no main file that node would run (\"main\" in its package.json, or index.js). \
         Name the file: {}",
        Path::new(program).display(),
        proposal(&options.program, &folder, &package)
    ))
}

/// What `node FOLDER` runs.
fn main_file(folder: &Path, package: &Value) -> Option<PathBuf> {
    let main = package["main"].as_str().map(|main| folder.join(main));
    let named = main.into_iter().flat_map(|main| {
        let with = |end: &str| {
            let mut path = main.clone().into_os_string();
            path.push(end);
            PathBuf::from(path)
        };
        [main.clone(), with(".js"), main.join("index.js")]
    });
    named.chain([folder.join("index.js")]).find(|file| file.is_file())
}

/// What the package starts, or the program that it has for others, or a word for it.
fn proposal(program: &[OsString], folder: &Path, package: &Value) -> String {
    if let Some(command) = wrapper::start_command(folder, program) {
        return command;
    }
    let bin = &package["bin"];
    let only = || bin.as_object().filter(|all| all.len() == 1)?.values().next()?.as_str();
    let file = bin.as_str().or_else(only).unwrap_or("FILE");
    let file = Path::new(&program[0]).join(file.trim_start_matches("./"));
    let file = file.strip_prefix(".").unwrap_or(&file);
    format!("cluster run {}", file.display())
}
