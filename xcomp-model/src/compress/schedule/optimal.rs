//! The schedule that costs the least loss under a budget, where what each drop costs has been measured.
//!
//! The surrogate: a drop to `n` tokens of a frame on entry to layer `l`, alone, raises the loss by `rise(l, n)`. Of drops that follow
//! each other each pays what it adds, `rise(l, n) - rise(l, m)` where a frame brings `m` tokens; so a single drop is told exactly.

/// What paths are made of: `levels` are tokens of a frame, falling from all of them; tables are `[layer][level]`.
#[derive(Debug, Clone, Copy)]
pub struct Paths<'a> {
    /// Tokens of a frame that a layer may see.
    pub levels: &'a [usize],
    /// What a single drop to each level on entry to each layer raises the loss by.
    pub rises: &'a [Vec<f64>],
    /// What each layer costs of the budget at each level.
    pub costs: &'a [Vec<f64>],
}

/// A way to come to some level of a layer.
#[derive(Debug, Clone, Copy)]
struct Way {
    cost: f64,
    rise: f64,
    /// Level and number of the way below that it goes on.
    before: (usize, usize),
}

impl Paths<'_> {
    /// What the surrogate says of tokens of a frame in every layer; between levels it is linear.
    pub fn predict(&self, tokens: &[usize]) -> f64 {
        let mut before = self.levels[0];
        let step = |(rises, &now): (&Vec<f64>, &usize)| {
            let from = std::mem::replace(&mut before, now);
            self.at(rises, now) - self.at(rises, from)
        };
        self.rises.iter().zip(tokens).map(step).sum()
    }

    fn at(&self, rises: &[f64], tokens: usize) -> f64 {
        let below = self.levels.iter().position(|level| *level <= tokens);
        let Some(below) = below else { return rises[rises.len() - 1] };
        let Some(above) = below.checked_sub(1) else { return rises[0] };
        let (high, low) = (self.levels[above] as f64, self.levels[below] as f64);
        let share = (tokens as f64 - low) / (high - low);
        rises[below] + share * (rises[above] - rises[below])
    }

    /// Tokens of a frame in every layer, never more than in the layer below, `levels[end]` in the last one, of all such paths
    /// within `limit` the one that raises the loss least; `None` if none is within it.
    ///
    /// Exact: every way to a level of a layer is kept unless another costs no more and raises the loss no more.
    ///
    /// # Panics
    /// If the tables are not of one size.
    pub fn best(&self, limit: f64, end: usize) -> Option<Vec<usize>> {
        let layers = self.rises.len();
        // The least that the layers from each on may still cost.
        let mut rest = vec![0.0; layers + 1];
        for layer in (0..layers).rev() {
            rest[layer] = rest[layer + 1] + self.costs[layer][end];
        }
        let start = Way { cost: 0.0, rise: 0.0, before: (0, 0) };
        let mut fronts: Vec<Vec<Vec<Way>>> = vec![vec![vec![start]]];
        for layer in 0..layers {
            let to = |level| self.ways(&fronts[layer], layer, level, limit - rest[layer + 1]);
            let reached = (0..=end).map(to).collect();
            fronts.push(reached);
        }
        let last = fronts[layers].get(end)?;
        let mut at = (end, last.len().checked_sub(1)?);
        let mut levels = vec![];
        for layer in (1..=layers).rev() {
            levels.push(self.levels[at.0]);
            at = fronts[layer][at.0][at.1].before;
        }
        levels.reverse();
        Some(levels)
    }

    /// The ways to `level` of `layer` that no other one beats, from the cheapest and worst to the dearest and best.
    fn ways(&self, below: &[Vec<Way>], layer: usize, level: usize, most: f64) -> Vec<Way> {
        let (rises, cost) = (&self.rises[layer], self.costs[layer][level]);
        let from = below.iter().enumerate().take(level + 1);
        let mut ways: Vec<Way> = from
            .flat_map(|(before, ways)| {
                let go = move |(at, way): (usize, &Way)| Way {
                    cost: way.cost + cost,
                    rise: way.rise + rises[level] - rises[before],
                    before: (before, at),
                };
                ways.iter().enumerate().map(go)
            })
            .filter(|way| way.cost <= most * (1.0 + 1e-12))
            .collect();
        ways.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(a.rise.total_cmp(&b.rise)));
        let mut least = f64::INFINITY;
        ways.retain(|way| {
            let better = way.rise < least;
            least = least.min(way.rise);
            better
        });
        ways
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in [0, 1) that a seed fixes.
    fn drawn(seed: &mut u64) -> f64 {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Every path of `layers` layers over these levels that never rises and ends at the last level.
    fn all(levels: &[usize], layers: usize) -> Vec<Vec<usize>> {
        let mut paths: Vec<Vec<usize>> = vec![vec![]];
        for _ in 0..layers {
            let longer = paths.into_iter().flat_map(|path| {
                let most = path.last().copied().unwrap_or(levels[0]);
                let next = levels.iter().filter(move |level| **level <= most);
                next.map(move |level| [&path[..], &[*level]].concat()).collect::<Vec<_>>()
            });
            paths = longer.collect();
        }
        paths.retain(|path| path.last() == levels.last());
        paths
    }

    /// Six layers and eight tokens: the best of all 792 schedules that end at one token.
    #[test]
    fn the_best_path_is_that_of_brute_force() {
        let levels: Vec<usize> = (1..=8).rev().collect();
        let every = all(&levels, 6);
        assert_eq!(every.len(), 792);
        let mut seed = 7;
        for round in 0..20 {
            // Not all of them falling: measured losses are noisy.
            let rises: Vec<Vec<f64>> = (0..6)
                .map(|_| (0..8).map(|level| f64::from(level) * 0.1 + drawn(&mut seed)).collect())
                .map(|mut rises: Vec<f64>| {
                    rises[0] = 0.0;
                    rises
                })
                .collect();
            // Tokens; or what grows faster than they do, and differs between layers.
            let costs: Vec<Vec<f64>> = (0..6)
                .map(|layer| {
                    let of = |n: &usize| match round % 2 {
                        0 => *n as f64,
                        _ => (*n * *n) as f64 + *n as f64 * f64::from(layer) * 0.37,
                    };
                    levels.iter().map(of).collect()
                })
                .collect();
            let paths = Paths { levels: &levels, rises: &rises, costs: &costs };
            let cost = |path: &[usize]| -> f64 {
                path.iter().zip(&costs).map(|(n, costs)| costs[8 - n]).sum()
            };
            let whole = cost(&[8; 6]);
            for share in [0.2, 0.4, 0.6, 1.0] {
                let limit = share * whole;
                let within = every.iter().filter(|path| cost(path) <= limit);
                let want = within.map(|path| paths.predict(path)).fold(f64::INFINITY, f64::min);
                let got = paths.best(limit, 7);
                let Some(got) = got else {
                    assert!(want.is_infinite(), "{share}: there is one of {want}");
                    continue;
                };
                assert!(cost(&got) <= limit && every.contains(&got), "{got:?}");
                assert!((paths.predict(&got) - want).abs() < 1e-12, "{got:?}: {want}");
            }
            assert_eq!(paths.best(0.9 * cost(&[1; 6]), 7), None);
        }
    }

    #[test]
    fn a_prediction_adds_what_each_drop_adds() {
        let (levels, costs) = ([8, 4, 1], vec![vec![8.0, 4.0, 1.0]; 2]);
        let rises = vec![vec![0.0, 3.0, 9.0], vec![0.0, 1.0, 4.0]];
        let paths = Paths { levels: &levels, rises: &rises, costs: &costs };
        let check = |path: &[usize], want: f64| {
            assert!((paths.predict(path) - want).abs() < 1e-12, "{path:?}: {want}");
        };
        check(&[8, 8], 0.0);
        check(&[8, 1], 4.0);
        check(&[4, 1], 3.0 + (4.0 - 1.0));
        check(&[6, 6], 1.5); // in the middle of eight and four
        assert_eq!(paths.best(16.0, 0), Some(vec![8, 8]));
        assert_eq!(paths.best(5.0, 2), Some(vec![4, 1]));
    }
}
