//! The loss on samples that are held out of the training.
//!
//! A validation reads weights and changes none: a run has the same bits with and without it. It can be cut short between two samples;
//! what it has found is saved with the state, and the next start goes on from there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use xcomp_data::{FeatureCache, LoadOptions, Mixture, load_example};
use xcomp_model::transfer::read_number;
use xcomp_model::vlm::Vlm;

use crate::error::Error;
use crate::machine::files::sha256;
use crate::machine::stop::Stop;
use crate::train::event::{Event, Report, Training};
use crate::train::held_out::{Found, HeldOut, Validated};
use crate::train::meter::Raw;
use crate::train::owners::told;
use crate::train::samples::{Sample, evenly, load};
use crate::train::saves::Saves;
use crate::train::state::TrainState;
use crate::train::step::MicroBatch;
use crate::train::together;

/// The held-out samples of a run.
pub(super) struct Validation<'a> {
    task: &'a Training<'a>,
    mixture: Option<&'a Mixture>,
    /// Which of its samples are looked at.
    chosen: Vec<usize>,
    options: LoadOptions,
    /// How many samples were left out when it was last told.
    told: usize,
}

impl<'a> Validation<'a> {
    /// Chooses the samples; what the state knows of another choice is forgotten.
    ///
    /// # Errors
    /// If there are samples and none of them can be used.
    pub(super) fn open(
        task: &'a Training<'a>,
        features: Option<Arc<FeatureCache>>,
        state: &mut TrainState,
    ) -> Result<Self, Error> {
        let mixture = task.data.held_out.as_deref();
        let have = mixture.map_or(0, Mixture::len);
        let most = task.plan.recipe.eval.samples;
        let chosen = evenly(if most == 0 { have } else { most }, have);
        let options = LoadOptions { features, ..task.data.load_options().clone() };
        let validation = Self { task, mixture, chosen, options, told: 0 };
        validation.require_one()?;
        let set = mixture.map_or(String::new(), |mixture| {
            sha256(format!("{} {:?}", mixture.hash(), validation.chosen).as_bytes())
        });
        if state.validated.set != set {
            state.validated = Validated { set, ..Validated::default() };
            state.best = None; // it was chosen by another measure
        }
        Ok(validation)
    }

    /// Looks for a sample that can be used: before the first step, not at the first validation.
    fn require_one(&self) -> Result<(), Error> {
        let Some(mixture) = self.mixture else { return Ok(()) };
        let mut first = None;
        for index in &self.chosen {
            match load_example(&mixture.records()[*index], *index, &self.options) {
                Ok(_) => return Ok(()),
                Err(error) => first = first.or(Some(error)),
            }
        }
        let (path, count) = (mixture.path().to_owned(), self.chosen.len());
        let why = first.map_or(String::new(), |error| error.to_string());
        let message = format!("none of the {count} held-out samples can be used; the first: {why}");
        Err(Error::Mismatch { path, message })
    }

    /// Whether the weights that the state holds are still to be validated: every so many steps, and before every save.
    pub(super) fn is_due(&self, state: &TrainState, saves: &Saves) -> bool {
        let every = self.task.plan.recipe.eval.every_steps;
        let due = saves.due(state.step) || (every > 0 && state.step.is_multiple_of(every));
        !self.chosen.is_empty() && state.step > 0 && state.validated.step != state.step && due
    }

    /// Whether the run ends here: the loss has not fallen for as many validations as the recipe says.
    pub(super) fn stops(&self, state: &TrainState) -> bool {
        let patience = self.task.plan.recipe.train.early_stopping_patience;
        patience > 0 && !self.chosen.is_empty() && state.validated.behind >= patience
    }

    /// Says so, where it ended before its last step.
    pub(super) fn tell_end(&self, state: &TrainState, report: &mut Report) -> Result<(), Error> {
        let (step, steps) = (state.step, self.task.plan.steps);
        if !self.stops(state) || step == steps {
            return Ok(());
        }
        let Validated { behind, lowest, .. } = &state.validated;
        let lowest = lowest.map_or("never a number".into(), |loss| format!("lowest {loss:.4}"));
        report(Event::Note(format!(
            "ends after step {step} of {steps}: the held-out loss has not fallen in {behind} validations ({lowest}; [train] early_stopping_patience)"
        )))
    }

