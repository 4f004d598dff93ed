//! The language model of a golden case with a prompt that is continued.

use burn::tensor::Tensor;
use xcomp_model::base::llm::LlmConfig;
use xcomp_model::compress::layout::Layout;
use xcomp_model::compress::schedule::{CompressionPlan, KeepRule, Schedule};
use xcomp_model::decoder::qwen2::Qwen2ForCausalLm;
use xcomp_model::generate::sample::Sampling;
use xcomp_model::generate::{Decoding, Prefix};
use xcomp_model::loss::IGNORE;
use xcomp_model::splice::{Prompt, splice};

use crate::{Case, case_schedule, chosen_device, load_case};

/// The language model of a case, and its prompt with the visual tokens in it.
pub struct Prompted {
    /// The language model.
    pub llm: Qwen2ForCausalLm,
    /// How it compresses.
    pub plan: CompressionPlan,
    /// The prompt, with a marker for the visual tokens.
    pub ids: Vec<i32>,
    /// The visual tokens.
    pub visual: Tensor<2>,
    /// Visual tokens of a frame.
    pub tokens_per_frame: usize,
}

impl Prompted {
    /// The case under its own schedule.
    ///
    /// # Panics
    /// If the case is no prompt with visual tokens.
    pub fn new(case: &Case) -> Self {
        let config: LlmConfig = serde_json::from_value(case.value("/config").clone()).unwrap();
        let (schedule, keep) = case_schedule(case, config.num_hidden_layers);
        Self::under(case, &schedule, keep)
    }

    /// The case under another schedule.
    ///
    /// # Panics
    /// As [`Prompted::new`], or if the schedule does not fit.
    pub fn under(case: &Case, schedule: &Schedule, keep: KeepRule) -> Self {
        let config: LlmConfig = serde_json::from_value(case.value("/config").clone()).unwrap();
        let device = chosen_device().1;
        let llm = load_case(Qwen2ForCausalLm::new(&config, &device), case, "w.");
        let tokens_per_frame = case.count("/config/tokens_per_frame");
        let layers = config.num_hidden_layers;
        let plan = CompressionPlan::new(schedule, keep, tokens_per_frame, layers).unwrap();
        let ids = case.tensor("input_ids").i32().to_vec();
        let visual = case.burn::<2>("visual.0", &device);
        Self { llm, plan, ids, visual, tokens_per_frame }
    }

    /// The embedded prompt with `more` tokens behind it.
    pub fn embed(&self, more: &[i32]) -> (Tensor<3>, Layout) {
        self.embed_ids([&self.ids, more].concat())
    }

    fn embed_ids(&self, ids: Vec<i32>) -> (Tensor<3>, Layout) {
        let visual_at = ids.iter().position(|id| *id < 0).into_iter().collect();
        let prompt = Prompt { labels: vec![IGNORE; ids.len()], ids, visual_at };
        let visual = vec![vec![self.visual.clone()]];
        splice(&self.llm.model.embed_tokens, &[prompt], visual, self.tokens_per_frame)
    }

    /// What stands before the question, embedded, and the question's tokens.
    ///
    /// # Panics
    /// If the case shows nothing.
    pub fn before(&self) -> ((Tensor<3>, Layout), &[i32]) {
        let visual_at = self.ids.iter().position(|id| *id < 0).expect("a marker");
        let (before, question) = self.ids.split_at(visual_at + 1);
        (self.embed_ids(before.to_vec()), question)
    }

    /// What stands before the question, read once, and the question's tokens.
    pub fn prefix(&self) -> (Prefix, &[i32]) {
        let ((x, layout), question) = self.before();
        (Prefix::run(&self.llm, x, layout, &self.plan), question)
    }

    /// Asks behind a prefix.
    pub fn ask(
        &self,
        prefix: &Prefix,
        question: &[i32],
        count: usize,
    ) -> (Decoding<'_>, Tensor<1>) {
        let question = self.llm.model.embed_tokens.forward(question).unsqueeze::<3>();
        Decoding::after(&self.llm, prefix, question, count)
    }

    /// Greedy tokens with the scores that each was taken from, and what the caches hold in the end.
    pub fn generate(&self, count: usize) -> (Vec<i32>, Vec<Tensor<1>>, Vec<usize>) {
        let (x, layout) = self.embed(&[]);
        let (mut decoding, first) = Decoding::prefill(&self.llm, x, layout, &self.plan, count);
        let (mut tokens, mut scores) = (vec![], vec![first]);
        loop {
            let row: Vec<f32> = scores[tokens.len()].clone().into_data().iter().collect();
            tokens.push(Sampling::GREEDY.pick(&row, &tokens, 0.0));
            if tokens.len() == count {
                return (tokens, scores, decoding.cache_lengths());
            }
            scores.push(decoding.step(tokens[tokens.len() - 1]));
        }
    }
}
