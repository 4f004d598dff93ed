//! The two forms of every operation side by side: results and gradients.

use burn::tensor::activation;
use burn::tensor::{Device, Tensor, TensorData};

use super::*;

/// A leaf of a tape, the same for the same seed, whatever other tests draw meanwhile: Burn's generator is one for the process.
fn leaf<const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<D> {
    let mut state = seed;
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| 1.5 * normal(&mut state)).collect();
    let drawn = Tensor::from_data(TensorData::new(values, shape), &Device::flex());
    drawn.autodiff().require_grad()
}

/// A number of the standard normal distribution: Box and Muller's transform of two words of `SplitMix64`.
fn normal(state: &mut u64) -> f32 {
    let mut unit = || {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    };
    let (radius, angle) = ((-2.0 * (1.0 - unit()).ln()).sqrt(), std::f64::consts::TAU * unit());
    (radius * angle.cos()) as f32
}

/// The largest difference between two tensors, beside the largest number in them.
fn difference<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    let size = b.clone().abs().max().into_scalar::<f32>().max(1e-6);
    (a - b).abs().max().into_scalar::<f32>() / size
}

/// Runs both forms on the same leaves and compares the result and the gradient of every leaf.
fn check<const D: usize, const N: usize, const E: usize>(
    name: &str,
    leaves: &[Tensor<D>; N],
    loops: impl Fn([Tensor<D>; N]) -> Tensor<E>,
    plain: impl Fn([Tensor<D>; N]) -> Tensor<E>,
) {
    let run = |form: &dyn Fn([Tensor<D>; N]) -> Tensor<E>| {
        let y = form(leaves.clone());
        // A gradient that differs from element to element.
        let weights = leaf(99, y.dims()).inner().autodiff();
        let mut grads = (y.clone() * weights).sum().backward();
        (y.inner(), leaves.each_ref().map(|x| x.grad_remove(&mut grads).expect("a gradient")))
    };
    let ((y, grads), (want_y, want_grads)) = (run(&loops), run(&plain));
    let result = difference(y, want_y);
    assert!(result < 2e-6, "{name}: results differ by {result}");
    for (index, (got, want)) in grads.into_iter().zip(want_grads).enumerate() {
        let gradient = difference(got, want);
        assert!(gradient < 5e-6, "{name}: gradients of input {index} differ by {gradient}");
    }
}

#[test]
fn gelu_is_burns() {
    check("gelu", &[leaf(1, [5, 7001])], |[x]| gelu(x), |[x]| activation::gelu(x));
}

#[test]
fn swiglu_is_silu_times_up() {
    let leaves = [leaf(1, [3, 9, 700]), leaf(2, [3, 9, 700])];
    check("swiglu", &leaves, |[g, u]| swiglu(g, u), |[g, u]| activation::silu(g) * u);
}

#[test]
fn linear_is_a_product_and_a_sum() {
    let leaves = || [leaf(1, [2, 33, 24]), leaf(2, [1, 40, 24]), leaf(3, [1, 1, 40])];
    let parts = |[x, w, b]: [Tensor<3>; 3]| (x, w.reshape([40, 24]), b.reshape([40]));
    check(
        "linear",
        &leaves(),
        |leaves| {
            let (x, w, b) = parts(leaves);
            linear(x, w.clone(), Some(b)) + linear(leaf(4, [2, 33, 24]), w, None)
        },
        |leaves| {
            let (x, w, b) = parts(leaves);
            let w: Tensor<3> = w.transpose().unsqueeze();
            x.matmul(w.clone()) + b.unsqueeze() + leaf(4, [2, 33, 24]).matmul(w)
        },
    );
}

#[test]
fn rms_norm_is_its_formula() {
    let weight = leaf(3, [1, 1, 96]);
    let flat = |w: Tensor<3>| w.reshape([96]);
    check(
        "rms_norm",
        &[leaf(1, [2, 401, 96]), weight],
        |[x, w]| rms_norm(x, flat(w), 1e-6),
        |[x, w]| rms_norm::in_tensor_operations(x, flat(w), 1e-6),
    );
}

