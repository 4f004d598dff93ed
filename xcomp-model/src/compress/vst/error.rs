//! Why a sequence cannot be cut into windows.

/// A rule of windows, or a sequence, that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message names every field")]
pub enum VstError {
    /// A window of no tokens.
    #[error("vst.window_tokens is 0; give the visual tokens of a window, as 1440")]
    NoWindow,
    /// No ratio to choose from.
    #[error("vst.ratios is empty; give one ratio or more, as [2, 4, 8]")]
    NoRatio,
    /// No ratio fits a window.
    #[error(
        "no ratio of {ratios:?} fits a window of {tokens} visual tokens (from token {start} of the sequence on): with several ratios \
         one is chosen that divides it; give such a ratio, or one ratio alone"
    )]
    Ratio { ratios: Vec<usize>, start: usize, tokens: usize },
    /// Nothing behind the visual tokens.
    #[error(
        "nothing stands behind the {visual} visual tokens of the sequence: what is asked, or answered, must follow them"
    )]
    NoTail { visual: usize },
    /// Windows of which nothing stays.
    #[error(
        "of {visual} visual tokens nothing stays: the ratios are larger than the windows; give smaller ones"
    )]
    NothingStays { visual: usize },
    /// Text between visuals.
    #[error(
        "text stands between visual tokens (from token {at} of the sequence on); with windows all images and videos of a sample \
         form one span: put their tags side by side"
    )]
    Apart { at: usize },
    /// Windows that are not those of the visual tokens.
    #[error(
        "the windows hold {windows} visual tokens, the sequence has {visual}, and none may be empty"
    )]
    Windows { windows: usize, visual: usize },
}
