//! A row of numbers as a line that one looks at.

/// From the least to the most.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A sign for each number, the least and the greatest at the ends of the scale. What is all the same
/// is drawn in the middle.
pub(crate) fn spark(numbers: &[u64]) -> String {
    let least = numbers.iter().min().copied().unwrap_or(0);
    let most = numbers.iter().max().copied().unwrap_or(0);
    let span = u128::from(most - least);
    let level = |number: u64| {
        if span == 0 {
            return '▄';
        }
        let index = u128::from(number - least) * 7 / span;
        let index = usize::try_from(index).unwrap_or(0);
        LEVELS.get(index).copied().unwrap_or('█')
    };
    numbers.iter().map(|&number| level(number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_the_scale_are_the_least_and_the_most() {
        assert_eq!(spark(&[]), "");
        assert_eq!(spark(&[7, 7]), "▄▄");
        assert_eq!(spark(&[0, 1, 2, 3, 4, 5, 6, 7]), "▁▂▃▄▅▆▇█");
        assert_eq!(spark(&[u64::MAX, 0, u64::MAX / 2]), "█▁▄");
        assert_eq!(spark(&[100, 101]), "▁█");
    }
}
