//! The tensors of the model as its module has them, and how many parameters are tuned.

use burn::tensor::Device;
use xcomp_model::base::config::ModelConfig;
use xcomp_model::base::family::{Place, Region};
use xcomp_model::vlm::Vlm;

use crate::plan::tuning::Tuning;

/// A tensor of a model that has not been made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorShape {
    /// Its name in a checkpoint.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// Number of values.
    pub count: u64,
    /// Whether it is more than a vector.
    pub matrix: bool,
}

impl TensorShape {
    /// Whether it is tuned.
    pub fn moves(&self, tuning: &Tuning) -> bool {
        tuning.moves(&self.name, self.place)
    }
}

/// Parameters of one part of the model.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PartCount {
    /// `llm`, `projector` or `vision`.
    pub part: &'static str,
    /// Parameters that move.
    pub tuned: u64,
    /// Parameters that stay.
    pub frozen: u64,
    /// Tensors that move.
    pub tuned_tensors: usize,
}

/// Every tensor of a model of these sizes: the module lists its parameters, and none of them is drawn.
pub fn tensors(config: &ModelConfig) -> Vec<TensorShape> {
    let shape = |parameter: xcomp_model::weights::Parameter| TensorShape {
        place: config.family.place(&parameter.name).expect("a module's parameter has a place"),
        count: parameter.count() as u64,
        matrix: parameter.shape.len() > 1,
        name: parameter.name,
    };
    Vlm::new(config, &Device::default()).parameters().into_iter().map(shape).collect()
}

/// Tuned and frozen parameters of each part.
pub fn count(config: &ModelConfig, tuning: &Tuning) -> Vec<PartCount> {
    let tensors = tensors(config);
    let of = |region: Region| {
        let own = tensors.iter().filter(|tensor| tensor.place.tuned_with() == region);
        let (moving, still): (Vec<_>, Vec<_>) = own.partition(|tensor| tensor.moves(tuning));
        let sum = |tensors: &[&TensorShape]| tensors.iter().map(|t| t.count).sum();
        PartCount {
            part: region.word(),
            tuned: sum(&moving),
            frozen: sum(&still),
            tuned_tensors: moving.len(),
        }
    };
    Region::ALL.map(of).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cost::released;
    use crate::recipe::tune::Part;

    fn check(parts: &[&str], tuned: u64) {
        let parts: Vec<Part> = parts.iter().map(|part| part.parse().unwrap()).collect();
        let counts = count(&released::config(), &Tuning::whole(&parts));
        assert_eq!(counts.iter().map(|c| c.tuned).sum::<u64>(), tuned, "{parts:?}");
        let total: u64 = counts.iter().map(|c| c.tuned + c.frozen).sum();
        assert_eq!(total, 1_838_128_640);
    }

    #[test]
    fn the_released_model_has_the_logged_number_of_parameters() {
        check(&["llm"], 1_543_714_304);
        check(&["llm", "projector"], 1_547_649_536);
        check(&["vision"], 290_479_104);
        check(&["layers.0-1"], 2 * 46_797_824);
    }
}
