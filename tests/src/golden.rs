//! The golden cases: folders of `case.json` and `tensors.safetensors`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::Tolerance;
use crate::material::{environment, workspace_root};

/// The numbers of a host tensor, as the file holds them.
#[derive(Debug, Clone, PartialEq)]
pub enum HostData {
    /// Values, weights, gradients.
    F32(Vec<f32>),
    /// Token ids, positions, masks.
    I32(Vec<i32>),
    /// Raw frames.
    U8(Vec<u8>),
}

/// A tensor on the host, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// The numbers in row-major order.
    pub data: HostData,
}

impl HostTensor {
    /// Its values.
    ///
    /// # Panics
    ///
    /// If the tensor does not hold `f32`.
    pub fn f32(&self) -> &[f32] {
        match &self.data {
            HostData::F32(data) => data,
            other => panic!("expected f32, found {}", kind(other)),
        }
    }

    /// Its integers.
    ///
    /// # Panics
    ///
    /// If the tensor does not hold `i32`.
    pub fn i32(&self) -> &[i32] {
        match &self.data {
            HostData::I32(data) => data,
            other => panic!("expected i32, found {}", kind(other)),
        }
    }

    /// Its bytes.
    ///
    /// # Panics
    ///
    /// If the tensor does not hold `u8`.
    pub fn u8(&self) -> &[u8] {
        match &self.data {
            HostData::U8(data) => data,
            other => panic!("expected u8, found {}", kind(other)),
        }
    }
}

fn kind(data: &HostData) -> &'static str {
    match data {
        HostData::F32(_) => "f32",
        HostData::I32(_) => "i32",
        HostData::U8(_) => "u8",
    }
}

/// One golden case.
#[derive(Debug, Clone)]
pub struct Case {
    /// Folder name, as `b_umt_b2`.
    pub name: String,
    /// The folder.
    pub path: PathBuf,
    /// The whole `case.json`.
    pub json: Value,
    tensors: BTreeMap<String, HostTensor>,
}

impl Case {
    /// Reads a case folder.
    ///
    /// # Panics
    ///
    /// If the folder is not a readable case.
    pub fn read(path: &Path) -> Case {
        let name = path.file_name().expect("a case folder has a name").to_string_lossy();
        let text = fs::read_to_string(path.join("case.json"))
            .unwrap_or_else(|error| panic!("case {name}: case.json: {error}"));
        let json = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("case {name}: case.json: {error}"));
        let file = path.join("tensors.safetensors");
        let tensors = if file.exists() { read_tensors(&file) } else { BTreeMap::new() };
        Case { name: name.into_owned(), path: path.to_owned(), json, tensors }
    }

    /// Names of its tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether it has a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensors whose name starts with `prefix`: the rest of the name, and the tensor.
    pub fn under(&self, prefix: &str) -> impl Iterator<Item = (&str, &HostTensor)> {
        self.tensors
            .iter()
            .filter_map(move |(name, tensor)| name.strip_prefix(prefix).map(|rest| (rest, tensor)))
    }

    /// A tensor by name.
    ///
    /// # Panics
    ///
    /// If the case has no such tensor.
    pub fn tensor(&self, name: &str) -> &HostTensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("case {}: no tensor `{name}`", self.name))
    }

    /// An `f32` tensor on a device.
    ///
    /// # Panics
    ///
    /// If the case has no such tensor of this rank.
    pub fn burn<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let tensor = self.tensor(name);
        assert_eq!(tensor.shape.len(), D, "case {}: rank of `{name}`", self.name);
        let data = TensorData::new(tensor.f32().to_vec(), tensor.shape.clone());
        Tensor::from_data(data, device)
    }

    /// An `i32` tensor on a device.
    ///
    /// # Panics
    ///
    /// If the case has no such tensor of this rank.
    pub fn burn_int<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D, Int> {
        let tensor = self.tensor(name);
        assert_eq!(tensor.shape.len(), D, "case {}: rank of `{name}`", self.name);
        let data = TensorData::new(tensor.i32().to_vec(), tensor.shape.clone());
        Tensor::from_data(data, device)
    }

    /// A value of `case.json` by JSON pointer, as `/config/width`.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn value(&self, pointer: &str) -> &Value {
        self.json
            .pointer(pointer)
            .unwrap_or_else(|| panic!("case {}: case.json has no {pointer}", self.name))
    }

    /// A count of `case.json` by JSON pointer.
    ///
    /// # Panics
    ///
    /// If there is no such non-negative integer.
    pub fn count(&self, pointer: &str) -> usize {
        let value = self.value(pointer);
        let count = value.as_u64();
        count.unwrap_or_else(|| panic!("case {}: {pointer} is {value}", self.name)) as usize
    }

    /// A number of `case.json` by JSON pointer.
    ///
    /// # Panics
    ///
    /// If there is no such number.
    pub fn number(&self, pointer: &str) -> f64 {
        let value = self.value(pointer);
        value.as_f64().unwrap_or_else(|| panic!("case {}: {pointer} is {value}", self.name))
    }

    /// The tolerance the case itself gives for `what` (`forward`, `loss`, `grad`), else `default`.
    pub fn tolerance(&self, what: &str, default: Tolerance) -> Tolerance {
        let read = |key: &str| self.json.pointer(&format!("/tolerances/{what}/{key}"))?.as_f64();
        Tolerance {
            atol: read("atol").unwrap_or(default.atol),
            rtol: read("rtol").unwrap_or(default.rtol),
        }
    }
}

