//! The towers that see every frame by itself: CLIP and `SigLIP`, pre-norm vision transformers that differ in [`FrameBody`].
//!
//! The output is that of the last block that is run, without a norm behind it (LLaVA's `clip_encoder.py`, `siglip_encoder.py`).

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};

use crate::base::vision::{Activation, FrameBody, VisionConfig};
use crate::cost::{Flops, matmul};
use crate::layers::layer_norm::LayerNorm;
use crate::layers::linear::Linear;
use crate::ops::{full_attention, linear, sigmoid_gelu};
use crate::vision::patches::patches;

/// Standard deviation of fresh weights.
const INIT_STD: f64 = 0.02;
/// Red, green, blue.
const CHANNELS: usize = 3;

/// The tower: field names are those of the checkpoint under `...vision_model.`.
#[derive(Module, Debug)]
pub struct FrameVit {
    /// Patches and their positions.
    pub embeddings: Embeddings,
    /// CLIP's norm before the first block, as the checkpoint spells it.
    pub pre_layrnorm: Option<LayerNorm>,
    /// The blocks.
    pub encoder: Encoder,
    /// In every checkpoint; features do not pass it.
    pub post_layernorm: LayerNorm,
    #[module(skip)]
    config: VisionConfig,
}

impl FrameVit {
    /// A tower with fresh weights, drawn lazily.
    pub fn new(config: &VisionConfig, body: FrameBody, device: &Device) -> Self {
        let norm = || LayerNorm::new(config.hidden_size, body.epsilon, device);
        let blocks = config.depth + body.unused_blocks;
        Self {
            embeddings: Embeddings::new(config, body, device),
            pre_layrnorm: body.class_token.then(norm),
            encoder: Encoder {
                layers: (0..blocks).map(|_| Block::new(config, body, device)).collect(),
            },
            post_layernorm: norm(),
            config: config.clone(),
        }
    }

    /// Features of every frame; the class token is left out.
    ///
    /// # Shapes
    /// - `pixels`: `[clips, frames, 3, image_size, image_size]`, normalised
    /// - output: `[clips, frames * grid * grid, hidden_size]`, time slowest
    ///
    /// # Panics
    /// If `pixels` are of another size.
    pub fn forward(&self, pixels: Tensor<5>) -> Tensor<3> {
        self.forward_with_class(pixels).0
    }

    /// As [`FrameVit::forward`], and the class token of every frame, `[clips, frames, hidden_size]`, where the tower has one.
    ///
    /// # Panics
    /// As [`FrameVit::forward`].
    pub fn forward_with_class(&self, pixels: Tensor<5>) -> (Tensor<3>, Option<Tensor<3>>) {
        let [clips, frames, ..] = pixels.dims();
        let x = self.embed(pixels);
        let x =
            self.encoder.layers[..self.config.depth].iter().fold(x, |x, block| block.forward(x));
        let [_, tokens, width] = x.dims();
        let patches = self.config.patches();
        let class = (tokens > patches)
            .then(|| x.clone().slice_dim(1, 0..1).reshape([clips, frames, width]));
        let x = x.slice_dim(1, tokens - patches..tokens);
        (x.reshape([clips, frames * patches, width]), class)
    }

    /// What enters the first block: `[clips * frames, tokens, hidden_size]`.
    ///
    /// # Panics
    /// As [`FrameVit::forward`].
    pub fn embed(&self, pixels: Tensor<5>) -> Tensor<3> {
        let [clips, frames, channels, height, width] = pixels.dims();
        let size = self.config.image_size;
        assert_eq!([channels, height, width], [CHANNELS, size, size], "pixels of a frame");
        let pixels = pixels.reshape([clips * frames, 1, channels, height, width]);
        let x = self.embeddings.forward(pixels);
        self.pre_layrnorm.iter().fold(x, |x, norm| norm.forward(x))
    }

    /// Operations of [`FrameVit::forward`] on `frames` frames.
    pub fn flops(config: &VisionConfig, body: FrameBody, frames: usize) -> Flops {
        let (patches, width) = (config.patches(), config.hidden_size);
        let tokens = patches + usize::from(body.class_token);
        let patch = matmul(patches, CHANNELS * config.patch_size * config.patch_size, width);
        let block = matmul(tokens, width, 4 * width)
            + 2.0 * matmul(tokens, width, config.intermediate_size);
        let (frames, depth) = (frames as f64, config.depth as f64);
        Flops {
            products: frames * (patch + block * depth),
            attention: frames * 4.0 * (tokens * tokens * width) as f64 * depth,
        }
    }
}

/// Patches to tokens.
#[derive(Module, Debug)]
pub struct Embeddings {
    /// `[hidden_size]`: the token before the patches, where there is one.
    pub class_embedding: Option<Param<Tensor<1>>>,
    /// The convolution over patches.
    pub patch_embedding: PatchProjection,
    /// Learnt positions.
    pub position_embedding: PositionTable,
}

