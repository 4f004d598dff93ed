//! Sums in one fixed tree.
//!
//! The micro-batches of a step lie in `[train] lanes`, a power of two that is part of the recipe and not of the machine. A lane is
//! added from left to right, lanes as a balanced binary tree. A rank holds neighbouring lanes, which are a whole subtree: what it
//! adds alone and what ranks add together are the same additions, however many ranks there are.

/// A balanced tree over parts that come one after another; it holds at most `log2(parts) + 1` sums, as a binary counter does.
#[derive(Debug)]
pub struct TreeSum<T> {
    /// Subtrees that wait for their right neighbour, with their heights, tallest first.
    waiting: Vec<(u32, T)>,
}

impl<T> Default for TreeSum<T> {
    fn default() -> Self {
        Self { waiting: vec![] }
    }
}

impl<T> TreeSum<T> {
    /// Takes the next part; `add` gets the left and the right subtree.
    pub fn push(&mut self, part: T, add: impl Fn(T, T) -> T) {
        let (mut height, mut sum) = (0, part);
        while let Some((_, left)) = self.waiting.pop_if(|(waiting, _)| *waiting == height) {
            sum = add(left, sum);
            height += 1;
        }
        self.waiting.push((height, sum));
    }

    /// The whole tree; `None` unless a power of two of parts came.
    pub fn finish(mut self) -> Option<T> {
        let (_, sum) = self.waiting.pop()?;
        self.waiting.is_empty().then_some(sum)
    }
}

/// The same tree over `count` rows of one length that lie one behind another; `count` is a power of two.
///
/// # Panics
/// If it is not.
pub fn tree_sum_rows(mut rows: Vec<f32>, count: usize) -> Vec<f32> {
    assert!(count.is_power_of_two() && rows.len().is_multiple_of(count), "{count} rows");
    let len = rows.len() / count;
    let mut stride = 1;
    while stride < count {
        for left in (0..count).step_by(2 * stride) {
            let (head, tail) = rows.split_at_mut((left + stride) * len);
            let sum = &mut head[left * len..][..len];
            sum.iter_mut().zip(&tail[..len]).for_each(|(sum, other)| *sum += *other);
        }
        stride *= 2;
    }
    rows.truncate(len);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_trees_make_the_same_additions() {
        for count in [1, 2, 4, 8, 16] {
            let mut tree = TreeSum::default();
            for part in 0..count {
                tree.push(part.to_string(), |a, b| format!("({a}+{b})"));
                assert!(tree.waiting.len() <= (count as u32).ilog2() as usize + 1);
            }
            let mut rows: Vec<String> = (0..count).map(|part| part.to_string()).collect();
            while rows.len() > 1 {
                rows = rows.chunks(2).map(|pair| format!("({}+{})", pair[0], pair[1])).collect();
            }
            assert_eq!(tree.finish().unwrap(), rows[0]);
        }
        assert!(TreeSum::<u8> { waiting: vec![(1, 0), (0, 0)] }.finish().is_none());
    }

    #[test]
    fn rows_are_added_in_pairs() {
        let rows = vec![1e8, 1.0, -1e8, 1.0];
        assert_eq!(tree_sum_rows(rows.clone(), 4), [(1e8_f32 + 1.0) + (-1e8 + 1.0)]);
        assert!((rows.into_iter().reduce(|a, b| a + b).unwrap() - 1.0).abs() < f32::EPSILON);
        assert_eq!(tree_sum_rows(vec![1.0, 2.0, 3.0, 4.0], 2), [4.0, 6.0]);
    }
}
