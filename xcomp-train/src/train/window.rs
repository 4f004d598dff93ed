//! The steps whose numbers the host has not seen yet.
//!
//! Whether they are sound is decided on the device, step by step, so that nothing waits for it: the first step that is not
//! sound, and every step behind it, leaves weights and moments as they are. The host learns of it at the next record,
//! goes back to that step, and finds the state from just before it.

use burn::tensor::{Bool, Tensor};
use xcomp_data::Position;

/// Steps since the last record.
#[derive(Debug, Default)]
pub(super) struct Window {
    starts: Vec<Position>,
    sound: Option<Tensor<1, Bool>>,
}

impl Window {
    /// Adds a step whose data begins at `start`, with the numbers that it is judged by.
    ///
    /// Gives whether it and all steps before it in the window are sound, `[1]`; `None` if there are no numbers.
    pub(super) fn push(
        &mut self,
        start: Position,
        numbers: impl Iterator<Item = Tensor<1>>,
    ) -> Option<Tensor<1, Bool>> {
        self.starts.push(start);
        let finite = numbers.map(Tensor::is_finite);
        self.sound = self.sound.take().into_iter().chain(finite).reduce(Tensor::bool_and);
        self.sound.clone()
    }

    /// Empties it; gives where the data of its steps begins.
    pub(super) fn take(&mut self) -> Vec<Position> {
        self.sound = None;
        std::mem::take(&mut self.starts)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn number(value: f32) -> Tensor<1> {
        Tensor::from_data(TensorData::new(vec![value], [1]), &Device::flex())
    }

    #[test]
    fn a_step_that_is_not_sound_spoils_those_behind_it_until_the_window_is_taken() {
        let mut window = Window::default();
        let mut sound = |numbers: &[f32]| {
            let numbers = numbers.iter().copied().map(number);
            window.push(Position::start(), numbers).unwrap().into_data().iter::<bool>().next()
        };
        assert_eq!(sound(&[1.0, f32::MAX]), Some(true));
        assert_eq!(sound(&[0.0, f32::NAN]), Some(false));
        assert_eq!(sound(&[1.0]), Some(false));
        assert_eq!(window.take().len(), 3);
        let fresh = window.push(Position::start(), [number(1.0)].into_iter()).unwrap();
        assert_eq!(fresh.into_data().iter::<bool>().next(), Some(true));
        let infinite = window.push(Position::start(), [number(f32::INFINITY)].into_iter()).unwrap();
        assert_eq!(infinite.into_data().iter::<bool>().next(), Some(false));
    }
}