impl Embeddings {
    fn new(config: &VisionConfig, body: FrameBody, device: &Device) -> Self {
        let (width, patch) = (config.hidden_size, config.patch_size);
        let init = Initializer::Normal { mean: 0.0, std: INIT_STD };
        let tokens = config.patches() + usize::from(body.class_token);
        Self {
            class_embedding: body.class_token.then(|| init.init([width], device)),
            patch_embedding: PatchProjection {
                weight: init.init([width, CHANNELS, patch, patch], device),
                bias: (!body.class_token).then(|| Initializer::Zeros.init([width], device)),
            },
            position_embedding: PositionTable { weight: init.init([tokens, width], device) },
        }
    }

    /// # Shapes
    /// - `pixels`: `[frames, 1, 3, size, size]`
    /// - output: `[frames, tokens, hidden_size]`
    fn forward(&self, pixels: Tensor<5>) -> Tensor<3> {
        let (frames, dtype) = (pixels.dims()[0], pixels.dtype());
        let mut x = self.patch_embedding.forward(pixels);
        if let Some(class) = &self.class_embedding {
            let [_, _, width] = x.dims();
            let class = class.val().cast(dtype).reshape([1, 1, width]).expand([frames, 1, width]);
            x = Tensor::cat(vec![class, x], 1);
        }
        x + self.position_embedding.weight.val().cast(dtype).unsqueeze()
    }
}

/// A convolution whose kernel is its stride: one linear map of each patch.
#[derive(Module, Debug)]
pub struct PatchProjection {
    /// `[hidden_size, 3, patch, patch]`.
    pub weight: Param<Tensor<4>>,
    /// `[hidden_size]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl PatchProjection {
    fn forward(&self, pixels: Tensor<5>) -> Tensor<3> {
        let weight = self.weight.val().cast(pixels.dtype());
        let bias = self.bias.as_ref().map(|bias| bias.val().cast(pixels.dtype()));
        let [width, channels, patch, _] = weight.dims();
        let weight = weight.reshape([width, channels * patch * patch]);
        linear(patches(pixels, patch), weight, bias)
    }
}

/// The table of positions.
#[derive(Module, Debug)]
pub struct PositionTable {
    /// `[tokens, hidden_size]`.
    pub weight: Param<Tensor<2>>,
}

/// `encoder` of the checkpoint.
#[derive(Module, Debug)]
pub struct Encoder {
    /// Blocks, first to last; those behind the selected layer are not run.
    pub layers: Vec<Block>,
}

/// One pre-norm transformer block.
#[derive(Module, Debug)]
pub struct Block {
    /// Attention over the tokens of a frame.
    pub self_attn: FrameAttention,
    /// Before attention.
    pub layer_norm1: LayerNorm,
    /// The perceptron.
    pub mlp: FrameMlp,
    /// Before the perceptron.
    pub layer_norm2: LayerNorm,
}

impl Block {
    fn new(config: &VisionConfig, body: FrameBody, device: &Device) -> Self {
        let norm = || LayerNorm::new(config.hidden_size, body.epsilon, device);
        let linear = |from, to| Linear::new(from, to, device);
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        Self {
            self_attn: FrameAttention {
                k_proj: linear(width, width),
                v_proj: linear(width, width),
                q_proj: linear(width, width),
                out_proj: linear(width, width),
                heads: config.num_heads,
            },
            layer_norm1: norm(),
            mlp: FrameMlp {
                fc1: linear(width, inner),
                fc2: linear(inner, width),
                activation: body.activation,
            },
            layer_norm2: norm(),
        }
    }

    /// Shapes: `[frames, tokens, hidden_size]`, in and out.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = x.clone() + self.self_attn.forward(&self.layer_norm1.forward(x));
        x.clone() + self.mlp.forward(self.layer_norm2.forward(x))
    }
}

/// Not causal: every token of a frame sees every other.
#[derive(Module, Debug)]
pub struct FrameAttention {
    /// Keys.
    pub k_proj: Linear,
    /// Values.
    pub v_proj: Linear,
    /// Queries.
    pub q_proj: Linear,
    /// The output map.
    pub out_proj: Linear,
    heads: usize,
}

impl FrameAttention {
    fn forward(&self, x: &Tensor<3>) -> Tensor<3> {
        let [frames, tokens, width] = x.dims();
        let heads = |map: &Linear| {
            let x = map.forward(x.clone());
            x.reshape([frames, tokens, self.heads, width / self.heads]).swap_dims(1, 2)
        };
        let y = full_attention(heads(&self.q_proj), heads(&self.k_proj), heads(&self.v_proj));
        self.out_proj.forward(y.swap_dims(1, 2).reshape([frames, tokens, width]))
    }
}

/// Two maps with an activation between them.
#[derive(Module, Debug)]
pub struct FrameMlp {
    /// `hidden_size` to `intermediate_size`.
    pub fc1: Linear,
    /// Back.
    pub fc2: Linear,
    #[module(skip)]
    activation: Activation,
}

impl FrameMlp {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.fc2.forward(sigmoid_gelu(self.fc1.forward(x), self.activation.exponent()))
    }
}
