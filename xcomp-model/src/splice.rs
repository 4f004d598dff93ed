//! Prompts become embeddings: visual tokens take the place of the image marker.

use burn::tensor::{DType, Tensor};

use crate::base::connector::SpanShape;
use crate::compress::layout::{Layout, SequenceLayout, VisualSpan};
use crate::decoder::qwen2::Embedding;
use crate::loss::{IGNORE, Labels};

/// A tokenized prompt with places for images and videos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids; the entries at `visual_at` are placeholders and never looked up.
    pub ids: Vec<i32>,
    /// Targets, one per id, [`crate::loss::IGNORE`] where nothing is learnt.
    pub labels: Vec<i32>,
    /// Where each image or video goes, ascending; empty for text only.
    pub visual_at: Vec<usize>,
}

impl Prompt {
    /// The labels as the loss takes them.
    pub fn supervision(&self) -> Labels<'_> {
        Labels { labels: &self.labels, visual_at: &self.visual_at }
    }

    /// Text tokens: all but the placeholders.
    pub fn text_tokens(&self) -> usize {
        self.ids.len() - self.visual_at.len()
    }

    /// The sequence once each image or video stands in it with its frames.
    pub fn layout(&self, frames: &[usize], shape: impl Into<SpanShape>) -> SequenceLayout {
        let SpanShape { tokens_per_frame, tail } = shape.into();
        let mut visual = 0;
        let span = |(before, (at, frames)): (usize, (&usize, &usize))| {
            let start = at - before + visual;
            let span = VisualSpan { tail, ..VisualSpan::new(start, *frames, tokens_per_frame) };
            visual += span.len();
            span
        };
        let spans = self.visual_at.iter().zip(frames).enumerate().map(span).collect();
        SequenceLayout { len: self.text_tokens() + visual, spans, asking: self.asking() }
    }

    /// The tokens from the first visual on that an answer follows, counted back from the end; the last one where no answer is known.
    ///
    /// A token before it sees nothing of it. As in the reference, a supervised token behind an unsupervised one begins
    /// an answer (`flash_rank_drop`).
    fn asking(&self) -> Vec<usize> {
        let supervised = |at: usize| self.labels[at] != IGNORE;
        let begins = |at: &usize| supervised(*at) && !supervised(*at - 1);
        let first = self.visual_at.first().map_or(1, |at| at + 1);
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
/// - `visual`: per prompt and per image or video of it `[frames * tokens_per_frame + tail, hidden]`
/// - output: `[batch, longest, hidden]`
///
/// # Panics
/// If a prompt does not have features for each of its placeholders.
pub fn splice(
    embed: &Embedding,
    prompts: &[Prompt],
    visual: Vec<Vec<Tensor<2>>>,
    shape: impl Into<SpanShape>,
) -> (Tensor<3>, Layout) {
    let shape = shape.into();
    assert_eq!(prompts.len(), visual.len(), "one entry of visual features per prompt");
    let dtype = visual.iter().flatten().next().map_or(embed.weight.val().dtype(), Tensor::dtype);
    let (rows, sequences): (Vec<_>, Vec<_>) = prompts
        .iter()
        .zip(visual)
        .map(|(prompt, visual)| {
            let frames =
                |visual: &Tensor<2>| (visual.dims()[0] - shape.tail) / shape.tokens_per_frame;
            let frames: Vec<usize> = visual.iter().map(frames).collect();
            (embed_one(embed, prompt, visual, dtype), prompt.layout(&frames, shape))
        })
        .unzip();
    let layout = Layout::padded(sequences);
    let longest = layout.longest();
    let rows = rows.into_iter().map(|row| pad(row, longest).unsqueeze::<3>()).collect();
    (Tensor::cat(rows, 0), layout)
}

/// `[text] ++ [visual] ++ [text]`, and so on.
fn embed_one(
    embed: &Embedding,
    prompt: &Prompt,
    visual: Vec<Tensor<2>>,
    dtype: DType,
) -> Tensor<2> {
    let at = &prompt.visual_at;
    assert_eq!(at.len(), visual.len(), "features for every placeholder of a prompt");
    if at.is_empty() {
        return embed.forward(&prompt.ids).cast(dtype);
    }
    let is_text = |(i, id): (usize, &i32)| (!at.contains(&i)).then_some(*id);
    let text: Vec<i32> = prompt.ids.iter().enumerate().filter_map(is_text).collect();
    let text = embed.forward(&text).cast(dtype);
    let (mut pieces, mut behind) = (vec![], 0);
    for (placeholder, (at, visual)) in at.iter().zip(visual).enumerate() {
        pieces.push(text.clone().slice_dim(0, behind..at - placeholder));
        pieces.push(visual.cast(dtype));
        behind = at - placeholder;
    }
    let len = text.dims()[0];
    pieces.push(text.slice_dim(0, behind..len));
    Tensor::cat(pieces, 0)
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

    fn prompt(labels: &[i32], visual_at: &[usize]) -> Prompt {
        let ids = vec![0; labels.len()];
        Prompt { ids, labels: labels.to_vec(), visual_at: visual_at.to_vec() }
    }

    fn check(labels: &[i32], visual_at: Option<usize>, asking: &[usize]) {
        let visual_at: Vec<usize> = visual_at.into_iter().collect();
        let layout = prompt(labels, &visual_at).layout(&[2], 4);
        assert_eq!(layout.asking, asking, "{labels:?}");
    }

    #[test]
    fn every_placeholder_becomes_a_span() {
        let layout = prompt(&[IGNORE; 6], &[1, 3]).layout(&[2, 1], 4);
        assert_eq!(layout.len, 4 + 8 + 4);
        assert_eq!(layout.spans, [VisualSpan::new(1, 2, 4), VisualSpan::new(10, 1, 4)]);
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
