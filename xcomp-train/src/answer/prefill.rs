//! A question through the decoder, behind what has been read of its video.

use std::sync::atomic::Ordering::Relaxed;

use burn::tensor::Tensor;
use xcomp_data::{DataError, render_question};
use xcomp_model::generate::{Decoding, Prefix};
use xcomp_model::splice::Prompt;

use super::{Answerer, EncodedMedia};
use crate::error::Error;

impl Answerer {
    /// Runs the decoder over the rendered question.
    pub(super) fn prefill(
        &self,
        seen: &EncodedMedia,
        question: &str,
        max_new_tokens: usize,
    ) -> Result<(Decoding<'_>, Tensor<1>), Error> {
        let ids = render_question(self.template(), &self.tokenizer, question, &seen.message)?;
        let image_at = ids.iter().position(|id| *id == xcomp_data::IMAGE_TOKEN);
        let image_at = image_at.expect("a question shows a video");
        let rows = self.config().llm.vocab_size;
        if let Some(token) = xcomp_data::outside(&ids, rows) {
            let what = format!("the question `{question}`");
            return Err(DataError::Token { what, token, rows }.into());
        }
        self.prefill_ids(&ids, image_at, seen, max_new_tokens)
    }

    /// Runs the decoder over a prompt; what stands before the question is read once, where its drops allow it.
    pub(super) fn prefill_ids(
        &self,
        ids: &[i32],
        image_at: usize,
        seen: &EncodedMedia,
        max_new_tokens: usize,
    ) -> Result<(Decoding<'_>, Tensor<1>), Error> {
        let embed = |ids: &[i32]| {
            let labels = vec![xcomp_model::loss::IGNORE; ids.len()];
            let prompt = Prompt { labels, ids: ids.to_vec(), visual_at: vec![image_at] };
            self.model.embed(&[prompt], vec![vec![seen.encoded.features.clone()]])
        };
        let (llm, plan) = (&self.model.llm, &self.compression);
        if !plan.frames_stay_whole() {
            self.prefills.fetch_add(1, Relaxed);
            let (x, layout) = embed(ids);
            return Ok(Decoding::prefill(llm, x, layout, plan, max_new_tokens));
        }
        let (before, question) = ids.split_at(image_at + 1);
        if seen.prefix.get().is_none() {
            self.prefills.fetch_add(1, Relaxed);
            let (x, layout) = embed(before);
            let read = match self.ratio {
                Some(ratio) => self.read_in_windows(&x, &layout, ratio, seen)?,
                None => Prefix::run(llm, x, layout, plan),
            };
            seen.prefix.get_or_init(|| read);
        }
        let prefix = seen.prefix.get().expect("it has been read");
        let question = llm.model.embed_tokens.forward(question).unsqueeze::<3>();
        Ok(Decoding::after(llm, prefix, question, max_new_tokens))
    }
}
