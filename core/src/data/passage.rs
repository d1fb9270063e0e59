//! One pass over the inputs: chunks are read ahead on one thread, encoded on all, and written on another. From time to time, and when it is stopped,
//! it leaves a checkpoint.

use super::aside::Aside;
use super::checkpoint::{Checkpoint, Identity, Reached};
use super::encoder::Encoder;
use super::given::{Reading, plan};
use super::known::Known;
use super::layout::Layout;
use super::left_out::LeftOut;
use super::prepare::{PrepareNote, PrepareOptions, PrepareProgress, Stopped, no_rows};
use super::source::{Chunk, Input, SharedSource};
use super::store::{StoreWriter, StoredInput};
use super::writing::{Order, Writing};
use crate::diagnostic::Diagnostics;
use anyhow::Context;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// The inputs and what becomes of them.
pub(super) struct Passage<'a> {
    source: &'a SharedSource,
    inputs: &'a [Input],
    layout: &'a Layout,
    plan: Vec<Reading>,
    pub identity: Identity,
    options: &'a PrepareOptions<'a>,
    every: Duration,
}

/// Where it is.
struct State<'a> {
    encoder: Encoder<'a>,
    writing: Writing,
    reached: Reached,
    saved: Instant,
}

impl<'a> Passage<'a> {
    /// # Errors
    /// Columns that stand in other inputs than the layout says.
    pub(super) fn new(
        source: &'a SharedSource,
        inputs: &'a [Input],
        layout: &'a Layout,
        identity: Identity,
        options: &'a PrepareOptions<'a>,
        every: Duration,
    ) -> Result<Self, Diagnostics> {
        Ok(Self { source, inputs, layout, plan: plan(inputs, layout)?, identity, options, every })
    }

    /// Goes from where an earlier process has come, or from the start, to the end. `note`: why it is from the start.
    ///
    /// # Errors
    /// [`Diagnostics`] for faults of the data; [`Stopped`]; errors of files.
    pub(super) fn go(&self, aside: &Aside, note: Option<PrepareNote>) -> anyhow::Result<()> {
        let (mut state, note) = self.start(aside, note)?;
        let mut progress = PrepareProgress {
            rows: state.reached.rows,
            bytes: state.reached.bytes,
            total_bytes: self.inputs.iter().map(|i| i.bytes).sum(),
            earlier_rows: state.reached.rows,
            earlier_bytes: state.reached.bytes,
            note,
        };
        (self.options.progress)(progress.clone());
        progress.note = None;
        while state.reached.done.len() < self.inputs.len() {
            self.input(&mut state, &mut progress)?;
        }
        self.finish(state, aside.dir())
    }

    /// What an earlier process has left, or nothing.
    fn start(&self, aside: &Aside, note: Option<PrepareNote>) -> anyhow::Result<(State<'a>, Option<PrepareNote>)> {
        let mut note = note;
        if let Some(left) = Checkpoint::read(aside.dir()) {
            match self.recall(aside.dir(), left) {
                Ok(state) => return Ok((state, Some(PrepareNote::GoesOn))),
                Err(e) => note = Some(PrepareNote::BeginsAnew(format!("{e:#}"))),
            }
        }
        aside.clear()?;
        let writer = StoreWriter::open(aside.dir(), self.layout, None)?;
        let left_out = LeftOut::new(self.source.tolerance());
        Ok((self.state(aside.dir(), writer, Known::nothing(self.layout), left_out, Reached::default())?, note))
    }

