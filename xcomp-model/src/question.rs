//! QC-Comp: which frames a question needs (paper Section 3.3).

pub mod frame_select;
pub mod qc_comp;
