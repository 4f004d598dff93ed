//! Every compression method over one plan: what must hold of each of them, and what is special about the ranked ones.

use burn::tensor::{Device, Tensor};
use proptest::prelude::*;
use xcomp_model::base::llm::LlmConfig;
use xcomp_model::compress::layout::{Layout, SequenceLayout};
use xcomp_model::compress::lp_comp::Survivors;
use xcomp_model::compress::pass::{self, Pass};
use xcomp_model::compress::schedule::{CompressionPlan, KeepRule, RankStage, Schedule, Stage};
use xcomp_model::decoder::qwen2::{DecoderLayer, Qwen2, Qwen2ForCausalLm};
use xcomp_model::generate::Decoding;
use xcomp_model::loss::{IGNORE, LossNorm, SupervisedRows, weighted_loss};
use xcomp_model::splice::{Prompt, splice};
use xcomp_tests::{Prompted, Tolerance, assert_close, cases, drawn, drawn_module, host};

const LAYERS: usize = 5;
const TOKENS_PER_FRAME: usize = 8;
const HIDDEN: usize = 8;

fn model(device: &Device) -> Qwen2ForCausalLm {
    let config = serde_json::json!({
        "vocab_size": 32, "hidden_size": HIDDEN, "intermediate_size": 16, "num_hidden_layers": LAYERS,
        "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
        "tie_word_embeddings": true,
    });
    let config: LlmConfig = serde_json::from_value(config).unwrap();
    drawn_module(Qwen2ForCausalLm::new(&config, device), 1)
}

fn plan(schedule: &Schedule, keep: KeepRule) -> CompressionPlan {
    CompressionPlan::new(schedule, keep, TOKENS_PER_FRAME, LAYERS).unwrap()
}

/// Text, a video of `frames` frames, text, and an answer at the end.
fn prompt(before: usize, behind: usize, answer: usize, frames: usize) -> (Prompt, Option<usize>) {
    let at = (frames > 0).then_some(before);
    let len = before + usize::from(frames > 0) + behind + answer;
    let ids: Vec<i32> = (0..len as i32).map(|id| id % 32).collect();
    let mut labels = vec![IGNORE; len - answer];
    labels.extend(&ids[len - answer..]);
    (Prompt { ids, labels, visual_at: at.into_iter().collect() }, at.map(|_| frames))
}

/// Prompts with features drawn at random, as the decoder takes them.
fn embed(llm: &Qwen2ForCausalLm, prompts: &[(Prompt, Option<usize>)]) -> (Tensor<3>, Layout) {
    let device = llm.model.embed_tokens.weight.val().device();
    let drawn = |frames: usize| {
        let shape = [frames * TOKENS_PER_FRAME, HIDDEN];
        drawn::<2>(2, shape, &device)
    };
    let visual =
        prompts.iter().map(|(_, frames)| frames.map(drawn).into_iter().collect()).collect();
    let prompts: Vec<Prompt> = prompts.iter().map(|(prompt, _)| prompt.clone()).collect();
    splice(&llm.model.embed_tokens, &prompts, visual, TOKENS_PER_FRAME)
}

/// What one layer drops of a batch.
struct Dropped {
    before: Layout,
    entering: Option<Survivors>,
    leaving: Option<Survivors>,
}

impl Dropped {
    /// The layout inside the layer.
    fn inside(&self) -> &Layout {
        self.entering.as_ref().map_or(&self.before, |kept| &kept.layout)
    }
}

/// What every layer drops, and what leaves the last one.
fn ascend(
    llm: &Qwen2,
    x: Tensor<3>,
    layout: Layout,
    plan: &CompressionPlan,
) -> (Vec<Dropped>, Pass) {
    let mut pass = Pass::start(llm, x, layout, 0);
    let mut all = vec![];
    for layer in 0..plan.layers() {
        let before = pass.layout.clone();
        let entering = pass.survivors(llm, layer, plan);
        let leaving = pass.clone().enter(llm, layer, plan).survivors_behind(llm, layer, plan);
        all.push(Dropped { before, entering, leaving });
        pass = pass.through(llm, layer, plan, DecoderLayer::forward);
    }
    (all, pass)
}

