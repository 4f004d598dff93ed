//! Which rank steps which tensor (ZeRO-1 by whole tensors): norms, names and files stay what they are on one rank.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use burn::module::Param;
use burn::tensor::{DType, Device, Float, Tensor, TensorData};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xcomp_model::ops::{Moment, MomentFormat};
use xcomp_model::transfer::{read, read_number, upload};
use xcomp_model::vlm::Vlm;
use xcomp_model::weights::{Change, Look, Named};

use crate::peers::Peers;
use crate::plan::Plan;
use crate::plan::ranks::shares;
use crate::train::optimizer::adamw::{AdamWState, NamedMoments};
use crate::train::optimizer::grads::NamedTensors;

/// The owner of every tuned tensor: it alone holds the tensor's moments.
#[derive(Debug)]
pub struct Owners<'a> {
    peers: &'a dyn Peers,
    /// Owner and number of values, by name.
    tensors: BTreeMap<String, (usize, usize)>,
    /// How moments are held.
    moments: MomentFormat,
    /// What the open step has taken so far.
    spent: Cell<Exchange>,
}

/// Seconds that ranks spend on each other.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Exchange {
    /// Waiting for the slowest rank, before gradients are added.
    pub wait_s: f64,
    /// Adding gradients: through the host to their owners.
    pub reduce_s: f64,
    /// Giving out the weights that the owners have stepped, in the same way.
    pub gather_s: f64,
}

/// Waits for what the device still computes: it is no part of an exchange.
fn settle(device: &Device) {
    // A device that fails says so when it is read, which is next.
    device.sync().unwrap_or_default();
}

/// What every rank says, by rank.
pub(super) fn told<T: Serialize + DeserializeOwned>(peers: &dyn Peers, own: &T) -> Vec<T> {
    let own = serde_json::to_vec(own).expect("plain data is JSON");
    let notes = peers.exchange(&own);
    notes.iter().map(|note| serde_json::from_slice(note).expect("as it was sent")).collect()
}

impl<'a> Owners<'a> {
    /// Of the tensors of `model` that a plan tunes: the same on every rank.
    pub fn new(peers: &'a dyn Peers, model: &Vlm, plan: &Plan) -> Self {
        let mut parameters = model.parameters();
        parameters.retain(|parameter| plan.tunes(&parameter.name));
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        let sizes: Vec<usize> =
            parameters.iter().map(xcomp_model::weights::Parameter::count).collect();
        let owners = shares(&sizes, peers.world()).into_iter().zip(sizes);
        let names = parameters.into_iter().map(|parameter| parameter.name);
        let tensors = names.zip(owners).collect();
        Self { peers, tensors, moments: plan.moment_format(), spent: Cell::default() }
    }

    fn alone(&self) -> bool {
        self.peers.world() == 1
    }

    fn owns(&self, name: &str) -> bool {
        self.tensors.get(name).is_some_and(|(owner, _)| *owner == self.peers.rank())
    }

