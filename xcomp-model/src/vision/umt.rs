//! The vision tower: UMT-L, a pre-norm vision transformer with joint space-time attention over a clip.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor, TensorData};

use crate::base::vision::{Pretrained, VisionConfig};
use crate::cost::{Flops, matmul};
use crate::layers::layer_norm::LayerNorm;
use crate::layers::linear::Linear;
use crate::ops::{full_attention, gelu, linear};
use crate::transfer::{kept, upload};
use crate::vision::patches::patches;
use crate::vision::positions::{Extent, position_table};

/// Epsilon of the norms inside a block (reference `umt/vit.py`).
const BLOCK_EPSILON: f64 = 1e-6;
/// Epsilon of the norm after the last block (reference `umt_encoder.py`).
const FINAL_EPSILON: f64 = 1e-12;
/// Standard deviation of fresh weights.
const INIT_STD: f64 = 0.02;
/// Red, green, blue.
const CHANNELS: usize = 3;

/// The tower: field names are those of the checkpoint under `...vision_tower.encoder.`.
#[derive(Module, Debug)]
pub struct Vit {
    /// Patches to tokens.
    pub patch_embed: PatchEmbed,
    /// Transformer blocks; the reference drops the last of its 24.
    pub blocks: Vec<Block>,
    /// The norm after the last block that is built.
    pub vision_layernorm: LayerNorm,
    #[module(skip)]
    config: VisionConfig,
    #[module(skip)]
    pretrained: Pretrained,
}

impl Vit {
    /// A tower with fresh weights, drawn lazily.
    pub fn new(config: &VisionConfig, pretrained: Pretrained, device: &Device) -> Self {
        Self {
            patch_embed: PatchEmbed { proj: PatchProjection::new(config, device) },
            blocks: (0..config.depth).map(|_| Block::new(config, device)).collect(),
            vision_layernorm: LayerNorm::new(config.hidden_size, FINAL_EPSILON, device),
            config: config.clone(),
            pretrained,
        }
    }

    /// Its sizes.
    pub fn config(&self) -> &VisionConfig {
        &self.config
    }

    /// Features of clips; one frame is an image and has its own position table.
    ///
    /// Activations have the dtype of `pixels`. Without a tape nothing of a block outlives it.
    ///
    /// # Shapes
    /// - `pixels`: `[clips, frames, 3, image_size, image_size]`, normalised
    /// - output: `[clips, frames * grid * grid, hidden_size]`, time slowest
    ///
    /// # Panics
    ///
    /// If `pixels` has another shape: frames are one or the configured clip length.
    pub fn forward(&self, pixels: Tensor<5>) -> Tensor<3> {
        let x = self.embed(pixels);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        self.vision_layernorm.forward(x)
    }

    /// Operations of [`Vit::forward`] on one clip of `frames` frames; attention in full, not causal.
    pub fn flops(config: &VisionConfig, frames: usize) -> Flops {
        let (tokens, width) = (frames * config.patches(), config.hidden_size);
        let patch = matmul(tokens, CHANNELS * config.patch_size * config.patch_size, width);
        let block = matmul(tokens, width, 4 * width)
            + 2.0 * matmul(tokens, width, config.intermediate_size);
        let attention = 4.0 * (tokens * tokens * width) as f64 * config.depth as f64;
        Flops { products: patch + block * config.depth as f64, attention }
    }

    /// Patches with their positions: what enters the first block.
    ///
    /// # Panics
    ///
    /// As [`Vit::forward`].
    pub fn embed(&self, pixels: Tensor<5>) -> Tensor<3> {
        let [_, frames, channels, height, width] = pixels.dims();
        let size = self.config.image_size;
        assert_eq!([channels, height, width], [CHANNELS, size, size], "pixels of a clip");
        let x = self.patch_embed.proj.forward(pixels);
        let positions = self.position(frames, &x.device().inner()).cast(x.dtype());
        x + positions
    }

    /// The position table of clips of `frames` frames: `[1, tokens, hidden_size]`, f32.
    ///
    /// # Panics
    ///
    /// If `frames` is neither one nor the clip length.
    pub fn position(&self, frames: usize, device: &Device) -> Tensor<3> {
        let (grid, width) = (self.config.grid(), self.config.hidden_size);
        let from = if frames == 1 { 1 } else { self.pretrained.frames };
        assert!(frames == 1 || frames == self.config.clip_frames, "frames of a clip");
        let from = Extent { frames: from, grid: self.pretrained.grid };
        let key = [from.frames, from.grid, frames, grid, width].map(|size| size as u64);
        let make = |device: &Device| {
            let table = position_table(from, Extent { frames, grid }, width);
            upload(TensorData::new(table, [1, frames * grid * grid, width]), device)
        };
        kept(("positions of a clip", key.to_vec()), device, make)
    }
}

/// `patch_embed` of the checkpoint.
#[derive(Module, Debug)]
pub struct PatchEmbed {
    /// The convolution over patches.
    pub proj: PatchProjection,
}

