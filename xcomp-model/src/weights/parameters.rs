//! Parameters by the names they have in a checkpoint.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::store::burn_pack::Tensor as PackTensor;
use burn::store::{ApplyResult, FloatCastAdapter, ModuleSnapshot, StoreTensor};
use burn::tensor::{DType, Tensor};

use crate::base::family::{Names, Region};
use crate::decoder::qwen2::Qwen2ForCausalLm;
use crate::vlm::Vlm;

/// The variant of an enum is no part of a path.
const SKIP_ENUM_VARIANTS: bool = true;

/// A parameter of a module, without its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in a checkpoint.
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

/// Looks at parameters.
pub trait Look {
    /// Called for every float parameter, in a fixed order.
    fn look<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>);
}

/// Changes parameters.
pub trait Change {
    /// Called for every float parameter, in a fixed order.
    fn change<const D: usize>(&mut self, name: &str, param: Param<Tensor<D>>) -> Param<Tensor<D>>;
}

/// A model whose parameters carry the names of its family's checkpoints.
pub trait Named: Sized {
    /// Looks at every parameter.
    fn look_at_each(&self, look: &mut impl Look);
    /// Changes every parameter.
    #[must_use]
    fn change_each(self, change: &mut impl Change) -> Self;
}

/// A language model alone: its fields are named from the root.
impl Named for Qwen2ForCausalLm {
    fn look_at_each(&self, look: &mut impl Look) {
        self.visit(&mut Walk::new(Names::prefixed(""), look));
    }

    fn change_each(self, change: &mut impl Change) -> Self {
        self.map(&mut Walk::new(Names::prefixed(""), change))
    }
}

impl Named for Vlm {
    fn look_at_each(&self, look: &mut impl Look) {
        self.llm.visit(&mut Walk::new(self.family.llm, look));
        self.connector.visit(&mut Walk::new(self.family.connector, look));
        self.vision.visit(&mut Walk::new(self.family.vision, look));
    }

    fn change_each(self, change: &mut impl Change) -> Self {
        Self {
            llm: self.llm.map(&mut Walk::new(self.family.llm, change)),
            connector: self.connector.map(&mut Walk::new(self.family.connector, change)),
            vision: self.vision.map(&mut Walk::new(self.family.vision, change)),
            family: self.family,
        }
    }
}

impl Vlm {
    /// Every parameter, in a fixed order; none is drawn or read: lazy ones stay so.
    pub fn parameters(&self) -> Vec<Parameter> {
        let of = |region| self.family.names(region);
        [
            parameters(of(Region::Llm), &self.llm),
            parameters(of(Region::Connector), &self.connector),
            parameters(of(Region::Vision), &self.vision),
        ]
        .concat()
    }
}

/// Every floating-point parameter of a module, in the order of its fields; none is drawn or read.
pub fn parameters<M: Module>(names: Names, module: &M) -> Vec<Parameter> {
    let mut list = Vec::new();
    module.visit(&mut Walk::new(names, &mut list));
    list
}

/// A traversal that knows where it stands.
struct Walk<'a, A> {
    names: Names,
    fields: Vec<String>,
    act: &'a mut A,
}

impl<'a, A> Walk<'a, A> {
    fn new(names: Names, act: &'a mut A) -> Self {
        Self { names, fields: vec![], act }
    }

    fn enter(&mut self, field: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.fields.push(field.to_owned());
        }
    }

    fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.fields.pop();
        }
    }

    fn name(&self) -> String {
        self.names.name(&self.fields.join("."))
    }
}

impl<A: Look> ModuleVisitor for Walk<'_, A> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.name();
        self.act.look(&name, param);
    }
}

impl<A: Change> ModuleMapper for Walk<'_, A> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.name();
        self.act.change(&name, param)
    }
}

impl Look for Vec<Parameter> {
    fn look<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        let shape = param.lazy_shape().dims::<D>().to_vec();
        self.push(Parameter { name: name.into(), shape, id: param.id });
    }
}

/// Any module, as the loader and the saver see it.
pub trait Weights {
    /// Its parameters.
    fn parameters(&self, names: Names) -> Vec<Parameter>;

    /// Takes over tensors named by their paths, in the dtypes that they have.
    fn take(&mut self, tensors: Vec<StoreTensor>) -> ApplyResult;

    /// Its tensors, named by their paths, cast when they are drawn.
    fn give(&self, dtype: DType) -> Vec<PackTensor>;
}

impl<M: Module> Weights for M {
    fn parameters(&self, names: Names) -> Vec<Parameter> {
        parameters(names, self)
    }

    fn take(&mut self, tensors: Vec<StoreTensor>) -> ApplyResult {
        self.apply(tensors, None, None, SKIP_ENUM_VARIANTS)
    }

    fn give(&self, dtype: DType) -> Vec<PackTensor> {
        self.collect(None, Some(Box::new(FloatCastAdapter::to(dtype))), SKIP_ENUM_VARIANTS)
    }
}
