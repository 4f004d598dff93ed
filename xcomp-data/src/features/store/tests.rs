//! What a store keeps and loses when its files are cut, flipped, deleted, shared or too many.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::*;

fn key(name: u8) -> Key {
    [name; 32]
}

fn payload(name: u8) -> Vec<u8> {
    (0..100 + u32::from(name)).map(|at| at as u8 ^ name).collect()
}

fn open_with(folder: &Path, max_bytes: u64, day: u64) -> Store {
    let now = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * (40_000 + day));
    Store::open(folder, StoreOptions { max_bytes, now }).unwrap()
}

fn open(folder: &Path) -> Store {
    open_with(folder, 0, 0)
}

/// A folder with one file of three records.
fn three() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    (1..=3).for_each(|name| store.put(&key(name), &payload(name)));
    let file = folder.path().join("000000.features");
    assert_eq!(store.bytes(), std::fs::metadata(&file).unwrap().len());
    (folder, file)
}

/// Names of the records that come back; each comes back to the bit or not at all.
fn kept(store: &Store) -> Vec<u8> {
    let same = |name: &u8| store.get(&key(*name)).is_some_and(|got| got == payload(*name));
    let some = |name: &u8| store.get(&key(*name)).is_some();
    let kept: Vec<u8> = (1..=9).filter(same).collect();
    assert_eq!(kept, (1..=9).filter(some).collect::<Vec<u8>>());
    kept
}

#[test]
fn records_outlive_the_process_and_the_later_of_two_counts() {
    let (folder, _) = three();
    let store = open(folder.path());
    assert_eq!((kept(&store), store.length(&key(2))), (vec![1, 2, 3], Some(102)));
    store.put(&key(2), b"newer");
    let store = open(folder.path());
    assert_eq!(store.get(&key(2)).unwrap(), b"newer");
    assert_eq!(store.take_notes(), Vec::<String>::new());
}

#[test]
fn a_file_cut_at_any_byte_keeps_what_is_whole_and_goes_on() {
    let (folder, file) = three();
    let whole = std::fs::read(&file).unwrap();
    let ends: Vec<usize> =
        (1..=3).map(|n| (1..=n).map(|i| record::HEADER + payload(i).len()).sum()).collect();
    for cut in 0..whole.len() {
        std::fs::write(&file, &whole[..cut]).unwrap();
        let store = open(folder.path());
        let left: Vec<u8> = (1..=3).filter(|n| ends[usize::from(*n) - 1] <= cut).collect();
        assert_eq!(kept(&store), left, "cut at {cut}");
        let torn = cut > 0 && !ends.contains(&cut);
        assert_eq!(store.take_notes().len(), usize::from(torn), "cut at {cut}");
        store.put(&key(9), &payload(9));
        let store = open(folder.path());
        assert_eq!(kept(&store), [left, vec![9]].concat(), "cut at {cut}");
        assert_eq!(store.take_notes(), Vec::<String>::new(), "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_costs_one_record_and_is_told_once() {
    let (folder, file) = three();
    let whole = std::fs::read(&file).unwrap();
    for byte in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[byte] ^= 1 << (byte % 8);
        std::fs::write(&file, flipped).unwrap();
        let store = open(folder.path());
        let left = kept(&store);
        assert_eq!(left.len(), 2, "byte {byte}");
        assert_eq!(store.take_notes().len(), 1, "byte {byte}");
        assert_eq!((kept(&store), store.take_notes().len()), (left.clone(), 0), "byte {byte}");
        if byte % 16 == 0 {
            let lost = (1..=3).find(|name| !left.contains(name)).unwrap();
            store.put(&key(lost), &payload(lost));
            assert_eq!(kept(&open(folder.path())), [1, 2, 3], "byte {byte}");
        }
    }
}

#[test]
fn a_check_drops_what_is_damaged_and_leaves_a_sound_store() {
    let (folder, file) = three();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[record::HEADER + 5] ^= 1;
    bytes.extend_from_slice(b"xfr1 half a record");
    std::fs::write(&file, bytes).unwrap();
    let found = open(folder.path()).check().unwrap();
    assert_eq!((found.files, found.records, found.dropped.len()), (1, 2, 2), "{found:?}");
    let store = open(folder.path());
    let found = store.check().unwrap();
    assert_eq!((found.records, found.dropped, kept(&store)), (2, vec![], vec![2, 3]));
}

#[test]
fn a_deleted_file_is_as_if_it_had_never_been() {
    let (folder, file) = three();
    let store = open(folder.path());
    std::fs::remove_file(file).unwrap();
    assert_eq!((kept(&store), store.take_notes()), (vec![], vec![]));
    store.put(&key(1), &payload(1));
    assert_eq!(kept(&open(folder.path())), [1]);
}

#[test]
fn two_writers_have_a_file_each_and_readers_see_both() {
    let (folder, _) = three();
    let (one, two) = (open(folder.path()), open(folder.path()));
    one.put(&key(4), &payload(4));
    two.put(&key(5), &payload(5));
    let check = two.check().unwrap();
    assert_eq!((check.in_use.len(), check.dropped.len()), (1, 0), "the other's file is left alone");
    one.put(&key(6), &payload(6));
    let third = open(folder.path());
    assert_eq!((kept(&third), third.take_notes()), (vec![1, 2, 3, 4, 5, 6], vec![]));
    assert_eq!(third.numbers().unwrap(), [0, 1]);
}

#[test]
fn a_limit_evicts_what_was_used_longest_ago() {
    let folder = tempfile::tempdir().unwrap();
    let limit = 1800; // a file for each record
    for name in 1..=8 {
        open_with(folder.path(), limit, u64::from(name)).put(&key(name), &payload(name));
    }
    assert!(open_with(folder.path(), limit, 9).get(&key(1)).is_some(), "used again on day 9");
    let store = open_with(folder.path(), limit, 10);
    (9..=11).for_each(|name| store.put(&key(name), &payload(name)));
    assert!(store.bytes() <= limit, "{}", store.bytes());
    let left: Vec<u8> = (1..=11).filter(|name| store.get(&key(*name)).is_some()).collect();
    assert!(left.starts_with(&[1]) && left.ends_with(&[9, 10, 11]), "{left:?}");
    assert!(!left.contains(&2) && !left.contains(&3), "{left:?}");
}

#[test]
fn a_store_that_cannot_take_a_record_says_so_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_with(folder.path(), 50, 0);
    store.put(&key(1), &payload(1));
    store.put(&key(2), &payload(2));
    let notes = store.take_notes();
    assert!(notes.len() == 1 && notes[0].contains("features are not kept"), "{notes:?}");
    assert_eq!(kept(&store), Vec::<u8>::new());
}

#[test]
fn a_folder_with_keys_of_another_scheme_is_told_of_once() {
    let (folder, _) = three();
    let notes = || {
        let store = open(folder.path());
        store.tell_of_older_keys("versions");
        store.take_notes()
    };
    let told = notes();
    assert!(matches!(&told[..], [note] if note.contains("are made anew: their keys")), "{told:?}");
    assert_eq!(notes(), Vec::<String>::new());

    let empty = tempfile::tempdir().unwrap();
    let store = open(empty.path());
    store.tell_of_older_keys("versions");
    assert_eq!(store.take_notes(), Vec::<String>::new());
}