#[test]
fn rotation_turns_halves() {
    let [cos, sin] = [4, 5].map(|seed| leaf(seed, [33, 8]).inner());
    check(
        "rotate",
        &[leaf(1, [2, 33, 3, 16])],
        |[x]| rotate(x.swap_dims(1, 2), cos.clone(), sin.clone()),
        |[x]| rotate::in_tensor_operations(x.swap_dims(1, 2), &cos, &sin),
    );
}

#[test]
fn attention_is_that_of_tensor_operations() {
    // Heads, key heads, queries, keys: longer than a tile; grouped; the last tokens of many.
    for (heads, kv_heads, seq, keys, causal) in
        [(2, 2, 300, 300, false), (4, 2, 300, 300, true), (6, 2, 40, 170, true), (3, 1, 1, 9, true)]
    {
        let leaves = [
            leaf(1, [2, heads, seq, 16]),
            leaf(2, [2, kv_heads, keys, 16]),
            leaf(3, [2, kv_heads, keys, 16]),
        ];
        check(
            &format!("attention {heads}/{kv_heads} {seq}x{keys} causal {causal}"),
            &leaves,
            |[q, k, v]| if causal { causal_attention(q, k, v) } else { full_attention(q, k, v) },
            |[q, k, v]| attention::chunked(q, &k, &v, causal),
        );
    }
}

#[test]
fn packed_attention_is_that_of_each_sequence() {
    let lengths = [1, 140, 33];
    let leaves = [(1, 4), (2, 2), (3, 2)].map(|(seed, heads)| leaf(seed, [1, heads, 174, 16]));
    check(
        "packed attention",
        &leaves,
        |[q, k, v]| packed_attention(q, k, v, &lengths),
        |[q, k, v]| {
            let own = |x: &Tensor<4>, from: usize, to: usize| x.clone().slice_dim(2, from..to);
            let each = [(0, 1), (1, 141), (141, 174)].map(|(from, to)| {
                attention::chunked(own(&q, from, to), &own(&k, from, to), &own(&v, from, to), true)
            });
            Tensor::cat(each.to_vec(), 2)
        },
    );
}

/// Below f32, where no loops are, each sequence is attended over by itself.
#[test]
fn packed_attention_in_other_formats_is_that_of_each_sequence() {
    let [q, k, v] = [(1, 4), (2, 2), (3, 2)]
        .map(|(seed, heads)| leaf(seed, [1, heads, 60, 16]).inner().cast(DType::BF16));
    let got = packed_attention(q.clone(), k.clone(), v.clone(), &[40, 20]);
    let own = |x: &Tensor<4>, from: usize, to: usize| x.clone().slice_dim(2, from..to);
    let alone =
        |from, to| causal_attention(own(&q, from, to), own(&k, from, to), own(&v, from, to));
    let want = Tensor::cat(vec![alone(0, 40), alone(40, 60)], 2);
    assert!(difference(got.cast(DType::F32), want.cast(DType::F32)) <= 0.0);
}

/// Sequences of any length, whole and behind others: what is added to fill a stage changes no row.
#[test]
fn whole_stages_change_no_row() {
    for (seq, keys, causal) in [
        (33, 33, true),
        (128, 128, true),
        (300, 300, true),
        (200, 210, true),
        (200, 900, true),
        (31, 500, true),
        (300, 300, false),
        (196, 196, false),
    ] {
        let [q, k, v] = [(1, 6, seq), (2, 2, keys), (3, 2, keys)]
            .map(|(seed, heads, rows)| leaf(seed, [2, heads, rows, 16]).inner());
        let mut rows = 0;
        let got = attention::in_whole_stages(q.clone(), k.clone(), v.clone(), causal, |q, k, v| {
            rows = q.dims()[2];
            attention::chunked(q, &k, &v, causal)
        });
        assert!(rows.is_multiple_of(128) || seq <= 32, "{seq} rows became {rows}");
        let off = difference(got, attention::chunked(q, &k, &v, causal));
        assert!(off < 2e-6, "{seq} of {keys}, causal {causal}: {off}");
    }
}

