//! What a parameter does in its module, told by its path of fields: values made by code are drawn by it.

use crate::base::family::Family;
use crate::base::place::Region;

/// What a parameter does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Rows that stand for tokens, learnt as they are.
    Token,
    /// Rows that stand for places.
    Position,
    /// The map of a patch's pixels.
    Patches,
    /// Its bias.
    PatchBias,
    /// The bias of the decoder's queries.
    QueryBias,
    /// The bias of its keys.
    KeyBias,
    /// Any other bias.
    Bias,
    /// What a norm multiplies by.
    Gain,
    /// The last map of a block, which adds to what passes it by, or of the connector.
    Output,
    /// Any other map.
    Inner,
}

impl Role {
    /// The role of the parameter at a path of module fields.
    pub fn of(region: Region, path: &str) -> Self {
        let (owner, field) = path.rsplit_once('.').unwrap_or(("", path));
        let map = owner.rsplit('.').next().unwrap_or_default();
        let is_bias = field.ends_with("bias");
        match (region, map) {
            (Region::Vision, _) if path.contains("patch_embed") && is_bias => Self::PatchBias,
            (Region::Vision, _) if path.contains("patch_embed") => Self::Patches,
            (Region::Llm, "q_proj") if is_bias => Self::QueryBias,
            (Region::Llm, "k_proj") if is_bias => Self::KeyBias,
            _ if is_bias => Self::Bias,
            _ if path.contains("norm") => Self::Gain,
            (_, "embed_tokens" | "beacon_embed_tokens" | "embeddings" | "") => Self::Token,
            (_, "position_embedding") => Self::Position,
            (Region::Llm, "o_proj" | "down_proj")
            | (Region::Vision, "proj" | "out_proj" | "fc2")
            | (Region::Connector, "2") => Self::Output,
            _ => Self::Inner,
        }
    }
}

impl Family {
    /// What the tensor called `name` does; `None` if the model has no such place.
    pub fn role(&self, name: &str) -> Option<Role> {
        self.located(name).map(|(region, path)| Role::of(region, &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::config::FAMILIES;
    use crate::base::llava_next_video::LLAVA_NEXT_VIDEO;
    use crate::base::llava_video::LLAVA_VIDEO;
    use crate::base::videochat_flash::VIDEOCHAT_FLASH;

    #[test]
    fn roles_are_found_whatever_a_checkpoint_calls_them() {
        let check = |family: &Family, name: &str, want| {
            assert_eq!(family.role(name), want, "{}: {name}", family.name);
        };
        for family in FAMILIES {
            let llm = |path: &str| family.names(Region::Llm).name(path);
            check(family, &llm("model.embed_tokens.weight"), Some(Role::Token));
            check(family, &llm("model.layers.1.self_attn.q_proj.bias"), Some(Role::QueryBias));
            check(family, &llm("model.layers.1.self_attn.k_proj.bias"), Some(Role::KeyBias));
            check(family, &llm("model.layers.1.self_attn.k_proj.weight"), Some(Role::Inner));
            check(family, &llm("model.layers.1.mlp.down_proj.weight"), Some(Role::Output));
            check(family, &llm("model.layers.1.input_layernorm.weight"), Some(Role::Gain));
            check(family, &llm("lm_head.weight"), Some(Role::Inner));
        }
        let umt = "model.vision_tower.vision_tower.encoder.";
        check(&VIDEOCHAT_FLASH, &format!("{umt}patch_embed.proj.weight"), Some(Role::Patches));
        check(&VIDEOCHAT_FLASH, &format!("{umt}patch_embed.proj.bias"), Some(Role::PatchBias));
        check(&VIDEOCHAT_FLASH, &format!("{umt}blocks.3.attn.proj.weight"), Some(Role::Output));
        check(&VIDEOCHAT_FLASH, &format!("{umt}blocks.3.attn.q_bias"), Some(Role::Bias));
        check(&VIDEOCHAT_FLASH, "model.mm_projector.mlp.0.weight", Some(Role::Inner));
        let vit = "vision_tower.vision_model.";
        let next = |name: &str, want| check(&LLAVA_NEXT_VIDEO, name, Some(want));
        next(&format!("{vit}embeddings.class_embedding"), Role::Token);
        next(&format!("{vit}embeddings.patch_embedding.weight"), Role::Patches);
        next(&format!("{vit}embeddings.position_embedding.weight"), Role::Position);
        next(&format!("{vit}pre_layrnorm.weight"), Role::Gain);
        next(&format!("{vit}encoder.layers.0.self_attn.k_proj.bias"), Role::Bias);
        next(&format!("{vit}encoder.layers.0.self_attn.out_proj.weight"), Role::Output);
        next("multi_modal_projector.linear_2.weight", Role::Output);
        next("image_newline", Role::Token);
        check(&LLAVA_VIDEO, "model.image_newline", Some(Role::Token));
        check(&LLAVA_VIDEO, "optimizer.weight", None);
    }
}
