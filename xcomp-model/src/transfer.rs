//! The way between host and device: what crosses it is counted, and what stays the same stays on the device.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, PoisonError};

use burn::tensor::kind::Basic;
use burn::tensor::{DType, Device, Int, Tensor, TensorCreationOptions, TensorData};

/// Tables and index vectors that stay on devices; beyond so many, all that was kept is made again.
const KEPT: usize = 512;

static UPLOADS: AtomicUsize = AtomicUsize::new(0);
static UPLOADED_BYTES: AtomicUsize = AtomicUsize::new(0);
static READS: AtomicUsize = AtomicUsize::new(0);

/// What has crossed between host and device since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Tensors that went to a device.
    pub uploads: usize,
    /// Bytes of them.
    pub uploaded_bytes: usize,
    /// Tensors that were read back: each waits for the device.
    pub reads: usize,
}

impl Traffic {
    /// Until now.
    pub fn now() -> Self {
        let [uploads, uploaded_bytes, reads] =
            [&UPLOADS, &UPLOADED_BYTES, &READS].map(|count| count.load(Relaxed));
        Self { uploads, uploaded_bytes, reads }
    }

    /// Since an earlier moment.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            uploads: self.uploads - earlier.uploads,
            uploaded_bytes: self.uploaded_bytes - earlier.uploaded_bytes,
            reads: self.reads - earlier.reads,
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

/// Reads numbers from a device: waits for all that makes them.
pub fn read<const D: usize, K: Basic>(tensor: Tensor<D, K>) -> TensorData {
    READS.fetch_add(1, Relaxed);
    tensor.into_data()
}

/// Reads one number.
pub fn read_number(tensor: Tensor<1>) -> f32 {
    read(tensor.cast(DType::F32)).iter::<f32>().next().expect("a tensor of one number")
}

/// A name of a table: what it is, and the numbers that decide it.
pub type Key = (&'static str, Vec<u64>);

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
    type Tables = HashMap<Key, Vec<(Device, Box<dyn Any + Send>)>>;
    static TABLES: LazyLock<Mutex<Tables>> = LazyLock::new(Mutex::default);
    let found = |tables: &Tables| -> Option<Tensor<D, K>> {
        let (_, table) = tables
            .get(&key)?
            .iter()
            .find(|(on, _)| on == device && on.is_autodiff() == device.is_autodiff())?;
        table.downcast_ref::<Tensor<D, K>>().cloned()
    };
    // A table is whole or absent, whatever panicked meanwhile.
    let lock = || TABLES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(table) = found(&lock()) {
        return table;
    }
    let table = make(device);
    let mut tables = lock();
    if tables.len() >= KEPT {
        tables.clear();
    }
    tables.entry(key).or_default().push((device.clone(), Box::new(table.clone())));
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
