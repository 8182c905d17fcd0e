//! Swaps a folder for a link while the primary makes a socket there, and removes it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::Outcome;
use crate::asking::Asking;
use crate::channel::RawChannel;

/// The options: a folder of this user, one of root's that others may enter, how often to try, and the names
/// of the sockets.
pub(crate) fn swap(channel: RawChannel, options: &[String]) -> Outcome {
    let [own, target, tries, names @ ..] = options else {
        return Err("the options are FOLDER FOLDER TRIES NAME…".into());
    };
    let (folder, link) = (PathBuf::from(own).join("folder"), PathBuf::from(own).join("link"));
    fs::create_dir(&folder)?;
    symlink(target, &link)?;
    let over = Arc::<AtomicBool>::default();
    let swapping = {
        let (over, folder) = (Arc::clone(&over), folder.clone());
        std::thread::spawn(move || swap_until(&over, &folder, &link))
    };
    let mut asking = Asking::new(channel)?;
    let (mut had, mut refused) = (0, 0);
    for _ in 0..tries.parse()? {
        for name in names {
            match asking.listen(&format!("unix:{}", folder.join(name).display()))? {
                Ok(key) => {
                    had += 1;
                    asking.close(&key)?;
                }
                Err(_) => refused += 1,
            }
        }
    }
    over.store(true, Ordering::Release);
    let swaps = swapping.join().map_err(|_| "the swapping thread failed")?;
    println!("tried with {swaps} swaps: {had} sockets, {refused} refused");
    asking.until_the_end()
}

/// How often it did.
fn swap_until(over: &AtomicBool, folder: &Path, link: &Path) -> u64 {
    let mut swaps = 0;
    while !over.load(Ordering::Acquire) {
        let swapped = renameat_with(CWD, folder, CWD, link, RenameFlags::EXCHANGE);
        swaps += u64::from(swapped.is_ok());
    }
    swaps
}
