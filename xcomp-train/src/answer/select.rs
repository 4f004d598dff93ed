//! QC-Comp at work: the frames of a long video that a question looks at.

use xcomp_data::{IMAGE_TOKEN, render_question};
use xcomp_model::question::frame_select::{SelectRule, scored_layers};
use xcomp_model::question::qc_comp::{Reading, Scope, ScoreRule, clip_scores};
use xcomp_model::splice::Prompt;

use super::Answerer;
use super::clips::EncodedClips;
use crate::error::Error;

/// Text tokens of the time message that the released evaluation skips, whatever the message says (`QUERY_BIAS` of its `run.sh`).
const REFERENCE_QUERY_SKIP: usize = 27;

/// Whose rules scoring follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ScoreMode {
    /// The released evaluation: 27 text tokens skipped, half-precision scores, only videos of 1024 frames and more.
    Reference,
    /// The question's own tokens, full precision, videos of any length.
    Clean,
}

/// How frames are chosen by question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelectOptions {
    /// Frames to keep.
    pub count: usize,
    /// Passes over the video, each shifted.
    pub n_repeat: usize,
    /// Whose rules.
    pub mode: ScoreMode,
    /// What a softmax spans.
    pub scope: Scope,
    /// Whether a token of the question sees only what stands before it; the reference's do not.
    pub causal: bool,
}

/// The chosen frames and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Chosen frames, in order, as places among the sampled frames.
    pub frames: Vec<usize>,
    /// Score of every sampled frame; empty if nothing had to be chosen.
    pub scores: Vec<f64>,
}

/// Where the parts of a prompt stand, in tokens before the video is put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PromptParts {
    /// The marker of the video.
    image_at: usize,
    /// Tokens of the time message behind the marker.
    message: usize,
    /// The mark that ends the question.
    question_end: usize,
    /// The assistant's header.
    user_end: usize,
}

impl Answerer {
    /// Chooses frames of a video by a question.
    ///
    /// # Errors
    /// If the numbers do not fit the video or the model, or the tokenizer fails.
    pub fn select(
        &self,
        clips: &mut EncodedClips<'_>,
        message: &str,
        question: &str,
        options: &SelectOptions,
    ) -> Result<Selection, Error> {
        let frames = clips.frame_count();
        let rule = self.select_rule(frames, options)?;
        if frames < rule.threshold_frames || options.count >= frames {
            return Ok(Selection { frames: (0..frames).collect(), scores: vec![] });
        }
        let ids = render_question(self.template(), &self.tokenizer, question, message)?;
        let parts = self.parts(&ids, message)?;
        let (query_skip, user_end) = match options.mode {
            ScoreMode::Reference => (REFERENCE_QUERY_SKIP, parts.user_end),
            ScoreMode::Clean => (parts.message, parts.question_end),
        };
        if parts.image_at + 1 + query_skip >= user_end {
            let message = "the question is too short to choose frames by; ask in more words";
            return Err(Error::Argument(message.into()));
        }
        let score_rule = ScoreRule {
            scope: options.scope,
            clip_frames: rule.clip_frames,
            query_skip,
            causal: options.causal,
            half_precision: options.mode == ScoreMode::Reference,
            first_layer: *rule.layers.start(),
            last_layer: *rule.layers.end(),
        };

        let (llm, plan, starts) =
            (&self.model.llm.model, &self.compression, rule.chunk_starts(frames));
        let before = parts.image_at + 1;
        let bytes = self.reading_bytes(rule.chunk_frames(), before);
        let mut scores = vec![];
        for start in &starts {
            let chunk = rule.chunk(*start, frames);
            let embed = |ids: &[i32], clips: &mut EncodedClips<'_>| {
                let labels = vec![xcomp_model::loss::IGNORE; ids.len()];
                let prompt = Prompt { labels, ids: ids.to_vec(), visual_at: vec![parts.image_at] };
                let merged = clips.encoded(&chunk)?.features;
                Ok::<_, Error>(self.model.embed(&[prompt], vec![vec![merged]]))
            };
            let reading = clips.reading(&chunk, (starts.len(), bytes), |clips| {
                let (x, layout) = embed(&ids[..before], clips)?;
                Ok(Reading::of(llm, x, layout, plan, score_rule))
            })?;
            scores.push(if let Some(reading) = reading {
                let behind = llm.embed_tokens.forward(&ids[before..]).unsqueeze::<3>();
                let behind = behind.cast(self.encoding().dtype);
                reading.clip_scores(llm, behind, user_end - before, score_rule)
            } else {
                let (x, layout) = embed(&ids, clips)?;
                let user_end = user_end - 1 + layout.sequences[0].visual_tokens();
                clip_scores(llm, x, layout, user_end, plan, score_rule)
            });
        }
        let chosen = rule.select(frames, options.count, &scores);
        Ok(Selection { frames: chosen, scores: rule.frame_scores(frames, &scores) })
    }

    /// Bytes of the reading of a chunk of so many frames, behind and with so many tokens of text.
    fn reading_bytes(&self, frames: usize, text: usize) -> usize {
        let layers = 0..self.config.llm.num_hidden_layers;
        let tokens: Vec<usize> =
            layers.map(|layer| self.compression.visual_tokens(layer, frames) + text).collect();
        Reading::bytes(&self.model.llm.model, &tokens, self.encoding().dtype.into())
    }

    fn select_rule(&self, frames: usize, options: &SelectOptions) -> Result<SelectRule, Error> {
        let (layers, clip) = (self.config.llm.num_hidden_layers, self.config.vision.clip_frames);
        let wrong = |message: String| Err(Error::Argument(message));
        if !self.compression.frames_stay_whole() {
            let message = "frames cannot be chosen where compression ranks the tokens of the whole video: its layers hold no whole frames";
            return wrong(message.into());
        }
        if options.count == 0 || (options.count > 1 && !options.count.is_multiple_of(clip)) {
            return wrong(format!(
                "cannot keep {} frames: give 1 or a multiple of {clip}",
                options.count
            ));
        }
        let reference = SelectRule::reference(options.n_repeat.max(1));
        let shift = reference.clip_frames;
        if options.n_repeat == 0 || options.n_repeat > shift {
            return wrong(format!("cannot repeat {} times: give 1 to {shift}", options.n_repeat));
        }
        let rule = match options.mode {
            ScoreMode::Clean if frames >= reference.clip_frames => {
                SelectRule::any_length(frames, layers, options.n_repeat)
            }
            _ => SelectRule { layers: scored_layers(layers), ..reference },
        };
        Ok(SelectRule { scope: options.scope, ..rule })
    }

    /// Finds the parts of a rendered question.
    fn parts(&self, ids: &[i32], message: &str) -> Result<PromptParts, Error> {
        let image_at = ids.iter().position(|id| *id == IMAGE_TOKEN).expect("it shows a video");
        let tokens = |text: &str| self.tokenizer.encode(text).map(|ids| ids.len());
        let user_end = ids.len() - tokens(self.template().answer)?;
        let question_end = user_end - tokens(self.template().footer("user"))?;

        // Behind the marker stand a line break, the message and a space that belongs to the question's first word.
        let wanted = 1 + message.trim().len();
        let behind = &ids[image_at + 1..question_end];
        let mut count = 0;
        while count < behind.len() && self.tokenizer.decode_all(&behind[..count])?.len() < wanted {
            count += 1;
        }
        Ok(PromptParts { image_at, message: count, question_end, user_end })
    }
}
