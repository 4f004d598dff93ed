//! Named tensors on their way between a device and safetensors files, one in memory at a time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use burn::module::Param;
use burn::tensor::{DType, Device, Int, Tensor};
use safetensors::tensor::{Dtype, View};

use crate::error::Error;
use crate::machine::files::at;
use crate::train::optimizer::adamw::NamedMoments;
use xcomp_model::ops::Moment;
use xcomp_model::transfer::{read, upload};
use xcomp_model::weights::{Look, Named, StoredWeights};

/// A tensor that stays on its device until it is written.
#[derive(Debug, Clone)]
pub struct Held {
    shape: Vec<usize>,
    numbers: Numbers,
}

#[derive(Debug, Clone)]
enum Numbers {
    /// f32 or bf16.
    Float(Tensor<1>),
    /// Bytes.
    Places(Tensor<1, Int>),
}

/// Tensors by name, in a fixed order.
pub type HeldTensors = BTreeMap<String, Held>;

impl Held {
    /// Holds a tensor; nothing is read or copied.
    pub fn new<const D: usize>(tensor: Tensor<D>) -> Self {
        let shape = tensor.dims().to_vec();
        let flat = tensor.reshape([shape.iter().product::<usize>()]);
        Self { numbers: Numbers::Float(flat), shape }
    }

    fn places(tensor: Tensor<1, Int>) -> Self {
        Self { shape: tensor.dims().to_vec(), numbers: Numbers::Places(tensor) }
    }
}

impl View for &Held {
    fn dtype(&self) -> Dtype {
        match &self.numbers {
            Numbers::Float(tensor) if tensor.dtype() == DType::BF16 => Dtype::BF16,
            Numbers::Float(_) => Dtype::F32,
            Numbers::Places(_) => Dtype::U8,
        }
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    /// Little-endian; waits for the device.
    fn data(&self) -> Cow<'_, [u8]> {
        let data = match &self.numbers {
            Numbers::Float(tensor) if tensor.dtype() == DType::BF16 => read(tensor.clone()),
            Numbers::Float(tensor) => read(tensor.clone().cast(DType::F32)),
            Numbers::Places(tensor) => read(tensor.clone().cast(DType::U8)),
        };
        Cow::Owned(data.as_bytes().to_vec())
    }
    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype().bitsize() / 8
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

/// Ends the name of a quantised moment's scales.
const SCALES: &str = ".scales";

/// Moments, each name behind `prefix`; of a quantised one the places stand there, and its scales beside them.
pub fn hold_moments(prefix: &str, moments: &NamedMoments) -> HeldTensors {
    let mut held = HeldTensors::new();
    for (name, moment) in moments {
        let name = format!("{prefix}{name}");
        match moment {
            Moment::Float(numbers) => held.insert(name, Held::new(numbers.clone())),
            Moment::Int8 { places, scales, .. } => {
                held.insert(format!("{name}{SCALES}"), Held::new(scales.clone()));
                held.insert(name, Held::places(places.clone()))
            }
        };
    }
    held
}

/// The stored moments whose names start with `prefix`, on a device, without the prefix; `signed` ones have both signs.
///
/// # Errors
/// If their file cannot be read.
pub fn upload_moments(
    prefix: &str,
    signed: bool,
    stored: &StoredWeights,
    device: &Device,
) -> Result<NamedMoments, Error> {
    let mut named = NamedMoments::new();
    for full in stored.names().filter(|name| !name.ends_with(SCALES)) {
        let (Some(name), Some(numbers)) = (full.strip_prefix(prefix), stored.exact(full)?) else {
            continue;
        };
        let dtype = numbers.dtype();
        let moment = match stored.exact(&format!("{full}{SCALES}"))? {
            None => Moment::Float(upload(numbers, (device, dtype))),
            Some(scales) => {
                let places = upload(numbers, (device, dtype));
                Moment::Int8 { places, scales: upload(scales, device), signed }
            }
        };
        named.insert(name.into(), moment);
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