    /// Names that any rank holds, owner by owner, with their sizes, and how many values each owner has of them.
    fn layout<'n>(
        &self,
        held: impl Iterator<Item = &'n str>,
    ) -> (Vec<(String, usize)>, Vec<usize>) {
        let held: Vec<&str> = held.collect();
        let own: Vec<String> = held.into_iter().map(str::to_owned).collect();
        let names: BTreeSet<String> = told(self.peers, &own).into_iter().flatten().collect();
        let mut counts = vec![0; self.peers.world()];
        let mut order: Vec<(usize, String, usize)> = names
            .into_iter()
            .map(|name| {
                let (owner, len) = self.tensors[&name];
                counts[owner] += len;
                (owner, name, len)
            })
            .collect();
        order.sort_by_key(|(owner, ..)| *owner); // stable: by name within an owner
        (order.into_iter().map(|(_, name, len)| (name, len)).collect(), counts)
    }

    /// Sums gradients over ranks; each rank gets those of the tensors that it owns.
    ///
    /// What no sample of a rank has reached counts as -0 there, the one value that changes no bit of a sum; what none has reached stays absent.
    #[must_use]
    pub fn reduce(&self, grads: NamedTensors, device: &Device) -> NamedTensors {
        if self.alone() {
            return grads;
        }
        settle(device);
        let begun = Instant::now();
        let (order, counts) = self.layout(grads.names());
        let wait_s = begun.elapsed().as_secs_f64();
        let mut flat: Vec<f32> = Vec::with_capacity(counts.iter().sum());
        for (name, len) in &order {
            match grads.get(name) {
                Some(tensor) => flat.extend(read(tensor).iter::<f32>()),
                None => flat.resize(flat.len() + len, -0.0),
            }
        }
        drop(grads);
        let share = self.peers.reduce_scatter(&flat, &counts);
        let (mut own, mut at) = (NamedTensors::default(), 0);
        for (name, len) in order.into_iter().filter(|(name, _)| self.owns(name)) {
            let numbers = TensorData::new(share[at..at + len].to_vec(), [len]);
            own.insert(name, upload(numbers, device));
            at += len;
        }
        let reduce_s = begun.elapsed().as_secs_f64() - wait_s;
        self.spent.set(Exchange { wait_s, reduce_s, ..self.spent.get() });
        own
    }

    /// What the ranks have spent on each other since the last call; nothing where there is one.
    pub fn take_spent(&self) -> Option<Exchange> {
        (!self.alone()).then(|| self.spent.take())
    }

    /// The norm over the tensors of all ranks, `[1]`: each owner's sums of squares, added in the order of names.
    pub fn norm(&self, own: &NamedTensors, device: &Device) -> Option<Tensor<1>> {
        if self.alone() {
            return own.norm();
        }
        let squares: BTreeMap<String, u32> = own
            .squares()
            .map(|(name, square)| (name.to_owned(), read_number(square).to_bits()))
            .collect();
        let all: BTreeMap<String, u32> = told(self.peers, &squares).into_iter().flatten().collect();
        let sum = all.into_values().map(f32::from_bits).reduce(|a, b| a + b)?;
        Some(upload::<1, Float>(TensorData::new(vec![sum], [1]), device).sqrt())
    }

    /// Gives every rank the weights that their owners have stepped.
    #[must_use]
    pub fn spread(&self, model: Vlm, stepped: &[String], device: &Device) -> Vlm {
        if self.alone() {
            return model;
        }
        settle(device);
        let begun = Instant::now();
        let (order, counts) = self.layout(stepped.iter().map(String::as_str));
        let mut own = Reading { wanted: stepped, found: BTreeMap::new() };
        model.look_at_each(&mut own);
        let of_own = order.iter().filter(|(name, _)| self.owns(name));
        let share: Vec<f32> =
            of_own.flat_map(|(name, _)| own.found.remove(name).expect("stepped here")).collect();
        let all = self.peers.all_gather(&share, &counts);
        let (mut come, mut at) = (BTreeMap::new(), 0);
        for (name, len) in order {
            if !self.owns(&name) {
                come.insert(name, all[at..at + len].to_vec());
            }
            at += len;
        }
        let model = model.change_each(&mut Writing { come });
        let gather_s = begun.elapsed().as_secs_f64();
        self.spent.set(Exchange { gather_s, ..self.spent.get() });
        model
    }

    /// The moments of all ranks on rank 0, tensor by tensor; elsewhere nothing is held.
    #[must_use]
    pub fn collect(&self, own: &AdamWState, device: &Device) -> AdamWState {
        if self.alone() {
            return own.clone();
        }
        let all = |own: &NamedMoments, signed: bool| {
            let (order, _) = self.layout(own.keys().map(String::as_str));
            let mut all = NamedMoments::new();
            for (name, len) in order {
                let moment = self.to_first(&name, len, own.get(&name), signed, device);
                all.extend(moment.map(|moment| (name, moment)));
            }
            all
        };
        let (exp_avg, exp_avg_sq) = (all(&own.exp_avg, true), all(&own.exp_avg_sq, false));
        AdamWState { step: own.step, exp_avg, exp_avg_sq }
    }

    /// A moment of a tensor of `len` numbers on rank 0, from its owner; its parts are sent as f32, which holds all of their values.
    fn to_first(
        &self,
        name: &str,
        len: usize,
        held: Option<&Moment>,
        signed: bool,
        device: &Device,
    ) -> Option<Moment> {
        let (owner, _) = self.tensors[name];
        // An empty moment of the owner's format says how many numbers come, and how they are held here.
        let format = Moment::zeros(len, self.moments, signed, device);
        let send = |count: usize, own: Option<Tensor<1>>| {
            let own: Option<Vec<f32>> = own.map(|tensor| read(tensor).iter().collect());
            let come = self.peers.to_first(owner, count, own.as_deref())?;
            Some(upload::<1, Float>(TensorData::new(come, [count]), device))
        };
        match (format, held) {
            (Moment::Int8 { places, scales, .. }, held) => {
                let (own, own_scales) = match held {
                    Some(Moment::Int8 { places, scales, .. }) => {
                        (Some(places.clone().float()), Some(scales.clone()))
                    }
                    _ => (None, None),
                };
                let places = send(places.dims()[0], own);
                let scales = send(scales.dims()[0], own_scales);
                let places = places?.int().cast(DType::U8);
                Some(Moment::Int8 { places, scales: scales?, signed })
            }
            (Moment::Float(empty), held) => {
                let come = send(len, held.map(Moment::numbers))?;
                Some(Moment::Float(come.cast(empty.dtype())))
            }
        }
    }

    /// Lets go of the moments of other ranks' tensors.
    pub fn keep_own(&self, state: &mut AdamWState) {
        for moments in [&mut state.exp_avg, &mut state.exp_avg_sq] {
            moments.retain(|name, _| self.owns(name));
        }
    }
}

/// Numbers of the wanted parameters.
struct Reading<'a> {
    wanted: &'a [String],
    found: BTreeMap<String, Vec<f32>>,
}

impl Look for Reading<'_> {
    fn look<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        if self.wanted.iter().any(|wanted| wanted == name) {
            self.found.insert(name.to_owned(), read(param.val().inner()).iter().collect());
        }
    }
}

/// Parameters that came from other ranks.
struct Writing {
    come: BTreeMap<String, Vec<f32>>,
}

impl Change for Writing {
    fn change<const D: usize>(&mut self, name: &str, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(numbers) = self.come.remove(name) else { return param };
        let shape = param.lazy_shape().dims::<D>();
        param.map(|old| {
            upload::<D, Float>(TensorData::new(numbers, shape), &old.device())
                .cast(old.dtype())
                .require_grad()
        })
    }
}
