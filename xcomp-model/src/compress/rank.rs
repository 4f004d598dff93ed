//! The heuristics that LP-Comp is compared with: a video keeps the tokens that the question attends to most.
//!
//! The first is VideoChat-Flash's `flash_rank_drop` (`modeling_qwen2_flash.py:1079-1376`), after `PyramidDrop`: at a few layers the tokens of the
//! *whole* video are ranked by the attention that the next layer would pay to them. The ranking carries no gradient, the drop is
//! the same gather as LP-Comp's, and positions are re-packed behind it. The other is `FastV`: once, by the attention that the layer
//! just run paid to them, and positions stay. Both look at a layer from what enters it; `ascent` says when.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::compress::layout::{Layout, SequenceLayout, VisualSpan};
use crate::compress::lp_comp::Survivors;
use crate::compress::reduce::{Ranking, Reduce};
use crate::decoder::attention_map::{MapRule, attention_map};
use crate::decoder::qwen2::DecoderLayer;
use crate::decoder::rope::Rope;
use crate::transfer::read;

/// The visual tokens that go on, ranked by the queries and keys of `layer`; each sequence has its own.
///
/// # Shapes
/// - `x`: `[batch, tokens of a row, hidden]`, what would enter the layer
pub fn ranked(
    layer: &DecoderLayer,
    x: &Tensor<3>,
    layout: &Layout,
    ranking: Ranking,
    rope: &Rope,
) -> Survivors {
    let (layer, rope, x) = (layer.valid(), rope.inner().unpacked(), x.clone().inner());
    let (after, starts) = (layout.after(&Reduce::Video(ranking)), layout.starts());
    let [_, tokens, _] = x.dims();
    let sequences = layout.sequences.iter().zip(&after.sequences).zip(&starts);
    let rows: Vec<_> = sequences
        .map(|((sequence, after), start)| {
            let (row, first) = (start / tokens, start % tokens);
            let own = x.clone().slice_dim(0, row..=row).slice_dim(1, first..first + sequence.len);
            let map = (!sequence.spans.is_empty()).then(|| attended(&layer, own, &rope, sequence));
            let mut left = after.spans.iter();
            let kept = |span: &VisualSpan| {
                let (map, left) = (map.clone(), left.next());
                let (map, left) =
                    map.zip(left).expect("a span was looked at and has one behind it");
                let frames = span.start..span.start + span.of_frames();
                let scores: Vec<f64> = read(map.slice_dim(1, frames)).iter().collect();
                let kept =
                    best(&scores, left.of_frames()).into_iter().map(|token| span.start + token);
                kept.chain(span.tail_rows(1)).collect()
            };
            sequence.with_visual(kept, 1)
        })
        .collect();
    Survivors { rows, run: 1, layout: after, starts }
}

/// The attention that each token gets, over heads and over the tokens that an answer follows: `[1, len]`.
///
/// In training these stand right before every answer, so that no answer is looked at; of a prompt it is the last token.
fn attended(
    layer: &DecoderLayer,
    own: Tensor<3>,
    rope: &Rope,
    sequence: &SequenceLayout,
) -> Tensor<2> {
    let asking: Vec<usize> = sequence.asking.iter().map(|back| sequence.len - back).collect();
    let rule = MapRule { causal: true, half_precision: false };
    let map = attention_map(layer, own, rope, &asking, rule); // [1, asking, len]
    map.mean_dim(1).squeeze_dim(1)
}

