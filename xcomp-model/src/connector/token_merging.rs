//! Token merging (`ToMe16_mlp_hd64`): bipartite soft matching in rounds until a target is reached.
//!
//! Matching reads similarities only and carries no gradient; the size-weighted average is
//! differentiable. Everything is computed in f32, also for bf16 activations: the reference keeps
//! the activation dtype, in which counts above 256 are not exact.

use burn::tensor::{Bool, DType, Int, Tensor, s};

use crate::base::connector::GroupOrder;
use crate::cost::matmul;

/// Merged tokens, how many raw tokens each of them averages, and where it stands.
#[derive(Debug, Clone)]
pub struct Merged {
    /// `[batch, tokens, width]`.
    pub tokens: Tensor<3>,
    /// Raw tokens in each token, `[batch, tokens, 1]`, f32.
    pub sizes: Tensor<3>,
    /// The raw token that each token grew around, `[batch, tokens, 1]`, f32, exact below 2^24.
    pub anchors: Tensor<3>,
}

impl Merged {
    /// Raw tokens, each of size one and its own anchor.
    pub fn raw(tokens: Tensor<3>) -> Self {
        let ([batch, count, _], device) = (tokens.dims(), tokens.device().inner());
        let sizes = Tensor::ones([batch, count, 1], &device);
        let places = Tensor::<1, Int>::arange(0..count as i64, &device);
        let anchors: Tensor<3> = places.float().cast(DType::F32).reshape([1, count, 1]);
        Self { tokens: tokens.cast(DType::F32), sizes, anchors: anchors.expand([batch, count, 1]) }
    }

    /// The tokens by their anchors: first frame first, row by row.
    pub fn in_frame_order(&self) -> Tensor<3> {
        let order: Tensor<2, Int> = self.anchors.clone().argsort(1).squeeze_dim(2);
        rows(self.tokens.clone(), &order)
    }
}

/// Which even token goes into which odd token in one round.
#[derive(Debug, Clone)]
pub struct Matching {
    /// For each even token the odd token it joins, or -1 if it stays: `[batch, even]`.
    pub destination: Tensor<2, Int>,
    /// The even tokens that stay, most similar first; `None` if all of them merge.
    pub staying: Option<Tensor<2, Int>>,
}

/// Merges `x` to `target` tokens per row of the batch.
///
/// The output of every round is the unmerged even tokens by descending similarity, then all odd
/// tokens in order, so the tokens of a clip do not end in frame order
/// (reference `tome16_mlp_hd64.py:16-86`), unless `order` asks for it.
///
/// # Shapes
/// - `x`: `[batch, tokens, width]`, `width` a multiple of `heads`
/// - output: `[batch, target, width]`, in the dtype of `x`
///
/// # Panics
///
/// If `x` has fewer than `target` tokens.
pub fn merge_tokens(x: Tensor<3>, target: usize, heads: usize, order: GroupOrder) -> Tensor<3> {
    let dtype = x.dtype();
    let [_, tokens, _] = x.dims();
    let mut merged = Merged::raw(x);
    for merges in rounds(tokens, target) {
        let matching = match_tokens(&merged.tokens, heads, merges);
        merged = merge_round(merged, &matching);
    }
    let tokens = match order {
        GroupOrder::Reference => merged.tokens,
        GroupOrder::Frame => merged.in_frame_order(),
    };
    tokens.cast(dtype)
}

/// Merges per round: half of the tokens, then the rest (reference lines 107-138).
///
/// # Panics
///
/// If `tokens` is below `target`, or `target` is zero.
///
/// ```
/// # use xcomp_model::connector::token_merging::rounds;
/// assert_eq!(rounds(6272, 128), [3136, 1568, 784, 392, 196, 68]);
/// assert_eq!(rounds(784, 16), [392, 196, 98, 49, 24, 9]);
/// ```
pub fn rounds(tokens: usize, target: usize) -> Vec<usize> {
    assert!(
        (1..=tokens).contains(&target),
        "{tokens} tokens cannot be merged to {target} tokens per clip"
    );
    let mut left = tokens;
    let mut rounds = Vec::new();
    while left > target {
        let merges = (left - target).min(left / 2);
        rounds.push(merges);
        left -= merges;
    }
    rounds
}