    /// Validates and saves, each where it is due; what ends a run early is saved too.
    ///
    /// # Errors
    /// [`Error::Stopped`] where it was stopped between two samples; and if the disk refuses.
    pub(super) fn and_save(
        &mut self,
        state: &mut TrainState,
        saves: &mut Saves,
        stop: &mut Stop,
        report: &mut Report,
    ) -> Result<(), Error> {
        if self.is_due(state, saves)
            && let Some(why) = self.measure(state, stop, report)?
        {
            return Err(saves.leave(state, why, stop, report)?);
        }
        if saves.due(state.step) || self.stops(state) {
            saves.start(state, stop, report)?;
        }
        Ok(())
    }

    /// Measures the weights; gives why it was cut short, if it was.
    fn measure(
        &mut self,
        state: &mut TrainState,
        stop: &Stop,
        report: &mut Report,
    ) -> Result<Option<&'static str>, Error> {
        let begun = Instant::now();
        let peers = self.task.peers;
        let model = state.model.valid();
        if state.validated.found_at != state.step {
            state.validated.found.clear();
            state.validated.found_at = state.step;
        }
        let (mut own, mut why) = (vec![], None);
        for place in (state.validated.found.len()..self.chosen.len()).step_by(peers.world()) {
            why = together::asked(peers, stop, true);
            if why.is_some() {
                break;
            }
            let place = place + peers.rank();
            if let Some(index) = self.chosen.get(place) {
                own.push((place, self.found(&model, *index)?));
            }
        }
        // Every rank learns all losses and adds them in the order of the samples.
        let mut all: Vec<(usize, Found)> = told(peers, &own).into_iter().flatten().collect();
        all.sort_by_key(|(place, _)| *place);
        state.validated.found.extend(all.into_iter().map(|(_, found)| found));
        if why.is_none() {
            self.close(state, begun.elapsed().as_secs_f64(), report)?;
        }
        Ok(why)
    }

    /// The loss of a sample, or why it cannot be used; what the disk or the device refuses is no sample's fault.
    fn found(&self, model: &Vlm, index: usize) -> Result<Found, Error> {
        let plan = self.task.plan;
        let record = &self.mixture.expect("a sample of it was chosen").records()[index];
        let sample = load(plan, model, record, index, &self.options, self.task.device);
        let Sample { source, batch, .. } = match sample {
            Ok(sample) => sample,
            Err(error @ (Error::Data(_) | Error::Collate(_) | Error::Argument(_))) => {
                return Ok(Err(error.to_string()));
            }
            Err(error) => return Err(error),
        };
        let MicroBatch { prompts, merged, windows, .. } = batch;
        let norm = plan.loss_norm();
        let (loss, weight) = if windows.is_empty() {
            model.loss(&prompts, merged, &plan.compression, norm)
        } else {
            model.loss_in_windows(&prompts, merged, &windows, norm)
        };
        Ok(Ok((source.to_string(), read_number(loss).to_bits(), weight)))
    }

    fn close(
        &mut self,
        state: &mut TrainState,
        seconds: f64,
        report: &mut Report,
    ) -> Result<(), Error> {
        let found = std::mem::take(&mut state.validated.found);
        let unusable: Vec<&String> =
            found.iter().filter_map(|found| found.as_ref().err()).collect();
        let (all, left_out, first) =
            (found.len(), unusable.len(), unusable.first().map(ToString::to_string));
        let mut sums: BTreeMap<String, (f64, usize)> = BTreeMap::new();
        let mut whole = (0.0, 0);
        for (source, loss, weight) in found.into_iter().flatten() {
            let own = sums.entry(source).or_default();
            for sum in [own, &mut whole] {
                *sum = (sum.0 + f64::from(f32::from_bits(loss)), sum.1 + weight);
            }
        }
        if let Some(first) = first.filter(|_| self.told != left_out) {
            self.told = left_out;
            report(Event::Note(format!(
                "{left_out} of {all} held-out samples cannot be used and are left out, the first: {first}"
            )))?;
        }
        let mean = |(sum, weight): (f64, usize)| sum / weight as f64; // not a number over nothing
        state.validated.take(state.step, mean(whole));
        report(Event::Validated(HeldOut {
            step: state.step,
            eval_loss: Raw(mean(whole)),
            eval_samples: all - left_out,
            eval_left_out: left_out,
            eval_s: seconds,
            eval_sources: sums.into_iter().map(|(name, sum)| (name, Raw(mean(sum)))).collect(),
        }))
    }
}
