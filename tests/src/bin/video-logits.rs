//! `video-logits FOLDER MEDIA QUESTION FRAMES`: what an export's model scores of a question about a video, for other code to compare with.
//!
//! Prints JSON: pixels `[frames, 3, size, size]` and ids (-200 for the video) as the data path makes them, and the scores of every token
//! behind the video, without compression; of a model that reads in windows all of them stay raw, and the visual tokens are printed too.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use serde_json::json;
use xcomp_data::{IMAGE_TOKEN, Limits, Template, Tokenizer, load_media, render_question};
use xcomp_model::compress::layout::Layout;
use xcomp_model::compress::pass;
use xcomp_model::compress::schedule::{CompressionPlan, KeepRule, Schedule};
use xcomp_model::compress::vst::{self, Parts, Purpose, RatioMix, VstError, VstRule};
use xcomp_model::decoder::qwen2::Qwen2;
use xcomp_model::loss::IGNORE;
use xcomp_model::splice::Prompt;
use xcomp_model::vision::frames::Clips;
use xcomp_train::answer::Answerer;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, media, question, frames] = arguments.as_slice() else {
        return Err("usage: video-logits FOLDER MEDIA QUESTION FRAMES".into());
    };
    let (device, folder, frames) = (Device::flex(), Path::new(folder), frames.parse()?);
    let answerer = Answerer::open(folder, &device)?;
    let options = answerer.frame_options(frames..=frames);
    let (seen, choice, _) = load_media(Path::new(media), None, &options, &Limits::default())?;
    let config = answerer.config();
    let template = Template::named(config.family.template).ok_or("a known template")?;
    let tokenizer = Tokenizer::open(&folder.join("tokenizer.json"), &template)?;
    let message = choice.message(options.time_message);
    let ids = render_question(&template, &tokenizer, question, &message)?;

    let clips = Clips::video(seen.pixels, seen.count, seen.size, 1).ok_or("whole frames")?;
    let pixels = clips.pixels(0, clips.count, &config.family.pixels, &device);
    let shape = pixels.dims();
    let layers = config.llm.num_hidden_layers;
    let tokens = config.tokens_per_frame();
    let plan = CompressionPlan::new(&Schedule::None, KeepRule::Suffix, tokens, layers)?;
    let visual_at = ids.iter().position(|id| *id == IMAGE_TOKEN).into_iter().collect();
    let prompt = Prompt { labels: vec![IGNORE; ids.len()], ids: ids.clone(), visual_at };
    let (model, encoded) = (answerer.model(), answerer.encode(&clips).features);
    let (x, layout) = model.embed(&[prompt], vec![vec![encoded]]);
    let end = layout.sequences[0].spans[0].end();
    let span = layout.sequences[0].spans[0];
    let visual: Tensor<2> = x.clone().slice_dim(1, span.start..end).flatten(0, 1);
    let in_windows = config.llm.vst.as_ref().map(|own| own.window);
    let behind = if let Some(window) = in_windows {
        raw_windows(&model.llm.model, &x, &layout, window)?
    } else {
        let (hidden, layout) = pass::forward(&model.llm.model, x, layout, &plan);
        hidden.slice_dim(1, end..layout.longest()).flatten(0, 1)
    };
    let visual = in_windows.map(|_| rows(visual));
    let scores = model.llm.logits(behind);
    let values: Vec<f32> = pixels.into_data().iter().collect();
    println!(
        "{}",
        json!({
            "pixels": values,
            "shape": [shape[0] * shape[1], shape[2], shape[3], shape[4]],
            "ids": ids, "tokens_per_frame": tokens,
            "scores": rows(scores), "visual": visual,
        })
    );
    Ok(())
}

fn rows(x: Tensor<2>) -> Vec<Vec<f32>> {
    let [_, width] = x.dims();
    let all: Vec<f32> = x.into_data().iter().collect();
    all.chunks(width).map(<[f32]>::to_vec).collect()
}

/// Hidden states of what stands behind the visual tokens, normalised, each window read and kept as it is: `[tokens, hidden]`.
fn raw_windows(
    llm: &Qwen2,
    x: &Tensor<3>,
    layout: &Layout,
    window: usize,
) -> Result<Tensor<2>, VstError> {
    let rule = VstRule { window, ratios: vec![0], mix: RatioMix::Step };
    let parts = Parts::of(&layout.sequences[0])?;
    let plan = rule.plan(parts, Purpose::Answering, &mut |_| 0)?;
    let rope = llm.rope(plan.positions(), &x.device());
    let embed = |rows| x.clone().slice_dim(1, rows);
    let mut memory = vst::pass::read(llm, plan.shared(), &rope, embed);
    let mut behind = vec![];
    for segment in &plan.segments[plan.shared().len()..] {
        let (hidden, kept) =
            vst::pass::run(llm, embed(segment.rows.clone()), segment, &rope, &memory);
        vst::pass::remember(&mut memory, kept);
        behind.push(hidden);
    }
    Ok(llm.norm.forward(Tensor::cat(behind, 1)).flatten(0, 1))
}
