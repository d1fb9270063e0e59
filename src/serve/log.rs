//! `--log`: every scored row with what was scored, as Parquet that `predict` and `replay` read. A thread of its own writes; scoring never waits for
//! it: what does not fit its queue is dropped and counted.
//!
//! The unit is the *batch*, rows that were scored together: how a matrix is multiplied may depend on how many rows it has, and only the same
//! batch gives the same bits again.

use super::metrics::Metrics;
use super::model::Served;
use crate::ui::Ui;
use anyhow::{Context, Result, bail};
use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use esmm_funnel_core::data::spread;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Rows that are handed to the file together.
const STRETCH: usize = 4096;
/// Where the metadata of a file names its run.
pub const RUN: &str = "esmm_funnel.run";

/// Columns about the row; what was scored and the predictions follow.
pub mod names {
    /// When it was scored, UTC.
    pub const TIME: &str = "_time";
    /// The request, counted from the server's start.
    pub const REQUEST: &str = "_request";
    /// The rows that were scored together, counted likewise.
    pub const BATCH: &str = "_batch";
    /// The row of the request.
    pub const ROW: &str = "_row";
    /// The model's version.
    pub const MODEL: &str = "_model";
    /// The score expression.
    pub const EXPRESSION: &str = "_expression";
    /// Its value.
    pub const VALUE: &str = "_value";
}

/// What was asked in one request.
#[derive(Debug)]
pub struct Record {
    /// The keys that are no columns of the model, as text.
    pub keys: Vec<ArrayRef>,
    /// Columns in common: one row.
    pub shared: Option<RecordBatch>,
    /// The rows' own columns.
    pub rows: RecordBatch,
    /// The score expression.
    pub expression: Option<String>,
}

/// A batch that was scored.
#[derive(Debug)]
pub struct Logged {
    time: SystemTime,
    served: Arc<Served>,
    records: Vec<Record>,
    /// `[P][B]`.
    probabilities: Vec<Vec<f64>>,
    /// `[B]`; NaN without an expression.
    values: Vec<f64>,
}
impl Logged {
    /// Of a batch that was scored now.
    pub fn new(served: Arc<Served>, records: Vec<Record>, probabilities: Vec<Vec<f64>>, values: Vec<f64>) -> Self {
        Self { time: SystemTime::now(), served, records, probabilities, values }
    }
    fn rows(&self) -> u64 {
        self.values.len() as u64
    }

    /// As rows of the log.
    fn spelled_out(&self, schema: &SchemaRef, batch: u64, request: &mut u64) -> Result<RecordBatch> {
        let n = self.values.len();
        let wanted: Vec<usize> = (0..self.served.online.columns().len()).collect();
        let (mut keys, mut features): (Vec<Vec<ArrayRef>>, Vec<RecordBatch>) = (Vec::new(), Vec::new());
        let (mut requests, mut rows, mut expressions) = (Vec::with_capacity(n), Vec::with_capacity(n), Vec::with_capacity(n));
        for record in &self.records {
            let all = match &record.shared {
                Some(shared) => spread(shared, &record.rows)?,
                None => record.rows.clone(),
            };
            let order = wanted.iter().map(|&c| all.schema().index_of(&self.served.online.columns()[c].name));
            features.push(all.project(&order.collect::<Result<Vec<_>, _>>()?)?);
            keys.push(record.keys.clone());
            let count = u32::try_from(all.num_rows())?;
            requests.extend(std::iter::repeat_n(*request, count as usize));
            rows.extend(0..count);
            expressions.extend(std::iter::repeat_n(record.expression.as_deref(), count as usize));
            *request += 1;
        }
        let micros = i64::try_from(self.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros())?;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(vec![micros; n]).with_timezone("UTC")),
            Arc::new(UInt64Array::from(requests)),
            Arc::new(UInt64Array::from(vec![batch; n])),
            Arc::new(UInt32Array::from(rows)),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(self.served.online.version(), n))),
            Arc::new(StringArray::from(expressions)),
            Arc::new(self.values.iter().map(|v| v.is_finite().then_some(*v)).collect::<Float64Array>()),
        ];
        for key in 0..keys.first().map_or(0, Vec::len) {
            let parts: Vec<&dyn arrow::array::Array> = keys.iter().map(|k| k[key].as_ref()).collect();
            columns.push(arrow::compute::concat(&parts)?);
        }
        columns.extend(concat_batches(self.served.online.schema(), &features)?.columns().iter().cloned());
        columns.extend(self.probabilities.iter().map(|p| Arc::new(Float64Array::from(p.clone())) as ArrayRef));
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }
}

