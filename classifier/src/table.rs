//! The embedding table: row numbers to means.
//!
//! In: the ids of a text in groups. Out: per group the mean of their rows, in the table's own steps
//! (its scales are in the first layer of the graph). Done here and not in the graph because a sum of
//! i8 rows is a few vector instructions each, where a graph gathers, converts and multiplies. The
//! table is shared by all cores. Never: a row outside the table, an allocation.

use crate::ClassifierError;
use crate::ngrams::GROUPS;

/// Numbers added at once; the width of a table is a multiple of it.
pub(crate) const LANES: usize = 32;
/// Rows whose sum fits 16 bits: 256 × 255 < 2^16.
const BLOCK: usize = 256;
/// What is added to each number, so that none is below 0.
const BIAS: u8 = 0x80;

/// Rows of i8, one after the other, each number raised by [`BIAS`].
#[derive(Debug)]
pub(crate) struct Table {
    values: Vec<u8>,
    width: usize,
}

impl Table {
    /// A table of `shape` rows × width from its bytes.
    pub(crate) fn new(bytes: Vec<u8>, shape: [usize; 2]) -> Result<Table, ClassifierError> {
        let [rows, width] = shape;
        if bytes.len() != rows * width || !width.is_multiple_of(LANES) {
            return Err(ClassifierError::Model(format!(
                "the table has {} bytes; {rows} rows of {width} need {}",
                bytes.len(),
                rows * width
            )));
        }
        // Flipping the highest bit of an i8 adds 128 and makes it a u8.
        Ok(Table { values: bytes.into_iter().map(|byte| byte ^ BIAS).collect(), width })
    }

    /// Numbers per group.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Writes the mean of each group's rows into `into`, group after group.
    pub(crate) fn means(&self, ids: &[i32], group_ends: [usize; GROUPS], into: &mut [f32]) {
        let mut start = 0;
        for (end, mean) in group_ends.into_iter().zip(into.chunks_exact_mut(self.width)) {
            let group = &ids[start..end];
            let share = 1.0 / group.len().max(1) as f32;
            for (chunk, mean) in mean.chunks_exact_mut(LANES).enumerate() {
                let sums = self.sums(group, chunk * LANES);
                for (mean, sum) in mean.iter_mut().zip(sums) {
                    *mean = sum as f32 * share;
                }
            }
            start = end;
        }
    }

    /// The sums of [`LANES`] columns over the rows of `ids`.
    ///
    /// Eight bytes of a row are read as one u64, of which two sums are kept: of the words as they are, and
    /// of their odd bytes, four sums of 16 bits each. Taking off the second, eight bits up, from the first
    /// leaves the sums of the even bytes; modulo 2^64 nothing is lost. That is twenty plain instructions a
    /// row where widening each byte took more than twice as many, and then the processor sees too few
    /// rows ahead to wait for memory only once.
    fn sums(&self, ids: &[i32], column: usize) -> [i32; LANES] {
        const ODD: u64 = 0x00ff_00ff_00ff_00ff;
        let mut sums = [0i32; LANES];
        for block in ids.chunks(BLOCK) {
            let (mut all, mut odd) = ([0u64; LANES / 8], [0u64; LANES / 8]);
            let mut rows = 0;
            for &id in block {
                let at = id as usize * self.width + column;
                let row = self.values.get(at..).and_then(|rest| rest.first_chunk::<LANES>());
                let Some(row) = row else { continue };
                rows += 1;
                for ((all, odd), bytes) in all.iter_mut().zip(&mut odd).zip(row.as_chunks().0) {
                    let word = u64::from_le_bytes(*bytes);
                    *all = all.wrapping_add(word);
                    *odd += word >> 8 & ODD;
                }
            }
            let bias = rows * i32::from(BIAS);
            for (index, (all, odd)) in all.into_iter().zip(odd).enumerate() {
                let even = all.wrapping_sub(odd << 8);
                for lane in 0..4 {
                    let sum = |sums: u64| i32::from((sums >> (16 * lane)) as u16) - bias;
                    sums[8 * index + 2 * lane] += sum(even);
                    sums[8 * index + 2 * lane + 1] += sum(odd);
                }
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_has_its_mean() {
        let bytes: Vec<u8> = (0..4u8).flat_map(|row| [row * 10; LANES]).collect();
        let table = Table::new(bytes, [4, LANES]).expect("the shape fits");
        let mut means = [9.0; GROUPS * LANES];
        table.means(&[1, 3, 2, 99], [2, 2, 4], &mut means);
        let firsts: Vec<f32> = means.iter().copied().step_by(LANES).collect();
        assert_eq!(firsts, [20.0, 0.0, 10.0]);
    }

    #[test]
    fn a_long_text_of_extreme_rows_does_not_overflow() {
        for value in [127i8, -128] {
            let table = Table::new(vec![value.cast_unsigned(); LANES], [1, LANES]).expect("fits");
            let mut means = [0.0; GROUPS * LANES];
            table.means(&[0; 2048], [2048; GROUPS], &mut means);
            assert_eq!(means[0], f32::from(value));
        }
    }

    #[test]
    fn another_shape_is_refused() {
        assert!(Table::new(vec![0; 64], [4, LANES]).is_err());
        assert!(Table::new(vec![0; 64], [4, 16]).is_err());
    }
}
