//! Attention on the device of `XCOMP_TEST_DEVICE`: small shapes of every kind against sums in f64, those of the real models against the processor's loops.

use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use xcomp_model::ops::{causal_attention, full_attention, in_software};
use xcomp_tests::{chosen_device, drawn};
use xcomp_train::machine::device::{Adapter, Choice};
use xcomp_train::machine::memory::reserved_bytes;

/// `[batch, heads, key heads, queries, keys, head_dim]` and whether it is causal.
type Shape = ([usize; 6], bool);

/// Heads of tower and language model, alone and in groups; rows that are no multiple of any stage; chunks over a cache.
const SMALL: [Shape; 16] = [
    ([1, 4, 2, 24, 24, 8], true),
    ([2, 4, 2, 24, 24, 8], true),
    ([1, 4, 2, 40, 40, 16], true),
    ([2, 4, 2, 11, 11, 8], true),
    ([2, 4, 4, 9, 9, 8], false),
    ([1, 4, 2, 11, 11, 8], true),
    ([1, 4, 4, 12, 12, 8], false),
    ([1, 2, 2, 1, 1, 64], true),
    ([1, 2, 2, 1, 77, 64], true),
    ([1, 12, 2, 7, 7, 128], true),
    ([1, 12, 2, 33, 90, 128], true),
    ([1, 12, 2, 131, 131, 128], true),
    ([1, 4, 2, 40, 300, 128], true),
    ([1, 2, 2, 17, 17, 64], false),
    ([1, 2, 2, 130, 130, 64], false),
    ([1, 2, 2, 5, 9, 8], false),
];

/// A sequence of the language model, and a clip of 32 frames in the tower; the smaller first, as what a device once held it may keep.
const REAL: [Shape; 2] =
    [([1, 12, 2, 2311, 2311, 128], true), ([1, 16, 16, 6272, 6272, 64], false)];

/// Bytes of scores up to which a driver in software keeps them on a tape.
const MOST_ON_A_TAPE: u64 = 1 << 30;

/// How far a value may be off, as a share of the largest: kernels of a card round the factors of their products to 11 bits.
fn most(choice: Choice) -> f64 {
    match choice {
        Choice::Cpu | Choice::Vulkan(Adapter::Software) | Choice::Wgpu(Adapter::Software) => 2e-5,
        _ => 5e-3,
    }
}

fn attend([q, k, v]: [Tensor<4>; 3], causal: bool) -> Tensor<4> {
    if causal { causal_attention(q, k, v) } else { full_attention(q, k, v) }
}

/// Queries, keys and values of a shape, token by token as linear maps make them, the same on every device.
fn inputs(([batch, heads, kv_heads, seq, keys, dim], _): Shape) -> [TensorData; 3] {
    [(1, heads, seq), (2, kv_heads, keys), (3, kv_heads, keys)].map(|(seed, heads, rows)| {
        drawn::<4>(seed, [batch, rows, heads, dim], &Device::flex()).into_data()
    })
}

/// Head by head, as views of what was drawn.
fn on(data: &[TensorData; 3], device: &Device) -> [Tensor<4>; 3] {
    data.each_ref().map(|data| Tensor::from_data(data.clone(), device).swap_dims(1, 2))
}

