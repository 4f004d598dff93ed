//! The entries of a file of questions as published: a JSON list, JSON lines, or a parquet table with an entry in each row.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{ConvertedType, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::{Type, TypePtr};
use serde_json::Value;
use xcomp_data::python::json;

use crate::error::Error;
use crate::machine::files::at;

/// What a parquet file begins with.
const MAGIC: [u8; 4] = *b"PAR1";

/// Reads the entries of a file.
///
/// # Errors
/// If it is neither a JSON list, nor JSON lines, nor a whole parquet table.
pub fn read_entries(path: &Path) -> Result<Vec<Value>, Error> {
    read(path).map_err(at("cannot read", path))
}

fn read(path: &Path) -> io::Result<Vec<Value>> {
    let mut file = File::open(path)?;
    let mut head = [0; MAGIC.len()];
    let is_table = file.read_exact(&mut head).is_ok() && head == MAGIC;
    file.rewind()?;
    if is_table {
        // Some damage trips assertions of the parquet crate.
        let read = catch_unwind(|| rows(file));
        let wrong = |_| Err(ParquetError::General("its parts contradict each other".into()));
        return read.unwrap_or_else(wrong).map_err(|error| {
            let message = match error {
                ParquetError::NYI(what) => {
                    format!("it is stored as this program cannot read: {what}")
                }
                error => format!("it is damaged or no parquet table of questions: {error}"),
            };
            io::Error::new(io::ErrorKind::InvalidData, message)
        });
    }
    let mut text = vec![];
    file.read_to_end(&mut text)?;
    let text = json::without_mark(&text);
    if text.trim_ascii_start().starts_with(b"{") {
        return lines(text);
    }
    match json::from_slice(text)? {
        Value::Array(entries) => Ok(entries),
        _ => Err(wrong("it is neither a list of questions nor one question a line")),
    }
}

/// One entry a line; blank lines are none.
fn lines(text: &[u8]) -> io::Result<Vec<Value>> {
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    let entry = |(index, line): (usize, &[u8])| {
        json::from_slice(line).map_err(|error| {
            wrong(&format!("line {} is no question of its own ({error})", index + 1))
        })
    };
    lines.filter(|(_, line)| !line.trim_ascii().is_empty()).map(entry).collect()
}

