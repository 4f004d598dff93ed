//! The few places where Python's arithmetic and its readers differ from Rust's, and where the reference's results depend on it.

pub mod json;
pub(crate) mod mt19937;

/// Python's float `a // b` for a positive `b`.
pub(crate) fn floor_div(a: f64, b: f64) -> f64 {
    let remainder = a % b;
    let mut quotient = (a - remainder) / b;
    if remainder < 0.0 {
        quotient -= 1.0;
    }
    let floor = quotient.floor();
    if quotient - floor > 0.5 { floor + 1.0 } else { floor }
}

/// Python's `round(x)` and numpy's `round`: ties go to the even neighbour.
pub(crate) fn round_half_even(x: f64) -> f64 {
    x.round_ties_even()
}

/// What Python's `str.strip` takes for white space.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_like_python() {
        let check = |a: f64, b: f64, expect: f64| assert!((floor_div(a, b) - expect).abs() < 1e-12);
        check(80.0, 8.0, 10.0);
        check(79.999, 8.0, 9.0);
        check(-1.0, 8.0, -1.0);
        check(1.0, 0.1, 9.0); // 1.0 // 0.1 == 9.0 in Python, although 1.0 / 0.1 == 10.0
    }
}
