//! ONNX Runtime: the only file that names `ort`.
//!
//! In: the path of the library, a graph, one row of features. Out: one row of numbers. One session
//! per thread with one intra-op thread, so a run is plain computation on the caller's core: nothing
//! spins, nothing is handed over. Never: downloads, or a library loaded twice.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;

use crate::ClassifierError;

/// File name of the library.
const LIBRARY: &str = "libonnxruntime.so";
/// Overrides where the library is looked for; the variable that other users of ONNX Runtime know.
const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";
/// Where `tools onnxruntime fetch` puts the library, from the root of the repository.
const FETCHED: &str = ".cache/onnxruntime/1.31.1/libonnxruntime.so";

/// What the graph must take: one row, the means of the ids' groups and the dense features.
const INPUTS: [&str; 1] = ["features"];

/// The loaded library. One per process: a second `init` gives the same.
#[derive(Clone, Debug)]
pub struct OnnxRuntime {
    environment: Environment,
    path: PathBuf,
}

impl OnnxRuntime {
    /// Loads the library at `path`, or the first there is of: `ORT_DYLIB_PATH`, beside the
    /// executable, where `tools onnxruntime fetch` puts it below the working directory.
    pub fn init(path: Option<&Path>) -> Result<OnnxRuntime, ClassifierError> {
        static LOADED: Mutex<Option<OnnxRuntime>> = Mutex::new(None);
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*loaded {
            return match path {
                Some(path) if path != runtime.path => Err(ClassifierError::Runtime(format!(
                    "{} is loaded already, {} cannot be loaded beside it",
                    runtime.path.display(),
                    path.display()
                ))),
                _ => Ok(runtime.clone()),
            };
        }
        let path = match path {
            Some(path) => path.to_owned(),
            None => find()?,
        };
        let failed = |what: String| ClassifierError::Runtime(format!("{}: {what}", path.display()));
        let builder = ort::init_from(&path).map_err(|error| failed(error.to_string()))?;
        let environment = builder
            .with_name("pointsman")
            .with_telemetry(false)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let runtime = OnnxRuntime { environment, path };
        Ok(loaded.insert(runtime).clone())
    }

    /// The library's file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn find() -> Result<PathBuf, ClassifierError> {
    let beside = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(LIBRARY)));
    let named = env::var_os(LIBRARY_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    // A library that was named is used or complained about, never passed over.
    let candidates = [beside, Some(PathBuf::from(FETCHED))];
    let found = candidates.into_iter().flatten().find(|path| path.is_file());
    named.or(found).ok_or_else(|| {
        ClassifierError::Runtime(format!(
            "{LIBRARY} is neither beside the executable nor at {FETCHED}, and {LIBRARY_VARIABLE} is not set"
        ))
    })
}

/// A session of one thread.
#[derive(Debug)]
pub(crate) struct GraphSession {
    session: Session,
}

impl GraphSession {
    /// Builds a session of the graph in `model`.
    pub(crate) fn new(
        runtime: &OnnxRuntime,
        model: &[u8],
    ) -> Result<GraphSession, ClassifierError> {
        let session = commit(runtime, model).map_err(refused)?;
        let names = |outlets: &[ort::value::Outlet]| {
            outlets.iter().map(|outlet| outlet.name().to_owned()).collect::<Vec<_>>()
        };
        let (inputs, outputs) = (names(session.inputs()), names(session.outputs()));
        if inputs != INPUTS || outputs.len() != 1 {
            return Err(ClassifierError::Model(format!(
                "the graph takes {inputs:?} and gives {outputs:?}; expected {INPUTS:?} and one output"
            )));
        }
        Ok(GraphSession { session })
    }

    /// Runs the graph on the features of one text; exactly `N` numbers must come out.
    pub(crate) fn run<const N: usize>(
        &mut self,
        features: &[f32],
    ) -> Result<[f32; N], ClassifierError> {
        let features =
            TensorRef::from_array_view(([1, features.len()], features)).map_err(refused)?;
        let outputs = self.session.run(ort::inputs![features]).map_err(refused)?;
        let (_, row) = outputs[0].try_extract_tensor::<f32>().map_err(refused)?;
        row.try_into().map_err(|_| {
            ClassifierError::Model(format!("the graph gave {} numbers, expected {N}", row.len()))
        })
    }
}

fn commit(runtime: &OnnxRuntime, model: &[u8]) -> ort::Result<Session> {
    // No arena and no memory pattern: the few buffers are below what malloc keeps at hand anyway.
    let cpu = ort::ep::CPU::default().with_arena_allocator(false).build();
    Session::builder(&runtime.environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_memory_pattern(false)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_execution_providers([cpu])?
        .commit_from_memory(model)
}

fn refused(error: ort::Error) -> ClassifierError {
    ClassifierError::Model(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_none_is_a_clear_error() {
        for path in ["/nonexistent/libonnxruntime.so", "/proc/self/exe"] {
            let error = OnnxRuntime::init(Some(Path::new(path))).expect_err(path).to_string();
            assert!(error.contains(path) && error.contains("onnxruntime fetch"), "{error}");
        }
    }
}
