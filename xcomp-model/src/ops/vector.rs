//! Functions of f32 that compilers turn into vector code, and the switch to the widest vectors there are.

/// Lanes that sums and maxima are kept in: a whole number of registers of every width.
pub(super) const LANES: usize = 16;

/// Declares functions whose loops are compiled for the widest vectors of the processor that runs them.
///
/// Their bodies stand in a method that is always inlined: a closure may stay a function of its own, compiled for the narrowest.
macro_rules! widest {
    ($(
        $(#[$attribute:meta])*
        $visible:vis fn $name:ident$(<$closure:ident: Fn($($taken:ty),*) -> $given:ty>)?(
            $($argument:ident: $kind:ty),* $(,)?
        ) $(-> $output:ty)? $body:block
    )*) => {$(
        $(#[$attribute])*
        $visible fn $name$(<$closure: Fn($($taken),*) -> $given>)?($($argument: $kind),*) $(-> $output)? {
            struct Call<T>(T);
            impl$(<$closure: Fn($($taken),*) -> $given>)? pulp::NullaryFnOnce for Call<($($kind,)*)> {
                type Output = $crate::ops::vector::widest!(@output $($output)?);

                #[inline(always)]
                fn call(self) -> Self::Output {
                    let Self(($($argument,)*)) = self;
                    $body
                }
            }
            pulp::Arch::new().dispatch(Call(($($argument,)*)))
        }
    )*};
    (@output) => { () };
    (@output $output:ty) => { $output };
}
pub(super) use widest;

/// e to the `x`, within two units in the last place; 0 below -87.3 up to the smallest normal number, NaN for NaN.
///
/// Range reduction by ln 2 in two parts and the polynomial of Cephes' `expf`.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const LOWEST: f32 = -87.336_54;
    const HIGHEST: f32 = 88.376_26;
    /// Adding and subtracting it rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const EXPONENT_BITS: u32 = 23;

    // Comparisons, not `clamp`: a NaN must stay one.
    let x = if x < LOWEST { LOWEST } else { x };
    let x = if x > HIGHEST { HIGHEST } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = x - whole * LN2_HIGH - whole * LN2_LOW;
    let tail = ((((1.987_569_1e-4 * rest + 1.398_199_9e-3) * rest + 8.333_452e-3) * rest
        + 4.166_579_6e-2)
        * rest
        + 0.166_666_65)
        * rest
        + 0.5;
    let power = f32::from_bits(
        shifted.to_bits().wrapping_add(127) << EXPONENT_BITS, // 2^whole: the low bits of `shifted` count it
    );
    (tail * rest * rest + rest + 1.0) * power
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The error function, within 4e-7: a rational function of `x` up to 4, where f32 reaches 1 (Eigen's `generic_fast_erf_float`).
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    const SATURATED: f32 = 4.0;
    let x = if x < -SATURATED { -SATURATED } else { x };
    let x = if x > SATURATED { SATURATED } else { x };
    let s = x * x;
    let above =
        (((((-2.726_142e-10 * s + 2.770_681_4e-8) * s - 2.101_024e-6) * s - 5.692_506_2e-5) * s
            - 7.349_906_3e-4)
            * s
            - 2.954_6e-3)
            * s
            - 1.609_603_3e-2;
    let below = (((-1.456_607_2e-5 * s - 2.133_740_6e-4) * s - 1.682_827e-3) * s - 7.373_329e-3)
        * s
        - 1.426_473_9e-2;
    x * above / below
}

/// The sum of `f` over the elements of two rows, in a fixed order.
#[inline(always)]
pub(super) fn sum_of(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += f(*a, *b);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| f(*a, *b)).sum();
    folded(lanes, |a, b| a + b) + rest
}

/// The largest element; NaN elements are passed over.
#[inline(always)]
pub(super) fn largest(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *x);
        }
    }
    rest.iter().copied().fold(folded(lanes, larger), larger)
}

/// Lanes put together as a tree: the upper half onto the lower, until one is left.
#[inline(always)]
pub(super) fn folded(mut lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = f(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points across the range, with both signs.
    fn points() -> impl Iterator<Item = f32> {
        (-4000..=4000).map(|i| i as f32 * 0.02)
    }

    #[test]
    fn exp_is_exact_to_two_units() {
        for x in points() {
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((got - want).abs() <= 2.5e-7 * want, "exp({x}) = {got}, not {want}");
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(f32::NEG_INFINITY) < 2e-38);
    }

    #[test]
    fn erf_meets_its_bound() {
        // Maclaurin series in f64, which converges for these arguments.
        let series = |x: f64| {
            let mut term = x;
            let mut sum = x;
            for n in 1..200_u32 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * std::f64::consts::FRAC_2_SQRT_PI
        };
        for x in points().filter(|x| x.abs() < 4.5) {
            let (got, want) = (f64::from(erf(x)), series(f64::from(x)));
            assert!((got - want).abs() <= 4e-7, "erf({x}) = {got}, not {want}");
        }
        assert!(erf(f32::NAN).is_nan());
    }

    #[test]
    fn sums_and_maxima_take_every_element() {
        for len in [1, 15, 16, 17, 100] {
            let row: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let (sum, last) = (sum_of(&row, &row, |a, _| a), largest(&row));
            assert_eq!([sum as i32, last as i32], [len * (len - 1) / 2, len - 1]);
        }
    }
}
