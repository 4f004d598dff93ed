//! The whole model as the three parts of a checkpoint.

use std::path::Path;

use super::load::checked;
use super::{Loaded, Part, SaveOptions, Saved, SavedPart, StoredWeights, WeightDtype, save, take};
use crate::base::lora::adapted;
use crate::error::ModelError;
use crate::vlm::Vlm;

impl Vlm {
    /// Fills every parameter from a folder of weights; see [`super::load`].
    ///
    /// # Errors
    /// As [`super::load`].
    pub fn load_weights(&mut self, folder: &Path) -> Result<Loaded, ModelError> {
        self.take_weights(&self.stored_weights(folder)?, WeightDtype::F32)
    }

    /// The weights of a folder that this model would load, checked as if it did.
    ///
    /// # Errors
    /// As [`super::load`].
    pub fn stored_weights(&self, folder: &Path) -> Result<StoredWeights, ModelError> {
        let mut own = self.parameters();
        own.retain(|parameter| adapted(&parameter.name).is_none()); // no base has adapters
        checked(folder, self.family, self.llm.model.first_vst_row, own)
    }

    /// Fills the parameters that are stored; all others keep their values, drawn or not; see [`take`].
    ///
    /// # Errors
    /// As [`take`].
    pub fn take_weights(
        &mut self,
        stored: &StoredWeights,
        held: WeightDtype,
    ) -> Result<Loaded, ModelError> {
        let llm = Part { names: self.family.llm, module: &mut self.llm };
        let connector = Part { names: self.family.connector, module: &mut self.connector };
        let vision = Part { names: self.family.vision, module: &mut self.vision };
        take(stored, &mut [llm, connector, vision], held)
    }

