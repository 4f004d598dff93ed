//! What the arguments of an examination say of windows and their ratio.

use super::cost::of_flag;
use crate::plan::Plan;
use crate::recipe::tables::WindowsWord;

/// How the export of a training reads in windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AnswerWindows {
    /// The largest ratio that it was tuned to.
    ratio: usize,
    /// Whether it does unless it is asked otherwise.
    on: bool,
}

impl AnswerWindows {
    /// Those of a model with learned tokens for them.
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        let own = plan.config.llm.vst.as_ref()?;
        let tuned = plan.vst.as_ref().map_or_else(|| own.clone(), |windows| windows.tuned(own));
        let ratio = tuned.ratios.into_iter().max().unwrap_or(0);
        Some(Self { ratio, on: plan.recipe.vst.answering() != WindowsWord::None })
    }

    /// Visual tokens for each learned one under these arguments; nothing where a video is read in one pass.
    pub(super) fn ratio(self, ask: &[String]) -> Option<usize> {
        let on = of_flag(ask, "--windows").map_or(self.on, |word| word != WindowsWord::None.word());
        on.then(|| of_flag(ask, "--ratio").and_then(|n| n.parse().ok()).unwrap_or(self.ratio))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(windows: AnswerWindows, ask: &[&str], want: Option<usize>) {
        let ask: Vec<String> = ask.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(windows.ratio(&ask), want, "{windows:?} {ask:?}");
    }

    #[test]
    fn the_ratio_is_that_of_the_arguments_else_of_the_tuning() {
        let (on, off) =
            (AnswerWindows { ratio: 16, on: true }, AnswerWindows { ratio: 8, on: false });
        check(on, &[], Some(16));
        check(on, &["--ratio", "4"], Some(4));
        check(on, &["--ratio=4"], Some(4));
        check(on, &["--windows", "none"], None);
        check(on, &["--windows=dynamic", "--ratio=0"], Some(0));
        check(off, &["--ratios", "4"], None);
        check(off, &["--windows", "fixed"], Some(8));
    }
}
