//! Where in a body a reader is, so that an error can name the field without a path being built
//! beforehand.
//!
//! In: a step down, a name or an index, a step up. Out: `messages[2].content[0].text`, when it is
//! asked for. Never: an allocation on the way; deeper steps than fit are not named.

use crate::json::{JsonError, JsonErrorKind};
use crate::refusal::{self, Refusal};
use arrayvec::ArrayVec;

/// Deepest place that is named.
const STEPS_MAX: usize = 12;

#[derive(Clone, Copy, Debug)]
enum Step {
    Field(&'static str),
    Index(u32),
}

/// A place in a body.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    steps: ArrayVec<Step, STEPS_MAX>,
    /// Steps that did not fit.
    beyond: u32,
}

impl Trail {
    /// Steps into the member `name` of the object that it stands in.
    pub fn field(&mut self, name: &'static str) {
        self.step(Step::Field(name));
    }

    /// Steps onto the element `index` of the array that it stands in.
    pub fn index(&mut self, index: usize) {
        self.step(Step::Index(index as u32));
    }

    /// Steps back. Left out after an error, so that the place remains.
    pub fn back(&mut self) {
        match self.beyond {
            0 => drop(self.steps.pop()),
            _ => self.beyond -= 1,
        }
    }

    fn step(&mut self, step: Step) {
        if self.steps.try_push(step).is_err() {
            self.beyond += 1;
        }
    }

    /// The place in words.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.steps {
            match step {
                Step::Index(index) => path.push_str(&format!("[{index}]")),
                Step::Field(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                }
            }
        }
        path
    }

    /// The refusal for an error that was met here.
    pub fn refusal(&self, error: &JsonError) -> Refusal {
        let path = self.path();
        let (kind, message) = match error.kind {
            JsonErrorKind::WrongType(expected) if path.is_empty() => {
                (refusal::Kind::BadField, format!("the request body must be {expected}"))
            }
            JsonErrorKind::WrongType(expected) => {
                (refusal::Kind::BadField, format!("\"{path}\" must be {expected}"))
            }
            JsonErrorKind::RepeatedKey(key) => {
                (refusal::Kind::BadField, format!("\"{key}\" stands twice; send it once"))
            }
            _ => (refusal::Kind::BadJson, format!("the request body is not valid JSON: {error}")),
        };
        let refusal = Refusal::new(kind).with_message(message);
        if path.is_empty() { refusal } else { refusal.with_param(path) }
    }
}