    /// Writes every parameter into a folder, those that are `stored` from their files; see [`save`].
    ///
    /// # Errors
    /// As [`save`].
    pub fn save_weights(
        &self,
        folder: &Path,
        stored: &StoredWeights,
        options: SaveOptions,
    ) -> Result<Saved, ModelError> {
        let llm = SavedPart { names: self.family.llm, module: &self.llm };
        let connector = SavedPart { names: self.family.connector, module: &self.connector };
        let vision = SavedPart { names: self.family.vision, module: &self.vision };
        save(folder, &[llm, connector, vision], stored, options)
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::tensor::{Device, Tensor};
    use safetensors::SafeTensors;
    use serde_json::json;

    use super::*;
    use crate::base::config::ModelConfig;
    use crate::base::family::{Absent, Family};
    use crate::base::videochat_flash::VIDEOCHAT_FLASH;
    use crate::weights::SINGLE_FILE;

    fn model(device: &Device) -> Vlm {
        let config = json!({
            "vocab_size": 12, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-6,
            "rope_theta": 1e6, "tie_word_embeddings": true, "mm_hidden_size": 8,
            "mm_local_num_frames": 2, "mm_projector_type": "tome4_mlp_hd64",
            "vision_config": {
                "image_size": 32, "patch_size": 8, "hidden_size": 8, "num_hidden_layers": 2,
                "num_attention_heads": 2, "intermediate_size": 16,
            },
        });
        Vlm::new(&ModelConfig::from_hf(&config).unwrap(), device)
    }

    #[test]
    fn the_whole_model_survives_a_save() {
        let device = Device::flex();
        let folder = tempfile::tempdir().unwrap();
        let options =
            SaveOptions { dtype: WeightDtype::F32, max_file_bytes: Some(3000), merge: None };
        let saved = model(&device);
        let files =
            saved.save_weights(folder.path(), &StoredWeights::default(), options).unwrap().files;
        assert!(files.len() > 2, "shards: {files:?}");

        let mut read = model(&device);
        let loaded = read.load_weights(folder.path()).unwrap();
        assert_eq!(loaded.parameters, saved.num_params());
        let pixels = || Tensor::<5>::ones([1, 2, 3, 32, 32], &device);
        let tokens = |model: &Vlm| {
            let merged = model.connector.fixed(model.vision.forward(pixels()));
            model.connector.learnt(merged).into_data()
        };
        assert_eq!(tokens(&read), tokens(&saved));
        let head = |model: &Vlm| model.llm.model.embed_tokens.weight.val().into_data();
        assert_eq!(head(&read), head(&saved));
    }

    /// A folder that lacks a tensor which may be absent, and has one that the model does not need.
    #[test]
    fn what_a_family_lets_be_absent_or_spare_is_accepted_and_nothing_else() {
        const LENIENT: Family = Family {
            absent: |name| {
                if name == "model.norm.weight" { Absent::Fresh } else { Absent::Refuse }
            },
            spare: |name| name == "model.rotary.weight",
            ..VIDEOCHAT_FLASH
        };
        let (device, folder) = (Device::flex(), tempfile::tempdir().unwrap());
        let options = SaveOptions { dtype: WeightDtype::F32, max_file_bytes: None, merge: None };
        let saved = model(&device);
        saved.save_weights(folder.path(), &StoredWeights::default(), options).unwrap();
        let path = folder.path().join(SINGLE_FILE);
        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let spare = file.tensor("model.norm.weight").unwrap();
        let others = file.tensors().into_iter().filter(|(name, _)| name != "model.norm.weight");
        let all: Vec<_> = others.chain([("model.rotary.weight".to_owned(), spare)]).collect();
        std::fs::write(&path, safetensors::serialize(all, None).unwrap()).unwrap();

        assert!(model(&device).load_weights(folder.path()).is_err());
        let mut read = Vlm { family: &LENIENT, ..model(&device) };
        let loaded = read.load_weights(folder.path()).unwrap();
        assert_eq!(loaded.tensors, saved.parameters().len() - 1);
        let head = |model: &Vlm| model.llm.model.embed_tokens.weight.val().into_data();
        assert_eq!(head(&read), head(&saved));
        let fresh = read.llm.model.norm.weight.val().into_data();
        assert!(fresh.iter::<f32>().all(|value| (value - 1.0).abs() < f32::EPSILON));
    }

    /// Spec section 9.2, by hand.
    #[test]
    fn names_are_those_of_the_released_checkpoint() {
        let model = model(&Device::flex());
        let mut names: Vec<String> = model
            .parameters()
            .into_iter()
            .map(|parameter| parameter.name)
            .filter(|name| !name.contains("layers.1"))
            .collect();
        names.sort();
        let mut expect: Vec<String> = "model.embed_tokens.weight model.norm.weight \
            L.self_attn.q_proj.weight L.self_attn.q_proj.bias L.self_attn.k_proj.weight \
            L.self_attn.k_proj.bias L.self_attn.v_proj.weight L.self_attn.v_proj.bias \
            L.self_attn.o_proj.weight L.mlp.gate_proj.weight L.mlp.up_proj.weight \
            L.mlp.down_proj.weight L.input_layernorm.weight L.post_attention_layernorm.weight \
            P.mlp.0.weight P.mlp.0.bias P.mlp.2.weight P.mlp.2.bias \
            V.patch_embed.proj.weight V.patch_embed.proj.bias \
            B.norm1.weight B.norm1.bias B.attn.q_bias B.attn.v_bias B.attn.qkv.weight \
            B.attn.proj.weight B.attn.proj.bias B.norm2.weight B.norm2.bias \
            B.mlp.fc1.weight B.mlp.fc1.bias B.mlp.fc2.weight B.mlp.fc2.bias \
            V.vision_layernorm.weight V.vision_layernorm.bias"
            .split_whitespace()
            .map(|name| match name.split_at(2) {
                ("L.", rest) => format!("model.layers.0.{rest}"),
                ("P.", rest) => format!("model.mm_projector.{rest}"),
                ("V.", rest) => format!("model.vision_tower.vision_tower.encoder.{rest}"),
                ("B.", rest) => format!("model.vision_tower.vision_tower.encoder.blocks.0.{rest}"),
                _ => name.to_owned(),
            })
            .collect();
        expect.sort();
        assert_eq!(names, expect);
    }
}
