//! Golden weights into modules, gradients out of them, both by the checkpoint's names.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};

use crate::{Case, HostData, HostTensor};

/// Fills every parameter of `module` with the case's tensor `prefix` + parameter name.
///
/// # Panics
/// If the case lacks one of them.
pub fn load_case<M: Module>(module: M, case: &Case, prefix: &str) -> M {
    module.map(&mut Loader { case, prefix, path: vec![] })
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
        let name = format!("{}{}", self.prefix, self.path.join("."));
        let value = self.case.tensor(&name);
        let shape: [usize; D] = param.lazy_shape().dims();
        assert_eq!(value.shape, shape, "case {}: shape of {name}", self.case.name);
        let device = param.lazy_device();
        let value = Tensor::from_data(TensorData::new(value.f32().to_vec(), shape), &device);
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
