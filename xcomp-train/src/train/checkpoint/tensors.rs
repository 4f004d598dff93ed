//! Named f32 tensors on their way between a device and safetensors files, one in memory at a time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, View};

use crate::error::Error;
use crate::machine::files::at;
use crate::train::optimizer::grads::NamedTensors;
use xcomp_model::transfer::{read, upload};
use xcomp_model::weights::{Look, Named, StoredWeights};

/// A tensor that stays on its device until it is written.
#[derive(Debug, Clone)]
pub struct Held {
    shape: Vec<usize>,
    numbers: Tensor<1>,
}

/// Tensors by name, in a fixed order.
pub type HeldTensors = BTreeMap<String, Held>;

impl Held {
    /// Holds a tensor; nothing is read or copied.
    pub fn new<const D: usize>(tensor: Tensor<D>) -> Self {
        let shape = tensor.dims().to_vec();
        Self { numbers: tensor.reshape([shape.iter().product::<usize>()]), shape }
    }
}

impl View for &Held {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    /// Little-endian f32; waits for the device.
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(read(self.numbers.clone().cast(DType::F32)).as_bytes().to_vec())
    }
    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * size_of::<f32>()
    }
}

/// The parameters of `model` that `wanted` names.
pub fn hold_parameters(model: &impl Named, wanted: impl Fn(&str) -> bool) -> HeldTensors {
    struct Holder<W>(W, HeldTensors);
    impl<W: Fn(&str) -> bool> Look for Holder<W> {
        fn look<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
            if (self.0)(name) {
                self.1.insert(name.into(), Held::new(param.val().inner()));
            }
        }
    }
    let mut holder = Holder(wanted, HeldTensors::new());
    model.look_at_each(&mut holder);
    holder.1
}

/// Flat tensors, each name behind `prefix`.
pub fn hold_named(prefix: &str, tensors: &NamedTensors) -> HeldTensors {
    let held =
        |(name, tensor): (&str, &Tensor<1>)| (format!("{prefix}{name}"), Held::new(tensor.clone()));
    tensors.iter().map(held).collect()
}

/// The stored tensors whose names start with `prefix`, on a device, without the prefix.
///
/// # Errors
/// If their file cannot be read.
pub fn upload_named(
    prefix: &str,
    stored: &StoredWeights,
    device: &Device,
) -> Result<NamedTensors, Error> {
    let mut named = NamedTensors::default();
    for full in stored.names() {
        if let (Some(name), Some(numbers)) = (full.strip_prefix(prefix), stored.numbers(full)?) {
            named.insert(name.into(), upload(numbers, device));
        }
    }
    Ok(named)
}

/// Writes and syncs a safetensors file; the bytes depend on names and values only.
///
/// # Errors
/// If the disk refuses.
pub fn write_file(path: &Path, tensors: &HeldTensors) -> Result<(), Error> {
    let io = |error: safetensors::SafeTensorError| match error {
        safetensors::SafeTensorError::IoError(error) => error,
        other => std::io::Error::other(other),
    };
    safetensors::serialize_to_file(tensors, None, path)
        .map_err(io)
        .and_then(|()| File::open(path)?.sync_all())
        .map_err(at("cannot write", path))
}
