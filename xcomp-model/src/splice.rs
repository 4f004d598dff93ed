//! Prompts become embeddings: visual tokens take the place of the image marker.

use burn::tensor::{DType, Tensor};

use crate::compress::layout::{Layout, SequenceLayout, VideoSpan};
use crate::decoder::qwen2::Embedding;
use crate::loss::{IGNORE, Labels};

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
        let span = self.image_at.map(|start| VideoSpan::new(start, frames, tokens_per_frame));
        let visual = span.map_or(0, |span| span.len());
        let len = self.ids.len() - usize::from(span.is_some()) + visual;
        SequenceLayout { len, span, asking: self.asking() }
    }

    /// The tokens from the video on that an answer follows, counted back from the end; the last one where no answer is known.
    ///
    /// A token before the video sees nothing of it. As in the reference, a supervised token behind an unsupervised one begins
    /// an answer (`flash_rank_drop`).
    fn asking(&self) -> Vec<usize> {
        let supervised = |at: usize| self.labels[at] != IGNORE;
        let begins = |at: &usize| supervised(*at) && !supervised(*at - 1);
        let first = self.image_at.unwrap_or(0) + 1;
        let found: Vec<usize> = (first..self.labels.len())
            .filter(begins)
            .map(|at| self.labels.len() - (at - 1))
            .collect();
        if found.is_empty() { vec![1] } else { found }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(labels: &[i32], image_at: Option<usize>, asking: &[usize]) {
        let prompt = Prompt { ids: vec![0; labels.len()], labels: labels.to_vec(), image_at };
        assert_eq!(prompt.layout(2, 4).asking, asking, "{labels:?}");
    }

    #[test]
    fn the_tokens_before_every_answer_ask() {
        let no = IGNORE;
        check(&[no, no, no, no, 7, 8], Some(1), &[3]);
        check(&[no, no, no, 7, no, no, 8], Some(1), &[5, 2]);
        check(&[no, 7, no, no, 8], Some(2), &[2]); // the first answer stands before the video
        check(&[no, no, 7], Some(1), &[2]); // the last visual token asks
        check(&[no, no, no], Some(1), &[1]);
        check(&[no, 7], None, &[2]);
    }
}