#[test]
fn heads_are_read_where_a_wider_row_holds_them() {
    let apart = |row: &Tensor<3>, i: usize| {
        let heads = row.clone().reshape([2, 70, 6, 8]).swap_dims(1, 2);
        heads.slice_dim(1, 2 * i..2 * i + 2)
    };
    check(
        "attention in a row",
        &[leaf(1, [2, 70, 48])],
        |[row]| full_attention(apart(&row, 0), apart(&row, 1), apart(&row, 2)).swap_dims(1, 2),
        |[row]| {
            attention::chunked(apart(&row, 0), &apart(&row, 1), &apart(&row, 2), false)
                .swap_dims(1, 2)
        },
    );
}

/// Products in many pieces, with sizes that no block divides.
#[test]
fn large_linear_is_a_product() {
    let leaves = || [leaf(1, [1, 701, 211]), leaf(2, [1, 307, 211])];
    check(
        "large linear",
        &leaves(),
        |[x, w]| linear(x, w.reshape([307, 211]), None),
        |[x, w]| x.matmul(w.transpose()),
    );
}

/// A weight that is held in bf16 gives what its widened copy gives, forward and to what comes before it.
#[test]
fn a_narrow_weight_is_widened_in_tiles() {
    for (rows, inputs, outputs) in [(1, 211, 5), (37, 211, 1307), (5, 2053, 130)] {
        let narrow = leaf(2, [1, outputs, inputs]).inner().reshape([outputs, inputs]);
        let narrow = narrow.cast(DType::BF16);
        let bias = leaf(3, [1, 1, outputs]).inner().reshape([outputs]);
        let on_tape = |weight: &Tensor<2>| Tensor::from_inner(weight.clone());
        let wide = narrow.clone().cast(DType::F32);
        check(
            &format!("widened {rows} x {inputs} x {outputs}"),
            &[leaf(1, [1, rows, inputs])],
            |[x]| linear(x, on_tape(&narrow), Some(Tensor::from_inner(bias.clone()))),
            |[x]| linear(x, on_tape(&wide), Some(Tensor::from_inner(bias.clone()))),
        );
    }
}

#[test]
fn threads_change_no_bit() {
    let bits = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let [x, w] = [leaf(1, [1, 701, 216]), leaf(2, [1, 432, 216])];
            let y = linear(x.clone(), w.clone().reshape([432, 216]), None);
            let heads = y.reshape([1, 701, 18, 24]).swap_dims(1, 2);
            let [q, k, v] = [0, 1, 2].map(|i| heads.clone().slice_dim(1, 6 * i..6 * i + 6));
            let y = gelu(causal_attention(q, k, v));
            let mut grads = y.clone().sum().backward();
            let grads = [x, w].map(|leaf| leaf.grad_remove(&mut grads).expect("a gradient"));
            let sums = grads.clone().map(|grad| sum_of_squares(grad.flatten(0, 2)));
            let all = [y.inner().flatten(0, 3)]
                .into_iter()
                .chain(grads.map(|grad| grad.flatten(0, 2)))
                .chain(sums);
            Tensor::<1>::cat(all.collect(), 0).into_data()
        })
    };
    let one = bits(1);
    assert!(one == bits(2) && one == bits(5), "a result depends on the number of threads");
}

#[test]
fn sum_of_squares_is_its_formula() {
    let x = leaf(1, [100_003]).inner();
    assert!(difference(sum_of_squares(x.clone()), x.square().sum()) < 1e-6);
}

#[test]
fn a_nan_stays_visible() {
    let device = Device::flex();
    let x = Tensor::<2>::from_floats([[0.5, f32::NAN, -1.0, 2.0]], &device);
    let weight = Tensor::ones([4], &device);
    let x4: Tensor<4> = x.clone().reshape([1, 1, 1, 4]);
    let seen = |y: Tensor<1>| y.is_nan().any().into_scalar::<bool>();
    assert!(seen(gelu(x.clone()).flatten(0, 1)));
    assert!(seen(swiglu(x.clone(), x.clone()).flatten(0, 1)));
    assert!(seen(rms_norm(x, weight, 1e-6).flatten(0, 1)));
    assert!(seen(causal_attention(x4.clone(), x4.clone(), x4).flatten(0, 3)));
}

