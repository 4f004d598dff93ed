//! What an answer reads from the device.

#![cfg(feature = "video")]

use burn::tensor::Device;
use xcomp_data::{Limits, ReadType, load_media};
use xcomp_model::transfer::Traffic;
use xcomp_tests::Task;
use xcomp_train::answer::{AnswerOptions, Answerer};
use xcomp_train::machine::device::Choice;
use xcomp_train::machine::stop::Stop;
use xcomp_train::run::launch::train_recipe;

/// A greedy answer reads two numbers a token, its id and whether all scores are finite, and no row of scores.
///
/// The counts are those of the process: no other test may run in it.
#[test]
fn a_greedy_answer_reads_two_numbers_a_token() {
    let task = Task::folders();
    train_recipe(
        task.recipe(&["train.max_steps=1"]),
        &task.path("run"),
        Choice::Cpu,
        Stop::never(),
    )
    .unwrap();
    let answerer = Answerer::open(&task.path("run/export"), &Device::flex()).unwrap();
    let film = task.path("media/folder_1");
    let options = answerer.frame_options(8..=8);
    let (frames, choice, media) =
        load_media(&film, Some(ReadType::Img), &options, &Limits::default()).unwrap();
    let seen = answerer.see(frames, &choice, media).unwrap();
    let options = AnswerOptions { max_new_tokens: 5, ..AnswerOptions::default() };
    let before = Traffic::now();
    answerer.answer(&seen, "What colour is it?", &options, &mut |_| {}).unwrap();
    let moved = Traffic::now().since(before);
    assert!((1..=5).contains(&moved.reads), "{moved:?}");
    assert_eq!(moved.read_bytes, 8 * moved.reads, "{moved:?}");
}