fn schedules() -> impl Strategy<Value = (Schedule, KeepRule)> {
    let layers = proptest::sample::subsequence((0..LAYERS).collect::<Vec<_>>(), 0..=3);
    let strides = layers.clone().prop_map(|layers| {
        layers.into_iter().map(|layer| Stage { layer, stride: 2 }).collect::<Vec<_>>()
    });
    let shares = layers.prop_flat_map(|layers| {
        let shares = proptest::collection::vec(0.01_f64..=1.0, layers.len());
        (Just(layers), shares).prop_map(|(layers, mut shares)| {
            shares.sort_by(|a, b| b.total_cmp(a));
            let stage = |(layer, share)| RankStage { layer, share };
            layers.into_iter().zip(shares).map(stage).collect::<Vec<_>>()
        })
    });
    let list = proptest::collection::vec(1..=TOKENS_PER_FRAME, LAYERS).prop_map(|mut counts| {
        counts.sort_by(|a, b| b.cmp(a));
        counts
    });
    let schedule = prop_oneof![
        Just(Schedule::None),
        Just(Schedule::Cosine),
        Just(Schedule::CosineFullFirst),
        Just(Schedule::Ceil),
        Just(Schedule::AlgorithmB),
        (1..=TOKENS_PER_FRAME).prop_map(Schedule::Uniform),
        list.prop_map(Schedule::List),
        (1.0..=TOKENS_PER_FRAME as f64).prop_map(Schedule::Budget),
        strides.clone().prop_map(Schedule::Step),
        strides.prop_map(Schedule::Pool),
        shares.prop_map(Schedule::Rank),
        (1..LAYERS, 0.01_f64..=1.0)
            .prop_map(|(layer, share)| Schedule::FastV(RankStage { layer, share })),
    ];
    (schedule, prop_oneof![Just(KeepRule::Suffix), Just(KeepRule::Uniform)])
}

fn batches() -> impl Strategy<Value = Vec<(Prompt, Option<usize>)>> {
    let one = (1_usize..4, 1_usize..4, 1_usize..4, 0_usize..4);
    let one =
        one.prop_map(|(before, behind, answer, frames)| prompt(before, behind, answer, frames));
    proptest::collection::vec(one, 1..4)
}

