//! Rotary position embedding in the half-split form of Qwen2 (`rotate_half`).

use burn::tensor::{Device, Tensor, TensorData};

use crate::ops;
use crate::transfer::{indices, kept, upload};

/// Positions of the shortest table that is made.
const SHORTEST: usize = 1024;

/// Cosine and sine of every position, computed once and narrowed by each layer to its own length.
#[derive(Debug, Clone)]
pub struct Rope {
    /// `[positions, head_dim / 2]`.
    cos: Tensor<2>,
    /// `[positions, head_dim / 2]`.
    sin: Tensor<2>,
    /// Of sequences that stand one behind the other.
    segments: Option<Segments>,
}

/// Sequences that stand one behind the other, each from position 0 on.
#[derive(Debug, Clone)]
struct Segments {
    /// Tokens of each.
    lengths: Vec<usize>,
    /// Of every token, `[tokens of all, head_dim / 2]`.
    cos: Tensor<2>,
    /// See `cos`.
    sin: Tensor<2>,
}

impl Rope {
    /// Tables for positions `0..positions`.
    ///
    /// Angles are f32 products, as the reference computes them (`modeling_qwen2.py`, `Qwen2RotaryEmbedding`).
    pub fn new(positions: usize, head_dim: usize, theta: f64, device: &Device) -> Self {
        Self::scaled(positions, head_dim, theta, 1.0, device)
    }

    /// Tables whose frequencies are divided by `factor` (`modeling_rope_utils.py`, `linear`).
    pub fn scaled(
        positions: usize,
        head_dim: usize,
        theta: f64,
        factor: f64,
        device: &Device,
    ) -> Self {
        // A longer table holds every shorter one: few lengths are ever made.
        let rows = positions.next_power_of_two().max(SHORTEST);
        let key = [rows as u64, head_dim as u64, theta.to_bits(), factor.to_bits()];
        let table = |what, f: fn(f32) -> f32| {
            let whole = kept((what, key.to_vec()), device, |device| {
                let angles = angles(rows, head_dim, theta, factor);
                let values: Vec<f32> = angles.iter().map(|a| f(*a)).collect();
                upload(TensorData::new(values, [rows, head_dim / 2]), device)
            });
            whole.slice_dim(0, 0..positions)
        };
        Self::of([table("rope cos", f32::cos), table("rope sin", f32::sin)])
    }

    fn of([cos, sin]: [Tensor<2>; 2]) -> Self {
        Self { cos, sin, segments: None }
    }

    /// The same for sequences of these lengths that stand one behind the other: positions begin anew in each.
    #[must_use]
    pub fn packed(&self, lengths: &[usize]) -> Self {
        let rows: Vec<usize> = lengths.iter().flat_map(|length| 0..*length).collect();
        let Self { cos, sin, .. } = self.at(&rows);
        let segments = Some(Segments { lengths: lengths.to_vec(), cos, sin });
        Self { segments, ..self.unpacked() }
    }

    /// The same for one sequence.
    #[must_use]
    pub fn unpacked(&self) -> Self {
        Self::of([self.cos.clone(), self.sin.clone()])
    }

    /// Tokens of each of the sequences that stand one behind the other; `None` for one sequence, or several that are padded.
    pub fn segments(&self) -> Option<&[usize]> {
        self.segments.as_ref().map(|segments| segments.lengths.as_slice())
    }

    /// Rotates queries or keys that stand at positions `0..seq`, or in segments.
    ///
    /// # Shapes
    /// - `x`, output: `[batch, heads, seq, head_dim]`
    ///
    /// # Panics
    /// If `seq` exceeds the table.
    pub fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        match &self.segments {
            None => self.rotate_from(x, 0),
            Some(Segments { cos, sin, .. }) => ops::rotate(x, cos.clone(), sin.clone()),
        }
    }

    /// Rotates queries or keys that stand at positions `start..start + seq`.
    ///
    /// # Shapes
    /// - `x`, output: `[batch, heads, seq, head_dim]`
    ///
    /// # Panics
    /// If `start + seq` exceeds the table.
    pub fn rotate_from(&self, x: Tensor<4>, start: usize) -> Tensor<4> {
        let rows = start..start + x.dims()[2];
        let [cos, sin] = [&self.cos, &self.sin].map(|t| t.clone().slice_dim(0, rows.clone()));
        ops::rotate(x, cos, sin)
    }

    /// The tables of these positions alone: what stands at `rows[i]` is rotated as row `i`.
    #[must_use]
    pub fn at(&self, rows: &[usize]) -> Self {
        let rows = indices(rows, &self.cos.device());
        Self::of([&self.cos, &self.sin].map(|table| table.clone().select(0, rows.clone())))
    }

    /// The tables of a sequence of `len` tokens that keep their positions, once all but those at `rows` are dropped.
    #[must_use]
    pub fn without_dropped(&self, rows: &[usize], len: usize) -> Self {
        let [positions, _] = self.cos.dims();
        let rows: Vec<usize> = rows.iter().copied().chain(len..positions).collect();
        self.at(&rows)
    }

    /// The same tables for tensors without a tape.
    #[must_use]
    pub fn inner(&self) -> Self {
        let inner = |table: &Tensor<2>| table.clone().inner();
        let segments = self.segments.as_ref().map(|Segments { lengths, cos, sin }| Segments {
            lengths: lengths.clone(),
            cos: inner(cos),
            sin: inner(sin),
        });
        Self { cos: inner(&self.cos), sin: inner(&self.sin), segments }
    }

    /// The two tables, `[positions, head_dim / 2]` each.
    pub fn tables(&self) -> (&Tensor<2>, &Tensor<2>) {
        (&self.cos, &self.sin)
    }
}

/// Angle of every position and pair of features.
fn angles(positions: usize, head_dim: usize, theta: f64, factor: f64) -> Vec<f32> {
    let inverse: Vec<f32> = (0..head_dim / 2)
        .map(|i| 1.0 / (theta as f32).powf((2 * i) as f32 / head_dim as f32) / factor as f32)
        .collect();
    (0..positions).flat_map(|p| inverse.iter().map(move |f| p as f32 * f)).collect()
}
