//! Event files for TensorBoard, beside `metrics.jsonl`.
//!
//! A file is a row of records: the length as `u64`, its masked CRC-32C, the bytes, their masked CRC-32C; all little-endian. A record is an
//! `Event` message of TensorFlow's `event.proto` in Protocol Buffers' wire format, of which four fields are used.

use super::{Line, RunFolder, names};
use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::io::Write;

/// An open event file.
#[derive(Debug)]
pub struct EventFile {
    file: File,
}

impl EventFile {
    /// Starts a file of its own for what is written from now on. A run that goes on after `step` tells TensorBoard to forget what older
    /// files hold of later steps.
    ///
    /// # Errors
    /// The file system.
    pub fn open(folder: &RunFolder, step: u64) -> Result<Self> {
        let now = now();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let mut stamp = now as u64;
        // TensorBoard reads the files of a folder in the order of their names.
        let file = loop {
            let path = folder.file(&format!("{}.{stamp:010}.esmm-funnel", names::EVENTS));
            match OpenOptions::new().create_new(true).write(true).open(&path) {
                Ok(file) => break file,
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => stamp += 1,
                Err(e) => return Err(e).with_context(|| format!("writing `{}`", path.display())),
            }
        };
        let mut events = Self { file };
        events.write_records(&start(now, step))?;
        Ok(events)
    }

    /// Adds lines of the journal, each number of theirs as a scalar.
    ///
    /// # Errors
    /// The file system.
    pub fn write(&mut self, lines: &[Line]) -> Result<()> {
        let mut records = Vec::new();
        for of_step in lines.chunk_by(|a, b| a.step == b.step) {
            let scalars: Vec<(String, f32)> = of_step.iter().flat_map(scalars).collect();
            if !scalars.is_empty() {
                record(&mut records, &event(now(), of_step[0].step, &summary(&scalars)));
            }
        }
        self.write_records(&records)
    }

    fn write_records(&mut self, records: &[u8]) -> Result<()> {
        self.file.write_all(records).context("writing the event file of TensorBoard")
    }
}

fn now() -> f64 {
    jiff::Timestamp::now().as_duration().as_secs_f64()
}

/// The numbers of a line, each with its tag: `train/<loss term>`, `<part>/<stage>/<space>/<metric>`.
#[allow(clippy::cast_possible_truncation)]
fn scalars(line: &Line) -> Vec<(String, f32)> {
    if line.part == "train" {
        let value = line.loss.or(line.value);
        return value.map(|v| (format!("train/{}", line.space), v as f32)).into_iter().collect();
    }
    let metrics = [("auc", line.auc), ("logloss", line.logloss), ("ne", line.ne), ("pcoc", line.pcoc), ("ece", line.ece)];
    let tag = |metric: &str| format!("{}/{}/{}/{metric}", line.part, line.stage, line.space);
    metrics.into_iter().filter_map(|(metric, value)| Some((tag(metric), value? as f32))).collect()
}

/// The first records of a file.
fn start(now: f64, step: u64) -> Vec<u8> {
    let mut records = Vec::new();
    let mut version = Vec::new();
    bytes_field(&mut version, 3, b"brain.Event:2");
    record(&mut records, &event(now, 0, &version));
    if step > 0 {
        // SessionLog { status: START }
        let mut session = Vec::new();
        bytes_field(&mut session, 7, &[1 << 3, 1]);
        record(&mut records, &event(now, step + 1, &session));
    }
    records
}

/// `Event { wall_time, step }` followed by `rest`, fields that are encoded already. A step of 0 is left out, as the format does.
fn event(wall_time: f64, step: u64, rest: &[u8]) -> Vec<u8> {
    let mut out = vec![1 << 3 | 1];
    out.extend(wall_time.to_le_bytes());
    if step > 0 {
        out.push(2 << 3);
        varint(&mut out, step);
    }
    out.extend_from_slice(rest);
    out
}
/// `summary: Summary { value: [Value { tag, simple_value }] }`.
fn summary(scalars: &[(String, f32)]) -> Vec<u8> {
    let mut values = Vec::new();
    for (tag, scalar) in scalars {
        let mut value = Vec::new();
        bytes_field(&mut value, 1, tag.as_bytes());
        value.push(2 << 3 | 5);
        value.extend(scalar.to_le_bytes());
        bytes_field(&mut values, 1, &value);
    }
    let mut out = Vec::new();
    bytes_field(&mut out, 5, &values);
    out
}
fn bytes_field(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
#[allow(clippy::cast_possible_truncation)]
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn record(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = (bytes.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked_crc(&length));
    out.extend_from_slice(bytes);
    out.extend(masked_crc(bytes));
}
fn masked_crc(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TensorBoard's own writer made the file; see `tests/golden/events_tensorboard.py`.
    #[test]
    fn records_are_what_tensorboard_writes() {
        let scalar = |tag: &str, value| (tag.to_owned(), value);
        let mut found = start(1_700_000_000.25, 300);
        let two = [scalar("valid/purchase/full/auc", 0.8125), scalar("train/purchase", 0.1)];
        record(&mut found, &event(1_700_000_001.5, 300, &summary(&two)));
        record(&mut found, &event(1_700_000_002.0, 7_000_000_000, &summary(&[scalar("train/click", -2.5)])));
        assert_eq!(found, include_bytes!("../../../tests/golden/events_tensorboard.bin"));
    }
}
