//! What happens to visual tokens between decoder layers: LP-Comp, and the methods it is compared with.

pub mod layout;
pub mod lp_comp;
pub mod pass;
pub mod rank;
pub mod reduce;
pub mod schedule;
pub mod variants;
pub mod vst;
