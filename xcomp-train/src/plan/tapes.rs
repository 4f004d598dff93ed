//! Which samples of a forward share a tape where a processor runs them side by side.

use xcomp_model::base::config::ModelConfig;

use crate::plan::cost::SampleSize;

/// Hidden numbers that are worth a tape: below, recording an operation takes as long as doing it.
const LEAST: usize = 24 << 10;

/// Samples of each tape, in order: as many as it takes to be worth one, whatever the number of threads.
pub(crate) fn tapes(config: &ModelConfig, samples: impl Iterator<Item = Taped>) -> Vec<usize> {
    let (mut tapes, mut open, mut numbers) = (vec![], 0, 0);
    for Taped { text, visual } in samples {
        (open, numbers) = (open + 1, numbers + (text + visual) * config.llm.hidden_size);
        if numbers >= LEAST {
            tapes.push(open);
            (open, numbers) = (0, 0);
        }
    }
    tapes.extend((open > 0).then_some(open));
    tapes
}

/// Tokens of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taped {
    /// Of text.
    pub(crate) text: usize,
    /// Of its images and videos as they leave the tower.
    pub(crate) visual: usize,
}

impl Taped {
    /// Those of a sample of this size.
    pub(crate) fn of(config: &ModelConfig, size: &SampleSize) -> Self {
        let visual = size.frames * config.connector.cached_tokens_per_frame();
        Self { text: size.text_tokens, visual }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use crate::plan::Plan;
    use crate::recipe::Recipe;

    #[test]
    fn short_samples_share_a_tape_and_long_ones_have_their_own() {
        let recipe = Recipe::load(Path::new("../recipes/xcomp-2b.toml"), &[]).unwrap();
        let config = Plan::new(recipe, None).unwrap().config;
        let long = LEAST.div_ceil(config.llm.hidden_size);
        let check = |texts: &[usize], want: &[usize]| {
            let samples = texts.iter().map(|text| Taped { text: *text, visual: 0 });
            assert_eq!(tapes(&config, samples), want, "{texts:?}");
        };
        check(&[long, long + 1], &[1, 1]);
        check(&[long - 1, 1, long / 2, long / 2 + 1, 1], &[2, 2, 1]);
        check(&[1, 1, 1], &[3]);
        check(&[], &[]);
    }
}
