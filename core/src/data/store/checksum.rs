//! Checksums of a store's files: a bit that turned on disk changes no size, and would silently be trained on.

use anyhow::Context;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::Path;
use xxhash_rust::xxh3::Xxh3;

/// Per file name: xxh3 of its bytes, as 16 hexadecimal digits.
pub(crate) type Checksums = BTreeMap<String, String>;

/// Files up to this size are verified whenever a store is opened; all of them on request. It takes a fraction of a second then, whatever the
/// size of the store.
const ALWAYS: u64 = 16 << 20;

/// As it is written down.
pub(super) fn digits(hash: &Xxh3) -> String {
    format!("{:016x}", hash.digest())
}

fn of_file(file: &mut File) -> std::io::Result<String> {
    let (mut hash, mut buffer) = (Xxh3::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digits(&hash)),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// Brings a file that another writer has closed to the disk, and notes its checksum.
pub(super) fn seal(dir: &Path, name: &str, checksums: &mut Checksums) -> anyhow::Result<()> {
    let path = dir.join(name);
    let sealed = || {
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        file.sync_all()?;
        of_file(&mut file)
    };
    checksums.insert(name.to_owned(), sealed().with_context(|| format!("cannot write `{}`", path.display()))?);
    Ok(())
}

/// Compares files with their checksums: all of them, or those that are not large.
///
/// # Errors
/// A file cannot be read, or is another than was written.
pub(super) fn verify(dir: &Path, checksums: &Checksums, all: bool) -> anyhow::Result<()> {
    for (name, sum) in checksums {
        let path = dir.join(name);
        let found = || {
            let mut file = File::open(&path)?;
            if all || file.metadata()?.len() <= ALWAYS { of_file(&mut file).map(Some) } else { Ok(None) }
        };
        let found: std::io::Result<Option<String>> = found();
        let found = found.with_context(|| format!("cannot read `{}`", path.display()))?;
        anyhow::ensure!(found.is_none_or(|f| f == *sum), "`{}` is not what was written: its checksum differs", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_are_verified_on_request() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = vec![7_u8; usize::try_from(ALWAYS).unwrap() + 1];
        let path = dir.path().join("codes.u32");
        std::fs::write(&path, &bytes).unwrap();
        let mut sums = Checksums::new();
        seal(dir.path(), "codes.u32", &mut sums).unwrap();
        verify(dir.path(), &sums, true).unwrap();
        bytes[12_345] = 6;
        std::fs::write(&path, &bytes).unwrap();
        verify(dir.path(), &sums, false).unwrap();
        let error = verify(dir.path(), &sums, true).unwrap_err().to_string();
        assert!(error.ends_with("codes.u32` is not what was written: its checksum differs"), "{error}");
        std::fs::write(&path, &bytes[1..]).unwrap();
        assert!(verify(dir.path(), &sums, false).is_err());
    }
}