fn wrong(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn rows(file: File) -> Result<Vec<Value>, ParquetError> {
    let reader = SerializedFileReader::new(file)?;
    let schema = reader.metadata().file_metadata().schema();
    let columns = schema.get_fields().iter().filter(|column| is_plain(column));
    let columns = columns.map(Arc::clone).collect();
    let plain = Type::group_type_builder(schema.name()).with_fields(columns).build()?;
    reader.get_row_iter(Some(plain))?.map(|row| Ok(entry(&row?))).collect()
}

/// Whether a column holds texts, numbers, truth values or lists of them; pictures, times and the like are not read.
fn is_plain(column: &TypePtr) -> bool {
    use ConvertedType as As;
    if column.is_group() {
        return column.get_fields().iter().all(is_plain);
    }
    let kind = column.get_basic_info().converted_type();
    match column.get_physical_type() {
        Physical::BYTE_ARRAY => matches!(kind, As::UTF8 | As::ENUM | As::JSON),
        Physical::INT32 => {
            matches!(
                kind,
                As::NONE | As::INT_8 | As::INT_16 | As::INT_32 | As::UINT_8 | As::UINT_16
            )
        }
        Physical::INT64 => matches!(kind, As::NONE | As::INT_64),
        Physical::BOOLEAN | Physical::FLOAT | Physical::DOUBLE => kind == As::NONE,
        Physical::INT96 | Physical::FIXED_LEN_BYTE_ARRAY => false,
    }
}

/// A row as the JSON object that the same entry would be.
fn entry(row: &Row) -> Value {
    row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect()
}

fn value(field: &Field) -> Value {
    match field {
        Field::Bool(truth) => (*truth).into(),
        Field::Byte(number) => (*number).into(),
        Field::Short(number) => (*number).into(),
        Field::Int(number) => (*number).into(),
        Field::Long(number) => (*number).into(),
        Field::UByte(number) => (*number).into(),
        Field::UShort(number) => (*number).into(),
        Field::Float(number) => (*number).into(),
        Field::Double(number) => (*number).into(),
        Field::Str(text) => text.clone().into(),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::Group(row) => entry(row),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
    use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use serde_json::json;

    use super::*;

    const SCHEMA: &str = "message schema {
        optional binary question (UTF8);
        optional group options (LIST) { repeated group list { optional binary element (UTF8); } }
        optional int64 correct_choice;
        optional double duration;
        optional boolean hard;
        optional binary picture;
    }";

    /// Two rows as pyarrow lays them out; the second has no option and no choice.
    fn write(path: &Path, compression: Compression) {
        let text = |words: &[&str]| -> Vec<ByteArray> {
            words.iter().map(|word| ByteArray::from(word.as_bytes().to_vec())).collect()
        };
        let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
        let properties = WriterProperties::builder().set_compression(compression).build();
        let file = File::create(path).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut number = 0;
        while let Some(mut column) = group.next_column().unwrap() {
            match number {
                0 => column.typed::<ByteArrayType>().write_batch(
                    &text(&["Which tier?", "Wié?"]),
                    Some(&[1, 1]),
                    None,
                ),
                1 => column.typed::<ByteArrayType>().write_batch(
                    &text(&["A. cat", "B. dog", "C. cat"]),
                    Some(&[3, 3, 3, 1]),
                    Some(&[0, 1, 1, 0]),
                ),
                2 => column.typed::<Int64Type>().write_batch(&[1], Some(&[1, 0]), None),
                3 => column.typed::<DoubleType>().write_batch(&[1.5, 2.0], Some(&[1, 1]), None),
                4 => column.typed::<BoolType>().write_batch(&[true, false], Some(&[1, 1]), None),
                _ => column.typed::<ByteArrayType>().write_batch(
                    &text(&["\u{1}", "\u{2}"]),
                    Some(&[1, 1]),
                    None,
                ),
            }
            .unwrap();
            column.close().unwrap();
            number += 1;
        }
        group.close().unwrap();
        writer.close().unwrap();
    }

    fn table(compression: Compression) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("questions.parquet");
        write(&path, compression);
        (folder, path)
    }

    #[test]
    fn a_row_is_the_entry_that_json_would_have() {
        for compression in [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::ZSTD(ZstdLevel::default()),
            Compression::GZIP(GzipLevel::default()),
            Compression::BROTLI(BrotliLevel::default()),
            Compression::LZ4,
            Compression::LZ4_RAW,
        ] {
            let (folder, path) = table(compression);
            let rows = json!([
                { "question": "Which tier?", "options": ["A. cat", "B. dog", "C. cat"],
                    "correct_choice": 1, "duration": 1.5, "hard": true },
                { "question": "Wié?", "options": [], "correct_choice": null, "duration": 2.0,
                    "hard": false },
            ]);
            assert_eq!(json!(read_entries(&path).unwrap()), rows);
            let same = folder.path().join("questions.json");
            std::fs::write(&same, rows.to_string()).unwrap();
            assert_eq!(json!(read_entries(&same).unwrap()), rows);
            let lines: Vec<String> =
                rows.as_array().unwrap().iter().map(Value::to_string).collect();
            std::fs::write(&same, format!("\u{feff}{}\r\n\n", lines.join("\n"))).unwrap();
            assert_eq!(json!(read_entries(&same).unwrap()), rows);
        }
    }

    #[test]
    fn a_broken_file_is_refused_by_name() {
        let (_folder, path) = table(Compression::SNAPPY);
        let whole = std::fs::read(&path).unwrap();
        for bytes in [&whole[..4], &whole[..whole.len() / 2], &whole[..whole.len() - 1]] {
            std::fs::write(&path, bytes).unwrap();
            let error = read_entries(&path).unwrap_err();
            let text = format!("{error}");
            assert!(text.contains("questions.parquet") && text.contains("damaged"), "{text}");
        }
        for text in ["", "PAR", "7", "{", "{}\n{", "[1"] {
            std::fs::write(&path, text).unwrap();
            assert!(read_entries(&path).unwrap_err().to_string().contains("questions.parquet"));
        }
    }

    #[test]
    fn no_flipped_byte_brings_it_down() {
        let (_folder, path) = table(Compression::SNAPPY);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            for mask in [0x01, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= mask;
                std::fs::write(&path, bytes).unwrap();
                // Entries or an error; a panic or an endless allocation would end the test.
                let _read = read_entries(&path);
            }
        }
    }
}
