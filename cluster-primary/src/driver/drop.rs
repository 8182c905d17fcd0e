//! The end of a primary.

use super::base::Primary;

/// A socket's file goes with the primary, however it goes.
impl Drop for Primary {
    fn drop(&mut self) {
        self.calls.close();
        let mut files = Vec::new();
        for (_, listener) in std::mem::take(&mut self.listeners) {
            match (listener.file, listener.rights) {
                (Some(file), Some(rights)) => files.push((file, rights)),
                (Some(file), None) => {
                    // Someone else may have removed it.
                    let _ = file.remove();
                }
                (None, _) => {}
            }
        }
        self.remove_last(files);
        self.discard_all();
    }
}
