//! Named f32 tensors on the host, and as safetensors files.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, View};

use crate::error::Error;
use crate::machine::files::at;
use crate::train::optimizer::grads::NamedTensors;
use xcomp_model::weights::{Change, Look, Named};

/// A tensor's bits on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTensor {
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Little-endian f32.
    pub bytes: Vec<u8>,
}

/// Tensors by name, in a fixed order.
pub type HostTensors = BTreeMap<String, HostTensor>;

impl HostTensor {
    /// Reads a tensor from the device: waits for it.
    pub fn read<const D: usize>(tensor: Tensor<D>) -> Self {
        let shape = tensor.dims().to_vec();
        let data = tensor.cast(DType::F32).into_data();
        let bytes = data.iter::<f32>().flat_map(f32::to_le_bytes).collect();
        Self { shape, bytes }
    }

    /// Its numbers.
    pub fn values(&self) -> Vec<f32> {
        self.bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
    }

    /// Puts it on a device.
    pub fn upload<const D: usize>(&self, shape: [usize; D], device: &Device) -> Tensor<D> {
        Tensor::from_data(TensorData::new(self.values(), shape), device)
    }
}

impl View for &HostTensor {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// The parameters of `model` that `wanted` names.
pub fn read_parameters(model: &impl Named, wanted: impl Fn(&str) -> bool) -> HostTensors {
    struct Reader<W>(W, HostTensors);
    impl<W: Fn(&str) -> bool> Look for Reader<W> {
        fn look<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
            if (self.0)(name) {
                self.1.insert(name.into(), HostTensor::read(param.val().inner()));
            }
        }
    }
    let mut reader = Reader(wanted, HostTensors::new());
    model.look_at_each(&mut reader);
    reader.1
}

/// `model` with these parameters replaced; ids and whether they are tuned stay.
pub fn write_parameters<M: Named>(model: M, tensors: &HostTensors) -> M {
    struct Writer<'a>(&'a HostTensors);
    impl Change for Writer<'_> {
        fn change<const D: usize>(
            &mut self,
            name: &str,
            param: Param<Tensor<D>>,
        ) -> Param<Tensor<D>> {
            let Some(tensor) = self.0.get(name) else { return param };
            let (shape, tuned) = (param.lazy_shape().dims::<D>(), param.is_require_grad());
            param.map(|old| {
                let device = old.device();
                let new = tensor.upload(shape, &device);
                if tuned { new.require_grad() } else { new }
            })
        }
    }
    model.change_each(&mut Writer(tensors))
}

/// Flat tensors as host tensors, each name behind `prefix`.
pub fn read_named(prefix: &str, tensors: &NamedTensors) -> HostTensors {
    let named = |(name, tensor): (&str, &Tensor<1>)| {
        (format!("{prefix}{name}"), HostTensor::read(tensor.clone()))
    };
    tensors.iter().map(named).collect()
}

/// The host tensors whose names start with `prefix`, on a device, without the prefix.
pub fn upload_named(prefix: &str, tensors: &HostTensors, device: &Device) -> NamedTensors {
    let mut named = NamedTensors::default();
    for (name, tensor) in tensors {
        if let Some(name) = name.strip_prefix(prefix) {
            named.insert(name.into(), tensor.upload([tensor.bytes.len() / 4], device));
        }
    }
    named
}

/// Writes and syncs a safetensors file; the bytes depend on names and values only.
///
/// # Errors
/// If the disk refuses.
pub fn write_file(path: &Path, tensors: &HostTensors) -> Result<(), Error> {
    let io = |error: safetensors::SafeTensorError| match error {
        safetensors::SafeTensorError::IoError(error) => error,
        other => std::io::Error::other(other),
    };
    safetensors::serialize_to_file(tensors, None, path)
        .map_err(io)
        .and_then(|()| File::open(path)?.sync_all())
        .map_err(at("cannot write", path))
}

/// Reads a safetensors file of f32 tensors.
///
/// # Errors
/// If it cannot be read or is damaged.
pub fn read_file(path: &Path) -> Result<HostTensors, Error> {
    let bytes = std::fs::read(path).map_err(at("cannot read", path))?;
    let damaged = |error: &dyn std::fmt::Display| Error::Checkpoint {
        path: path.into(),
        message: error.to_string(),
    };
    let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(&error))?;
    file.tensors()
        .into_iter()
        .map(|(name, view)| match view.dtype() {
            Dtype::F32 => {
                let (shape, bytes) = (view.shape().to_vec(), view.data().to_vec());
                Ok((name, HostTensor { shape, bytes }))
            }
            other => Err(damaged(&format!("tensor `{name}` is {other:?}, not f32"))),
        })
        .collect()
}
