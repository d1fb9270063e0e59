//! The parts of a folder that are missing, written one after another. A batch that no missing part needs is not scored; one that two parts need is
//! scored once.

use super::Sink;
use super::folder::{Folder, NOTE};
use super::ledger::PartRecord;
use super::options::{PredictOptions, PredictSummary};
use super::parts::{Plan, Stretch};
use super::predict::RowScorer;
use crate::data::LeftOut;
use crate::data::source::SharedSource;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU64;

/// Fills a folder with the parts that are missing.
pub(super) struct Writer<'a> {
    pub rows: &'a RowScorer<'a>,
    pub plan: &'a Plan,
    /// Most rows of a part.
    pub most: Option<NonZeroU64>,
    pub folder: &'a mut Folder,
    pub options: &'a PredictOptions<'a>,
}

/// A part under way.
struct Open {
    sink: Sink,
    part: PartRecord,
}

impl Writer<'_> {
    pub(super) fn all(mut self, source: &SharedSource) -> Result<()> {
        let mut left_out = LeftOut::new(source.tolerance());
        let before = self.folder.manifest.summary.left_out.clone();
        for stretch in self.plan.stretches.clone() {
            self.stretch(stretch, &mut left_out)?;
            let news = left_out.messages().into_iter().filter(|m| !before.contains(m));
            self.folder.manifest.summary.left_out = before.iter().cloned().chain(news).collect();
        }
        Ok(())
    }

    /// Rows of the parts of a stretch that are there, by first row.
    fn done(&self, input: usize) -> BTreeMap<u64, u64> {
        self.folder.manifest.parts.iter().filter(|p| p.input == input).map(|p| (p.first_row, p.summary.rows)).collect()
    }

    fn stretch(&mut self, stretch: Stretch, left_out: &mut LeftOut) -> Result<()> {
        let Stretch { input, from, to } = stretch;
        let most = self.most.map_or(u64::MAX, NonZeroU64::get);
        let done = self.done(input);
        // A part with fewer rows than it may have is the last one.
        let end = to.or_else(|| done.iter().find(|(_, rows)| **rows < most).map(|(first, rows)| first + rows)).unwrap_or(u64::MAX);
        let part_end = |first: u64| first.saturating_add(most).min(end);
        let part_of = |row: u64| row - (row - from) % most;
        let mut first_missing = from;
        while first_missing < end && done.contains_key(&first_missing) {
            first_missing = part_end(first_missing);
        }
        if first_missing >= end {
            return Ok(());
        }
        let source = self.rows.inputs()?;
        let (description, mut open) = (&source[input], None::<Open>);
        for batch in self.rows.batches(input, first_missing)? {
            self.rows.go_on().with_context(|| self.stopped())?;
            let (at, chunk) = batch?;
            left_out.take(&chunk, description)?;
            let last = at + chunk.records.num_rows() as u64;
            let (mut row, upto) = (at.max(first_missing), last.min(end));
            let mut pieces = Vec::new();
            while row < upto {
                let (first, next) = (part_of(row), part_end(part_of(row)).min(upto));
                pieces.extend((!done.contains_key(&first)).then_some((first, row, next)));
                row = next;
            }
            if !pieces.is_empty() {
                let scored = self.rows.score(chunk, description)?;
                for (first, row, next) in pieces {
                    let part = match &mut open {
                        Some(part) => part,
                        None => open.insert(self.begin(input, first)?),
                    };
                    let inside = usize::try_from(row - at)?..usize::try_from(next - at)?;
                    part.sink.write(&self.rows.take(&scored, inside, description, &mut part.part.summary)?)?;
                    (self.options.progress)(self.folder.manifest.summary.rows + part.part.summary.rows);
                    if next == part_end(first) {
                        self.end(open.take())?;
                    }
                }
            }
            if last >= end {
                break;
            }
        }
        self.end(open)
    }

    fn begin(&self, input: usize, first_row: u64) -> Result<Open> {
        let file = self.plan.file(input, first_row);
        let path = self.folder.path.join(&file);
        if path.exists() {
            // Not one of ours, or it would have been taken over: it is damaged.
            fs::remove_file(&path).with_context(|| format!("removing the damaged part `{}`", path.display()))?;
        }
        let part = PartRecord { file, input, first_row, summary: PredictSummary::default() };
        Ok(Open { sink: Sink::create(&path, self.rows.schema())?, part })
    }

    fn end(&mut self, open: Option<Open>) -> Result<()> {
        let Some(Open { sink, part }) = open else { return Ok(()) };
        sink.finish_with(Some((NOTE, serde_json::to_string(&(&self.folder.stamp, &part))?)))?;
        self.folder.add(part)
    }

    fn stopped(&self) -> String {
        let parts = self.folder.manifest.parts.len();
        let s = if parts == 1 { "" } else { "s" };
        format!("{parts} part{s} whole in `{}`; the same command goes on", self.folder.path.display())
    }
}
