//! The way between host and device: what crosses it is counted, and what stays the same stays on the device.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, PoisonError};

use burn::tensor::kind::Basic;
use burn::tensor::{DType, Device, Int, Tensor, TensorCreationOptions, TensorData};

/// Bytes of the tables and index vectors that stay on devices, with the numbers of their keys on the host: position tables of a
/// few lengths, and the rows of some thousand drops. Beyond it the ones that were not asked for longest are made again.
const KEPT_BYTES: usize = 256 << 20;

static UPLOADS: AtomicUsize = AtomicUsize::new(0);
static UPLOADED_BYTES: AtomicUsize = AtomicUsize::new(0);
static READS: AtomicUsize = AtomicUsize::new(0);
static READ_BYTES: AtomicUsize = AtomicUsize::new(0);

/// What has crossed between host and device since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Tensors that went to a device.
    pub uploads: usize,
    /// Bytes of them.
    pub uploaded_bytes: usize,
    /// Tensors that were read back: each waits for the device.
    pub reads: usize,
    /// Bytes of them.
    pub read_bytes: usize,
}

impl Traffic {
    /// Until now.
    pub fn now() -> Self {
        let counts = [&UPLOADS, &UPLOADED_BYTES, &READS, &READ_BYTES];
        let [uploads, uploaded_bytes, reads, read_bytes] = counts.map(|count| count.load(Relaxed));
        Self { uploads, uploaded_bytes, reads, read_bytes }
    }

    /// Since an earlier moment.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            uploads: self.uploads - earlier.uploads,
            uploaded_bytes: self.uploaded_bytes - earlier.uploaded_bytes,
            reads: self.reads - earlier.reads,
            read_bytes: self.read_bytes - earlier.read_bytes,
        }
    }
}

/// Puts numbers on a device, in its dtype for such numbers or in the one that is named.
pub fn upload<const D: usize, K: Basic>(
    data: TensorData,
    to: impl Into<TensorCreationOptions>,
) -> Tensor<D, K> {
    UPLOADS.fetch_add(1, Relaxed);
    UPLOADED_BYTES.fetch_add(data.as_bytes().len(), Relaxed);
    Tensor::from_data(data, to)
}

/// Puts bytes on a device as whole numbers.
///
/// Where a device holds no bytes (kernels as WGSL know none), they travel four in a word, and the device takes them apart.
pub fn upload_bytes<const D: usize>(
    bytes: Vec<u8>,
    shape: [usize; D],
    device: &Device,
) -> Tensor<D, Int> {
    if device.supports_dtype(DType::U8) {
        return upload(TensorData::new(bytes, shape), (device, DType::U8));
    }
    apart(words(&bytes), bytes.len(), device).reshape(shape)
}

/// Four bytes a word, the first lowest; the last word is filled up with zeros.
fn words(bytes: &[u8]) -> Vec<i32> {
    let word = |four: &[u8]| {
        let mut whole = [0; 4];
        whole[..four.len()].copy_from_slice(four);
        i32::from_le_bytes(whole)
    };
    bytes.chunks(4).map(word).collect()
}

/// The first `count` bytes of words.
fn apart(words: Vec<i32>, count: usize, device: &Device) -> Tensor<1, Int> {
    let shape = [words.len(), 1];
    let words: Tensor<2, Int> = upload(TensorData::new(words, shape), (device, DType::I32));
    let byte = |at: i32| words.clone().bitwise_right_shift_scalar(8 * at).bitwise_and_scalar(255);
    let bytes = Tensor::cat([0, 1, 2, 3].map(byte).to_vec(), 1);
    bytes.flatten::<1>(0, 1).slice_dim(0, 0..count)
}

/// Reads numbers from a device: waits for all that makes them.
pub fn read<const D: usize, K: Basic>(tensor: Tensor<D, K>) -> TensorData {
    let data = tensor.into_data();
    READS.fetch_add(1, Relaxed);
    READ_BYTES.fetch_add(data.as_bytes().len(), Relaxed);
    data
}

/// Reads one number.
pub fn read_number(tensor: Tensor<1>) -> f32 {
    read(tensor.cast(DType::F32)).iter::<f32>().next().expect("a tensor of one number")
}

