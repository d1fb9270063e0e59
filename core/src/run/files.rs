//! Writing that a crash cannot half do.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Replaces `path` with what `write` writes: aside, synced, renamed. What was there stays until the new file is whole.
///
/// # Errors
/// What `write` gives, or the file system; the file aside is removed.
pub fn replace_file(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    write_aside(path, |aside| write_file(aside, write))
}

/// Lets `write` fill a file or folder beside `path`, then puts it in its place. A folder that is in the way is removed first.
///
/// # Errors
/// What `write` gives, or the file system; what stood aside is removed, and `path` is as before.
pub fn write_aside(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    write_at(&aside(path, ""), path, write)
}

/// [`replace_file`] by one of several processes that may do so at the same time, each `by` another name.
///
/// # Errors
/// As [`replace_file`].
pub fn replace_file_by(by: &str, path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    write_at(&aside(path, by), path, |aside| write_file(aside, write))
}

fn write_file(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    write(&mut out)?;
    out.flush()?;
    out.get_ref().sync_all()?;
    Ok(())
}

fn write_at(aside: &Path, path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    remove(aside)?;
    let result = write(aside).and_then(|()| {
        if path.is_dir() {
            fs::remove_dir_all(path)?;
        }
        put(aside, path)
    });
    if result.is_err() {
        remove(aside).ok();
    }
    result.with_context(|| format!("writing `{}` (what was there before is untouched)", path.display()))
}

/// Gives what is whole and synced its name, durably.
pub(crate) fn put(aside: &Path, path: &Path) -> Result<()> {
    fs::rename(aside, path)?;
    let parent = path.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
    if let Some(parent) = parent.and_then(|p| File::open(p).ok()) {
        // Makes the rename itself durable; not every file system can.
        parent.sync_all().ok();
    }
    Ok(())
}

fn aside(path: &Path, by: &str) -> PathBuf {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}{by}.partial"))
}
fn remove(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        fs::remove_dir_all(path)
    } else if path.exists() {
        fs::remove_file(path)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        replace_file(&path, |w| Ok(w.write_all(b"old")?)).unwrap();
        let error = replace_file(&path, |w| {
            w.write_all(b"ne")?;
            bail!("no space left")
        })
        .unwrap_err();
        assert!(format!("{error:#}").contains("state.json") && format!("{error:#}").contains("no space left"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing stays aside");
    }
}