/// Text stays, order stays, the last token stays.
fn check_rows(before: &SequenceLayout, rows: &[usize], run: usize) -> Result<(), TestCaseError> {
    let tokens: Vec<&[usize]> = rows.chunks(run).collect();
    prop_assert!(rows.is_sorted(), "order changes: {rows:?}");
    prop_assert!(run > 1 || rows.windows(2).all(|pair| pair[0] < pair[1]), "{rows:?}");
    let is_text = |row: &usize| !before.is_visual(*row);
    for row in (0..before.len).filter(is_text) {
        let found = tokens.iter().filter(|token| token.contains(&row)).count();
        prop_assert_eq!(found, 1, "text token {} is there {} times", row, found);
    }
    prop_assert_eq!(rows.last(), Some(&(before.len - 1)));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_method_keeps_text_order_targets_and_its_budget(
        (schedule, keep) in schedules(),
        batch in batches(),
    ) {
        // What keeps its positions is answered, one sequence at a time.
        let batch = match schedule {
            Schedule::FastV(_) => batch[..1].to_vec(),
            _ => batch,
        };
        let (llm, plan) = (model(&Device::flex()), plan(&schedule, keep));
        let (x, layout) = embed(&llm, &batch);
        let labels: Vec<_> = batch.iter().map(|(prompt, _)| prompt.supervision()).collect();
        let targets = SupervisedRows::new(&labels, &layout);
        let (all, end) = ascend(&llm.model, x, layout, &plan);
        let (mut used, mut planned) = (0, 0);
        for (layer, dropped) in all.iter().enumerate() {
            let befores = [&dropped.before, dropped.inside()];
            for (before, kept) in befores.into_iter().zip([&dropped.entering, &dropped.leaving]) {
                let Some(kept) = kept else { continue };
                for (sequence, rows) in before.sequences.iter().zip(&kept.rows) {
                    check_rows(sequence, rows, kept.run)?;
                }
            }
            let found = SupervisedRows::new(&labels, dropped.inside());
            prop_assert_eq!(found.counts(), targets.counts());
            for ((prompt, frames), sequence) in batch.iter().zip(&dropped.inside().sequences) {
                let text = prompt.ids.len() - usize::from(frames.is_some());
                used += sequence.len;
                planned += text + frames.map_or(0, |frames| plan.visual_tokens(layer, frames));
            }
        }
        prop_assert_eq!(used, planned, "the forward has the tokens that the plan states");
        prop_assert_eq!(end.x.dims(), [batch.len(), end.layout.longest(), HIDDEN]);
    }

    /// Every layer caches what it consumed, and a token that is decoded is dropped nowhere.
    #[test]
    fn caches_hold_what_the_plan_states(
        (schedule, keep) in schedules(),
        batch in batches(),
        steps in 0_usize..3,
    ) {
        let (llm, plan) = (model(&Device::flex()), plan(&schedule, keep));
        let (prompt, frames) = &batch[0];
        let (x, layout) = embed(&llm, &batch[..1]);
        let (mut decoding, _) = Decoding::prefill(&llm, x, layout, &plan, steps);
        for token in 0..steps {
            decoding.step(token as i32);
        }
        let text = prompt.ids.len() - usize::from(frames.is_some());
        for (layer, held) in decoding.cache_lengths().into_iter().enumerate() {
            let visual = frames.map_or(0, |frames| plan.visual_tokens(layer, frames));
            prop_assert_eq!(held, text + visual + steps, "layer {}", layer);
        }
    }

    /// A padded batch drops what each of its sequences drops alone.
    #[test]
    fn a_batch_ranks_as_each_sequence_alone(batch in batches(), share in 0.1_f64..0.9) {
        let llm = model(&Device::flex());
        let plan = plan(&Schedule::Rank(vec![RankStage { layer: 2, share }]), KeepRule::Suffix);
        let (x, layout) = embed(&llm, &batch);
        let (together, _) = ascend(&llm.model, x.clone(), layout.clone(), &plan);
        for (b, sequence) in layout.sequences.iter().enumerate() {
            let own = x.clone().slice_dim(0, b..=b).slice_dim(1, 0..sequence.len);
            let alone = Layout::padded(vec![sequence.clone()]);
            let (alone, _) = ascend(&llm.model, own, alone, &plan);
let rows = |all: &[Dropped], b: usize| all[2].entering.as_ref().unwrap().rows[b].clone();
            prop_assert_eq!(rows(&together, b), rows(&alone, 0));
        }
    }
}

/// The heuristic as the reference's evaluation sets it, for the stack of a case.
fn heuristic(layers: usize) -> Schedule {
    let stage = |layer, share| RankStage { layer, share };
    Schedule::Rank(vec![stage(layers / 7, 0.75), stage(layers * 18 / 28, 0.25)])
}

