//! What a record says of micro-batches together: mean losses, and how evenly lanes share the work.

use std::collections::BTreeMap;

use xcomp_data::stream::cost::imbalance;

use super::{Part, Raw};

/// Mean loss of each of the first `steps`: losses are weighted within a step, as Hugging Face's trainer does.
pub(super) fn means(parts: &[Part], losses: &[f64], steps: usize) -> Vec<f64> {
    let of_step = |step: usize| {
        let own = parts.iter().zip(losses).filter(|(part, _)| part.step == step);
        let (sum, weight) =
            own.fold((0.0, 0), |(sum, weight), (part, loss)| (sum + loss, weight + part.weight));
        sum / weight.max(1) as f64
    };
    (0..steps).map(of_step).collect()
}

/// FLOPs of the costliest lane over those of the mean lane, averaged over the first `steps`, whose parts lie lane by lane.
pub(super) fn lane_imbalance(parts: &[Part], steps: usize, lanes: usize) -> Option<f64> {
    let of_step = |step: usize| {
        let flops: Vec<f64> =
            parts.iter().filter(|part| part.step == step).map(|part| part.flops).collect();
        let each = flops.len() / lanes;
        let lane = |lane: usize| (lane * each..(lane + 1) * each).collect();
        imbalance(&flops, &(0..lanes).map(lane).collect::<Vec<_>>())
    };
    (lanes > 1).then(|| (0..steps).map(of_step).sum::<f64>() / steps as f64)
}

/// Mean loss of each dataset.
pub(super) fn by_source(parts: &[Part], losses: &[f64]) -> BTreeMap<String, Raw> {
    let mut sums: BTreeMap<String, (f64, usize)> = BTreeMap::new();
    for (part, loss) in parts.iter().zip(losses) {
        let sum = sums.entry(part.source.to_string()).or_default();
        *sum = (sum.0 + loss, sum.1 + part.weight);
    }
    let mean = |(sum, weight): (f64, usize)| Raw(sum / weight.max(1) as f64);
    sums.into_iter().map(|(source, sum)| (source, mean(sum))).collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor, TensorData};

    use super::*;

    fn part(step: usize, source: &str, weight: usize) -> Part {
        let loss = Tensor::from_data(TensorData::new(vec![0.0_f32], [1]), &Device::flex());
        Part { step, source: source.into(), weight, loss, flops: weight as f64 }
    }

    #[test]
    fn the_costliest_lane_is_compared_with_the_mean() {
        let flops = [(0, 1), (0, 2), (0, 3), (0, 6), (1, 2), (1, 2), (1, 2), (1, 2)];
        let parts: Vec<Part> = flops.iter().map(|(step, cost)| part(*step, "a", *cost)).collect();
        assert_eq!(lane_imbalance(&parts, 2, 1), None);
        assert_eq!(lane_imbalance(&parts, 2, 2), Some(f64::midpoint(9.0 / 6.0, 1.0)));
        assert_eq!(lane_imbalance(&parts, 1, 4), Some(2.0));
    }

    #[test]
    fn steps_are_weighted_inside_and_averaged_outside() {
        let parts = [part(0, "a", 1), part(0, "b", 3), part(1, "a", 2)];
        let losses = [1.0, 7.0, 8.0];
        let of_steps = means(&parts, &losses, 2);
        assert!((of_steps[0] - 2.0).abs() < 1e-12 && (of_steps[1] - 4.0).abs() < 1e-12);
        let sources = by_source(&parts, &losses);
        assert!((sources["a"].0 - 3.0).abs() < 1e-12 && (sources["b"].0 - 7.0 / 3.0).abs() < 1e-12);
    }
}