/// A name of a table: what it is, and the numbers that decide it.
pub type Key = (&'static str, Vec<u64>);

/// A table on a device.
struct Kept {
    device: Device,
    table: Box<dyn Any + Send>,
    bytes: usize,
    /// When it was last asked for.
    asked: u64,
}

/// All of them.
#[derive(Default)]
struct Tables {
    by_key: HashMap<Key, Vec<Kept>>,
    bytes: usize,
    clock: u64,
}

impl Tables {
    fn find<T: Clone + 'static>(&mut self, key: &Key, device: &Device) -> Option<T> {
        self.clock += 1;
        let same = |kept: &&mut Kept| {
            kept.device == *device && kept.device.is_autodiff() == device.is_autodiff()
        };
        let kept = self.by_key.get_mut(key)?.iter_mut().find(same)?;
        kept.asked = self.clock;
        kept.table.downcast_ref::<T>().cloned()
    }

    fn keep(&mut self, key: Key, kept: Kept) {
        self.bytes += kept.bytes;
        self.by_key.entry(key).or_default().push(kept);
        while self.bytes > KEPT_BYTES && self.by_key.len() > 1 {
            let last_asked = |(_, all): &(&Key, &Vec<Kept>)| all.iter().map(|one| one.asked).max();
            let Some((oldest, _)) = self.by_key.iter().min_by_key(last_asked) else { return };
            let gone = self.by_key.remove(&oldest.clone()).unwrap_or_default();
            self.bytes -= gone.iter().map(|one| one.bytes).sum::<usize>();
        }
    }
}

/// A table that is made once for a device and stays there.
pub fn kept<const D: usize, K>(
    key: Key,
    device: &Device,
    make: impl FnOnce(&Device) -> Tensor<D, K>,
) -> Tensor<D, K>
where
    K: Basic + 'static,
    Tensor<D, K>: Clone + Send + 'static,
{
    static TABLES: LazyLock<Mutex<Tables>> = LazyLock::new(Mutex::default);
    // A table is whole or absent, whatever panicked meanwhile.
    let lock = || TABLES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(table) = lock().find(&key, device) {
        return table;
    }
    let table = make(device);
    let bytes = table.shape().num_elements() * size_of::<u64>() + key.1.len() * size_of::<u64>();
    let mut tables = lock();
    let (asked, device) = (tables.clock, device.clone());
    tables.keep(key, Kept { device, table: Box::new(table.clone()), bytes, asked });
    table
}

/// Rows of a tensor by number; the same rows are sent to a device once.
pub fn indices(rows: &[usize], device: &Device) -> Tensor<1, Int> {
    let key = ("indices", rows.iter().map(|row| *row as u64).collect());
    kept(key, device, |device| {
        let rows: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
        let count = rows.len();
        upload(TensorData::new(rows, [count]), device)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_travel_in_words_are_the_same() {
        let device = Device::flex();
        for count in [1, 4, 7, 768] {
            let bytes: Vec<u8> = (0..count).map(|at| (at * 37 % 256) as u8).collect();
            let got: Vec<u8> = apart(words(&bytes), count, &device).into_data().iter().collect();
            assert_eq!(got, bytes);
        }
    }

    /// As [`kept`] does it: asked for, and made where it is not there.
    fn ask(tables: &mut Tables, name: &'static str, bytes: usize) -> bool {
        let (key, device) = ((name, vec![]), Device::flex());
        let found = tables.find::<&str>(&key, &device);
        assert!(found.is_none_or(|table| table == name));
        if found.is_none() {
            let asked = tables.clock;
            tables.keep(key, Kept { device, table: Box::new(name), bytes, asked });
        }
        found.is_some()
    }

    #[test]
    fn the_table_that_was_asked_for_longest_ago_makes_room() {
        let (mut tables, third) = (Tables::default(), KEPT_BYTES / 3);
        assert!(["a", "b", "c"].iter().all(|name| !ask(&mut tables, name, third)));
        assert!(ask(&mut tables, "a", third));
        assert!(!ask(&mut tables, "d", third), "b makes room for it");
        assert!(["a", "c", "d"].iter().all(|name| ask(&mut tables, name, third)));
        assert_eq!(tables.bytes, 3 * third);
        assert!(!ask(&mut tables, "b", third));
        // What is larger than all room is kept alone.
        assert!(!ask(&mut tables, "large", 2 * KEPT_BYTES) && ask(&mut tables, "large", 0));
        assert_eq!((tables.by_key.len(), tables.bytes), (1, 2 * KEPT_BYTES));
    }
}
