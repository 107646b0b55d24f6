//! Who is who: the matching of tracks and detections that is worth most.

use pathfinding::prelude::{Matrix, kuhn_munkres};

/// Room below one unit of worth for breaking ties: at most 2^20 candidates in a row times a column each.
const TIE_BITS: u32 = 26;

/// Pairs `(row, column)` of the matching with the most worth in all, in row order. `worth` is 1 to 2^20 for a pair that
/// may be, 0 or less for one that may not. Of equally good matchings the one that pairs early rows with early columns.
pub(super) fn assign(rows: usize, columns: usize, worth: impl Fn(usize, usize) -> i64) -> Vec<(usize, usize)> {
    let worths: Vec<Vec<i64>> = (0..rows).map(|r| (0..columns).map(|c| worth(r, c).max(0)).collect()).collect();
    let row_at = |r: &usize| worths[*r].iter().any(|w| *w > 0);
    let column_at = |c: &usize| worths.iter().any(|row| row[*c] > 0);
    let possible_rows: Vec<usize> = (0..rows).filter(row_at).collect();
    let possible_columns: Vec<usize> = (0..columns).filter(column_at).collect();
    let (height, width) = (possible_rows.len(), possible_columns.len());
    if height == 0 {
        return Vec::new();
    }
    let weight = |r: usize, c: usize| match worths[possible_rows[r]][possible_columns[c]] {
        0 => 0,
        worth => (worth << TIE_BITS) + ((height - r) * (width - c)) as i64,
    };
    // The algorithm wants no more rows than columns.
    let found: Vec<(usize, usize)> = if height <= width {
        let matrix = Matrix::from_fn(height, width, |(r, c)| weight(r, c));
        kuhn_munkres(&matrix).1.into_iter().enumerate().collect()
    } else {
        let matrix = Matrix::from_fn(width, height, |(c, r)| weight(r, c));
        let mut found: Vec<_> = kuhn_munkres(&matrix).1.into_iter().enumerate().map(|(c, r)| (r, c)).collect();
        found.sort_unstable();
        found
    };
    let named = found.into_iter().map(|(r, c)| (possible_rows[r], possible_columns[c]));
    named.filter(|(r, c)| worths[*r][*c] > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_counts_not_the_greediest_pair() {
        let worth = [[90, 80], [85, 1]];
        assert_eq!(assign(2, 2, |r, c| worth[r][c]), [(0, 1), (1, 0)]);
    }

    #[test]
    fn impossible_pairs_are_left_out() {
        assert_eq!(assign(2, 3, |r, c| if (r, c) == (1, 2) { 5 } else { 0 }), [(1, 2)]);
        assert_eq!(assign(3, 1, |r, _| r as i64), [(2, 0)]);
        assert_eq!(assign(0, 4, |_, _| 1), []);
        assert_eq!(assign(4, 0, |_, _| 1), []);
    }

    #[test]
    fn ties_go_to_early_rows_and_columns() {
        assert_eq!(assign(2, 2, |_, _| 7), [(0, 0), (1, 1)]);
        assert_eq!(assign(3, 1, |_, _| 7), [(0, 0)]);
        assert_eq!(assign(1, 3, |_, _| 7), [(0, 0)]);
    }
}