/// A convolution whose kernel is its stride: one linear map of each patch.
#[derive(Module, Debug)]
pub struct PatchProjection {
    /// `[hidden_size, 3, 1, patch, patch]`.
    pub weight: Param<Tensor<5>>,
    /// `[hidden_size]`.
    pub bias: Param<Tensor<1>>,
}

impl PatchProjection {
    fn new(config: &VisionConfig, device: &Device) -> Self {
        let (width, patch) = (config.hidden_size, config.patch_size);
        let init = Initializer::Normal { mean: 0.0, std: INIT_STD };
        Self {
            weight: init.init([width, CHANNELS, 1, patch, patch], device),
            bias: Initializer::Zeros.init([width], device),
        }
    }

    /// # Shapes
    /// - `pixels`: `[clips, frames, 3, size, size]`
    /// - output: `[clips, frames * (size / patch)^2, hidden_size]`
    fn forward(&self, pixels: Tensor<5>) -> Tensor<3> {
        let weight = self.weight.val().cast(pixels.dtype());
        let bias = self.bias.val().cast(pixels.dtype());
        let [width, channels, _, _, patch] = weight.dims();
        let patches = patches(pixels, patch);
        let weight = weight.reshape([width, channels * patch * patch]);
        linear(patches, weight, Some(bias))
    }
}

/// One pre-norm transformer block.
#[derive(Module, Debug)]
pub struct Block {
    /// Before attention.
    pub norm1: LayerNorm,
    /// Attention over all tokens of a clip.
    pub attn: JointAttention,
    /// Before the perceptron.
    pub norm2: LayerNorm,
    /// The perceptron.
    pub mlp: VitMlp,
}

impl Block {
    fn new(config: &VisionConfig, device: &Device) -> Self {
        Self {
            norm1: LayerNorm::new(config.hidden_size, BLOCK_EPSILON, device),
            attn: JointAttention::new(config, device),
            norm2: LayerNorm::new(config.hidden_size, BLOCK_EPSILON, device),
            mlp: VitMlp::new(config, device),
        }
    }

    /// Shapes: `[clips, tokens, hidden_size]`, in and out.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = x.clone() + self.attn.forward(self.norm1.forward(x));
        x.clone() + self.mlp.forward(self.norm2.forward(x))
    }
}

/// Joint space-time attention: not causal, every token of a clip sees every other.
#[derive(Module, Debug)]
pub struct JointAttention {
    /// Queries, keys and values in one map: `[3 * hidden_size, hidden_size]`, no bias.
    pub qkv: Linear,
    /// Bias of the queries, `[hidden_size]`; keys have none.
    pub q_bias: Param<Tensor<1>>,
    /// Bias of the values, `[hidden_size]`.
    pub v_bias: Param<Tensor<1>>,
    /// The output map.
    pub proj: Linear,
    #[module(skip)]
    heads: usize,
}

impl JointAttention {
    fn new(config: &VisionConfig, device: &Device) -> Self {
        let width = config.hidden_size;
        Self {
            qkv: Linear::without_bias(width, 3 * width, device),
            q_bias: Initializer::Zeros.init([width], device),
            v_bias: Initializer::Zeros.init([width], device),
            proj: Linear::new(width, width, device),
            heads: config.num_heads,
        }
    }

    /// Shapes: `[clips, tokens, hidden_size]`, in and out.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [clips, tokens, width] = x.dims();
        let dtype = x.dtype();
        let [q_bias, v_bias] = [&self.q_bias, &self.v_bias].map(|bias| bias.val().cast(dtype));
        let bias = Tensor::cat(vec![q_bias.clone(), q_bias.zeros_like(), v_bias], 0);
        let qkv = linear(x, self.qkv.weight.val(), Some(bias)); // [clips, tokens, 3 * width]

        // Views: no head is copied apart.
        let heads =
            qkv.reshape([clips, tokens, 3 * self.heads, width / self.heads]).swap_dims(1, 2);
        let part = |i: usize| heads.clone().slice_dim(1, i * self.heads..(i + 1) * self.heads);
        let x = full_attention(part(0), part(1), part(2)); // [clips, heads, tokens, head_dim]
        self.proj.forward(x.swap_dims(1, 2).reshape([clips, tokens, width]))
    }
}

/// Two maps with the exact (erf) GELU between them.
#[derive(Module, Debug)]
pub struct VitMlp {
    /// `hidden_size` to `intermediate_size`.
    pub fc1: Linear,
    /// Back.
    pub fc2: Linear,
}

impl VitMlp {
    fn new(config: &VisionConfig, device: &Device) -> Self {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        Self { fc1: Linear::new(width, inner, device), fc2: Linear::new(inner, width, device) }
    }

    /// Shapes: `[clips, tokens, hidden_size]`, in and out.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.fc2.forward(gelu(self.fc1.forward(x)))
    }
}
