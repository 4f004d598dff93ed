//! Learned tokens (VST) in a decoder layer: maps of their own, and keys and values that stay when their window is gone
//! (Video-XL section 3.2; reference `modeling_qwen2.py`, `Qwen2Attention.qkv_proj_with_beacon` and `Qwen2MLP`).

use burn::tensor::Tensor;

use crate::decoder::cache::LayerCache;
use crate::decoder::qwen2::{DecoderLayer, Mlp, SelfAttention, split};
use crate::decoder::rope::Rope;
use crate::layers::linear::Linear;
use crate::ops::{causal_attention, swiglu};
use crate::transfer::indices;

/// Where learned tokens stand among the tokens of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles {
    vst: Vec<usize>,
    others: Vec<usize>,
    /// Where every token is found once the learned ones stand behind all others.
    woven: Vec<usize>,
}

/// Keys, as they are rotated in the memory, and values: `[1, kv_heads, kept, head_dim]` each.
pub type Kept = (Tensor<4>, Tensor<4>);

impl Roles {
    /// Of `len` tokens those at `vst`, ascending, are learned ones; `None` if there are none.
    pub fn new(len: usize, vst: &[usize]) -> Option<Self> {
        if vst.is_empty() {
            return None;
        }
        let is_vst = |at: &usize| vst.binary_search(at).is_ok();
        let others: Vec<usize> = (0..len).filter(|at| !is_vst(at)).collect();
        let mut woven = vec![0; len];
        for (found, at) in others.iter().chain(vst).enumerate() {
            woven[*at] = found;
        }
        Some(Self { vst: vst.to_vec(), others, woven })
    }

    /// Puts the learned tokens among the others: `[1, others, width]` and `[1, vst, width]` to `[1, all, width]`.
    pub fn weave(&self, others: Tensor<3>, vst: Tensor<3>) -> Tensor<3> {
        let woven = indices(&self.woven, &others.device());
        Tensor::cat(vec![others, vst], 1).select(1, woven)
    }

    /// The learned tokens, along dimension 2.
    fn vst_of(&self, x: Tensor<4>) -> Tensor<4> {
        let at = indices(&self.vst, &x.device());
        x.select(2, at)
    }
}

/// Tokens that go through maps by their role.
struct ByRole<'a> {
    all: Tensor<3>,
    /// The others, and the learned tokens.
    apart: Option<(&'a Roles, Tensor<3>, Tensor<3>)>,
}

impl<'a> ByRole<'a> {
    fn new(all: Tensor<3>, roles: Option<&'a Roles>) -> Self {
        let of = |rows: &[usize]| all.clone().select(1, indices(rows, &all.device()));
        let apart = roles.map(|roles| (roles, of(&roles.others), of(&roles.vst)));
        Self { all, apart }
    }

    /// Every token through `map`, learned ones through `own` where there is one.
    fn through(&self, map: &Linear, own: Option<&Linear>) -> Tensor<3> {
        match (&self.apart, own) {
            (Some((roles, others, vst)), Some(own)) => {
                roles.weave(map.forward(others.clone()), own.forward(vst.clone()))
            }
            _ => map.forward(self.all.clone()),
        }
    }
}

impl DecoderLayer {
    /// Runs the layer over tokens that stand behind those in `memory`; what stays of them is given back.
    ///
    /// With `roles` only the learned tokens stay, else all. Their keys are rotated anew: they stand side by side in the memory, from
    /// its end on. The reference keeps keys without rotation and rotates the whole memory in every window; as nothing in a memory
    /// ever moves, once is the same.
    ///
    /// # Shapes
    /// - `x`, output: `[1, seq, hidden]`
    pub fn forward_segment(
        &self,
        x: Tensor<3>,
        roles: Option<&Roles>,
        rope: &Rope,
        memory: &LayerCache,
    ) -> (Tensor<3>, Kept) {
        let normed = self.input_layernorm.forward(x.clone());
        let (attended, kept) = self.self_attn.forward_segment(normed, roles, rope, memory);
        let x = x + attended;
        let normed = self.post_attention_layernorm.forward(x.clone());
        (x + self.mlp.forward_by_role(normed, roles), kept)
    }
}

impl SelfAttention {
    fn forward_segment(
        &self,
        x: Tensor<3>,
        roles: Option<&Roles>,
        rope: &Rope,
        memory: &LayerCache,
    ) -> (Tensor<3>, Kept) {
        let start = memory.len();
        let x = ByRole::new(x, roles);
        let q = split(x.through(&self.q_proj, self.beacon_q_proj.as_ref()), self.heads);
        let k = split(x.through(&self.k_proj, self.beacon_k_proj.as_ref()), self.kv_heads);
        let v = split(x.through(&self.v_proj, self.beacon_v_proj.as_ref()), self.kv_heads);
        let rotated = rope.rotate_from(k.clone(), start);
        let (keys, values) = memory.clone().push(rotated.clone(), v.clone());
        let attended = causal_attention(rope.rotate_from(q, start), keys, values);
        let kept = match roles {
            None => (rotated, v),
            Some(roles) => (rope.rotate_from(roles.vst_of(k), start), roles.vst_of(v)),
        };
        let [batch, heads, seq, head_dim] = attended.dims();
        let attended = attended.swap_dims(1, 2).reshape([batch, seq, heads * head_dim]);
        let output = match &self.beacon_o_proj {
            None => self.o_proj.forward(attended),
            own => ByRole::new(attended, roles).through(&self.o_proj, own.as_ref()),
        };
        (output, kept)
    }
}

impl Mlp {
    /// As [`Mlp::forward`]; the gate is shared.
    fn forward_by_role(&self, x: Tensor<3>, roles: Option<&Roles>) -> Tensor<3> {
        if self.beacon_up_proj.is_none() {
            return self.forward(x);
        }
        let gate = self.gate_proj.forward(x.clone());
        let up = ByRole::new(x, roles).through(&self.up_proj, self.beacon_up_proj.as_ref());
        let inner = ByRole::new(swiglu(gate, up), roles);
        inner.through(&self.down_proj, self.beacon_down_proj.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    #[test]
    fn learned_tokens_are_put_in_and_taken_out() {
        assert_eq!(Roles::new(4, &[]), None);
        let roles = Roles::new(6, &[2, 5]).unwrap();
        let row = |values: &[f32]| {
            let data = TensorData::new(values.to_vec(), [1, values.len(), 1]);
            Tensor::<3>::from_data(data, &Device::flex())
        };
        let woven = roles.weave(row(&[0.0, 1.0, 2.0, 3.0]), row(&[8.0, 9.0]));
        let got: Vec<f32> = woven.clone().into_data().iter().collect();
        assert_eq!(got, [0.0, 1.0, 8.0, 2.0, 3.0, 9.0]);
        let got: Vec<f32> = roles.vst_of(woven.unsqueeze_dim(1)).into_data().iter().collect();
        assert_eq!(got, [8.0, 9.0]);
    }
}
