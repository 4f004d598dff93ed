//! The tensors of the model in the released layout, and how many parameters are tuned.

use xcomp_model::base::config::{LlmConfig, ModelConfig};
use xcomp_model::base::vision_config::{ProjectorConfig, VisionConfig};

use crate::recipe::tune::{Part, tuned};

/// A tensor of a released checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorShape {
    /// Its name in the safetensors file.
    pub name: String,
    /// Its sizes.
    pub shape: Vec<usize>,
}

impl TensorShape {
    /// Number of values.
    pub fn count(&self) -> u64 {
        self.shape.iter().map(|size| *size as u64).product()
    }
}

/// Parameters of one part of the model.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PartCount {
    /// `llm`, `projector` or `vision`.
    pub part: &'static str,
    /// Parameters that move.
    pub tuned: u64,
    /// Parameters that stay.
    pub frozen: u64,
    /// Tensors that move.
    pub tuned_tensors: usize,
}

/// Every tensor of a model of these sizes (spec of the released checkpoint).
pub fn tensors(config: &ModelConfig) -> Vec<TensorShape> {
    let mut list = List(vec![]);
    llm(&mut list, &config.llm);
    projector(&mut list, &config.projector);
    vision(&mut list, &config.vision);
    list.0
}

/// Tuned and frozen parameters of each part.
pub fn count(config: &ModelConfig, parts: &[Part]) -> Vec<PartCount> {
    let tensors = tensors(config);
    [("llm", Part::Llm), ("projector", Part::Projector), ("vision", Part::Vision)]
        .map(|(part, whole)| {
            let (moving, still): (Vec<_>, Vec<_>) = tensors
                .iter()
                .filter(|tensor| whole.contains(&tensor.name))
                .partition(|tensor| tuned(parts, &tensor.name));
            let sum = |tensors: &[&TensorShape]| tensors.iter().map(|t| t.count()).sum();
            PartCount {
                part,
                tuned: sum(&moving),
                frozen: sum(&still),
                tuned_tensors: moving.len(),
            }
        })
        .into()
}

struct List(Vec<TensorShape>);

impl List {
    fn add(&mut self, name: String, shape: &[usize]) {
        self.0.push(TensorShape { name, shape: shape.into() });
    }

    /// A weight `[outputs, inputs]` with a bias.
    fn linear(&mut self, name: &str, inputs: usize, outputs: usize) {
        self.add(format!("{name}.weight"), &[outputs, inputs]);
        self.add(format!("{name}.bias"), &[outputs]);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.add(format!("{name}.weight"), &[width]);
        self.add(format!("{name}.bias"), &[width]);
    }
}

fn llm(list: &mut List, llm: &LlmConfig) {
    let (hidden, inner) = (llm.hidden_size, llm.intermediate_size);
    let queries = llm.num_attention_heads * llm.head_dim();
    let keys = llm.num_key_value_heads * llm.head_dim();
    list.add("model.embed_tokens.weight".into(), &[llm.vocab_size, hidden]);
    for layer in 0..llm.num_hidden_layers {
        let at = |name: &str| format!("model.layers.{layer}.{name}");
        list.linear(&at("self_attn.q_proj"), hidden, queries);
        list.linear(&at("self_attn.k_proj"), hidden, keys);
        list.linear(&at("self_attn.v_proj"), hidden, keys);
        list.add(at("self_attn.o_proj.weight"), &[hidden, queries]);
        list.add(at("mlp.gate_proj.weight"), &[inner, hidden]);
        list.add(at("mlp.up_proj.weight"), &[inner, hidden]);
        list.add(at("mlp.down_proj.weight"), &[hidden, inner]);
        list.add(at("input_layernorm.weight"), &[hidden]);
        list.add(at("post_attention_layernorm.weight"), &[hidden]);
    }
    list.add("model.norm.weight".into(), &[hidden]);
    if !llm.tie_word_embeddings {
        list.add("lm_head.weight".into(), &[llm.vocab_size, hidden]);
    }
}

fn projector(list: &mut List, projector: &ProjectorConfig) {
    let (inputs, hidden) = (projector.mm_hidden_size, projector.hidden_size);
    list.linear("model.mm_projector.mlp.0", inputs, hidden);
    list.linear("model.mm_projector.mlp.2", hidden, hidden);
}

fn vision(list: &mut List, vision: &VisionConfig) {
    let (width, inner, patch) = (vision.hidden_size, vision.intermediate_size, vision.patch_size);
    let at = |name: &str| format!("model.vision_tower.vision_tower.encoder.{name}");
    list.add(at("patch_embed.proj.weight"), &[width, 3, 1, patch, patch]);
    list.add(at("patch_embed.proj.bias"), &[width]);
    for block in 0..vision.depth {
        let at = |name: &str| at(&format!("blocks.{block}.{name}"));
        list.norm(&at("norm1"), width);
        list.add(at("attn.q_bias"), &[width]);
        list.add(at("attn.v_bias"), &[width]);
        list.add(at("attn.qkv.weight"), &[3 * width, width]);
        list.linear(&at("attn.proj"), width, width);
        list.norm(&at("norm2"), width);
        list.linear(&at("mlp.fc1"), width, inner);
        list.linear(&at("mlp.fc2"), inner, width);
    }
    list.norm(&at("vision_layernorm"), width);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cost::released;

    fn check(parts: &[&str], tuned: u64) {
        let parts: Vec<Part> = parts.iter().map(|part| part.parse().unwrap()).collect();
        let counts = count(&released::config(), &parts);
        assert_eq!(counts.iter().map(|c| c.tuned).sum::<u64>(), tuned, "{parts:?}");
        let total: u64 = counts.iter().map(|c| c.tuned + c.frozen).sum();
        assert_eq!(total, 1_838_128_640);
    }

    #[test]
    fn the_released_model_has_the_logged_number_of_parameters() {
        check(&["llm"], 1_543_714_304);
        check(&["llm", "projector"], 1_547_649_536);
        check(&["vision"], 290_479_104);
        check(&["layers.0-1"], 2 * 46_797_824);
    }

    #[test]
    fn the_shapes_are_those_of_the_module() {
        // Lazily initialised: nothing is drawn.
        let mut config = released::config();
        config.llm.tie_word_embeddings = false;
        let model = xcomp_model::vlm::Vlm::new(&config, &burn::tensor::Device::flex());
        let names = crate::train::named::parameters(&model);
        let mut built: Vec<_> = names.into_iter().map(|t| (t.name, t.shape)).collect();
        let mut listed: Vec<_> = tensors(&config).into_iter().map(|t| (t.name, t.shape)).collect();
        built.sort();
        listed.sort();
        assert_eq!(built, listed);
    }
}
