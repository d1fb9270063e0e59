//! Reads predictions back.

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::path::Path;

/// A table of text, and of numbers by their exact bits.
#[derive(Debug, PartialEq)]
pub struct Table {
    pub names: Vec<String>,
    pub columns: Vec<Vec<String>>,
}

impl Table {
    /// Of a `.csv` (without quotes) or `.parquet` file.
    pub fn read(path: &Path) -> Self {
        if path.extension().is_some_and(|e| e == "csv") { Self::csv(path) } else { Self::parquet(path) }
    }
    fn csv(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines = text.lines().map(|l| l.split(',').map(str::to_owned).collect::<Vec<_>>());
        let names = lines.next().unwrap();
        let mut columns = vec![Vec::new(); names.len()];
        for line in lines {
            assert_eq!(line.len(), names.len());
            line.into_iter().zip(&mut columns).for_each(|(cell, column)| column.push(cell));
        }
        Self { names, columns }
    }
    fn parquet(path: &Path) -> Self {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
        let names: Vec<String> = reader.schema().fields().iter().map(|f| f.name().clone()).collect();
        let mut columns = vec![Vec::new(); names.len()];
        for batch in reader.build().unwrap() {
            for (column, values) in columns.iter_mut().zip(batch.unwrap().columns()) {
                if values.data_type() == &DataType::Float64 {
                    column.extend(values.as_primitive::<Float64Type>().iter().map(|v| v.unwrap().to_string()));
                } else {
                    let text = cast(values, &DataType::Utf8).unwrap();
                    column.extend(text.as_string::<i32>().iter().map(|v| v.unwrap().to_owned()));
                }
            }
        }
        Self { names, columns }
    }
    pub fn rows(&self) -> usize {
        self.columns[0].len()
    }
    pub fn text(&self, name: &str) -> &[String] {
        &self.columns[self.names.iter().position(|n| n == name).unwrap_or_else(|| panic!("no `{name}` in {:?}", self.names))]
    }
    pub fn numbers(&self, name: &str) -> Vec<f64> {
        self.text(name).iter().map(|t| t.parse().unwrap()).collect()
    }
    /// Asserts that both hold the same: keys as text, predictions to the last bit.
    #[track_caller]
    pub fn assert_same(&self, other: &Self) {
        assert_eq!((&self.names, self.rows()), (&other.names, other.rows()));
        for name in &self.names {
            if name.starts_with("p_") {
                let (a, b) = (self.numbers(name), other.numbers(name));
                let differ = a.iter().zip(&b).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
                assert_eq!(differ, 0, "{name}: {differ} of {} rows differ", a.len());
            } else {
                assert_eq!(self.text(name), other.text(name), "{name}");
            }
        }
    }
}