fn numbers(x: Tensor<4>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

fn assert_near(what: &str, got: &[f32], want: &[f32], share: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(0.0_f64, |most, value| most.max(f64::from(value.abs())));
    let off = got.iter().zip(want).map(|(got, want)| f64::from((got - want).abs()));
    // Not a number is not near: `max` would pass over it.
    let off = off.fold(0.0_f64, |most, off| if off > most || off.is_nan() { off } else { most });
    // Of a single key the gradients of queries and keys are nothing.
    let of_largest = if largest > 0.0 { off / largest } else { off };
    println!("ATTENTION {what}: {of_largest:.1e} off (at most {share:.0e})");
    assert!(off <= share * largest, "{what}: {off} off, largest {largest}");
}

/// What attention is, row by row in f64.
fn in_f64(
    data: &[TensorData; 3],
    ([batch, heads, kv_heads, seq, keys, dim], causal): Shape,
) -> Vec<f32> {
    let [q, k, v] = data.each_ref().map(|data| data.iter::<f64>().collect::<Vec<f64>>());
    let mut out = vec![];
    for (sequence, head) in (0..batch).flat_map(|b| (0..heads).map(move |head| (b, head))) {
        let of_key = |key: usize| (sequence * keys + key) * kv_heads + head / (heads / kv_heads);
        for row in 0..seq {
            let seen = if causal { keys - seq + row + 1 } else { keys };
            let query = &q[((sequence * seq + row) * heads + head) * dim..][..dim];
            let score = |key: usize| {
                let key = &k[of_key(key) * dim..][..dim];
                let product: f64 = query.iter().zip(key).map(|(q, k)| q * k).sum();
                (product / (dim as f64).sqrt()).exp()
            };
            let weights: Vec<f64> = (0..seen).map(score).collect();
            let sum: f64 = weights.iter().sum();
            out.extend((0..dim).map(|at| {
                let value = |(key, weight): (usize, &f64)| weight * v[of_key(key) * dim + at];
                (weights.iter().enumerate().map(value).sum::<f64>() / sum) as f32
            }));
        }
    }
    out
}

#[test]
fn small_shapes_of_every_kind_are_what_attention_is() {
    let (choice, device) = chosen_device();
    for shape in SMALL {
        let data = inputs(shape);
        let want = in_f64(&data, shape);
        for (tape, device) in [("no tape", device.clone()), ("a tape", device.clone().autodiff())] {
            let got = attend(on(&data, &device), shape.1);
            let what = format!("{choice}, {shape:?}, {tape}");
            assert_near(&what, &numbers(got), &want, most(choice));
        }
        let [got, want] =
            [&device, &Device::flex()].map(|device| with_gradients(&data, device, shape.1));
        for (name, got, want) in
            [("q", &got[1], &want[1]), ("k", &got[2], &want[2]), ("v", &got[3], &want[3])]
        {
            let what = format!("{choice}, {shape:?}, gradient of {name}");
            assert_near(&what, got, want, most(choice));
        }
    }
}

/// Values and gradients of the real shapes; no device makes all their scores at once.
#[test]
fn real_shapes_are_those_of_the_processor_and_make_no_matrix_of_scores() {
    let (choice, device) = chosen_device();
    if choice == Choice::Cpu {
        println!(
            "SKIPPED: attention of real shapes needs XCOMP_TEST_DEVICE to name another device"
        );
        return;
    }
    for shape @ ([_, heads, _, seq, keys, _], causal) in REAL {
        let data = inputs(shape);
        let [want, want_q, want_k, want_v] = with_gradients(&data, &Device::flex(), causal);
        let scores = (heads * seq * keys * size_of::<f32>()) as u64;
        let started = Instant::now();
        let got = numbers(attend(on(&data, &device), causal));
        let plain = started.elapsed().as_secs_f64();
        assert_near(&format!("{choice}, {shape:?}, no tape"), &got, &want, most(choice));
        let held = reserved_bytes(&device).expect("a device of kernels states its pools");
        // One matrix of all scores, beside what goes in and comes out, would be more.
        println!("ATTENTION {choice}, {shape:?}: {held} bytes held, all scores are {scores}");
        assert!(held < scores, "{shape:?}: {held} bytes held, the scores are {scores}");
        // Without the fused gradient a tape keeps scores, weights and what becomes of them: of the larger shape, more than 10 GB.
        let in_software = in_software(&device);
        if in_software && scores > MOST_ON_A_TAPE {
            println!("ATTENTION {choice}, {shape:?}: {plain:.1} s; in software no tape");
            continue;
        }
        let [got, q, k, v] = with_gradients(&data, &device, causal);
        let both = started.elapsed().as_secs_f64() - plain;
        for (name, got, want) in
            [("a tape", got, want), ("of q", q, want_q), ("of k", k, want_k), ("of v", v, want_v)]
        {
            assert_near(&format!("{choice}, {shape:?}, {name}"), &got, &want, most(choice));
        }
        println!("ATTENTION {choice}, {shape:?}: {plain:.1} s, with gradients {both:.1} s");
        if !in_software {
            let held = reserved_bytes(&device).expect("a device of kernels states its pools");
            assert!(held < scores, "{shape:?}: {held} bytes held, the scores are {scores}");
        }
    }
}

/// Attention, and the gradients of its queries, keys and values under a seed.
fn with_gradients(data: &[TensorData; 3], device: &Device, causal: bool) -> [Vec<f32>; 4] {
    let [q, k, v] = on(data, &device.clone().autodiff()).map(Tensor::require_grad);
    let out = attend([q.clone(), k.clone(), v.clone()], causal);
    let [seed, ..] = on(data, &device.clone().autodiff());
    let mut grads = (out.clone() * seed).sum().backward();
    let [q, k, v] = [q, k, v].map(|x| numbers(x.grad_remove(&mut grads).expect("a gradient")));
    [numbers(out.inner()), q, k, v]
}