#[test]
fn adamw_is_its_formula() {
    let step = AdamWStep {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        correction1: 1.0 - 0.9_f64.powi(3),
        correction2: 1.0 - 0.999_f64.powi(3),
        lr: 1e-2,
        weight_decay: 0.1,
        keys: StepKeys::new(1, 2, "w"),
    };
    let [weight, grad, mean] = [1, 2, 3].map(|seed| leaf(seed, [40_001]).inner());
    let mean_square = leaf(4, [40_001]).inner().square();
    let float = |numbers: &Tensor<1>, dtype| Moment::Float(numbers.clone().cast(dtype));
    let exact =
        Moments { mean: float(&mean, DType::F32), mean_square: float(&mean_square, DType::F32) };
    let got = adamw(weight.clone(), grad.clone(), exact.clone(), step);
    let want = adamw::in_tensor_operations(weight.clone(), grad.clone(), &exact, step);
    assert!(difference(got.0, want.0.clone()) < 1e-6);
    assert!(difference(got.1.mean.numbers(), want.1.mean.numbers()) < 1e-6);
    assert!(difference(got.1.mean_square.numbers(), want.1.mean_square.numbers()) < 1e-6);

    // In fewer bits: both ways begin with the same numbers, and end within a unit of what is held.
    let half =
        Moments { mean: float(&mean, DType::BF16), mean_square: float(&mean_square, DType::BF16) };
    let (light, light_want) = both_ways(&weight.clone().cast(DType::BF16), &grad, &half, step);
    for (got, want) in [
        (light.0.cast(DType::F32), light_want.0.cast(DType::F32)),
        (light.1.mean.numbers(), light_want.1.mean.numbers()),
        (light.1.mean_square.numbers(), light_want.1.mean_square.numbers()),
    ] {
        let unit = want.clone().abs() / 64.0 + 1e-6;
        assert!(((got - want).abs() / unit).max().into_scalar::<f32>() < 1.0);
    }
}

type Stepped = (Tensor<1>, Moments);

fn both_ways(
    weight: &Tensor<1>,
    grad: &Tensor<1>,
    moments: &Moments,
    step: AdamWStep,
) -> (Stepped, Stepped) {
    let loops = adamw(weight.clone(), grad.clone(), moments.clone(), step);
    let operations = adamw::in_tensor_operations(weight.clone(), grad.clone(), moments, step);
    (loops, operations)
}

/// Quantised moments on both ways: of 40,001 numbers no more than a few, at the edge of two values, have another place.
#[test]
fn quantised_moments_are_the_same_in_loops_and_in_tensor_operations() {
    let step = AdamWStep {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        correction1: 0.1,
        correction2: 0.001,
        lr: 1e-2,
        weight_decay: 0.0,
        keys: StepKeys::new(1, 2, "w"),
    };
    let [weight, grad] = [1, 2].map(|seed| leaf(seed, [40_001]).inner());
    let mut moments = Moments::zeros_like(&weight, MomentFormat::Int8);
    for _ in 0..3 {
        let (loops, operations) = both_ways(&weight, &grad, &moments, step);
        assert!(difference(loops.0, operations.0) < 1e-6);
        let ours = [&loops.1.mean, &loops.1.mean_square];
        for (ours, theirs) in ours.into_iter().zip([&operations.1.mean, &operations.1.mean_square])
        {
            let (
                Moment::Int8 { places: a, scales: s, .. },
                Moment::Int8 { places: b, scales: t, .. },
            ) = (ours, theirs)
            else {
                panic!("they stay quantised");
            };
            assert!(difference(s.clone(), t.clone()) < 1e-6);
            let (a, b): (Vec<i64>, Vec<i64>) =
                (a.to_data().iter().collect(), b.to_data().iter().collect());
            let apart = a.iter().zip(&b).filter(|(a, b)| a != b).count();
            assert!(apart < 10 && a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1), "{apart}");
            assert!(difference(ours.numbers(), theirs.numbers()) < 1e-2);
        }
        moments = loops.1;
    }
}
