//! What ranks tell each other of their counts.

use burn::tensor::{Device, TensorData};
use xcomp_model::transfer::{read_number, upload};

use super::{Meter, Part};
use crate::peers::Peers;
use crate::train::owners::{Exchange, told};

impl Meter {
    /// Exchanges the losses of the open step: afterwards every rank has those of all, in the order of lanes.
    pub fn share_losses(&mut self, peers: &dyn Peers, device: &Device) {
        if peers.world() == 1 {
            return;
        }
        let open = self.steps;
        let (own, rest): (Vec<Part>, Vec<Part>) =
            std::mem::take(&mut self.parts).into_iter().partition(|part| part.step == open);
        let own: Vec<(String, usize, u32, u64)> = own
            .into_iter()
            .map(|Part { source, weight, loss, flops, .. }| {
                (source.to_string(), weight, read_number(loss).to_bits(), flops.to_bits())
            })
            .collect();
        let all = told(peers, &own).into_iter().flatten();
        let part = |(source, weight, bits, flops): (String, usize, u32, u64)| {
            let loss = TensorData::new(vec![f32::from_bits(bits)], [1]);
            let (source, flops) = (source.into(), f64::from_bits(flops));
            Part { step: open, source, weight, loss: upload(loss, device), flops }
        };
        self.parts = rest.into_iter().chain(all.map(part)).collect();
    }

    /// Adds up what all ranks have counted since the last record; of seconds the longest is kept.
    pub fn share_counts(&mut self, peers: &dyn Peers) {
        if peers.world() == 1 {
            return;
        }
        let counts = [self.samples, self.frames, self.tokens_in, self.cached, self.limited];
        let Exchange { wait_s, reduce_s, gather_s } = self.exchange.unwrap_or_default();
        let seconds = [self.wait_s, self.vision_s, wait_s, reduce_s, gather_s];
        let all: Vec<([u64; 5], [f64; 2], [f64; 5])> =
            told(peers, &(counts, [self.tokens_mean, self.flops], seconds));
        let sum = |at: usize| all.iter().map(|(counts, ..)| counts[at]).sum();
        [self.samples, self.frames, self.tokens_in, self.cached, self.limited] =
            std::array::from_fn(sum);
        let of = |at: usize| all.iter().map(|(_, numbers, _)| numbers[at]).sum();
        (self.tokens_mean, self.flops) = (of(0), of(1));
        let most = |at: usize| all.iter().map(|(.., seconds)| seconds[at]).fold(0.0, f64::max);
        (self.wait_s, self.vision_s) = (most(0), most(1));
        let exchange = Exchange { wait_s: most(2), reduce_s: most(3), gather_s: most(4) };
        self.exchange = self.exchange.map(|_| exchange);
    }
}
