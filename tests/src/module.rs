//! Golden weights into modules, gradients out of them, both by the checkpoint's names.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use xcomp_model::vlm::Vlm;
use xcomp_model::weights::{Change, Look, Named};
use xcomp_train::machine::random::Random;

use crate::{Case, HostData, HostTensor};

/// Fills every parameter of `module` with the case's tensor `prefix` + parameter name.
///
/// # Panics
/// If the case lacks one of them.
pub fn load_case<M: Module>(module: M, case: &Case, prefix: &str) -> M {
    module.map(&mut Loader { case, prefix, path: vec![] })
}

/// Fills every parameter of a whole model with the case's tensor `w.` + its name in the family's checkpoints; none is left over.
///
/// # Panics
/// If the case lacks one of them, or has one that the model does not need.
pub fn load_model(model: Vlm, case: &Case) -> Vlm {
    let names: BTreeSet<String> = model.parameters().into_iter().map(|one| one.name).collect();
    let tied = |name: &str| model.llm.lm_head.is_none() && name.ends_with("lm_head.weight");
    let unused: Vec<&str> = case
        .under("w.")
        .map(|(name, _)| name)
        .filter(|n| !names.contains(*n) && !tied(n))
        .collect();
    assert!(unused.is_empty(), "case {}: no place for {unused:?}", case.name);
    model.change_each(&mut ByName(case))
}

struct ByName<'a>(&'a Case);

impl Change for ByName<'_> {
    fn change<const D: usize>(&mut self, name: &str, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        filled(self.0, &format!("w.{name}"), &param)
    }
}

fn filled<const D: usize>(case: &Case, name: &str, param: &Param<Tensor<D>>) -> Param<Tensor<D>> {
    let value = case.tensor(name);
    let shape: [usize; D] = param.lazy_shape().dims();
    assert_eq!(value.shape, shape, "case {}: shape of {name}", case.name);
    let device = param.lazy_device();
    let value = Tensor::from_data(TensorData::new(value.f32().to_vec(), shape), &device);
    let trained = value.is_autodiff();
    Param::initialized(param.id, if trained { value.require_grad() } else { value })
}

/// The gradient of every parameter of a whole model that has one, by its name in the family's checkpoints.
pub fn model_gradients(model: &Vlm, grads: &GradientsParams) -> BTreeMap<String, HostTensor> {
    let mut found = Gradients { grads, found: BTreeMap::new() };
    model.look_at_each(&mut found);
    found.found
}

struct Gradients<'a> {
    grads: &'a GradientsParams,
    found: BTreeMap<String, HostTensor>,
}

impl Look for Gradients<'_> {
    fn look<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            self.found.insert(name.to_owned(), host(grad));
        }
    }
}

struct Loader<'a> {
    case: &'a Case,
    prefix: &'a str,
    path: Vec<String>,
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        enter(&mut self.path, name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        exit(&mut self.path, container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        filled(self.case, &format!("{}{}", self.prefix, self.path.join(".")), &param)
    }
}

/// Numbers that `seed` fixes, whatever other tests draw meanwhile: Burn's generator is one for the process.
pub fn drawn<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let mut random = Random::new(seed);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.normal() as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A module whose weights `seed` fixes, as large as a linear map's are at first: `1 / sqrt(inputs)`.
pub fn drawn_module<M: Module>(module: M, seed: u64) -> M {
    module.map(&mut Drawer(seed))
}

struct Drawer(u64);

impl ModuleMapper for Drawer {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape: [usize; D] = param.lazy_shape().dims();
        // Biases and the scales of norms stay as they are.
        if D < 2 {
            return param;
        }
        self.0 += 1;
        let scale = 1.0 / (shape[D - 1] as f64).sqrt();
        let value = drawn(self.0 << 32, shape, &param.lazy_device()) * scale;
        let value = Tensor::from_data(value.clone().into_data(), &value.device());
        let trained = value.is_autodiff();
        Param::initialized(param.id, if trained { value.require_grad() } else { value })
    }
}

/// The variant of an enum is no part of a path.
fn enter(path: &mut Vec<String>, name: &str, container: &str) {
    if !container.starts_with("Enum:") {
        path.push(name.to_owned());
    }
}

fn exit(path: &mut Vec<String>, container: &str) {
    if !container.starts_with("Enum:") {
        path.pop();
    }
}

/// The gradient of every parameter that has one, by parameter name.
pub fn gradients<M: Module>(module: &M, grads: &GradientsParams) -> BTreeMap<String, HostTensor> {
    let mut reader = Reader { grads, path: vec![], found: BTreeMap::new() };
    module.visit(&mut reader);
    reader.found
}

/// Every parameter by name.
pub fn weights<M: Module>(module: &M) -> BTreeMap<String, HostTensor> {
    let mut reader = Weights { path: vec![], found: BTreeMap::new() };
    module.visit(&mut reader);
    reader.found
}

struct Weights {
    path: Vec<String>,
    found: BTreeMap<String, HostTensor>,
}

impl ModuleVisitor for Weights {
    fn enter_module(&mut self, name: &str, container: &str) {
        enter(&mut self.path, name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        exit(&mut self.path, container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.insert(self.path.join("."), host(param.val()));
    }
}

struct Reader<'a> {
    grads: &'a GradientsParams,
    path: Vec<String>,
    found: BTreeMap<String, HostTensor>,
}

impl ModuleVisitor for Reader<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        enter(&mut self.path, name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        exit(&mut self.path, container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            self.found.insert(self.path.join("."), host(grad));
        }
    }
}

/// A tensor's numbers on the host.
pub fn host<const D: usize>(tensor: Tensor<D>) -> HostTensor {
    let shape = tensor.dims().to_vec();
    HostTensor { shape, data: HostData::F32(tensor.into_data().iter::<f32>().collect()) }
}