/// Operations of merging `tokens` tokens of `width` numbers to `target`: scores, then averages.
pub fn flops(tokens: usize, target: usize, width: usize, heads: usize) -> f64 {
    let mut left = tokens;
    let round = |merged: usize| {
        let (even, odd) = (left.div_ceil(2), left / 2);
        let averages = (left * width + merged * width) as f64;
        left -= merged;
        matmul(even, width / heads, odd) + averages
    };
    rounds(tokens, target).into_iter().map(round).sum()
}

/// Matches the even tokens to their most similar odd tokens; the `merges` best pairs merge.
///
/// Similarity is the cosine of the tokens' features averaged over `heads`. Equal similarities are
/// ordered by position, which the reference leaves undefined.
///
/// # Shapes
/// - `x`: `[batch, tokens, width]`
pub fn match_tokens(x: &Tensor<3>, heads: usize, merges: usize) -> Matching {
    let (best, destination) = best_partners(x.clone().inner(), heads);
    let even = best.dims()[1];
    if merges == even {
        return Matching { destination, staying: None };
    }
    let rank = ranks(best);
    // The token of each rank from `merges` on: found by comparison, so that nothing is read back.
    let columns = Tensor::<1, Int>::arange(0..even as i64, &rank.device());
    let columns = columns.cast(rank.dtype()).unsqueeze::<3>();
    let wanted = columns.clone().slice_dim(2, merges..even).swap_dims(1, 2); // [1, even - merges, 1]
    let holds = rank.clone().unsqueeze_dim::<3>(1).equal(wanted); // [b, even - merges, even]
    let staying = (holds.int().cast(rank.dtype()) * columns).sum_dim(2).squeeze_dim::<2>(2);
    Matching {
        destination: destination.mask_fill(rank.greater_equal_elem(merges as i64), -1),
        // Features that are not numbers have no ranks: any token will do, but it must be one.
        staying: Some(staying.clamp_max(even as i64 - 1)),
    }
}

/// The place of each value among its row, largest first; equal values keep their order: `[batch, count]`.
fn ranks(values: Tensor<2>) -> Tensor<2, Int> {
    let [batch, count] = values.dims();
    let (own, other) = (values.clone().unsqueeze_dim::<3>(2), values.unsqueeze_dim::<3>(1));
    let [own, other] = [own, other].map(|side| side.expand([batch, count, count]));
    let larger = other.clone().greater(own.clone());
    let before = Tensor::<2, Bool>::tril_mask([count, count], -1, &own.device()).bool_not();
    let equal_before =
        other.equal(own).bool_and(before.unsqueeze::<3>().expand([batch, count, count]));
    larger.bool_or(equal_before).int().sum_dim(2).squeeze_dim(2)
}

/// The best similarity of each even token and the odd token that has it: `[batch, even]` each.
fn best_partners(x: Tensor<3>, heads: usize) -> (Tensor<2>, Tensor<2, Int>) {
    let [batch, tokens, width] = x.dims();
    let metric: Tensor<3> =
        x.reshape([batch, tokens, heads, width / heads]).mean_dim(2).squeeze_dim(2);
    let norm = metric.clone().square().sum_dim(2).sqrt(); // no epsilon, as the reference
    let metric = metric / norm;
    let scores = even(metric.clone()).matmul(odd(metric).swap_dims(1, 2)); // [b, even, odd]
    let (best, index) = scores.max_dim_with_indices(2);
    (best.squeeze_dim(2), index.squeeze_dim(2))
}

