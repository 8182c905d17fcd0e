//! Paths of Unix-domain sockets.

use std::path::{Component, Path, PathBuf};

/// The path as it stands, or from the working directory if that is shorter: a socket's address
/// holds about a hundred bytes (on Linux 108, of which one ends it).
pub fn shortest_path(path: &Path) -> PathBuf {
    let relative = || {
        let here = std::env::current_dir().ok()?;
        let shared = here.components().zip(path.components()).take_while(|(a, b)| a == b).count();
        let up = here.components().count() - shared;
        let down = path.components().skip(shared);
        Some(
            (0..up)
                .map(|_| Path::new("..").as_os_str())
                .chain(down.map(Component::as_os_str))
                .collect(),
        )
    };
    match relative() {
        Some::<PathBuf>(shorter) if shorter.as_os_str().len() < path.as_os_str().len() => shorter,
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_way_to_a_path_is_taken() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(shortest_path(&here.join("s.sock")), Path::new("s.sock"));
        assert_eq!(shortest_path(Path::new("/s.sock")), Path::new("/s.sock"));
    }
}
