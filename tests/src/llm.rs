//! What the cases of the language model have in common: prompts and schedules.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;
use xcomp_model::compress::layout::Layout;
use xcomp_model::compress::schedule::{KeepRule, Schedule, Stage};
use xcomp_model::splice::Prompt;

use crate::compare::{GRADIENT, grad_off};
use crate::{Case, HostData, HostTensor, Tolerance, assert_close, host};

/// The marker of the visual tokens in `input_ids` (`llava/constants.py`, `IMAGE_TOKEN_INDEX`).
const IMAGE: i32 = -200;

/// The prompts of a case, cut at its attention mask.
///
/// # Panics
/// If the case has none.
pub fn prompts(case: &Case) -> Vec<Prompt> {
    let width = case.tensor("input_ids").shape[1];
    let rows =
        |name: &str| case.tensor(name).i32().chunks(width).map(<[i32]>::to_vec).collect::<Vec<_>>();
    let (ids, labels, mask) = (rows("input_ids"), rows("labels"), rows("attention_mask"));
    ids.into_iter()
        .zip(labels)
        .zip(mask)
        .map(|((mut ids, mut labels), mask)| {
            let len = mask.iter().filter(|m| **m != 0).count();
            assert!(mask[..len].iter().all(|m| *m != 0), "case {}: padded on the right", case.name);
            ids.truncate(len);
            labels.truncate(len);
            let visual_at = ids.iter().position(|id| *id == IMAGE).into_iter().collect();
            Prompt { ids, labels, visual_at }
        })
        .collect()
}

/// The compression that the case's environment flags ask the reference for (section 7.4 of the facts).
///
/// # Panics
/// If the flags are not understood.
pub fn case_schedule(case: &Case, layers: usize) -> (Schedule, KeepRule) {
    let env = case.value("/config/env");
    let flag = |name: &str| env.get(format!("EXTRA_PARAM_{name}")).and_then(Value::as_str);
    let keep = if flag("ALWAYS_SUFFIX").is_some() { KeepRule::Suffix } else { KeepRule::Uniform };
    if flag("OVERWRITE_DROP_SCHEDULE") == Some("Cosine") {
        return (Schedule::Cosine, keep);
    }
    let list =
        |text: &str| -> Vec<usize> { serde_json::from_str(text).expect("a list of numbers") };
    let at = list(flag("INNER_CONDENSER_ID").expect("the layers of the drops"));
    let strides = match (flag("INNER_STRIDE_LIST"), flag("INNER_STRIDE")) {
        (Some(strides), _) => list(strides),
        (None, Some(stride)) => vec![stride.parse().expect("a stride"); at.len()],
        (None, None) => vec![],
    };
    let stages: Vec<Stage> = at
        .into_iter()
        .zip(strides)
        .map(|(layer, stride)| Stage { layer, stride })
        .filter(|stage| stage.layer < layers) // later ones are never reached
        .collect();
    match flag("INNER_CONDENSER_TYPE") {
        _ if stages.is_empty() => (Schedule::None, keep),
        Some("nexthalf") => (Schedule::Step(stages), keep),
        Some("avgpool") => (Schedule::Pool(stages), keep),
        other => panic!("case {}: condenser {other:?}", case.name),
    }
}

/// Compares every gradient of the case but those of visual features with those found, by checkpoint name.
///
/// # Panics
/// If one is missing or differs.
pub fn compare_gradients(case: &Case, got: &BTreeMap<String, HostTensor>) {
    let mut wrong = vec![];
    for (name, want) in case.under("grad.").filter(|(name, _)| !name.starts_with("visual.")) {
        let got =
            got.get(name).unwrap_or_else(|| panic!("case {}: no gradient for {name}", case.name));
        assert_eq!(got.shape, want.shape, "case {}: {name}", case.name);
        let len = want.f32().len();
        let flat = TensorData::new(got.f32().to_vec(), [len]);
        let want = HostTensor { shape: vec![len], data: HostData::F32(want.f32().to_vec()) };
        let got = Tensor::<1>::from_data(flat, &Device::flex());
        wrong.extend(grad_off(case, name, got, &want, GRADIENT));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Compares the rows that are not padding, where the case has such a tensor.
///
/// # Panics
/// If one differs.
pub fn compare_hidden(case: &Case, name: &str, got: &Tensor<3>, layout: &Layout) {
    if !case.has(name) {
        return;
    }
    let want = case.burn::<3>(name, &Device::flex());
    for (b, sequence) in layout.sequences.iter().enumerate() {
        let real = |x: Tensor<3>| x.slice_dim(0, b..=b).slice_dim(1, 0..sequence.len);
        let got = real(got.clone().inner());
        assert_close(case, name, got, &host(real(want.clone())), Tolerance::FORWARD);
    }
}
