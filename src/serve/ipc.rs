//! Bodies as Arrow IPC streams, for bulk. What arrives is not trusted: nothing is allocated because a header says so, and what would grow when
//! it is spelled out is refused first.

use super::error::ApiError;
use super::model::Served;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::buffer::Buffer;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::record_batch::RecordBatch;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamWriter;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The content type.
pub const STREAM: &str = "application/vnd.apache.arrow.stream";

/// Bytes of cells, spelled out, per byte of the body that may be.
const GROWTH: usize = 16;

/// Reads a body.
///
/// # Errors
/// No Arrow stream, or more rows than may be.
pub fn read(body: &[u8], max_rows: usize, max_bytes: usize) -> Result<RecordBatch, ApiError> {
    // The crate checks what it reads, but lengths that no buffer has may still trip it.
    let read = catch_unwind(AssertUnwindSafe(|| decode(body, max_rows, max_bytes)));
    read.unwrap_or_else(|_| Err(ApiError::malformed("the body is not an Arrow IPC stream: broken lengths")))
}

fn decode(body: &[u8], max_rows: usize, max_bytes: usize) -> Result<RecordBatch, ApiError> {
    let broken = |e: arrow::error::ArrowError| ApiError::malformed(format!("the body is not an Arrow IPC stream: {e}"));
    let (mut decoder, mut buffer) = (StreamDecoder::new(), Buffer::from(body));
    let (mut batches, mut rows, mut bytes) = (Vec::new(), 0_usize, 0_usize);
    while !buffer.is_empty() {
        let before = buffer.len();
        if let Some(batch) = decoder.decode(&mut buffer).map_err(broken)? {
            rows = rows.saturating_add(batch.num_rows());
            if rows > max_rows {
                return Err(ApiError::too_large(format!("more than {max_rows} rows; send several requests, or raise `--max-rows`")));
            }
            bytes = batch.columns().iter().fold(bytes, |all, c| all.saturating_add(spelled_out(c)));
            if bytes > max_bytes.saturating_mul(GROWTH) {
                return Err(ApiError::too_large("the columns are larger than the body by far once they are spelled out; send fewer rows"));
            }
            batches.push(batch);
        } else if buffer.len() == before {
            // What follows the end of the stream is not read.
            break;
        }
    }
    let schema = decoder.schema();
    decoder.finish().map_err(broken)?;
    let schema = schema.ok_or_else(|| ApiError::malformed("the body is not an Arrow IPC stream: it has no schema"))?;
    let mut names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
        return Err(ApiError::unprocessable("bad_request", format!("column `{}` is given twice", twice[0])).at(twice[0]));
    }
    concat_batches(&schema, &batches).map_err(broken)
}

/// Bytes of the cells, where values may be referred to many times.
fn spelled_out(array: &ArrayRef) -> usize {
    let lengths = |all: &mut dyn Iterator<Item = usize>| all.fold(0_usize, usize::saturating_add);
    match array.data_type() {
        DataType::Utf8View => lengths(&mut array.as_string_view().iter().map(|t| t.map_or(0, str::len))),
        DataType::BinaryView => lengths(&mut array.as_binary_view().iter().map(|t| t.map_or(0, <[u8]>::len))),
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let longest = longest(dictionary.values());
            array.len().saturating_mul(longest)
        }
        DataType::List(_) => spelled_out(array.as_list::<i32>().values()),
        DataType::LargeList(_) => spelled_out(array.as_list::<i64>().values()),
        DataType::FixedSizeList(..) => spelled_out(array.as_fixed_size_list().values()),
        DataType::Null => array.len(),
        _ => array.get_buffer_memory_size(),
    }
}
fn longest(values: &ArrayRef) -> usize {
    match values.data_type() {
        DataType::Utf8 => values.as_string::<i32>().iter().map(|t| t.map_or(0, str::len)).max().unwrap_or(0),
        DataType::LargeUtf8 => values.as_string::<i64>().iter().map(|t| t.map_or(0, str::len)).max().unwrap_or(0),
        other if other.is_primitive() || *other == DataType::Boolean || *other == DataType::Null => 8,
        _ => values.get_buffer_memory_size(),
    }
}

/// Writes the answer: the keys as they were given, then the predictions. Model version and warnings are metadata of the schema.
///
/// # Errors
/// None that a request could bring about.
pub fn write(
    served: &Served,
    keys: &[(FieldRef, ArrayRef)],
    probabilities: Vec<Vec<f64>>,
    warnings: &[String],
) -> Result<Vec<u8>, arrow::error::ArrowError> {
    let mut metadata = HashMap::from([("model".to_owned(), served.online.version().to_owned())]);
    if !warnings.is_empty() {
        metadata.insert("warnings".to_owned(), warnings.join("\n"));
    }
    let predictions = served.online.names().iter().map(|n| Arc::new(Field::new(n, DataType::Float64, true)));
    let fields: Vec<FieldRef> = keys.iter().map(|(f, _)| Arc::clone(f)).chain(predictions).collect();
    let schema = Arc::new(Schema::new(fields).with_metadata(metadata));
    let columns =
        keys.iter().map(|(_, a)| Arc::clone(a)).chain(probabilities.into_iter().map(|p| Arc::new(Float64Array::from(p)) as ArrayRef));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns.collect())?;
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    writer.write(&batch)?;
    writer.finish()?;
    writer.into_inner()
}