/// Averages matched tokens, weighted by their sizes.
///
/// The sum over sources is a product with a 0/1 matrix: unlike a scatter, its order, and so its
/// result, is the same in every run on a GPU too.
pub fn merge_round(merged: Merged, matching: &Matching) -> Merged {
    let Merged { tokens, sizes, anchors } = merged;
    let (source_anchors, mut anchors) = (even(anchors.clone()), odd(anchors));
    let sums = tokens * sizes.clone();
    let (sources, source_sizes) = (even(sums.clone()), even(sizes.clone()));
    let (targets, target_sizes) = (odd(sums), odd(sizes));

    let joins = joins(&matching.destination, targets.dims()[1]); // [b, odd, even]
    let mut sums = targets + joins.clone().matmul(sources.clone());
    let mut sizes = target_sizes + (joins * source_sizes.clone().swap_dims(1, 2)).sum_dim(2);

    if let Some(staying) = &matching.staying {
        sums = Tensor::cat(vec![rows(sources, staying), sums], 1);
        sizes = Tensor::cat(vec![rows(source_sizes, staying), sizes], 1);
        anchors = Tensor::cat(vec![rows(source_anchors, staying), anchors], 1);
    }
    Merged { tokens: sums / sizes.clone(), sizes, anchors }
}

/// One where an even token joins an odd one: `[batch, odd, even]`, f32.
fn joins(destination: &Tensor<2, Int>, odd: usize) -> Tensor<3> {
    let device = destination.device();
    let targets = Tensor::<1, Int>::arange(0..odd as i64, &device)
        .cast(destination.dtype())
        .reshape([1, odd, 1]);
    targets.equal(destination.clone().unsqueeze_dim(1)).float().cast(DType::F32)
}

/// Rows of `x` by index: `[batch, indices, width]`.
fn rows(x: Tensor<3>, indices: &Tensor<2, Int>) -> Tensor<3> {
    let [batch, count] = indices.dims();
    let width = x.dims()[2];
    x.gather(1, indices.clone().unsqueeze_dim::<3>(2).expand([batch, count, width]))
}

fn even(x: Tensor<3>) -> Tensor<3> {
    x.slice(s![.., 0..;2, ..])
}

