//! Needles and hay as files: what a made-up world writes and a sweep asks about.

/// Their folder in a world.
pub const NEEDLES: &str = "needles";
/// The chains, in the published layout; pictures lie beside them.
pub const CHAINS: &str = "chains.json";
/// The hay, a frame a second.
pub const HAY: &str = "hay.mp4";
