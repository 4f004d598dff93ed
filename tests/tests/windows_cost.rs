//! What a plan counts for windows, beside what going back through them really runs.

#![cfg(feature = "video")]

use std::ops::Range;

use burn::tensor::{Device, Gradients, Tensor};
use xcomp_model::base::llm::LlmConfig;
use xcomp_model::compress::layout::{Layout, SequenceLayout, VisualSpan};
use xcomp_model::compress::vst::VstPlan;
use xcomp_model::connector::Connector;
use xcomp_model::decoder::qwen2::{DecoderLayer, Qwen2ForCausalLm};
use xcomp_model::loss::{IGNORE, Labels, SupervisedRows};
use xcomp_model::windows::{Sequence, backward};
use xcomp_tests::{drawn, drawn_module, video_xl_task};
use xcomp_train::plan::Plan;
use xcomp_train::plan::cost::SampleSize;

/// Made-up tokens; every segment that is run is counted, because it is embedded just before.
struct Counted<'a> {
    llm: &'a LlmConfig,
    plan: &'a VstPlan,
    flops: f64,
}

impl Sequence for Counted<'_> {
    fn embed(&mut self, rows: Range<usize>) -> Tensor<3> {
        let segment = self.plan.segments.iter().find(|segment| segment.rows == rows).unwrap();
        let (own, memory) = (segment.len(), segment.memory);
        let alone = DecoderLayer::flops(self.llm, own);
        // Every token of the segment sees every one of the memory, which a causal pass counts a pair for each.
        let pairs = own as f64 * (own as f64 + 1.0) / 2.0;
        let attention = alone.attention * (pairs + (own * memory) as f64) / pairs;
        self.flops += self.llm.num_hidden_layers as f64 * (alone.products + attention);
        drawn(rows.start as u64, [1, rows.len(), self.llm.hidden_size], &Device::flex())
    }
    fn learn(&mut self, _: Range<usize>, _: Tensor<3>) {}
    fn collect(&mut self, _: Gradients) {}
}

/// Forward and replay of the decoder are those that are run: the last segment once, all others twice.
#[test]
fn a_plan_counts_the_segments_that_are_run() {
    let task = video_xl_task();
    for (frames, text, ratio) in [(2, 9, 2), (8, 9, 4), (8, 20, 2), (9, 20, 8)] {
        let ratios = format!("vst.ratios=[{ratio}]");
        let set = [ratios.as_str(), "tune.parts=[\"llm\"]"];
        let plan = Plan::new(task.recipe(&set), Some(12)).unwrap();
        let tokens = frames * plan.config.tokens_per_frame();
        let span = VisualSpan::new(0, frames, plan.config.tokens_per_frame());
        let sequence = SequenceLayout::new(tokens + text, Some(span));
        let windows = plan.vst.as_ref().unwrap().of(&sequence, &[], 0, 0.0).unwrap();
        let mut labels = vec![IGNORE; text + 1];
        labels[text] = 3;
        let layout = Layout::padded(vec![sequence]);
        let rows = SupervisedRows::new(&[Labels { labels: &labels, visual_at: &[0] }], &layout);

        let mut counted = Counted { llm: &plan.config.llm, plan: &windows, flops: 0.0 };
        let llm = Qwen2ForCausalLm::new(&plan.config.llm, &Device::flex().autodiff());
        backward(&drawn_module(llm, 3), &windows, &rows, 1.0, &mut counted);

        let size = SampleSize { frames, text_tokens: text, supervised_tokens: 1 };
        let flops = plan.flops(size);
        // With a frozen tower and a frozen projector the latter alone runs again beside the decoder.
        let projector: f64 = Connector::project_flops(&plan.config.connector, frames).iter().sum();
        let planned =
            flops.llm_forward_matmul + flops.llm_forward_attention + flops.recompute - projector;
        let off = (planned - counted.flops) / counted.flops;
        assert!(off.abs() < 1e-9, "{frames} frames: {planned} planned, {} counted", counted.flops);
    }
}