fn odd(x: Tensor<3>) -> Tensor<3> {
    x.slice(s![.., 1..;2, ..])
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_until_the_target_is_near() {
        let check = |tokens, target, expect: &[usize]| assert_eq!(rounds(tokens, target), expect);
        check(3136, 64, &[1568, 784, 392, 196, 98, 34]);
        check(784, 64, &[392, 196, 98, 34]);
        check(75, 16, &[37, 19, 3]);
        check(16, 16, &[]);
    }

    #[test]
    #[should_panic(expected = "9 tokens cannot be merged to 16")]
    fn does_not_merge_upwards() {
        rounds(9, 16);
    }

    #[test]
    fn equal_similarities_keep_their_order() {
        let values = Tensor::<2>::from_floats([[0.5, 0.9, 0.5, 0.9, 1.0]], &Device::flex());
        let got: Vec<i32> = ranks(values).into_data().iter().collect();
        assert_eq!(got, [3, 1, 4, 2, 0]);
    }

    /// Four tokens become three: the first joins the second, which is like it, and the third stays.
    fn three_of_four(order: GroupOrder) -> Vec<f32> {
        let raw = TensorData::new(vec![1.0_f32, 0.0, 3.0, 0.0, 0.0, 5.0, 7.0, 7.0], [1, 4, 2]);
        let raw = Tensor::<3>::from_data(raw, &Device::flex());
        merge_tokens(raw, 3, 1, order).into_data().iter().collect()
    }

    #[test]
    fn tokens_stand_as_the_reference_leaves_them_or_by_their_anchors() {
        assert_eq!(three_of_four(GroupOrder::Reference), [0.0, 5.0, 2.0, 0.0, 7.0, 7.0]);
        assert_eq!(three_of_four(GroupOrder::Frame), [2.0, 0.0, 0.0, 5.0, 7.0, 7.0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn frame_order_is_the_reference_sorted_by_anchors((batch, tokens, target, x) in clips()) {
            let raw = Tensor::<3>::from_data(TensorData::new(x, [batch, tokens, 8]), &Device::flex());
            let mut merged = Merged::raw(raw);
            for merges in rounds(tokens, target) {
                let matching = match_tokens(&merged.tokens, 2, merges);
                merged = merge_round(merged, &matching);
            }
            let values = |x: Tensor<3>| -> Vec<f32> { x.into_data().iter().collect() };
            let (anchors, reference) = (values(merged.anchors.clone()), values(merged.tokens.clone()));
            let sorted = values(merged.in_frame_order());
            for (b, anchors) in anchors.chunks(target).enumerate() {
                let mut order: Vec<usize> = (0..target).collect();
                order.sort_by(|a, b| anchors[*a].total_cmp(&anchors[*b]));
                let distinct = order.windows(2).all(|pair| anchors[pair[0]] < anchors[pair[1]]);
                prop_assert!(distinct, "{anchors:?}");
                let token = |all: &[f32], at: usize| all[(b * target + at) * 8..][..8].to_vec();
                for (at, from) in order.into_iter().enumerate() {
                    prop_assert_eq!(token(&sorted, at), token(&reference, from));
                }
            }
        }

        #[test]
        fn rounds_reach_the_target(tokens in 1_usize..9000, share in 0.0..1.0_f64) {
            let target = ((tokens as f64 * share) as usize).max(1);
            let rounds = rounds(tokens, target);
            let mut left = tokens;
            for merges in rounds {
                prop_assert!(merges > 0 && merges <= left / 2);
                left -= merges;
            }
            prop_assert_eq!(left, target);
        }

        #[test]
        fn merging_conserves_mass_and_order((batch, tokens, target, x) in clips()) {
            let device = Device::flex();
            let raw = Tensor::<3>::from_data(TensorData::new(x, [batch, tokens, 8]), &device);
            let total = raw.clone().sum_dim(1);
            let mut merged = Merged::raw(raw);
            for merges in rounds(tokens, target) {
                let matching = match_tokens(&merged.tokens, 2, merges);
                let before = merged.clone();
                merged = merge_round(merged, &matching);
                check_order(&before, &matching, &merged)?;
            }
            prop_assert_eq!(merged.tokens.dims(), [batch, target, 8]);

            let counts: Vec<f32> = merged.sizes.clone().sum_dim(1).into_data().iter().collect();
            prop_assert!(counts.iter().all(|count| *count as usize == tokens), "{counts:?}");
            let drift = ((merged.tokens * merged.sizes).sum_dim(1) - total).abs().max();
            prop_assert!(drift.into_scalar::<f32>() < 1e-3);
        }
    }

    /// Sizes of a batch, and its values.
    fn clips() -> impl Strategy<Value = (usize, usize, usize, Vec<f32>)> {
        (1_usize..3, 2_usize..40).prop_flat_map(|(batch, tokens)| {
            let values = prop::collection::vec(-3.0_f32..3.0, batch * tokens * 8);
            (Just(batch), Just(tokens), 1..=tokens, values)
        })
    }

    /// Unmerged even tokens come first, most similar first; then one token for each odd one.
    fn check_order(
        before: &Merged,
        matching: &Matching,
        after: &Merged,
    ) -> Result<(), TestCaseError> {
        let Some(staying) = &matching.staying else { return Ok(()) };
        let [_, kept] = staying.dims();
        let [_, odd_tokens, _] = odd(before.tokens.clone()).dims();
        prop_assert_eq!(after.tokens.dims()[1], kept + odd_tokens);

        let expect = rows(even(before.tokens.clone()), staying);
        let got = after.tokens.clone().slice_dim(1, 0..kept);
        prop_assert!((got - expect).abs().max().into_scalar::<f32>() < 1e-4);

        let (best, _) = best_partners(before.tokens.clone(), 2);
        let best = best.gather(1, staying.clone());
        let best: Vec<f32> = best.into_data().iter().collect();
        prop_assert!(best.chunks(kept).all(|row| row.is_sorted_by(|a, b| a >= b)), "{best:?}");
        Ok(())
    }
}
