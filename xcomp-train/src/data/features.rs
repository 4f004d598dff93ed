//! Between tower and connector: features in the recipe's format, made anew or taken from the cache.
//!
//! The format alone decides the numbers. With `feature_format = "exact"` they are the tower's own to the bit; any other
//! format rounds them on their way from the tower too, so a run is the same with a cache, without one, or with half of one.

mod format;

use std::path::Path;
use std::sync::Arc;

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use sha2::{Digest, Sha256};
use xcomp_data::features::store::StoreOptions;
use xcomp_data::{Encoder, FeatureCache};
use xcomp_model::base::config::ModelConfig;
use xcomp_model::compress::vst::dynamic::similarities;
use xcomp_model::transfer::read;
use xcomp_model::vision::frames::{ENCODER, Encoding};
use xcomp_model::vlm::{Encoded, Vlm};

use crate::data::collate::VisualInput;
use crate::error::Error;
use crate::machine::device::kind;
use crate::plan::Plan;
use crate::plan::vst::Windows;
use crate::recipe::tables::DataTable;
use crate::show::numbers::GIB;
pub(crate) use format::{Stored, class_to_host, encoded, encoded_to_host, to_device, to_host};
use xcomp_model::base::family::{Family, Place};
use xcomp_model::weights::{Look, Named};

/// The merged features of an image or video, on the device, without a tape while the tower is frozen; and its [`gaps`].
pub(crate) fn merged(
    plan: &Plan,
    model: &Vlm,
    visual: VisualInput,
    device: &Device,
) -> (Tensor<3>, Vec<f64>) {
    let dtype = plan.encoding().dtype;
    let (clips, slot) = match visual {
        VisualInput::Features(features) => {
            let gaps = gaps_of(plan, &features.class);
            return (to_device(features, dtype, device), gaps);
        }
        VisualInput::Clips(clips, slot) => (clips, slot),
    };
    let seen = if asks_for_class(plan) {
        model.encode_with_class(&clips, device, plan.encoding())
    } else {
        Encoded { features: model.encode(&clips, device, plan.encoding()), class: None }
    };
    let stored = Stored::of(plan);
    let (merged, whole) = (seen.features.clone(), stored.holds(dtype));
    if slot.is_none() && whole {
        let class = seen.class.map_or(vec![], class_to_host);
        return (merged, gaps_of(plan, &class));
    }
    let features = encoded_to_host(seen, stored);
    let gaps = gaps_of(plan, &features.class);
    if let Some(slot) = slot {
        slot.fill(&features);
    }
    (if whole { merged } else { to_device(features, dtype, device) }, gaps)
}

/// Similarities of consecutive frames of an image or video, where they decide where windows end; else nothing.
pub(crate) fn gaps(plan: &Plan, model: &Vlm, visual: &VisualInput, device: &Device) -> Vec<f64> {
    let class = match visual {
        _ if !asks_for_class(plan) => return vec![],
        VisualInput::Features(features) => return gaps_of(plan, &features.class),
        VisualInput::Clips(clips, _) => model.class_tokens(clips, device, plan.encoding()),
    };
    gaps_of(plan, &class.map_or(vec![], class_to_host))
}

fn gaps_of(plan: &Plan, class: &[f32]) -> Vec<f64> {
    similarities(class, plan.config.vision.hidden_size)
}

fn asks_for_class(plan: &Plan) -> bool {
    plan.vst.as_ref().is_some_and(Windows::looks_at_frames)
}

/// The recipe's cache for the tower of `model`, if it names one.
///
/// # Errors
/// If its folder cannot be used.
pub fn open_cache(
    plan: &Plan,
    model: &Vlm,
    device: &Device,
) -> Result<Option<Arc<FeatureCache>>, Error> {
    let (encoding, stored) = (plan.encoding(), Stored::of(plan));
    let class = asks_for_class(plan);
    let tower = Tower { model, config: &plan.config, encoding, stored, class, device };
    tower.open_cache(&plan.recipe.data)
}

/// A tower, and how it is run.
pub(crate) struct Tower<'a> {
    pub(crate) model: &'a Vlm,
    pub(crate) config: &'a ModelConfig,
    pub(crate) encoding: Encoding,
    pub(crate) stored: Stored,
    /// Whether class tokens are kept beside features.
    pub(crate) class: bool,
    pub(crate) device: &'a Device,
}

impl Tower<'_> {
    /// The cache that the table names, if it names one.
    pub(crate) fn open_cache(&self, data: &DataTable) -> Result<Option<Arc<FeatureCache>>, Error> {
        if data.feature_cache.is_empty() {
            return Ok(None);
        }
        let max_bytes = (data.feature_cache_gib * GIB) as u64;
        #[expect(
            clippy::disallowed_methods,
            reason = "which files were used last decides what is evicted, no number"
        )]
        let options = StoreOptions { max_bytes, now: std::time::SystemTime::now() };
        let cache = FeatureCache::open(Path::new(&data.feature_cache), options, &self.encoder())?;
        Ok(Some(Arc::new(cache)))
    }

    /// All that decides the features of given frames.
    fn encoder(&self) -> Encoder {
        let (vision, connector) = (&self.config.vision, &self.config.connector);
        let stages = &connector.stages[..connector.fixed_stages()];
        let settings = format!(
            "{} {stages:?} {:?} {:?} {:?} {}",
            vision.key(),
            self.config.family.pixels,
            self.encoding,
            self.stored,
            kind(self.device)
        );
        let encoder = Encoder::default()
            .with("version", &ENCODER.to_le_bytes())
            .with("settings", settings.as_bytes())
            .with("weights", &vision_hash(self.model));
        if self.class { encoder.with("class tokens", b"f32") } else { encoder }
    }
}

/// A hash over all weights of the tower, as they are computed with.
fn vision_hash(model: &Vlm) -> Vec<u8> {
    struct Hasher(&'static Family, Sha256);
    impl Look for Hasher {
        fn look<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
            if self.0.place(name) == Some(Place::Vision) {
                let data = read(param.val().inner());
                self.1.update(format!("{name} {:?} {:?} ", data.shape(), data.dtype()));
                self.1.update(data.as_bytes());
            }
        }
    }
    let mut hasher = Hasher(model.family, Sha256::new());
    model.look_at_each(&mut hasher);
    hasher.1.finalize().to_vec()
}
