//! Plans that differ from another in one drop: what they cost says how well that drop has been learnt.

use crate::compress::reduce::{FrameDrop, Reduce};
use crate::compress::schedule::CompressionPlan;

impl Reduce {
    /// The one reduction that does what `self` and then `next` do; `None` if no single one does.
    pub fn then(&self, next: &Self) -> Option<Self> {
        match (self, next) {
            (Self::Keep, other) | (other, Self::Keep) => Some(other.clone()),
            (Self::Frames(first), Self::Frames(second)) => first.then(second).map(Self::Frames),
            // What is left is a share of what the video had at first, however often it is ranked.
            (Self::Video(_), Self::Video(last)) => Some(Self::Video(*last)),
            (Self::Frames(_), Self::Video(_)) | (Self::Video(_), Self::Frames(_)) => None,
        }
    }
}

impl FrameDrop {
    /// `None` if a mean would meet a choice.
    fn then(&self, next: &Self) -> Option<Self> {
        match (self, next) {
            (Self::Slots(first), Self::Slots(second)) => {
                Some(Self::Slots(second.iter().map(|slot| first[*slot]).collect()))
            }
            (Self::Pool(first), Self::Pool(second)) => Some(Self::Pool(first * second)),
            (Self::Slots(_), Self::Pool(_)) | (Self::Pool(_), Self::Slots(_)) => None,
        }
    }
}

impl CompressionPlan {
    /// 0-based layers on whose entry frames, or the whole video, lose tokens.
    pub fn drops(&self) -> Vec<usize> {
        (0..self.layers()).filter(|layer| *self.reduce(*layer) != Reduce::Keep).collect()
    }

    /// Tokens that a frame brings to 0-based `layer`, before what happens on entry to it; where a video is ranked the mean.
    pub fn tokens_before(&self, layer: usize) -> f64 {
        let first = self.tokens_per_frame() as f64;
        layer.checked_sub(1).map_or(first, |below| self.tokens_per_layer()[below])
    }

    /// The plan whose drop on entry to `layer` happens one layer earlier, all others where they were.
    ///
    /// `None` if no layer is below, or the two reductions that then meet are not one.
    pub fn with_drop_earlier(&self, layer: usize) -> Option<Self> {
        let below = layer.checked_sub(1)?;
        let both = self.reduce(below).then(self.reduce(layer))?;
        Some(self.with_drops_joined(layer, below, both))
    }

    /// The plan without the drop on entry to `layer`: its tokens stay until the next drop, or to the end.
    ///
    /// `None` if the two reductions that then meet are not one.
    pub fn without_drop(&self, layer: usize) -> Option<Self> {
        let Some(next) = self.drops().into_iter().find(|next| *next > layer) else {
            return Some(self.with_drops_joined(layer, layer, Reduce::Keep));
        };
        let both = self.reduce(layer).then(self.reduce(next))?;
        Some(self.with_drops_joined(layer, next, both))
    }

    /// Nothing on entry to `layer`, `both` on entry to `other`.
    fn with_drops_joined(&self, layer: usize, other: usize, both: Reduce) -> Self {
        let mut reduce: Vec<Reduce> =
            (0..self.layers()).map(|layer| self.reduce(layer).clone()).collect();
        reduce[layer] = Reduce::Keep;
        reduce[other] = both;
        Self::of(self.tokens_per_frame(), reduce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::schedule::{KeepRule, RankStage, Schedule, Stage};

    fn plan(schedule: &Schedule, keep: KeepRule) -> CompressionPlan {
        CompressionPlan::new(schedule, keep, 16, 9).unwrap()
    }

    /// A plan made from a list of tokens per layer is the same plan, whichever rule chooses the survivors.
    #[test]
    fn a_moved_or_removed_drop_is_the_plan_of_its_token_list() {
        for keep in [KeepRule::Suffix, KeepRule::Uniform] {
            let whole = plan(&Schedule::Cosine, keep);
            let list = |tokens: [usize; 9]| plan(&Schedule::List(tokens.to_vec()), keep);
            assert_eq!(whole, list([16, 14, 12, 10, 7, 5, 3, 1, 1]));
            assert_eq!(whole.drops(), [1, 2, 3, 4, 5, 6, 7]);
            let earlier = |layer| whole.with_drop_earlier(layer).unwrap();
            let without = |layer| whole.without_drop(layer).unwrap();
            assert_eq!(earlier(1), list([14, 14, 12, 10, 7, 5, 3, 1, 1]));
            assert_eq!(earlier(4), list([16, 14, 12, 7, 7, 5, 3, 1, 1]));
            assert_eq!(without(4), list([16, 14, 12, 10, 10, 5, 3, 1, 1]));
            assert_eq!(without(7), list([16, 14, 12, 10, 7, 5, 3, 3, 3]));
        }
    }

    #[test]
    fn steps_means_and_rankings_move_as_they_are() {
        let stages = || vec![Stage { layer: 0, stride: 4 }, Stage { layer: 5, stride: 4 }];
        let pool = plan(&Schedule::Pool(stages()), KeepRule::Suffix);
        let frames = |drop| Reduce::Frames(drop);
        assert_eq!(pool.with_drop_earlier(0), None, "no layer is below the first");
        assert_eq!(*pool.with_drop_earlier(5).unwrap().reduce(4), frames(FrameDrop::Pool(4)));
        assert_eq!(*pool.without_drop(0).unwrap().reduce(5), frames(FrameDrop::Pool(16)));
        let step = plan(&Schedule::Step(stages()), KeepRule::Suffix);
        let last = frames(FrameDrop::Slots(vec![15]));
        assert_eq!(*step.without_drop(0).unwrap().reduce(5), last);
        assert_eq!(frames(FrameDrop::Pool(2)).then(&last), None);

        let ranks = |stages: &[(usize, f64)]| {
            let stage = |(layer, share): &(usize, f64)| RankStage { layer: *layer, share: *share };
            plan(&Schedule::Rank(stages.iter().map(stage).collect()), KeepRule::Suffix)
        };
        let ranked = ranks(&[(2, 0.5), (3, 0.25), (6, 0.125)]);
        assert_eq!(ranked.with_drop_earlier(3), Some(ranks(&[(2, 0.25), (6, 0.125)])));
        assert_eq!(ranked.with_drop_earlier(6), Some(ranks(&[(2, 0.5), (3, 0.25), (5, 0.125)])));
        assert_eq!(ranked.without_drop(2), Some(ranks(&[(3, 0.25), (6, 0.125)])));
        assert_eq!(ranked.without_drop(6), Some(ranks(&[(2, 0.5), (3, 0.25)])));
    }

    #[test]
    fn tokens_before_a_layer_are_those_of_the_one_below() {
        let whole = plan(&Schedule::Cosine, KeepRule::Suffix);
        assert_eq!([0, 1, 2].map(|layer| whole.tokens_before(layer) as usize), [16, 16, 14]);
    }
}
