//! Parameters by the names they have in a checkpoint.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::store::burn_pack::Tensor as PackTensor;
use burn::store::{ApplyResult, FloatCastAdapter, ModuleSnapshot, StoreTensor};
use burn::tensor::{DType, Tensor};

/// A parameter of a module, without its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in a checkpoint: the part's prefix, then the path of fields.
    pub name: String,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// The key of its gradient and its optimizer state in this process.
    pub id: ParamId,
}

impl Parameter {
    /// Numbers in it.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Every floating-point parameter of a module, in the order of its fields.
///
/// No weight is drawn or read: lazy parameters stay so.
pub fn parameters<M: Module>(prefix: &str, module: &M) -> Vec<Parameter> {
    let mut listing = Listing { path: vec![], prefix, found: vec![] };
    module.visit(&mut listing);
    listing.found
}

struct Listing<'a> {
    path: Vec<String>,
    prefix: &'a str,
    found: Vec<Parameter>,
}

impl ModuleVisitor for Listing<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = format!("{}{}", self.prefix, self.path.join("."));
        let shape = param.lazy_shape().dims::<D>().to_vec();
        self.found.push(Parameter { name, shape, id: param.id });
    }
}

/// Any module, as the loader and the saver see it.
pub trait Weights {
    /// Its parameters, named with `prefix`.
    fn parameters(&self, prefix: &str) -> Vec<Parameter>;

    /// Takes over tensors named without prefix, cast to f32.
    fn take(&mut self, tensors: Vec<StoreTensor>) -> ApplyResult;

    /// Its tensors, named without prefix, cast when they are drawn.
    fn give(&self, dtype: DType) -> Vec<PackTensor>;
}

impl<M: Module> Weights for M {
    fn parameters(&self, prefix: &str) -> Vec<Parameter> {
        parameters(prefix, self)
    }

    fn take(&mut self, tensors: Vec<StoreTensor>) -> ApplyResult {
        let cast = FloatCastAdapter::to(DType::F32);
        self.apply(tensors, None, Some(Box::new(cast)), false)
    }

    fn give(&self, dtype: DType) -> Vec<PackTensor> {
        self.collect(None, Some(Box::new(FloatCastAdapter::to(dtype))), false)
    }
}