/// The columns of the log of a model.
///
/// # Errors
/// Two of them have one name.
pub fn schema(served: &Served) -> Result<SchemaRef> {
    let mut fields = vec![
        Field::new(names::TIME, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new(names::REQUEST, DataType::UInt64, false),
        Field::new(names::BATCH, DataType::UInt64, false),
        Field::new(names::ROW, DataType::UInt32, false),
        Field::new(names::MODEL, DataType::Utf8, false),
        Field::new(names::EXPRESSION, DataType::Utf8, true),
        Field::new(names::VALUE, DataType::Float64, true),
    ];
    fields.extend(served.other_keys().map(|(_, k)| Field::new(k, DataType::Utf8, true)));
    fields.extend(served.online.schema().fields().iter().map(|f| f.as_ref().clone()));
    fields.extend(served.online.names().iter().map(|n| Field::new(n, DataType::Float64, true)));
    let mut names: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
    names.sort_unstable();
    #[allow(clippy::index_refutable_slice)]
    if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
        bail!("`--log`: the log would have two columns `{}`; rename the column of the data", twice[0]);
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// How the log is written.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The folder.
    pub folder: PathBuf,
    /// Batches that may wait.
    pub queue: usize,
    /// A file of so many rows is whole.
    pub file_rows: usize,
    /// A file that has been open so long is whole.
    pub file_age: Duration,
}

enum Message {
    Batch(Logged),
    Stop,
}

/// Where scored batches go.
#[derive(Clone)]
pub struct LogSender {
    queue: SyncSender<Message>,
    metrics: Arc<Metrics>,
}
impl LogSender {
    /// Hands a batch over, or drops it if the queue is full.
    pub fn send(&self, batch: Logged) {
        let rows = batch.rows();
        let at = usize::from(self.queue.try_send(Message::Batch(batch)).is_err());
        self.metrics.logged[at].fetch_add(rows, Relaxed);
    }
}

/// The thread that writes.
pub struct Log {
    sender: LogSender,
    thread: JoinHandle<()>,
}
impl Log {
    /// Starts it.
    ///
    /// # Errors
    /// The folder cannot be made or written.
    pub fn start(options: LogOptions, metrics: &Arc<Metrics>, ui: Ui) -> Result<Self> {
        fs::create_dir_all(&options.folder).with_context(|| format!("`--log {}`", options.folder.display()))?;
        tempfile_in(&options.folder).with_context(|| format!("`--log {}`: the folder cannot be written", options.folder.display()))?;
        let (queue, messages) = sync_channel(options.queue);
        let sender = LogSender { queue, metrics: Arc::clone(metrics) };
        let writer = Writer { options, metrics: Arc::clone(metrics), ui, open: None, files: 0, batch: 0, request: 0, complained: None };
        let thread = std::thread::Builder::new().name("log".into()).spawn(move || writer.run(&messages))?;
        Ok(Self { sender, thread })
    }
    /// Where batches go.
    pub fn sender(&self) -> LogSender {
        self.sender.clone()
    }
    /// Writes what waits, finishes the file and ends.
    pub fn stop(self) {
        let _ = self.sender.queue.send(Message::Stop);
        let _ = self.thread.join();
    }
}

/// Makes and removes a file.
fn tempfile_in(folder: &Path) -> Result<()> {
    let path = folder.join(format!(".probe-{}", std::process::id()));
    File::create(&path)?;
    Ok(fs::remove_file(path)?)
}

struct Writer {
    options: LogOptions,
    metrics: Arc<Metrics>,
    ui: Ui,
    open: Option<OpenFile>,
    files: u64,
    batch: u64,
    request: u64,
    complained: Option<Instant>,
}

struct OpenFile {
    served: Arc<Served>,
    schema: SchemaRef,
    aside: PathBuf,
    path: PathBuf,
    writer: ArrowWriter<File>,
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    rows: usize,
    since: Instant,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            match messages.recv_timeout(Duration::from_secs(1)) {
                Ok(Message::Batch(batch)) => self.take(&batch),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return self.close(),
            }
            let (rows, age) = (self.options.file_rows, self.options.file_age);
            if self.open.as_ref().is_some_and(|f| f.rows >= rows || f.since.elapsed() >= age) {
                self.close();
            }
        }
    }

    fn take(&mut self, batch: &Logged) {
        if self.open.as_ref().is_some_and(|f| !Arc::ptr_eq(&f.served, &batch.served)) {
            self.close();
        }
        let written = self.write(batch);
        self.batch += 1;
        if let Err(error) = written {
            let mut lost = batch.rows();
            if let Some(file) = self.open.take() {
                lost += file.rows as u64;
                fs::remove_file(&file.aside).ok();
            }
            self.lose(lost, &error);
        }
    }
    fn write(&mut self, batch: &Logged) -> Result<()> {
        #[allow(clippy::single_match_else)]
        let file = match &mut self.open {
            Some(file) => file,
            None => {
                self.files += 1;
                self.open.insert(OpenFile::create(&self.options.folder, self.files, &batch.served)?)
            }
        };
        file.add(batch.spelled_out(&file.schema, self.batch, &mut self.request)?)
    }
    fn close(&mut self) {
        if let Some(file) = self.open.take() {
            let (rows, aside) = (file.rows as u64, file.aside.clone());
            if let Err(error) = file.finish() {
                fs::remove_file(aside).ok();
                self.lose(rows, &error);
            }
        }
    }
    /// Says so, once a minute at most.
    fn lose(&mut self, rows: u64, error: &anyhow::Error) {
        self.metrics.logged[1].fetch_add(rows, Relaxed);
        if self.complained.is_none_or(|t| t.elapsed() > Duration::from_mins(1)) {
            self.ui.story(&format!("warning: the log lost {rows} rows: {}", crate::ui::chain(error)));
            self.complained = Some(Instant::now());
        }
    }
}

