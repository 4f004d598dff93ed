//! What ranks tell each other of their counts.

use burn::tensor::{Device, TensorData};
use xcomp_model::transfer::{read_number, upload};

use super::{Meter, Part};
use crate::peers::Peers;
use crate::train::owners::told;

impl Meter {
    /// Exchanges the losses of the open step: afterwards every rank has those of all, in the order of lanes.
    pub fn share_losses(&mut self, peers: &dyn Peers, device: &Device) {
        if peers.world() == 1 {
            return;
        }
        let open = self.steps;
        let (own, rest): (Vec<Part>, Vec<Part>) =
            std::mem::take(&mut self.parts).into_iter().partition(|part| part.step == open);
        let own: Vec<(String, usize, u32)> = own
            .into_iter()
            .map(|part| (part.source.to_string(), part.weight, read_number(part.loss).to_bits()))
            .collect();
        let all = told(peers, &own).into_iter().flatten();
        let part = |(source, weight, bits): (String, usize, u32)| {
            let loss = TensorData::new(vec![f32::from_bits(bits)], [1]);
            Part { step: open, source: source.into(), weight, loss: upload(loss, device) }
        };
        self.parts = rest.into_iter().chain(all.map(part)).collect();
    }

    /// Adds up what all ranks have counted since the last record; of seconds the longest is kept.
    pub fn share_counts(&mut self, peers: &dyn Peers) {
        if peers.world() == 1 {
            return;
        }
        let counts = [self.samples, self.frames, self.tokens_in, self.cached, self.limited];
        let all: Vec<([u64; 5], [f64; 4])> =
            told(peers, &(counts, [self.tokens_mean, self.flops, self.wait_s, self.vision_s]));
        let sum = |at: usize| all.iter().map(|(counts, _)| counts[at]).sum();
        [self.samples, self.frames, self.tokens_in, self.cached, self.limited] =
            std::array::from_fn(sum);
        let of = |at: usize| all.iter().map(move |(_, numbers)| numbers[at]);
        (self.tokens_mean, self.flops) = (of(0).sum(), of(1).sum());
        (self.wait_s, self.vision_s) = (of(2).fold(0.0, f64::max), of(3).fold(0.0, f64::max));
    }
}
