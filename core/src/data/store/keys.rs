//! The key columns on their way into `keys.parquet`. A Parquet file that was not finished cannot be gone on with; record batches one after the other
//! can. They become Parquet when the last one is there, so that the file is the same wherever the work was interrupted.

use super::file::{Column, Folder};
use super::parquet::parquet_writer;
use anyhow::Context;
use arrow::datatypes::Schema;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;
use std::sync::Arc;

pub(super) const SPOOL: &str = "keys.arrow";

/// Key columns so far.
pub(super) struct Keys {
    spool: Spool,
    schema: Option<Arc<Schema>>,
}

/// Without batches the schema is not known, and there is no stream yet.
enum Spool {
    Waiting(Box<Column>),
    Running(Box<StreamWriter<Tail>>),
    /// While one becomes the other.
    Nothing,
}

/// A stream opens with its schema; one that is gone on with has it already.
struct Tail {
    column: Column,
    swallow: bool,
}
impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.swallow { Ok(bytes.len()) } else { self.column.write(bytes) }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.column.flush()
    }
}

impl Keys {
    pub(super) fn open(folder: &Folder<'_>) -> anyhow::Result<Self> {
        Ok(Self { spool: Spool::Waiting(Box::new(folder.column(SPOOL)?)), schema: None })
    }

    pub(super) fn push(&mut self, keys: &RecordBatch) -> anyhow::Result<()> {
        self.spool = match std::mem::replace(&mut self.spool, Spool::Nothing) {
            Spool::Waiting(column) => {
                let tail = Tail { swallow: column.bytes() > 0, column: *column };
                let mut writer = StreamWriter::try_new(tail, &keys.schema()).context("cannot write the keys")?;
                writer.get_mut().swallow = false;
                self.schema = Some(keys.schema());
                Spool::Running(Box::new(writer))
            }
            other => other,
        };
        anyhow::ensure!(self.schema == Some(keys.schema()), "the key columns change their types: {}", keys.schema());
        let Spool::Running(writer) = &mut self.spool else { return Ok(()) };
        writer.write(keys).context("cannot write the keys")
    }

    /// The file.
    pub(super) fn column(&mut self) -> Option<&mut Column> {
        match &mut self.spool {
            Spool::Waiting(column) => Some(column),
            Spool::Running(writer) => Some(&mut writer.get_mut().column),
            Spool::Nothing => None,
        }
    }

    /// Writes all keys as Parquet. False: there are none.
    pub(super) fn finish(mut self, path: &Path) -> anyhow::Result<bool> {
        let Some(column) = self.column() else { return Ok(false) };
        column.flush_buffer()?;
        if column.bytes() == 0 {
            return Ok(false);
        }
        let name = column.path().display().to_string();
        let file = File::open(column.path()).with_context(|| format!("cannot read `{name}`"))?;
        let batches =
            StreamReader::try_new(BufReader::with_capacity(1 << 18, file), None).with_context(|| format!("cannot read `{name}`"))?;
        let mut writer = parquet_writer(path, batches.schema())?;
        for keys in batches {
            writer.write(&keys.with_context(|| format!("cannot read `{name}`"))?)?;
        }
        writer.close()?;
        Ok(true)
    }
}
