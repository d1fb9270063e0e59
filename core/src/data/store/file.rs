//! Files that only grow, with their checksums. One that an earlier process has left is cut back to where it was whole, if it still is what was
//! written up to there.

use super::checksum::{Checksums, digits};
use anyhow::Context;
use bytemuck::Pod;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// How far a file had been written, and the checksum up to there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    pub bytes: u64,
    pub checksum: String,
}

/// Per file name: how far it had been written.
pub(crate) type Lengths = BTreeMap<String, Written>;

/// The folder that files are written into, and what an earlier process has left there.
pub(super) struct Folder<'a> {
    pub dir: &'a Path,
    /// `None`: nothing.
    pub left: Option<&'a Lengths>,
}

/// A file of plain values.
pub(super) struct Column {
    path: PathBuf,
    file: BufWriter<File>,
    hash: Xxh3,
    bytes: u64,
}

impl Folder<'_> {
    /// An empty file, or what is left of it.
    ///
    /// # Errors
    /// It cannot be written, or what is left is not what was written.
    pub(super) fn column(&self, name: &str) -> anyhow::Result<Column> {
        let path = self.dir.join(name);
        match self.left {
            None => Column::create(path),
            Some(left) => {
                let written = left.get(name).with_context(|| format!("nothing is known of `{}`", path.display()))?;
                Column::go_on(path, written)
            }
        }
    }
}

impl Column {
    pub(super) fn create(path: PathBuf) -> anyhow::Result<Self> {
        let file = File::create(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(Self { path, file: BufWriter::with_capacity(1 << 18, file), hash: Xxh3::new(), bytes: 0 })
    }

    fn go_on(path: PathBuf, written: &Written) -> anyhow::Result<Self> {
        let cut_back = || {
            let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
            let (mut hash, mut left, mut buffer) = (Xxh3::new(), written.bytes, vec![0; 1 << 20]);
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                let n = file.read(&mut buffer[..most])?;
                if n == 0 {
                    return Ok(None);
                }
                hash.update(&buffer[..n]);
                left -= n as u64;
            }
            file.set_len(written.bytes)?;
            file.seek(SeekFrom::Start(written.bytes))?;
            Ok::<_, std::io::Error>(Some((file, hash)))
        };
        let found = cut_back().with_context(|| format!("cannot read `{}`", path.display()))?;
        let Some((file, hash)) = found.filter(|(_, hash)| digits(hash) == written.checksum) else {
            anyhow::bail!("`{}` is not what was written", path.display());
        };
        Ok(Self { path, file: BufWriter::with_capacity(1 << 18, file), hash, bytes: written.bytes })
    }

    pub(super) fn push<T: Pod>(&mut self, values: &[T]) -> anyhow::Result<()> {
        self.push_bytes(bytemuck::cast_slice(values)).with_context(|| format!("cannot write `{}`", self.path.display()))
    }

    fn push_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Hands what is buffered to the operating system.
    pub(super) fn flush_buffer(&mut self) -> anyhow::Result<()> {
        self.file.flush().with_context(|| format!("cannot write `{}`", self.path.display()))
    }

    /// Brings it to the disk, and notes how far it is written.
    pub(super) fn save(&mut self, lengths: &mut Lengths) -> anyhow::Result<()> {
        self.flush_buffer()?;
        self.file.get_ref().sync_data().with_context(|| format!("cannot write `{}`", self.path.display()))?;
        lengths.insert(self.name(), Written { bytes: self.bytes, checksum: digits(&self.hash) });
        Ok(())
    }

    /// Brings it to the disk and notes its checksum.
    pub(super) fn close(mut self, checksums: &mut Checksums) -> anyhow::Result<()> {
        checksums.insert(self.name(), digits(&self.hash));
        self.file.flush().and_then(|()| self.file.get_ref().sync_all()).with_context(|| format!("cannot write `{}`", self.path.display()))
    }
}

impl Write for Column {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.push_bytes(bytes).map(|()| bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_cut_back_to_where_it_was_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.u8");
        let mut lengths = Lengths::new();
        let mut column = Folder { dir: dir.path(), left: None }.column("labels.u8").unwrap();
        column.push(&[1_u8, 2, 3]).unwrap();
        column.save(&mut lengths).unwrap();
        column.push(&[4_u8, 5]).unwrap();
        drop(column);
        assert_eq!(std::fs::read(&path).unwrap(), [1, 2, 3, 4, 5]);
        let again = || Folder { dir: dir.path(), left: Some(&lengths) }.column("labels.u8");
        let mut column = again().unwrap();
        column.push(&[9_u8]).unwrap();
        let mut sums = Checksums::new();
        column.close(&mut sums).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [1, 2, 3, 9]);
        super::super::checksum::verify(dir.path(), &sums, true).unwrap();
        // Another byte, or less than was noted.
        for damaged in [&[1_u8, 7, 3, 9][..], &[1, 2]] {
            std::fs::write(&path, damaged).unwrap();
            assert!(again().err().unwrap().to_string().ends_with("is not what was written"));
        }
        std::fs::remove_file(&path).unwrap();
        assert!(again().is_err());
    }
}
