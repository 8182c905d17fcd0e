//! Swaps a folder, and the file in it, for links while the primary makes a socket there.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Outcome;
use crate::asking::Asking;
use crate::channel::RawChannel;

/// The options: a folder of one's own, a file of root's in a folder that others may enter, and how often
/// to try.
pub(crate) fn swap(channel: RawChannel, options: &[String]) -> Outcome {
    let [own, precious, tries] = options else {
        return Err("the options are FOLDER FILE TRIES".into());
    };
    let (own, precious) = (PathBuf::from(own), PathBuf::from(precious));
    let target = precious.parent().ok_or("the file is in a folder")?;
    let name = precious.file_name().ok_or("it has a name")?;
    let folder = own.join("folder");
    let path = folder.join(name);
    let over = Arc::<AtomicBool>::default();
    let swapping = {
        let (over, own, folder) = (Arc::clone(&over), own.clone(), folder.clone());
        let (target, precious, path) = (target.to_owned(), precious.clone(), path.clone());
        std::thread::spawn(move || {
            while !over.load(Ordering::Acquire) {
                swap_once(&own, &folder, &target, &path, &precious);
            }
        })
    };
    let mut asking = Asking::new(channel)?;
    let at = format!("unix:{}", path.display());
    let (mut had, mut refused) = (0, 0);
    for _ in 0..tries.parse()? {
        match asking.listen(&at)? {
            Ok(key) => {
                had += 1;
                asking.close(&key)?;
            }
            Err(_) => refused += 1,
        }
    }
    over.store(true, Ordering::Release);
    swapping.join().map_err(|_| "the swapping thread failed")?;
    println!("tried {} times: {had} sockets, {refused} refused", had + refused);
    asking.until_the_end()
}

/// A real folder with a link, a dead socket or nothing in it, then a link to the other folder in its place.
/// What fails is tried again by the next turn.
fn swap_once(own: &Path, folder: &Path, target: &Path, path: &Path, precious: &Path) {
    let aside = own.join("aside");
    let _ = fs::remove_file(folder);
    let _ = fs::create_dir(folder);
    std::thread::yield_now();
    let _ = fs::remove_file(path);
    let _ = symlink(precious, path);
    std::thread::yield_now();
    let _ = fs::remove_file(path);
    drop(UnixListener::bind(path));
    std::thread::yield_now();
    // Whatever the primary has made there moves along.
    let _ = fs::rename(folder, &aside);
    let _ = symlink(target, folder);
    std::thread::yield_now();
    let _ = fs::remove_dir_all(&aside);
}
