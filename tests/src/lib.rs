//! Golden cases of the reference, comparison with tolerances, and shared test material.
//!
//! Every golden test names the kind it covers by a prefix (`cases("b_umt")`) and walks whatever
//! cases are there; a prefix without a case fails the test.

mod browser;
mod compare;
#[cfg(feature = "video")]
pub mod ffmpeg;
mod golden;
#[cfg(feature = "video")]
mod hub_server;
pub mod imports;
mod llava;
#[cfg(feature = "video")]
mod llava_task;
mod llm;
mod material;
mod module;
mod parity;
mod prompted;
mod rounding;
#[cfg(feature = "video")]
mod task;
#[cfg(feature = "video")]
mod varied;
mod video_xl;

pub use browser::assert_page_is_shown;
pub use compare::{
    Tolerance, assert_close, assert_exact, assert_grad_close, assert_grad_within, assert_scalar,
};
pub use golden::{
    Case, HostData, HostTensor, case, cases, golden_roots, read_tensors, write_tensors,
};
#[cfg(feature = "video")]
pub use hub_server::{COMMIT, Faults, HubServer, Seen};
pub use llava::{assert_gradients, hf_config};
#[cfg(feature = "video")]
pub use llava_task::{llava_next_video, llava_task, llava_video};
pub use llm::{case_schedule, compare_gradients, compare_hidden, prompts};
pub use material::{kills, media_root, shared_root, skipped};
pub use module::{
    drawn, drawn_module, gradients, host, load_case, load_model, model_gradients, weights,
};
pub use parity::{BF16_FACTOR, Outcome, Precision, assert_parity, chosen_device, has_bf16};
pub use prompted::Prompted;
pub use rounding::Start;
#[cfg(feature = "video")]
pub use task::{Ended, Task, program};
#[cfg(feature = "video")]
pub use varied::varied;
#[cfg(feature = "video")]
pub use video_xl::video_xl_task;
pub use video_xl::{
    WholeSequence, assert_video_xl_gradients, video_xl, video_xl_config, video_xl_plan,
    video_xl_prompt, windows_config,
};