/// Decoding over caches gives what a pass over the whole sequence gives with the same tokens dropped.
fn decoding_equals_a_whole_pass(schedule: impl Fn(usize) -> Schedule) {
    for case in cases("k_generate") {
        let schedule = schedule(case.count("/config/num_hidden_layers"));
        let prompted = Prompted::under(&case, &schedule, KeepRule::Suffix);
        let (tokens, scores, lengths) = prompted.generate(8);
        let llm = &prompted.llm;
        let (x, layout) = prompted.embed(&[]);
        let (dropped, _) = ascend(&llm.model, x, layout, &prompted.plan);

        let more = tokens.len() - 1;
        // The tokens behind the prompt are never dropped.
        let with_more = |mut kept: Survivors, before: &Layout| {
            let behind = before.longest();
            kept.rows[0].extend(behind..behind + more);
            kept.layout.sequences[0].len += more;
            kept
        };
        let (mut x, layout) = prompted.embed(&tokens[..more]);
        let mut rope = llm.model.rope(layout.longest(), &x.device());
        for (index, dropped) in dropped.iter().enumerate() {
            if let Some(kept) = dropped.entering.clone() {
                x = with_more(kept, &dropped.before).gather(x);
            }
            assert_eq!(lengths[index], x.dims()[1], "case {}, layer {index}", case.name);
            x = llm.model.layers[index].forward(x, &rope);
            if let Some(kept) = dropped.leaving.clone() {
                let kept = with_more(kept, dropped.inside());
                rope = rope.at(&kept.rows[0]); // every token keeps its position
                x = kept.gather(x);
            }
        }
        let (hidden, len) = (llm.model.norm.forward(x.clone()), x.dims()[1]);
        let rows = hidden.slice_dim(1, len - tokens.len()..len);
        let whole = llm.logits(rows.flatten(0, 1));
        let cached = Tensor::stack::<2>(scores, 0);
        assert_close(&case, "cached scores", cached, &host(whole), Tolerance::FORWARD);
    }
}

#[test]
fn ranked_decoding_equals_a_whole_pass() {
    decoding_equals_a_whole_pass(heuristic);
}

#[test]
fn decoding_with_kept_positions_equals_a_whole_pass() {
    decoding_equals_a_whole_pass(|_| Schedule::FastV(RankStage { layer: 2, share: 0.5 }));
}

/// `FastV` at layer 2 drops half behind it, by that layer's own attention, and what follows keeps its position.
#[test]
fn kept_positions_are_those_before_the_drop() {
    let llm = model(&Device::flex());
    let plan = plan(&Schedule::FastV(RankStage { layer: 2, share: 0.5 }), KeepRule::Suffix);
    let (x, layout) = embed(&llm, &[prompt(2, 2, 1, 2)]);
    let (dropped, end) = ascend(&llm.model, x, layout.clone(), &plan);
    let places: Vec<usize> = dropped.iter().map(|dropped| dropped.inside().longest()).collect();
    assert_eq!(places, [21, 21, 13, 13, 13]);
    let kept = dropped[1].leaving.as_ref().unwrap();
    let full = llm.model.rope(layout.longest(), &Device::flex());
    let (of_kept, of_all) =
        (end.rope.tables().0.clone(), full.at(&kept.rows[0]).tables().0.clone());
    let values = |table: Tensor<2>| table.into_data().try_to_vec::<f32>().unwrap();
    assert_eq!(values(of_kept), values(of_all));
}

/// Dropped tokens learn through the layers below their drop, kept ones through all; a ranking itself carries no gradient.
#[test]
fn gradient_flows_through_what_a_ranking_keeps() {
    let device = Device::flex().autodiff();
    let llm = model(&device);
    let (prompt, frames) = prompt(1, 2, 2, 2);
    let features = |device: &Device| {
        let shape = [2 * TOKENS_PER_FRAME, HIDDEN];
        drawn::<2>(3, shape, device).require_grad()
    };
    assert_eq!(frames, Some(2));
    let zero_rows = |layer: usize| {
        let visual = features(&device);
        let stages = vec![RankStage { layer, share: 0.25 }];
        let plan = plan(&Schedule::Rank(stages), KeepRule::Suffix);
        let given = vec![vec![visual.clone()]];
        let prompts = std::slice::from_ref(&prompt);
        let (x, layout) = splice(&llm.model.embed_tokens, prompts, given, TOKENS_PER_FRAME);
        let (hidden, layout) = pass::forward(&llm.model, x, layout, &plan);
        let rows = SupervisedRows::new(&[prompt.supervision()], &layout);
        let grads = weighted_loss(&llm, hidden, &rows, LossNorm::Token).backward();
        let grad = visual.grad(&grads).unwrap();
        let sizes: Vec<f32> = grad.abs().sum_dim(1).into_data().iter().collect();
        sizes.iter().filter(|size| **size == 0.0).count()
    };
    assert_eq!(zero_rows(0), 12, "what is dropped before the first layer is never seen");
    assert_eq!(zero_rows(2), 0, "what is dropped later was attended to before");
}
