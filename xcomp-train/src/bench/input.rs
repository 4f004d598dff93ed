//! Made-up samples: noise for frames or features, any tokens for text.

use burn::tensor::{DType, Device, TensorData};
use xcomp_data::Features;
use xcomp_model::loss::IGNORE;
use xcomp_model::splice::Prompt;
use xcomp_model::transfer::upload;
use xcomp_model::vision::frames::Clips;

use crate::data::collate::VisualInput;
use crate::data::features::{Stored, to_host};
use crate::plan::Plan;
use crate::plan::cost::SampleSize;

/// Text tokens before the video, where there are so many: a system turn.
const BEFORE_VIDEO: usize = 16;

/// One sample on the host, handed out again and again.
pub(super) struct Sample {
    prompt: Prompt,
    visual: VisualInput,
    batch: usize,
}

impl Sample {
    pub(super) fn new(plan: &Plan, size: SampleSize, cached: bool, device: &Device) -> Self {
        let visual = if cached {
            VisualInput::Features(features(plan, size, device))
        } else {
            VisualInput::Clips(clips(plan, size), None)
        };
        let batch = plan.recipe.train.per_device_batch_size;
        Self { prompt: prompt(plan, size), visual, batch }
    }

    /// The samples of one forward.
    pub(super) fn batch(&self) -> (Vec<Prompt>, Vec<VisualInput>) {
        (vec![self.prompt.clone(); self.batch], vec![self.visual.clone(); self.batch])
    }
}

/// Some tokens, the video, the rest; the last ones are supervised.
fn prompt(plan: &Plan, size: SampleSize) -> Prompt {
    let vocabulary = plan.config.llm.vocab_size as u32;
    let text = size.text_tokens;
    let image_at = BEFORE_VIDEO.min(text / 4);
    let ids: Vec<i32> = noise().take(text + 1).map(|word| (word % vocabulary) as i32).collect();
    let first = text + 1 - size.supervised_tokens;
    let label = |(at, id): (usize, &i32)| if at < first { IGNORE } else { *id };
    let labels = ids.iter().enumerate().map(label).collect();
    Prompt { ids, labels, visual_at: vec![image_at] }
}

fn clips(plan: &Plan, size: SampleSize) -> Clips {
    let side = plan.config.vision.image_size;
    let pixels = noise().take(size.frames * side * side * 3).map(|word| word as u8).collect();
    Clips::video(pixels, size.frames, side, plan.recipe.data.clip_frames)
        .expect("the frames make whole clips")
}

/// Noise in the format that the cache keeps.
fn features(plan: &Plan, size: SampleSize, device: &Device) -> Features {
    let clip = plan.recipe.data.clip_frames;
    let (tokens, width) =
        (clip * plan.config.connector.cached_tokens_per_frame(), plan.config.connector.input_size);
    let clips = size.frames / clip;
    let unit = |word: u32| word as f32 / u32::MAX as f32 - 0.5;
    let values: Vec<f32> = noise().take(clips * tokens * width).map(unit).collect();
    let data = TensorData::new(values, [clips, tokens, width]);
    to_host(&upload(data, (device, DType::F32)), Stored::of(plan))
}

/// xorshift32 (Marsaglia 2003): cheap, and the same on every machine.
fn noise() -> impl Iterator<Item = u32> {
    let mut state: u32 = 0x9E37_79B9;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    })
}