/// Places of the `count` highest scores, in order; the first of equals.
pub fn best(scores: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order.truncate(count);
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::tensor::{Device, TensorData};
    use serde_json::json;

    use super::*;
    use crate::base::llm::LlmConfig;
    use crate::compress::reduce::Positions;
    use crate::decoder::qwen2::Qwen2ForCausalLm;
    use crate::layers::linear::Linear;

    const HIDDEN: usize = 8;
    const HEAD_DIM: usize = 4;
    /// So large that no more than the first and third feature of a head are turned with the position.
    const THETA: f64 = 1e30;

    /// A map that writes `strength` times feature `from` of a token to place `to`.
    fn map(outputs: usize, strength: f32, links: &[(usize, usize)]) -> Linear {
        let mut weight = vec![0.0; outputs * HIDDEN];
        for (from, to) in links {
            weight[to * HIDDEN + from] = strength;
        }
        let weight = TensorData::new(weight, [outputs, HIDDEN]);
        let weight = Param::from_tensor(Tensor::from_data(weight, &Device::flex()));
        Linear { weight, bias: None, lora: None }
    }

    /// A layer whose first head looks from tokens with the third feature to tokens with the first one,
    /// and whose second head from tokens with the fourth to tokens with the second.
    fn layer() -> DecoderLayer {
        let config = json!({
            "vocab_size": 4, "hidden_size": HIDDEN, "intermediate_size": 4, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-6,
            "rope_theta": THETA, "tie_word_embeddings": true,
        });
        let config: LlmConfig = serde_json::from_value(config).unwrap();
        let mut layer = Qwen2ForCausalLm::new(&config, &Device::flex()).model.layers.remove(0);
        layer.self_attn.q_proj = map(2 * HEAD_DIM, 4.0, &[(2, 1), (3, HEAD_DIM + 3)]);
        layer.self_attn.k_proj = map(HEAD_DIM, 1.0, &[(0, 1), (1, 3)]);
        layer
    }

    /// A token of length one with these features.
    fn token(features: [f32; 4]) -> [f32; HIDDEN] {
        let rest = 1.0 - features.iter().map(|feature| feature * feature).sum::<f32>();
        let [a, b, c, d] = features;
        [a, b, c, d, 0.0, 0.0, 0.0, rest.sqrt()]
    }

    /// The visual tokens of a video of one frame that are kept, behind one word and before others.
    fn kept(visual: &[[f32; 4]], words: &[[f32; 4]], asking: &[usize], share: f64) -> Vec<usize> {
        let tokens = [&[[0.0; 4]], visual, words].concat();
        let span = VisualSpan::new(1, 1, visual.len());
        let sequence = SequenceLayout {
            asking: asking.to_vec(),
            ..SequenceLayout::new(tokens.len(), Some(span))
        };
        let values: Vec<f32> = tokens.iter().copied().flat_map(token).collect();
        let x = TensorData::new(values, [1, tokens.len(), HIDDEN]);
        let x = Tensor::from_data(x, &Device::flex());
        let rope = Rope::new(tokens.len(), HEAD_DIM, THETA, &Device::flex());
        let layout = Layout::padded(vec![sequence]);
        let survivors =
            ranked(&layer(), &x, &layout, Ranking { share, positions: Positions::Packed }, &rope);
        let rows = survivors.rows[0].clone();
        let behind = rows.len() - words.len();
        assert_eq!(rows[0], 0);
        assert!(rows[behind..].iter().copied().eq(1 + visual.len()..tokens.len()));
        assert_eq!(survivors.layout.longest(), rows.len());
        rows[1..behind].iter().map(|row| row - 1).collect()
    }

    const NOTHING: [f32; 4] = [0.0; 4];
    const VIDEO: [[f32; 4]; 6] = [
        [0.1, 0.0, 0.0, 0.0],
        [0.0, 0.9, 0.0, 0.0],
        [0.3, 0.0, 0.0, 0.0],
        [0.8, 0.0, 0.0, 0.0],
        [0.0, 0.5, 0.0, 0.0],
        [0.2, 0.0, 0.0, 0.0],
    ];

    #[test]
    fn what_the_question_attends_to_stays_in_its_order() {
        let first = [0.0, 0.0, 0.9, 0.0];
        assert_eq!(kept(&VIDEO, &[NOTHING, first], &[1], 0.5), [2, 3, 5]);
        assert_eq!(kept(&VIDEO, &[NOTHING, first], &[1], 0.34), [2, 3]);
        let second = [0.0, 0.0, 0.0, 0.9];
        assert_eq!(kept(&VIDEO, &[NOTHING, second], &[1], 0.34), [1, 4]);
    }

    #[test]
    fn heads_are_meaned() {
        let both = [0.0, 0.0, 0.7, 0.7];
        assert_eq!(kept(&VIDEO, &[NOTHING, both], &[1], 0.34), [1, 3]);
    }

    #[test]
    fn only_tokens_that_an_answer_follows_ask() {
        let (first, second) = ([0.0, 0.0, 0.9, 0.0], [0.0, 0.0, 0.0, 0.9]);
        assert_eq!(kept(&VIDEO, &[first, second], &[2], 0.34), [2, 3]);
        assert_eq!(kept(&VIDEO, &[first, second], &[1], 0.34), [1, 4]);
        assert_eq!(kept(&VIDEO, &[first, second], &[2, 1], 0.34), [1, 3]);
    }

    #[test]
    fn equals_are_taken_from_the_front() {
        assert_eq!(kept(&[NOTHING; 4], &[NOTHING], &[1], 0.5), [0, 1]);
        assert_eq!(best(&[0.5, 1.0, 0.5, 0.5], 3), [0, 1, 2]);
    }
}