/// Every golden case whose name starts with `prefix`, sorted by name, each name once.
///
/// # Panics
///
/// If there is no such case: a kind that finds nothing proves nothing.
pub fn cases(prefix: &str) -> Vec<Case> {
    let found: Vec<Case> = case_folders()
        .into_iter()
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(_, path)| Case::read(&path))
        .collect();
    assert!(!found.is_empty(), "no golden case `{prefix}*` in {:?}", golden_roots());
    found
}

/// The golden case of this name.
///
/// # Panics
///
/// If there is no such case.
pub fn case(name: &str) -> Case {
    let path = case_folders().remove(name);
    Case::read(&path.unwrap_or_else(|| panic!("no golden case `{name}` in {:?}", golden_roots())))
}

/// Folders that hold golden cases: the project's own subset, then `XCOMP_GOLDEN` where it exists.
///
/// # Panics
///
/// If `XCOMP_GOLDEN` names a folder that does not exist, or, with `XCOMP_REQUIRE_SHARED=1`, if the
/// default folder is absent.
pub fn golden_roots() -> Vec<PathBuf> {
    let own = workspace_root().join("tests/golden");
    let more = match environment("XCOMP_GOLDEN") {
        Some(folder) => {
            let folder = PathBuf::from(folder);
            assert!(folder.is_dir(), "XCOMP_GOLDEN: no folder {}", folder.display());
            Some(folder)
        }
        None => crate::shared_root("golden"),
    };
    [Some(own), more].into_iter().flatten().filter(|folder| folder.is_dir()).collect()
}

/// Case folders by name; where two roots hold the same name, the project's own comes first.
fn case_folders() -> BTreeMap<String, PathBuf> {
    let mut folders = BTreeMap::new();
    for root in golden_roots() {
        let entries = fs::read_dir(&root)
            .unwrap_or_else(|error| panic!("golden cases in {}: {error}", root.display()));
        for path in entries.map(|entry| entry.expect("a readable folder entry").path()) {
            if path.join("case.json").is_file() {
                let name = path.file_name().expect("a case folder has a name");
                folders.entry(name.to_string_lossy().into_owned()).or_insert(path);
            }
        }
    }
    folders
}

/// The tensors of a safetensors file.
///
/// # Panics
/// If it cannot be read, or holds other numbers than f32, i32 and u8.
pub fn read_tensors(file: &Path) -> BTreeMap<String, HostTensor> {
    let bytes = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let tensors = SafeTensors::deserialize(&bytes)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let read = |name: &str, view: safetensors::tensor::TensorView<'_>| {
        let data = match view.dtype() {
            Dtype::F32 => HostData::F32(words(view.data(), f32::from_le_bytes)),
            Dtype::I32 => HostData::I32(words(view.data(), i32::from_le_bytes)),
            Dtype::U8 => HostData::U8(view.data().to_vec()),
            other => panic!("{}: tensor `{name}` has dtype {other:?}", file.display()),
        };
        HostTensor { shape: view.shape().to_vec(), data }
    };
    tensors.iter().map(|(name, view)| (name.to_owned(), read(name, view))).collect()
}

/// Writes f32 tensors as a safetensors file.
///
/// # Panics
/// If a tensor holds no f32, or the disk refuses.
pub fn write_tensors(file: &Path, tensors: &BTreeMap<String, HostTensor>) {
    let bytes = |tensor: &HostTensor| tensor.f32().iter().flat_map(|n| n.to_le_bytes()).collect();
    let data: Vec<Vec<u8>> = tensors.values().map(bytes).collect();
    let views = tensors.iter().zip(&data).map(|((name, tensor), data)| {
        (name, TensorView::new(Dtype::F32, tensor.shape.clone(), data).expect("sizes fit"))
    });
    fs::write(file, safetensors::serialize(views, None).expect("tensors")).expect("a file");
}

fn words<T>(bytes: &[u8], read: fn([u8; 4]) -> T) -> Vec<T> {
    let (words, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty(), "a tensor of 4-byte numbers has {} bytes", bytes.len());
    words.iter().map(|word| read(*word)).collect()
}
