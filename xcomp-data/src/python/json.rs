//! JSON as Python's `json.load` reads it: annotation files and benchmarks are written for that reader.
//!
//! It takes `NaN` and `Infinity`, numbers of any size, halves of surrogate pairs, and keys written twice (the last counts). Strict JSON
//! is read at once; only what a strict reader refuses is written anew and read again.

use serde_json::Value;

/// What stands for a number that is none: no field can mistake it for a text or a number of its own.
pub const NO_NUMBER: &str = "not a finite number";

/// The byte order mark of UTF-8.
pub const MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads one value; a byte order mark before it is no part of it.
///
/// `NaN`, `Infinity` and numbers beyond `f64` become an object with the one key [`NO_NUMBER`]; a lone surrogate becomes U+FFFD.
///
/// # Errors
/// Where Python would fail as well, or at 128 levels of brackets.
pub fn from_slice(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let bytes = without_mark(bytes);
    serde_json::from_slice(bytes).or_else(|strict| {
        let strictly = strict_json(bytes);
        if strictly == bytes { Err(strict) } else { serde_json::from_slice(&strictly) }
    })
}

/// A text behind the byte order mark that Windows programs put first.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

/// Writes what only Python reads as strict JSON; everything else stays.
fn strict_json(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        at += match rest[0] {
            b'"' => string(rest, &mut out),
            b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => word(rest, &mut out),
            byte => {
                out.push(byte);
                1
            }
        };
    }
    out
}

/// Copies a string, lone surrogates replaced; gives the bytes that it took.
fn string(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'\\' {
            at += escape(&bytes[at..], out);
        } else {
            out.push(byte);
            at += 1;
        }
        if byte == b'"' && at > 1 {
            break;
        }
    }
    at
}

/// Copies an escape, or U+FFFD for half a pair; gives the bytes that it took.
fn escape(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    let unit = |at: usize| -> Option<u32> {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        let all_hex = digits.iter().all(u8::is_ascii_hexdigit);
        all_hex.then(|| u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok())?
    };
    let is_low = |unit: u32| (0xdc00..0xe000).contains(&unit);
    let length = match unit(0) {
        Some(0xd800..0xdc00) if unit(6).is_some_and(is_low) => 12,
        Some(0xd800..0xe000) => {
            out.extend(b"\\ufffd");
            return 6;
        }
        Some(_) => 6,
        None => bytes.len().min(2),
    };
    out.extend(&bytes[..length]);
    length
}

/// Copies a number or a name; what is no finite number is written as an object. Gives the bytes that it took.
fn word(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    let in_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let length = bytes.iter().position(|byte| !in_word(byte)).unwrap_or(bytes.len());
    let word = &bytes[..length];
    let is_number = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        digits.starts_with(|first: char| first.is_ascii_digit())
            && text.parse().is_ok_and(f64::is_infinite)
    };
    match str::from_utf8(word) {
        Ok("NaN" | "Infinity" | "-Infinity") => no_number(word, out),
        Ok(text) if is_number(text) => no_number(word, out),
        _ => out.extend(word),
    }
    length
}

fn no_number(word: &[u8], out: &mut Vec<u8>) {
    let word = str::from_utf8(word).expect("digits and letters");
    out.extend(format!("{{\"{NO_NUMBER}\":\"{word}\"}}").bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reads(text: &str, want: &Value) {
        assert_eq!(from_slice(text.as_bytes()).unwrap(), *want, "{text}");
    }

    #[test]
    fn what_python_reads_is_read() {
        reads(r#"{"a": 1, "a": 2}"#, &json!({ "a": 2 }));
        let none = |word: &str| json!({ NO_NUMBER: word });
        reads("[NaN, 1]", &json!([none("NaN"), 1]));
        reads("{\"a\":-Infinity}", &json!({ "a": none("-Infinity") }));
        reads("[1e999, -1e999, 1e3]", &json!([none("1e999"), none("-1e999"), 1000.0]));
        reads(r#"["NaN", "a\"NaN", NaN]"#, &json!(["NaN", "a\"NaN", none("NaN")]));
        reads("\u{feff}[1]", &json!([1]));
    }

    #[test]
    fn half_a_pair_is_replaced() {
        reads(r#""a\ud83d""#, &json!("a\u{fffd}"));
        reads(r#""\ude00b""#, &json!("\u{fffd}b"));
        reads(r#""\ud83d\ud83d\ude00""#, &json!("\u{fffd}\u{1f600}"));
        reads(r#""\ud83d\ude00\ude00""#, &json!("\u{1f600}\u{fffd}"));
        reads(r#""\\ud83d \ud83dx\\""#, &json!("\\ud83d \u{fffd}x\\"));
        reads(r#"["\ud83d", NaN, "\n"]"#, &json!(["\u{fffd}", { NO_NUMBER: "NaN" }, "\n"]));
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for wrong in ["", "nan", "+1", "[1,]", "\"\\ud8", "\"a", "{'a': 1}", "\"\\x\"", "Infinityx"]
        {
            assert!(from_slice(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let deep = "[".repeat(100_000);
        assert!(from_slice(deep.as_bytes()).is_err());
    }
}
