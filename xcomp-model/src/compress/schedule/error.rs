//! Why a schedule does not fit a model.

/// A schedule that does not fit the model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// A stride does not divide the tokens that a frame still has.
    #[error(
        "compression stride {stride} after layer {layer} does not divide the {tokens} tokens a frame has there; use a divisor of {tokens}"
    )]
    Stride {
        /// 1-based layer before the reduction.
        layer: usize,
        /// The stride.
        stride: usize,
        /// Tokens of a frame before it.
        tokens: usize,
    },
    /// A stage lies outside the stack, or stages are not in order.
    #[error(
        "compression stage after layer {layer} does not fit a stack of {layers} layers; give ascending layers below {layers}, for fastv above 0"
    )]
    Stage {
        /// 1-based layer of the stage.
        layer: usize,
        /// Layers of the model.
        layers: usize,
    },
    /// A token list of the wrong length.
    #[error(
        "the compression token list has {got} entries, the model has {layers} layers; give one number per layer"
    )]
    Length {
        /// Entries given.
        got: usize,
        /// Layers of the model.
        layers: usize,
    },
    /// A token count that is zero or grows.
    #[error(
        "compression asks for {asked} tokens a frame in layer {layer} (0-based), where {available} are left; counts start at 1 and never grow"
    )]
    Count {
        /// 0-based layer.
        layer: usize,
        /// Tokens asked for.
        asked: usize,
        /// Tokens left.
        available: usize,
    },
    /// A share that keeps nothing, or more than there is.
    #[error(
        "compression share {share} after layer {layer} is not above 0, or above the {available} that is left there; shares are of the tokens at first and never grow"
    )]
    Share {
        /// 1-based layer before the drop.
        layer: usize,
        /// The share.
        share: f64,
        /// The share left before it.
        available: f64,
    },
}
