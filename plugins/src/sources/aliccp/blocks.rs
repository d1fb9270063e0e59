//! A file in blocks of whole lines, parsed on all cores, in order. Where blocks end follows from the bytes alone, so the number of threads changes
//! nothing.

use super::parse::Parser;
use crate::sources::{Counting, fault};
use anyhow::Context;
use esmm_funnel_core::data::source::{Chunk, RowNumbers};
use flate2::bufread::MultiGzDecoder;
use memchr::{memchr_iter, memrchr};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

/// Bytes of a block, unless a line is longer.
const BLOCK: usize = 512 << 10;
/// Bytes of the longest line: a file of one endless line is no file of this format.
const LONGEST: usize = 64 << 20;

/// Whole lines.
struct Block {
    bytes: Vec<u8>,
    first_line: u64,
    /// They end with the file, not with a line end.
    ends_file: bool,
}

/// Cuts a file into blocks.
struct Blocks {
    name: String,
    reader: Box<dyn Read + Send>,
    /// The start of a line whose end has not been read.
    rest: Vec<u8>,
    line: u64,
    done: bool,
}

impl Blocks {
    fn open(path: &Path, read: &Arc<AtomicU64>) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot read `{name}`"))?;
        read.store(0, Ordering::Relaxed);
        let mut file = BufReader::with_capacity(1 << 18, Counting { inner: file, count: Arc::clone(read) });
        let gzip = file.fill_buf().with_context(|| format!("cannot read `{name}`"))?.starts_with(&[0x1f, 0x8b]);
        let reader: Box<dyn Read + Send> = if gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        Ok(Self { name, reader, rest: Vec::new(), line: 1, done: false })
    }

    fn next(&mut self) -> anyhow::Result<Option<Block>> {
        let mut bytes = std::mem::take(&mut self.rest);
        while !self.done {
            let searched = bytes.len();
            self.fill(&mut bytes)?;
            if let Some(end) = memrchr(b'\n', &bytes[searched..]).filter(|_| !self.done) {
                self.rest = bytes.split_off(searched + end + 1);
                return Ok(Some(self.block(bytes)));
            }
            if bytes.len() > LONGEST {
                let message = format!("{}:{}: a line of more than {} MiB", self.name, self.line, LONGEST >> 20);
                return Err(fault("broken-file", message, "lines end with a line feed"));
            }
        }
        Ok(if bytes.is_empty() { None } else { Some(self.block(bytes)) })
    }

    /// Reads up to a block more.
    fn fill(&mut self, bytes: &mut Vec<u8>) -> anyhow::Result<()> {
        let read = self.reader.by_ref().take(BLOCK as u64).read_to_end(bytes);
        let read = read.map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => {
                let message = format!("`{}`: the gzip data ends early", self.name);
                fault("truncated-file", message, "the file is truncated; copy it again")
            }
            _ => fault("broken-file", format!("`{}` cannot be read: {e}", self.name), ""),
        })?;
        self.done = read < BLOCK;
        Ok(())
    }

    fn block(&mut self, bytes: Vec<u8>) -> Block {
        let (first_line, ends_file) = (self.line, bytes.last() != Some(&b'\n'));
        self.line += memchr_iter(b'\n', &bytes).count() as u64;
        Block { bytes, first_line, ends_file }
    }
}

/// A block on its way.
enum Pending {
    Running(Receiver<anyhow::Result<Chunk>>),
    Ready(anyhow::Result<Chunk>),
}

/// The chunks of a file.
pub(super) struct Chunks {
    path: PathBuf,
    input: usize,
    blocks: Blocks,
    parser: Arc<Parser>,
    pending: VecDeque<Pending>,
    done: bool,
}

impl Chunks {
    /// `read` counts the bytes of the file.
    pub(super) fn open(path: &Path, input: usize, parser: Parser, read: &Arc<AtomicU64>) -> anyhow::Result<Self> {
        let blocks = Blocks::open(path, read)?;
        Ok(Self { path: path.to_owned(), input, blocks, parser: Arc::new(parser), pending: VecDeque::new(), done: false })
    }

    /// Without the first blocks.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn without(mut self, blocks: usize) -> anyhow::Result<Self> {
        for _ in 0..blocks {
            self.blocks.next()?;
        }
        Ok(self)
    }

    /// Has blocks parsed ahead of the one asked for.
    fn start(&mut self) {
        // A worker that waited for other workers could wait for itself.
        let inside = rayon::current_thread_index().is_some();
        let ahead = if inside { 1 } else { rayon::current_num_threads() + 2 };
        while !self.done && self.pending.len() < ahead {
            let block = match self.blocks.next() {
                Ok(Some(block)) => block,
                Ok(None) => {
                    self.done = true;
                    break;
                }
                Err(e) => {
                    self.done = true;
                    self.pending.push_back(Pending::Ready(Err(e)));
                    break;
                }
            };
            let (parser, input) = (Arc::clone(&self.parser), self.input);
            if inside {
                self.pending.push_back(Pending::Ready(chunk(&parser, &block, input)));
                continue;
            }
            let (send, receive) = sync_channel(1);
            // Nobody listening is no fault.
            rayon::spawn(move || drop(send.send(chunk(&parser, &block, input))));
            self.pending.push_back(Pending::Running(receive));
        }
    }
}

fn chunk(parser: &Parser, block: &Block, input: usize) -> anyhow::Result<Chunk> {
    let parsed = parser.block(&block.bytes, block.first_line, block.ends_file)?;
    let consecutive = parsed.lines.windows(2).all(|w| w[0] + 1 == w[1]);
    let numbers = match parsed.lines.first() {
        Some(first) if consecutive => RowNumbers::From(*first),
        _ => RowNumbers::Each(parsed.lines),
    };
    Ok(Chunk { records: parsed.records, input, numbers, broken: parsed.broken })
}

impl Iterator for Chunks {
    type Item = anyhow::Result<Chunk>;

    fn next(&mut self) -> Option<Self::Item> {
        self.start();
        let next = match self.pending.pop_front()? {
            Pending::Ready(next) => next,
            Pending::Running(receive) => {
                receive.recv().unwrap_or_else(|_| Err(anyhow::anyhow!("`{}`: a thread that reads it ended early", self.path.display())))
            }
        };
        if next.is_err() {
            self.done = true;
            self.pending.clear();
        }
        Some(next)
    }
}