impl OpenFile {
    fn create(folder: &Path, number: u64, served: &Arc<Served>) -> Result<Self> {
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let name = format!("scores-{now}-{}-{number:06}.parquet", std::process::id());
        let (aside, path) = (folder.join(format!(".{name}.partial")), folder.join(name));
        let schema = schema(served)?;
        let run = KeyValue::new(RUN.to_owned(), served.run.display().to_string());
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_key_value_metadata(Some(vec![run]))
            .build();
        let file = File::create(&aside).with_context(|| format!("creating `{}`", aside.display()))?;
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))?;
        let served = Arc::clone(served);
        Ok(Self { served, schema, aside, path, writer, waiting: Vec::new(), waiting_rows: 0, rows: 0, since: Instant::now() })
    }
    fn add(&mut self, rows: RecordBatch) -> Result<()> {
        self.rows += rows.num_rows();
        self.waiting_rows += rows.num_rows();
        self.waiting.push(rows);
        if self.waiting_rows >= STRETCH { self.pass_on() } else { Ok(()) }
    }
    fn pass_on(&mut self) -> Result<()> {
        let all = concat_batches(&self.schema, &self.waiting)?;
        self.waiting.clear();
        self.waiting_rows = 0;
        self.writer.write(&all).with_context(|| format!("writing `{}`", self.path.display()))
    }
    fn finish(mut self) -> Result<()> {
        self.pass_on()?;
        let close = || -> Result<()> {
            self.writer.close()?;
            File::open(&self.aside)?.sync_all()?;
            Ok(fs::rename(&self.aside, &self.path)?)
        };
        close().with_context(|| format!("writing `{}`", self.path.display()))
    }
}