    fn recall(&self, dir: &Path, left: Checkpoint) -> anyhow::Result<State<'a>> {
        let writer = StoreWriter::open(dir, self.layout, left.writer.as_ref())?;
        let mut known = Known::nothing(self.layout);
        writer.learnt(|records| known.recall(records))?;
        anyhow::ensure!(left.reached.done.len() <= self.inputs.len(), "the checkpoint counts more inputs than there are");
        self.state(dir, writer, known, left.left_out.under(self.source.tolerance()), left.reached)
    }

    fn state(&self, dir: &Path, writer: StoreWriter, known: Known, left_out: LeftOut, reached: Reached) -> anyhow::Result<State<'a>> {
        let encoder = Encoder::new(self.layout, known, left_out, self.options.show_values);
        Ok(State { encoder, writing: Writing::start(writer, dir.to_owned())?, reached, saved: Instant::now() })
    }

    /// Encodes the next input, or what is left of it.
    fn input(&self, state: &mut State<'_>, progress: &mut PrepareProgress) -> anyhow::Result<()> {
        let at = state.reached.done.len();
        let (input, reading) = (&self.inputs[at], &self.plan[at]);
        if state.reached.chunks == 0 {
            state.encoder.begin(reading);
        }
        let chunks = read_ahead(self.source, at, reading, state.reached.chunks)?;
        let before: u64 = self.inputs[..at].iter().map(|i| i.bytes).sum();
        loop {
            let (batch, error) = gather(&chunks);
            if self.options.stop.load(Ordering::Relaxed) {
                return Err(self.stop(state, progress));
            }
            let (count, last) = (batch.len(), batch.is_empty());
            if !last {
                let encoded = state.encoder.take(batch, input, reading);
                let encoded = encoded.with_context(|| format!("`{}`", input.name)).map_err(bare_diagnostics)?;
                state.reached.rows += encoded.chunks.iter().map(|c| c.count as u64).sum::<u64>();
                state.reached.chunks += count;
                state.reached.bytes = before + self.source.bytes_read().min(input.bytes);
                state.writing.order(Order::Rows(encoded))?;
            }
            if let Some(error) = error {
                return Err(error);
            }
            if last {
                break;
            }
            self.tell(state, progress);
            if state.saved.elapsed() >= self.every {
                self.save(state)?;
            }
        }
        let earlier: u64 = state.reached.done.iter().map(|i| i.rows).sum();
        state.reached.done.push(StoredInput {
            name: input.name.clone(),
            path: input.path.clone(),
            fingerprint: input.fingerprint.clone(),
            bytes: input.bytes,
            unit: input.unit.to_owned(),
            rows: state.reached.rows - earlier,
        });
        state.reached.chunks = 0;
        state.reached.bytes = before + input.bytes;
        self.tell(state, progress);
        Ok(())
    }

    fn tell(&self, state: &State<'_>, progress: &mut PrepareProgress) {
        (progress.rows, progress.bytes) = (state.reached.rows, state.reached.bytes);
        (self.options.progress)(progress.clone());
    }

    /// Leaves a checkpoint, unless the data are faulty, so that nothing will become of them.
    fn save(&self, state: &mut State<'_>) -> anyhow::Result<()> {
        if state.encoder.is_clean() {
            let checkpoint = Checkpoint::new(&self.identity, &state.reached, state.encoder.left_out());
            state.writing.order(Order::Checkpoint(Box::new(checkpoint)))?;
        }
        state.saved = Instant::now();
        Ok(())
    }

    /// Leaves a checkpoint for the last time.
    fn stop(&self, state: &mut State<'_>, progress: &mut PrepareProgress) -> anyhow::Error {
        if state.reached == Reached::default() || !state.encoder.is_clean() {
            return Stopped.into();
        }
        if let Err(error) = self.save(state).and_then(|()| state.writing.finished()) {
            return error;
        }
        progress.note = Some(PrepareNote::Interrupted);
        self.tell(state, progress);
        Stopped.into()
    }

    fn finish(&self, state: State<'_>, dir: &Path) -> anyhow::Result<()> {
        let writer = state.writing.end()?;
        let (entities, left_out, dictionaries) = state.encoder.finish()?;
        let inputs = state.reached.done;
        if inputs.iter().all(|i| i.rows == 0) {
            return Err(no_rows(inputs.iter().map(|i| i.name.as_str())));
        }
        writer.finish(&self.identity.fingerprint, self.layout, inputs, (entities, left_out), &dictionaries)?;
        Checkpoint::remove(dir)
    }
}

/// Findings are shown as they are; other errors keep the input's name before them.
fn bare_diagnostics(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Diagnostics>() {
        Some(findings) => findings.clone().into(),
        None => error,
    }
}

/// How many chunks are encoded at once, at most.
fn at_once() -> usize {
    2 * rayon::current_num_threads()
}

/// The next chunks, as many as are encoded at once; fewer: the input is at its end. And what ended it.
fn gather(chunks: &Receiver<anyhow::Result<Chunk>>) -> (Vec<Chunk>, Option<anyhow::Error>) {
    let mut batch = Vec::new();
    let mut next = chunks.recv().ok();
    while let Some(chunk) = next {
        match chunk {
            Ok(chunk) => batch.push(chunk),
            Err(e) => return (batch, Some(e)),
        }
        next = if batch.len() < at_once() { chunks.recv().ok() } else { None };
    }
    (batch, None)
}

/// Reads an input on a thread of its own, some chunks ahead, without the first `skip` of them.
fn read_ahead(source: &SharedSource, input: usize, reading: &Reading, skip: usize) -> anyhow::Result<Receiver<anyhow::Result<Chunk>>> {
    let (send, receive) = sync_channel(at_once());
    let Some(columns) = reading.columns().map(<[String]>::to_vec) else { return Ok(receive) };
    let source = Arc::clone(source);
    let read = move || {
        let chunks = match source.read_after(input, &columns, skip) {
            Ok(chunks) => chunks,
            Err(e) => {
                drop(send.send(Err(e)));
                return;
            }
        };
        for chunk in chunks {
            let failed = chunk.is_err();
            if send.send(chunk).is_err() || failed {
                return;
            }
        }
    };
    std::thread::Builder::new().name("read".into()).spawn(read).context("cannot start a thread to read")?;
    Ok(receive)
}
