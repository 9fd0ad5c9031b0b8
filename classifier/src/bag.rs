//! The inline model: an embedding bag over hashed n-grams, and a small network in ONNX.
//!
//! In: a text whose features were read. Out: the row of numbers of the graph. Never: an allocation
//! of our own after the first.

use std::sync::Arc;

use crate::ClassifierError;
use crate::ngrams::{Buckets, DENSE_COUNT, GROUPS, Ngrams};
use crate::onnx::GraphSession;
use crate::table::Table;

/// What the graph must take: one row, the means of the ids' groups and the dense features.
const INPUT: &str = "features";

/// Session and buffers of one thread.
#[derive(Debug)]
pub(crate) struct BagModel {
    session: GraphSession,
    buckets: Buckets,
    table: Arc<Table>,
    /// What the graph is given: means of the groups, dense features.
    features: Vec<f32>,
}

impl BagModel {
    /// A model over a graph and its table; the graph must take what the table gives, and give
    /// `numbers`.
    pub(crate) fn new(
        session: GraphSession,
        table: Arc<Table>,
        buckets: Buckets,
        numbers: usize,
    ) -> Result<BagModel, ClassifierError> {
        let width = GROUPS * table.width() + DENSE_COUNT;
        let fits = match (session.inputs(), session.outputs()) {
            ([input], [output]) => {
                let takes = input.fixed(1).is_none_or(|length| length == width);
                input.name == INPUT && takes && output.fixed(1).is_none_or(|gives| gives == numbers)
            }
            _ => false,
        };
        if !fits {
            return Err(ClassifierError::Model(format!(
                "the graph takes {}; expected {INPUT} F32 [1, {width}] and \
                 one output [1, {numbers}]",
                session.ports()
            )));
        }
        Ok(BagModel { session, buckets, table, features: vec![0.0; width] })
    }

    /// What the graph takes and gives, for people.
    pub(crate) fn ports(&self) -> String {
        self.session.ports()
    }

    /// Runs the graph on the text that `ngrams` has read.
    pub(crate) fn run(
        &mut self,
        ngrams: &mut Ngrams,
        into: &mut Vec<f32>,
    ) -> Result<(), ClassifierError> {
        ngrams.hash(self.buckets);
        let (means, dense) = self.features.split_at_mut(GROUPS * self.table.width());
        self.table.means(ngrams.ids(), ngrams.group_ends(), means);
        dense.copy_from_slice(ngrams.dense());
        self.session.run_row(&self.features, into)
    }
}
