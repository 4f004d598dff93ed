//! Parameters of a model by the names of the released checkpoint.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;
use xcomp_model::decoder::qwen2::Qwen2ForCausalLm;
use xcomp_model::vlm::Vlm;

/// Prefix of the language model's tensors: its fields are named from the root.
const LLM: &str = "";
/// Prefix of the connector's tensors.
const PROJECTOR: &str = "model.mm_projector.";
/// Prefix of the vision tower's tensors.
const VISION: &str = "model.vision_tower.vision_tower.encoder.";

/// Looks at a parameter.
pub trait Look {
    /// Called for every float parameter, in a fixed order.
    fn look<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>);
}

/// Changes a parameter.
pub trait Change {
    /// Called for every float parameter, in a fixed order.
    fn change<const D: usize>(&mut self, name: &str, param: Param<Tensor<D>>) -> Param<Tensor<D>>;
}

/// A model whose parameters carry the names of the released checkpoint.
pub trait Named: Sized {
    /// Looks at every parameter.
    fn look_at_each(&self, look: &mut impl Look);
    /// Changes every parameter.
    #[must_use]
    fn change_each(self, change: &mut impl Change) -> Self;
}

impl Named for Qwen2ForCausalLm {
    fn look_at_each(&self, look: &mut impl Look) {
        self.visit(&mut Path { prefix: LLM, fields: vec![], act: look });
    }

    fn change_each(self, change: &mut impl Change) -> Self {
        self.map(&mut Path { prefix: LLM, fields: vec![], act: change })
    }
}

impl Named for Vlm {
    fn look_at_each(&self, look: &mut impl Look) {
        self.llm.look_at_each(look);
        self.projector.visit(&mut Path { prefix: PROJECTOR, fields: vec![], act: look });
        self.vision.visit(&mut Path { prefix: VISION, fields: vec![], act: look });
    }

    fn change_each(self, change: &mut impl Change) -> Self {
        let llm = self.llm.change_each(change);
        let projector =
            self.projector.map(&mut Path { prefix: PROJECTOR, fields: vec![], act: change });
        let vision = self.vision.map(&mut Path { prefix: VISION, fields: vec![], act: change });
        Self { llm, projector, vision }
    }
}

/// A parameter of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedParam {
    /// Its name in the checkpoint.
    pub name: String,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// What its gradient is kept under.
    pub id: ParamId,
}

/// All parameters, in a fixed order.
pub fn parameters(model: &impl Named) -> Vec<NamedParam> {
    struct List(Vec<NamedParam>);
    impl Look for List {
        fn look<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
            let shape = param.lazy_shape().dims::<D>().to_vec();
            self.0.push(NamedParam { name: name.into(), shape, id: param.id });
        }
    }
    let mut list = List(vec![]);
    model.look_at_each(&mut list);
    list.0
}

/// Where a traversal stands.
struct Path<'a, A> {
    prefix: &'static str,
    fields: Vec<String>,
    act: &'a mut A,
}

impl<A> Path<'_, A> {
    fn name(&self) -> String {
        format!("{}{}", self.prefix, self.fields.join("."))
    }
}

impl<A: Look> ModuleVisitor for Path<'_, A> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.fields.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.fields.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.name();
        self.act.look(&name, param);
    }
}

impl<A: Change> ModuleMapper for Path<'_, A> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.fields.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.fields.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.name();
        self.act.change(&name, param)
    }
}
