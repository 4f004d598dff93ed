//! Chains and hay made by code: each picture leads from the colour on its left to the colour on its right.

use super::Chain;
use crate::machine::random::Random;

/// Colours that a chain runs through, and how they look.
const COLOURS: [(&str, [u8; 3]); 10] = [
    ("red", [220, 30, 30]),
    ("green", [30, 170, 60]),
    ("blue", [40, 70, 220]),
    ("yellow", [240, 220, 40]),
    ("white", [245, 245, 245]),
    ("black", [10, 10, 10]),
    ("orange", [250, 140, 20]),
    ("purple", [140, 40, 170]),
    ("pink", [250, 150, 190]),
    ("brown", [120, 70, 30]),
];
/// Choices of a question.
const CHOICES: usize = 4;
/// What the published questions end with.
const ENDING: &str = "Only give the best option. Best option: (";

/// A chain with its pictures, RGB, `[size, size, 3]` each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// The questions; the pictures have made-up names.
    pub chain: Chain,
    /// The pictures, first to last.
    pub pictures: Vec<Vec<u8>>,
}

/// Draws a chain of `links` pictures; a single one is asked about without a chain.
///
/// # Panics
/// If there are more links than colours.
pub fn draw_chain(seed: u64, links: usize, size: usize) -> Drawn {
    assert!((1..COLOURS.len()).contains(&links), "a chain runs through different colours");
    let mut random = Random::new(seed);
    let order = shuffled(&mut random, COLOURS.len());
    let on_chain = &order[..=links];
    let pictures = on_chain.windows(2).map(|pair| halves(pair[0], pair[1], size)).collect();

    let first = COLOURS[on_chain[0]].0;
    let [start, left, right] = if links == 1 {
        ["One picture has two colours.", "Which one is on its left?", "Which one is on its right?"]
            .map(str::to_owned)
    } else {
        [
            format!(
                "Each picture leads from the colour on its left to the colour on its right. Start at {first}."
            ),
            "Which colour is on the left of the last picture?".into(),
            "At which colour does the chain end?".into(),
        ]
    };
    let end = on_chain[links];
    let (options1, answer1) = options(&mut random, on_chain[links - 1], &order);
    let (options2, answer2) = options(&mut random, end, &order);
    let chain = Chain {
        images: (0..links).map(|link| format!("drawn-{seed}-{link}")).collect(),
        question1: format!("{start} {left}\n{options1}{ENDING}"),
        answer1,
        question2: format!("{start} {right}\n{options2}{ENDING}"),
        answer2,
    };
    Drawn { chain, pictures }
}

/// A frame of hay: grey, each a little different.
pub fn draw_hay(frame: usize, size: usize) -> Vec<u8> {
    let level = |x: usize, y: usize| (90 + (x / 8 * 7 + y / 8 * 13 + frame * 5) % 60) as u8;
    (0..size * size).flat_map(|at| [level(at % size, at / size); 3]).collect()
}

fn halves(left: usize, right: usize, size: usize) -> Vec<u8> {
    let colour = |at: usize| COLOURS[if at % size < size / 2 { left } else { right }].1;
    (0..size * size).flat_map(colour).collect()
}

/// Four colours as lines with letters, the right one at a drawn place.
fn options(random: &mut Random, right: usize, order: &[usize]) -> (String, String) {
    let mut shown: Vec<usize> =
        order.iter().copied().filter(|c| *c != right).take(CHOICES - 1).collect();
    let place = random.below(CHOICES);
    shown.insert(place, right);
    let letter = |at: usize| char::from(b'A' + at as u8);
    let line = |(at, colour): (usize, &usize)| format!("({}) {}\n", letter(at), COLOURS[*colour].0);
    (shown.iter().enumerate().map(line).collect(), letter(place).to_string())
}

fn shuffled(random: &mut Random, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        order.swap(at, random.below(at + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_of_pictures_leads_to_the_answer() {
        for seed in 0..50 {
            let Drawn { chain, pictures } = draw_chain(seed, 5, 16);
            let colour = |picture: &[u8], x: usize| {
                COLOURS.iter().find(|c| c.1 == picture[3 * x..3 * x + 3]).unwrap().0
            };
            for pair in pictures.windows(2) {
                assert_eq!(colour(&pair[0], 15), colour(&pair[1], 0), "pictures hang together");
            }
            let end = colour(&pictures[4], 15);
            assert!(chain.question2.contains(&format!("({}) {end}\n", chain.answer2)), "{chain:?}");
            assert!(chain.question1.contains(&format!("Start at {}.", colour(&pictures[0], 0))));
            assert!(chain.question2.ends_with(ENDING));
        }
        assert_eq!(draw_chain(7, 4, 8), draw_chain(7, 4, 8));
        let Drawn { chain, pictures } = draw_chain(7, 1, 8);
        assert!(pictures.len() == 1 && !chain.question1.contains("Start"), "{chain:?}");
        assert_ne!(draw_hay(0, 8), draw_hay(1, 8));
    }
}
