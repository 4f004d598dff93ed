//! Why a schedule does not fit a model.

/// A schedule that does not fit the model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the message names every field")]
pub enum ScheduleError {
    /// A stride does not divide the tokens that a frame still has.
    #[error(
        "compression stride {stride} after layer {layer} does not divide the {tokens} tokens a frame has there; use a divisor of {tokens}"
    )]
    Stride { layer: usize, stride: usize, tokens: usize },
    /// A stage lies outside the stack, or stages are not in order.
    #[error(
        "compression stage after layer {layer} does not fit a stack of {layers} layers; give ascending layers below {layers}, for fastv above 0"
    )]
    Stage { layer: usize, layers: usize },
    /// A token list of the wrong length.
    #[error(
        "the compression token list has {got} entries, the model has {layers} layers; give one number per layer"
    )]
    Length { got: usize, layers: usize },
    /// A token count that is zero or grows.
    #[error(
        "compression asks for {asked} tokens a frame in layer {layer} (0-based), where {available} are left; counts start at 1 and never grow"
    )]
    Count { layer: usize, asked: usize, available: usize },
    /// A share that keeps nothing, or more than there is.
    #[error(
        "compression share {share} after layer {layer} is not above 0, or above the {available} that is left there; shares are of the tokens at first and never grow"
    )]
    Share { layer: usize, share: f64, available: f64 },
    /// A budget that no schedule has.
    #[error(
        "a compression budget of {mean} tokens a frame does not fit frames of {most} tokens; give a number from 1 to {most}"
    )]
    Budget { mean: f64, most: usize },
}
