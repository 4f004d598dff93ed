//! Prompts become embeddings: visual tokens take the place of the image marker.

use burn::tensor::{DType, Tensor};

use crate::layout::{Layout, SequenceLayout, VideoSpan};
use crate::loss::Labels;
use crate::qwen2::Embedding;

/// A tokenized prompt; the visual tokens of all frames stand at one place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids; the entry at `image_at` is a marker and never looked up.
    pub ids: Vec<i32>,
    /// Targets, one per id, [`crate::loss::IGNORE`] where nothing is learnt.
    pub labels: Vec<i32>,
    /// Where the visual tokens go; `None` for text only.
    pub image_at: Option<usize>,
}

impl Prompt {
    /// The labels as the loss takes them.
    pub fn supervision(&self) -> Labels<'_> {
        Labels { labels: &self.labels, image_at: self.image_at }
    }

    /// Length of the sequence once `frames` frames of `tokens_per_frame` tokens stand in it.
    pub fn layout(&self, frames: usize, tokens_per_frame: usize) -> SequenceLayout {
        let span = self.image_at.map(|start| VideoSpan { start, frames, tokens_per_frame });
        let visual = span.map_or(0, |span| span.len());
        SequenceLayout { len: self.ids.len() - usize::from(span.is_some()) + visual, span }
    }
}

/// Puts visual features into the embedded prompts and pads them on the right with zeros.
///
/// The dtype of the features is that of all activations that follow; without any, it is that of the embeddings.
///
/// # Shapes
/// - `visual`: per prompt `[frames * tokens_per_frame, hidden]`
/// - output: `[batch, longest, hidden]`
///
/// # Panics
/// If a prompt with an image marker has no features, or a text-only prompt has some.
pub fn splice(
    embed: &Embedding,
    prompts: &[Prompt],
    visual: Vec<Option<Tensor<2>>>,
    tokens_per_frame: usize,
) -> (Tensor<3>, Layout) {
    assert_eq!(prompts.len(), visual.len(), "one entry of visual features per prompt");
    let dtype = visual.iter().flatten().next().map_or(embed.weight.val().dtype(), Tensor::dtype);
    let (rows, sequences): (Vec<_>, Vec<_>) = prompts
        .iter()
        .zip(visual)
        .map(|(prompt, visual)| {
            let frames = visual.as_ref().map_or(0, |visual| visual.dims()[0] / tokens_per_frame);
            (embed_one(embed, prompt, visual, dtype), prompt.layout(frames, tokens_per_frame))
        })
        .unzip();
    let layout = Layout { sequences };
    let longest = layout.longest();
    let rows = rows.into_iter().map(|row| pad(row, longest).unsqueeze::<3>()).collect();
    (Tensor::cat(rows, 0), layout)
}

/// `[text before] ++ [visual] ++ [text after]`.
fn embed_one(
    embed: &Embedding,
    prompt: &Prompt,
    visual: Option<Tensor<2>>,
    dtype: DType,
) -> Tensor<2> {
    match (prompt.image_at, visual) {
        (Some(at), Some(visual)) => {
            let text: Vec<i32> = prompt
                .ids
                .iter()
                .enumerate()
                .filter(|(i, _)| *i != at)
                .map(|(_, id)| *id)
                .collect();
            let text = embed.forward(&text).cast(dtype);
            let visual = visual.cast(dtype);
            let (len, before) = (text.dims()[0], text.clone().slice_dim(0, 0..at));
            Tensor::cat(vec![before, visual, text.slice_dim(0, at..len)], 0)
        }
        (None, None) => embed.forward(&prompt.ids).cast(dtype),
        (marker, visual) => {
            panic!("a prompt with image marker {marker:?} came with features: {}", visual.is_some())
        }
    }
}

fn pad(row: Tensor<2>, longest: usize) -> Tensor<2> {
    let [len, hidden] = row.dims();
    if len == longest {
        return row;
    }
    let zeros = Tensor::zeros([longest - len, hidden], (&row.device(), row.dtype()));
    Tensor::cat(vec![row, zeros], 0)
}
