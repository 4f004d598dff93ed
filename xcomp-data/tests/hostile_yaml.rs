//! Mixtures as people have them, mixed at random out of hostile pieces: all of a mixture is used, or it is refused by file and place.
//!
//! 300 cases here; `XCOMP_HOSTILE_CASES=10000` runs as many as `make torture`.

mod common;

use common::folder;
use xcomp_data::{Mixture, MixtureOptions, PythonRandom};

/// An annotation of one sample.
const RECORDS: &str = r#"[{"id": 1, "image": "a.png", "conversations": [
    {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Red."}]}]"#;

#[expect(clippy::disallowed_methods, reason = "a longer run is asked for from outside")]
fn cases() -> u64 {
    std::env::var("XCOMP_HOSTILE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

/// Entries of a mixture: what is said where one cannot be used, nothing where it can, and its YAML.
const ENTRIES: &[(&str, &str)] = &[
    ("", "{json_path: a.json}"),
    ("", "{json_path: gone.json, weight: .nan, json_path: a.json, weight: 1}"),
    ("", "{json_path: a.json, sampling_strategy: 'first:100%', weight: 1e0}"),
    ("", "{\"json_path\": 'a.json', extra: [1, {x: <image>}], NaN: .nan}"),
    ("", "{json_path: &name a.json, tag: *name}"),
    ("", "{json_path: !!str a.json, video_read_type: fake, media_type: mix}"),
    ("", "{json_path: a.json, weight: null, tag: ~, data_root: }"),
    ("weight NaN is not between", "{json_path: a.json, weight: .nan}"),
    ("weight inf is not between", "{json_path: a.json, weight: .inf}"),
    ("line", "{json_path: a.json, weight: 1e999}"),
    ("weight -1 is not between", "{json_path: a.json, weight: -1}"),
    ("line", "{json_path: a.json, weight: much}"),
    ("line", "{json_path: a.json, weight: [1]}"),
    ("`frist:3` is unknown", "{json_path: a.json, sampling_strategy: frist:3}"),
    ("amount `x%`", "{json_path: a.json, sampling_strategy: 'first:x%'}"),
    (
        "amount `99999999999999999999`",
        "{json_path: a.json, sampling_strategy: 'end:99999999999999999999'}",
    ),
    ("`` is unknown", "{json_path: a.json, sampling_strategy: ''}"),
    ("line", "{json_path: a.json, sampling_strategy: [all]}"),
    ("line", "{json_path: a.json, sampling_strategy: {all: 1}}"),
    ("line", "{json_path: a.json, video_read_type: DECORD}"),
    ("line", "{json_path: a.json, media_type: audio}"),
    ("`text` has nothing to compress", "{json_path: a.json, media_type: text}"),
    ("json_path", "{sampling_strategy: all}"),
    ("line", "{json_path: [a.json]}"),
    ("line", "a.json"),
    ("line", "[json_path, a.json]"),
    ("line", "{json_path: *nobody}"),
    ("line", "{json_path: a.json, loop: &loop [*loop]}"),
    ("line", "{json_path: a.json, deep: DEEP}"),
    ("line", "{json_path: 'a.json}"),
    ("line", "{json_path: a.json]"),
    ("line", "{json_path: \"a\\x\"}"),
    ("line", "{json_path: a.json, \u{1}}"),
];

/// Mixtures out of hostile entries: all is used, or one that cannot be used is named with the file and the place.
#[test]
fn a_mixture_is_used_whole_or_refused_by_file_and_place() {
    let (_keep, folder) = folder();
    let yaml = folder.join("m.yaml");
    std::fs::write(folder.join("a.json"), RECORDS).unwrap();
    let options = MixtureOptions { check_media: false, ..MixtureOptions::default() };
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let heads =
        ["", "\u{feff}", "# <image>\n", "%YAML 1.2\n---\n", "---\n", "x: &d [.nan]\ny: *d\n"];
    let mut random = PythonRandom::new(3);
    for case in 0..cases() {
        let mut entries: Vec<(&str, &str)> = (0..random.randbelow(3))
            .map(|_| ENTRIES[random.randbelow(ENTRIES.len() as u32) as usize])
            .collect();
        entries.push(ENTRIES[case as usize % ENTRIES.len()]);
        let texts: Vec<&str> = entries.iter().map(|(_, text)| *text).collect();
        let list = match random.randbelow(2) {
            0 => format!("datasets: [{}]\n", texts.join(",\n  ")),
            _ => format!(
                "datasets:\n{}",
                texts.iter().flat_map(|text| ["- ", text, "\n"]).collect::<String>()
            ),
        };
        let ending = ["\n", "\r\n"][random.randbelow(2) as usize];
        let head = heads[random.randbelow(heads.len() as u32) as usize];
        let text = format!("{head}{list}").replace('\n', ending).replace("DEEP", &deep);
        std::fs::write(&yaml, &text).unwrap();
        let shown = || text.replace(&deep, "DEEP");
        let says: Vec<&str> =
            entries.iter().map(|(says, _)| *says).filter(|says| !says.is_empty()).collect();
        match Mixture::load(&yaml, &options) {
            Ok(mixture) => {
                assert!(says.is_empty(), "{}", shown());
                assert_eq!(mixture.len(), entries.len(), "{}", shown());
            }
            Err(error) => {
                let told = error.to_string();
                assert!(told.contains("m.yaml"), "{}\n{told}", shown());
                let is_named = says.iter().any(|says| told.contains(says));
                assert!(is_named, "{says:?}\n{}\n{told}", shown());
            }
        }
    }
}

/// Mixtures that are none, and lines of YAML in any order: refused with the file's name, or used, in bounded time and memory.
#[test]
fn what_is_no_mixture_is_refused_by_file() {
    let (_keep, folder) = folder();
    let yaml = folder.join("m.yaml");
    std::fs::write(folder.join("a.json"), RECORDS).unwrap();
    let options = MixtureOptions { check_media: false, ..MixtureOptions::default() };
    let load = |bytes: &[u8]| {
        std::fs::write(&yaml, bytes).unwrap();
        let refused = Mixture::load(&yaml, &options).err().map(|error| error.to_string());
        let shown = String::from_utf8_lossy(bytes);
        assert!(
            refused.as_ref().is_none_or(|told| told.contains("m.yaml")),
            "{shown}\n{refused:?}"
        );
        refused
    };
    let level = |at: usize| {
        let before = format!("*x{},", at - 1).repeat(9);
        format!("x{at}: &x{at} [{before}]")
    };
    let laughs = (1..30).map(level).collect::<Vec<_>>().join("\n");
    let laughs = format!("x0: &x0 [ha]\n{laughs}\ndatasets: *x29\n");
    let none: [&[u8]; 12] = [
        b"",
        "\u{feff}".as_bytes(),
        b"# nothing\n",
        b"datasets:\n",
        b"datasets: {}\n",
        b"datasets: 7\n",
        b"- json_path: a.json\n",
        b"Datasets: [{json_path: a.json}]\n",
        b"\xff\xfed\0a\0t\0a\0",
        b"datasets: [{json_path: \xe9.json}]",
        b"datasets: [{json_path: a.json}]\n---\ndatasets: []\n",
        laughs.as_bytes(),
    ];
    for bytes in none {
        assert!(load(bytes).is_some(), "{}", String::from_utf8_lossy(bytes));
    }
    let pieces = [
        "datasets:",
        "- json_path: a.json",
        "  json_path: a.json",
        "  weight: 2",
        "  weight: 1e999",
        "\tweight: 2",
        "  tag: &t |",
        "  tag: *t",
        "  <<: *t",
        "? [a]",
        ": b",
        "  sampling_strategy: first:0",
        "- !!binary aGk=",
        "- - a",
        "---",
        "...",
        "%TAG ! x",
        "\u{feff}",
        "\u{0}",
        "\u{2028}",
        "'",
        "\"",
        "[",
        "}",
        "&a *a",
        "- {json_path: a.json}",
    ];
    let mut random = PythonRandom::new(4);
    let (mut used, mut refused) = (0, 0);
    for _ in 0..cases() {
        let count = random.randbelow(6);
        let lines = (0..count).map(|_| pieces[random.randbelow(pieces.len() as u32) as usize]);
        let text =
            format!("datasets:\n- json_path: a.json\n{}\n", lines.collect::<Vec<_>>().join("\n"));
        if load(text.as_bytes()).is_some() { refused += 1 } else { used += 1 }
    }
    assert!(used > 30 && refused > 100, "{used} {refused}");
}
