//! The folder in which a store is built beside its place, and the ones that killed processes left there.
//!
//! A folder `.<fingerprint>-<process>-<number>` is named by a file `….lock`, which is there, and locked, from before the folder until after
//! it. The operating system drops the lock of a process that ends, however it ends: a lock file that can be locked is nobody's, and only
//! who has locked it may go on with its folder, or remove both. Where a file system has no locks, nothing is swept.

use anyhow::Context;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const LOCK: &str = ".lock";

/// Folders named by this process.
static BUILDS: AtomicU64 = AtomicU64::new(0);

/// A folder that no other process or thread builds into; it goes when this is dropped, unless it was renamed or is to be gone on with.
#[derive(Debug)]
pub(crate) struct Aside {
    dir: PathBuf,
    lock: PathBuf,
    _locked: File,
    stays: bool,
}

impl Aside {
    /// Names and locks a folder in `cache`, without making it.
    ///
    /// # Errors
    /// `cache` cannot be written.
    pub(crate) fn reserve(cache: &Path, fingerprint: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(cache).with_context(|| format!("cannot make the folder `{}`", cache.display()))?;
        loop {
            let name = format!(".{fingerprint}-{}-{}", std::process::id(), BUILDS.fetch_add(1, Ordering::Relaxed));
            let lock = cache.join(format!("{name}{LOCK}"));
            let file = match OpenOptions::new().write(true).create_new(true).open(&lock) {
                Ok(file) => file,
                // Left behind by a process of the same number, or one of another machine.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(e).with_context(|| format!("cannot write `{}`", lock.display())),
            };
            // Another process may sweep the file away before it is locked; then the next name is tried.
            if !matches!(file.try_lock(), Err(TryLockError::WouldBlock)) && lock.exists() {
                return Ok(Self { dir: cache.join(name), lock, _locked: file, stays: false });
            }
        }
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Leaves the folder for a later process to go on with.
    pub(crate) fn leave(mut self) {
        self.stays = true;
    }

    /// Removes the folder, to begin anew in it.
    ///
    /// # Errors
    /// Something in it cannot be removed.
    pub(crate) fn clear(&self) -> anyhow::Result<()> {
        match std::fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e).with_context(|| format!("cannot remove `{}`", self.dir.display())),
            _ => Ok(()),
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.stays {
            remove(&self.dir, &self.lock);
        }
    }
}

/// Removes what processes that are no more have left in `cache`, but for the first folder that is `wanted`: that one is given. What cannot be removed
/// stays.
pub(crate) fn sweep(cache: &Path, mut wanted: impl FnMut(&Path) -> bool) -> Option<Aside> {
    let mut found = None;
    for entry in std::fs::read_dir(cache).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|n| n.strip_suffix(LOCK)).filter(|n| is_ours(n)) else { continue };
        let lock = entry.path();
        let Ok(file) = OpenOptions::new().write(true).open(&lock) else { continue };
        // Another process may have swept it between these two.
        if file.try_lock().is_err() || !lock.exists() {
            continue;
        }
        let dir = cache.join(name);
        if wanted(&dir) && found.is_none() {
            found = Some(Aside { dir, lock, _locked: file, stays: false });
        } else {
            remove(&dir, &lock);
        }
    }
    found
}

/// `.<32 hexadecimal digits>-<process>-<number>`.
fn is_ours(name: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let Some((fingerprint, rest)) = name.strip_prefix('.').and_then(|n| n.split_once('-')) else { return false };
    let is_print = fingerprint.len() == 32 && fingerprint.bytes().all(|b| b.is_ascii_hexdigit());
    is_print && rest.split_once('-').is_some_and(|(process, count)| number(process) && number(count))
}

/// The lock file goes last: while there is a folder, something says whose it is.
fn remove(dir: &Path, lock: &Path) {
    drop(std::fs::remove_dir_all(dir));
    if !dir.exists() {
        drop(std::fs::remove_file(lock));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINT: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn only_what_nobody_holds_is_swept() {
        let cache = tempfile::tempdir().unwrap();
        let stale = cache.path().join(format!(".{PRINT}-1-0"));
        std::fs::create_dir_all(&stale).unwrap();
        std::fs::write(stale.join("labels.u8"), [1]).unwrap();
        std::fs::write(cache.path().join(format!(".{PRINT}-1-0{LOCK}")), []).unwrap();
        let held = Aside::reserve(cache.path(), PRINT).unwrap();
        std::fs::create_dir_all(held.dir()).unwrap();
        let others = ["keep", ".hidden", PRINT, &format!(".{PRINT}-x-0")].map(|name| cache.path().join(name));
        for other in &others {
            std::fs::create_dir_all(other).unwrap();
            std::fs::write(other.with_extension("lock"), []).unwrap();
        }
        assert!(sweep(cache.path(), |_| false).is_none());
        assert!(!stale.exists() && held.dir().exists() && others.iter().all(|o| o.exists()));
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 2 + others.len() * 2);
        drop(held);
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), others.len() * 2);
    }

    #[test]
    fn what_is_left_is_taken_up_once() {
        let cache = tempfile::tempdir().unwrap();
        let first = Aside::reserve(cache.path(), PRINT).unwrap();
        let dir = first.dir().to_owned();
        std::fs::create_dir_all(&dir).unwrap();
        assert!(sweep(cache.path(), |_| true).is_none(), "it is still held");
        first.leave();
        let again = sweep(cache.path(), |found| found == dir).unwrap();
        assert_eq!(again.dir(), dir);
        assert!(sweep(cache.path(), |_| true).is_none());
        again.leave();
        assert!(sweep(cache.path(), |_| false).is_none());
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
    }

    #[test]
    fn two_at_once_have_two_folders() {
        let cache = tempfile::tempdir().unwrap();
        let (a, b) = (Aside::reserve(cache.path(), PRINT).unwrap(), Aside::reserve(cache.path(), PRINT).unwrap());
        assert_ne!(a.dir(), b.dir());
        // A file of the name that would come next, as a killed process of the same number leaves it.
        let next = BUILDS.load(Ordering::Relaxed);
        for n in next..next + 3 {
            std::fs::write(cache.path().join(format!(".{PRINT}-{}-{n}{LOCK}", std::process::id())), []).unwrap();
        }
        let c = Aside::reserve(cache.path(), PRINT).unwrap();
        assert!(!c.dir().exists() && c.lock.exists());
    }
}
