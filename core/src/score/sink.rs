//! Where predictions go: a CSV or Parquet file, written aside and renamed when it is whole.

use crate::run::put;
use anyhow::{Context, Result, bail};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// Rows of a row group of Parquet, which is held in memory until it is full.
const GROUP_ROWS: usize = 1 << 17;

/// An open file of predictions.
pub struct Sink {
    path: PathBuf,
    aside: Aside,
    writer: Writer,
}
/// The file before it is whole; removed unless it gets its name.
struct Aside(PathBuf);
impl Drop for Aside {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}
enum Writer {
    Csv(Box<csv::Writer<BufWriter<File>>>),
    Parquet(Box<ArrowWriter<File>>),
}

impl Sink {
    /// Opens `path`, a `.csv` or `.parquet` file that does not exist yet.
    ///
    /// # Errors
    /// Another ending, a file that exists, or the file system.
    pub fn create(path: &Path, schema: SchemaRef) -> Result<Self> {
        if path.exists() {
            bail!("`{}` exists, and predictions never overwrite; remove it or name another file", path.display());
        }
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let aside = path.with_file_name(format!(".{name}.partial"));
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        let aside = Aside(aside);
        let open = || File::create(&aside.0).with_context(|| format!("creating `{}`", path.display()));
        let writer = match ending.as_str() {
            "csv" => {
                let mut writer = csv::Writer::from_writer(BufWriter::new(open()?));
                writer.write_record(schema.fields().iter().map(|f| f.name()))?;
                Writer::Csv(Box::new(writer))
            }
            "parquet" => {
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?));
                let properties = properties.set_max_row_group_row_count(Some(GROUP_ROWS)).build();
                Writer::Parquet(Box::new(ArrowWriter::try_new(open()?, schema, Some(properties))?))
            }
            _ => bail!(
                "`{}`: predictions are written to a `.csv` or a `.parquet` file, or in parts to a folder (a name without an ending)",
                path.display()
            ),
        };
        Ok(Self { path: path.to_owned(), aside, writer })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// The file system.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let result = match &mut self.writer {
            Writer::Parquet(writer) => writer.write(rows).map_err(Into::into),
            Writer::Csv(writer) => write_csv(writer, rows),
        };
        result.with_context(|| format!("writing `{}`", self.path.display()))
    }

    /// Finishes the file and gives it its name.
    ///
    /// # Errors
    /// The file system.
    pub fn finish(self) -> Result<()> {
        self.finish_with(None)
    }

    /// The same, with a note under a key in the metadata of a Parquet file.
    ///
    /// # Errors
    /// The file system.
    pub fn finish_with(self, note: Option<(&str, String)>) -> Result<()> {
        let Self { path, aside, writer } = self;
        let close = || -> Result<()> {
            match writer {
                Writer::Parquet(mut writer) => {
                    if let Some((key, text)) = note {
                        writer.append_key_value_metadata(KeyValue::new(key.to_owned(), text));
                    }
                    drop(writer.close()?);
                }
                Writer::Csv(mut writer) => writer.flush()?,
            }
            File::open(&aside.0)?.sync_all()?;
            put(&aside.0, &path)
        };
        close().with_context(|| format!("writing `{}`", path.display()))
    }
}

/// Numbers in the shortest form that reads back as the same number.
fn write_csv(writer: &mut csv::Writer<BufWriter<File>>, rows: &RecordBatch) -> Result<()> {
    let options = FormatOptions::default();
    let columns = rows.columns().iter().map(|c| ArrayFormatter::try_new(c, &options)).collect::<Result<Vec<_>, _>>()?;
    for row in 0..rows.num_rows() {
        for column in &columns {
            writer.write_field(column.value(row).to_string())?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    Ok(())
}
